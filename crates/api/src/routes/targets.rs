//! Targets: the clusters that stacks are deployed to, and this machine.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use freehold::wire::{Finding, Page, Problem, Target, TargetRequest};
use freehold_platform::Actor;
use freehold_problem::{Code, Problem as Refused};
use tracing::Instrument as _;
use utoipa_axum::routes;

use super::{Platform, Routes};
use crate::convert::{IntoDomain as _, IntoWire as _, whole};
use crate::response::Result;

pub(crate) fn routes() -> Routes {
    Routes::new().routes(routes!(list)).routes(routes!(get, put, remove)).routes(routes!(check))
}

/// All targets, this machine first.
#[utoipa::path(get, tag = "targets", path = "/targets", responses((status = 200, body = Page<Target>)))]
pub(crate) async fn list(
    State(platform): State<Platform>,
    Extension(actor): Extension<Actor>,
) -> Result<Json<Page<Target>>> {
    Ok(Json(whole(platform.targets.list(&actor).await?)))
}

/// One target by its name.
#[utoipa::path(get, tag = "targets", path = "/targets/{name}", params(("name" = String, Path)),
    responses((status = 200, body = Target), (status = 404, body = Problem)))]
pub(crate) async fn get(
    State(platform): State<Platform>,
    Extension(actor): Extension<Actor>,
    Path(name): Path<String>,
) -> Result<Json<Target>> {
    Ok(Json(platform.targets.get(&actor, &name).await?.into_wire()))
}

/// Adds a cluster as a target, or changes one: what is left out is found out, or stays as it was. Audited; credentials are sealed
/// and never given out.
#[utoipa::path(put, tag = "targets", path = "/targets/{name}", params(("name" = String, Path)), request_body = TargetRequest,
    responses((status = 200, body = Target), (status = 409, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub(crate) async fn put(
    State(platform): State<Platform>,
    Extension(actor): Extension<Actor>,
    Path(name): Path<String>,
    Json(request): Json<TargetRequest>,
) -> Result<Json<Target>> {
    // On its own: whoever hangs up in the middle of it leaves nothing half done.
    let work = tokio::spawn(
        async move { platform.targets.put(&actor, &name, &request.into_domain()).await }.in_current_span(),
    );
    Ok(Json(work.await.map_err(|error| unfinished(&error))??.into_wire()))
}

/// Forgets a target that has no stacks. Audited. What the platform made there for itself is removed.
#[utoipa::path(delete, tag = "targets", path = "/targets/{name}", params(("name" = String, Path)),
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn remove(
    State(platform): State<Platform>,
    Extension(actor): Extension<Actor>,
    Path(name): Path<String>,
) -> Result<StatusCode> {
    let work = tokio::spawn(async move { platform.targets.remove(&actor, &name).await }.in_current_span());
    work.await.map_err(|error| unfinished(&error))??;
    Ok(StatusCode::NO_CONTENT)
}

/// Looks whether a target has what deploys need: each finding with its fix. Changes nothing.
#[utoipa::path(post, tag = "targets", path = "/targets/{name}/check", params(("name" = String, Path)),
    responses((status = 200, body = Page<Finding>), (status = 404, body = Problem)))]
pub(crate) async fn check(
    State(platform): State<Platform>,
    Extension(actor): Extension<Actor>,
    Path(name): Path<String>,
) -> Result<Json<Page<Finding>>> {
    Ok(Json(whole(platform.targets.check(&actor, &name).await?)))
}

fn unfinished(error: &tokio::task::JoinError) -> Refused {
    Refused::new(Code::Internal, format!("the request was not carried out: {error}"))
}
