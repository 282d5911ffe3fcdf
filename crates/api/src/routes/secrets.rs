//! Secrets and credentials. Values come in and, but for `db shell`, never go out.

use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use freehold::wire::{DatabaseAccess, DatabaseRole, Page, Problem, SecretStatus, SecretValue};
use freehold_platform::{Actor, SecretText, StackId, StackSelector};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;
use uuid::Uuid;

use super::{Platform, Routes};
use crate::convert::{IntoWire as _, whole};
use crate::response::Result;

pub(crate) fn routes() -> Routes {
    Routes::new().routes(routes!(list)).routes(routes!(set)).routes(routes!(rotate)).routes(routes!(access))
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
}

impl From<StackQuery> for StackSelector {
    fn from(query: StackQuery) -> Self {
        let StackQuery { target, app, kind, name } = query;
        Self { target, app, kind, name }
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
    let value = SecretText::new(value.value);
    Ok(Json(platform.secrets.set(&actor, &stack.into(), &name, value).await?.into_wire()))
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
