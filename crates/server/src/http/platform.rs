//! The platform itself.

use axum::extract::{Query, State};
use axum::{Extension, Json};
use freehold::wire::{Finding, Page, Platform as Description};
use freehold_platform::Actor;
use serde::Deserialize;
use utoipa::IntoParams;

use super::Shared;
use super::reply::Answer;

/// What runs here.
#[utoipa::path(get, path = "/api/v1/platform", responses((status = 200, body = Description)))]
pub(super) async fn get(State(platform): State<Shared>) -> Json<Description> {
    Json(platform.describe())
}

/// How far to look.
#[derive(Debug, Default, Deserialize, IntoParams)]
pub(crate) struct DoctorQuery {
    /// Scan every API group of each cluster for orphans; takes an administrator's permissions there.
    #[serde(default)]
    pub(crate) all_groups: bool,
}

/// Looks for trouble: environment, targets, orphans, drift. Changes nothing.
#[utoipa::path(get, path = "/api/v1/doctor", params(DoctorQuery), responses((status = 200, body = Page<Finding>)))]
pub(super) async fn doctor(
    State(platform): State<Shared>,
    Extension(actor): Extension<Actor>,
    Query(query): Query<DoctorQuery>,
) -> Answer<Json<Page<Finding>>> {
    Ok(Json(Page { items: platform.doctor(&actor, query.all_groups).await?, next: None }))
}
