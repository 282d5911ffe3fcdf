//! The platform itself.

use axum::extract::{Query, State};
use axum::{Extension, Json};
use freehold::wire::{Finding, Page, Platform as Description};
use freehold_platform::Actor;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::{Platform, Routes};
use crate::convert::{IntoWire as _, whole};
use crate::response::Result;

pub(crate) fn routes() -> Routes {
    Routes::new().routes(routes!(get)).routes(routes!(doctor))
}

/// What runs here.
#[utoipa::path(get, tag = "platform", path = "/platform", responses((status = 200, body = Description)))]
pub(crate) async fn get(State(platform): State<Platform>) -> Json<Description> {
    Json(platform.describe().into_wire())
}

/// How far to look.
#[derive(Debug, Default, Deserialize, IntoParams)]
pub(crate) struct DoctorQuery {
    /// Scan every API group of each cluster for orphans; takes an administrator's permissions there.
    #[serde(default)]
    pub(crate) all_groups: bool,
}

/// Looks for problems: environment, targets, orphans, drift. Changes nothing.
#[utoipa::path(get, tag = "platform", path = "/doctor", params(DoctorQuery), responses((status = 200, body = Page<Finding>)))]
pub(crate) async fn doctor(
    State(platform): State<Platform>,
    Extension(actor): Extension<Actor>,
    Query(query): Query<DoctorQuery>,
) -> Result<Json<Page<Finding>>> {
    Ok(Json(whole(platform.doctor.findings(&actor, query.all_groups).await?)))
}
