//! Secrets and credentials. Values come in and, but for `db shell`, never go out.

use std::collections::BTreeMap;

use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use freehold::wire::{DatabaseAccess, DatabaseRole, Page, Problem, SecretStatus, SecretValue, SecretValues};
use freehold_platform::{Actor, SecretText, StackId, StackSelector};
use freehold_problem::{Code, Problem as Refused};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;
use uuid::Uuid;

use super::{Platform, Routes};
use crate::convert::{IntoWire as _, whole};
use crate::response::Result;

pub(crate) fn routes() -> Routes {
    let routes = Routes::new().routes(routes!(list)).routes(routes!(set)).routes(routes!(set_all));
    routes.routes(routes!(rotate)).routes(routes!(access))
}

/// The secrets of a stack, without their values.
#[utoipa::path(get, tag = "secrets", path = "/stacks/{stack}/secrets", params(("stack" = Uuid, Path)),
    responses((status = 200, body = Page<SecretStatus>), (status = 404, body = Problem)))]
pub(crate) async fn list(
    State(platform): State<Platform>,
    Extension(actor): Extension<Actor>,
    Path(stack): Path<Uuid>,
) -> Result<Json<Page<SecretStatus>>> {
    Ok(Json(whole(platform.secrets.list(&actor, StackId(stack)).await?)))
}

/// Which stack; it need not exist yet.
#[derive(Debug, Deserialize, IntoParams)]
pub(crate) struct StackQuery {
    /// Its target; left out, the one that a deploy would go to.
    target: Option<String>,
    /// The stack's app.
    app: String,
    /// The kind of stack: tenant, preview or stage.
    kind: String,
    /// The stack's name.
    name: String,
    /// Also values that look as if nobody meant them: placeholders, and keys for tests where production runs.
    #[serde(default)]
    force: bool,
}

impl StackQuery {
    fn selector(self) -> StackSelector {
        let Self { target, app, kind, name, force: _ } = self;
        StackSelector { target, app, kind, name }
    }
}

/// Sets a secret of a stack, which need not exist yet.
#[utoipa::path(put, tag = "secrets", path = "/secrets/{name}", params(("name" = String, Path), StackQuery), request_body = SecretValue,
    responses((status = 200, body = SecretStatus), (status = 422, body = Problem)))]
pub(crate) async fn set(
    State(platform): State<Platform>,
    Extension(actor): Extension<Actor>,
    Path(name): Path<String>,
    Query(stack): Query<StackQuery>,
    Json(value): Json<SecretValue>,
) -> Result<Json<SecretStatus>> {
    let (force, values) = (stack.force, BTreeMap::from([(name, SecretText::new(value.value))]));
    let set = platform.secrets.set(&actor, &stack.selector(), &values, force).await?;
    let unset = || Refused::new(Code::Internal, "the secret was not written");
    Ok(Json(set.into_iter().next().ok_or_else(unset)?.into_wire()))
}

/// Sets several secrets of a stack, which need not exist yet: all of them, or none.
#[utoipa::path(put, tag = "secrets", path = "/secrets", params(StackQuery), request_body = SecretValues,
    responses((status = 200, body = Page<SecretStatus>), (status = 422, body = Problem)))]
pub(crate) async fn set_all(
    State(platform): State<Platform>,
    Extension(actor): Extension<Actor>,
    Query(stack): Query<StackQuery>,
    Json(values): Json<SecretValues>,
) -> Result<Json<Page<SecretStatus>>> {
    let force = stack.force;
    let values = values.values.into_iter().map(|(name, value)| (name, SecretText::new(value))).collect();
    Ok(Json(whole(platform.secrets.set(&actor, &stack.selector(), &values, force).await?)))
}

/// Gives a generated secret (`session-key`) or a database's credentials (`database.main`) a new value.
#[utoipa::path(post, tag = "secrets", path = "/stacks/{stack}/secrets/{name}/rotate", params(("stack" = Uuid, Path), ("name" = String, Path)),
    responses((status = 200, body = SecretStatus), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn rotate(
    State(platform): State<Platform>,
    Extension(actor): Extension<Actor>,
    Path((stack, name)): Path<(Uuid, String)>,
) -> Result<Json<SecretStatus>> {
    Ok(Json(platform.secrets.rotate(&actor, StackId(stack), &name).await?.into_wire()))
}

/// As which role.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccessRequest {
    /// As which role.
    role: DatabaseRole,
}

/// Credentials for a session on a stack's database. Audited.
#[utoipa::path(post, tag = "secrets", path = "/stacks/{stack}/databases/{database}/access", request_body = AccessRequest,
    params(("stack" = Uuid, Path), ("database" = String, Path)),
    responses((status = 200, body = DatabaseAccess), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn access(
    State(platform): State<Platform>,
    Extension(actor): Extension<Actor>,
    Path((stack, database)): Path<(Uuid, String)>,
    Json(request): Json<AccessRequest>,
) -> Result<Json<DatabaseAccess>> {
    Ok(Json(
        platform.secrets.database_access(&actor, StackId(stack), &database, request.role.as_str()).await?.into_wire(),
    ))
}
