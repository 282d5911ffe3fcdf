//! The routes, by what they are about.

pub(crate) mod artifacts;
pub(crate) mod health;
pub(crate) mod operations;
pub(crate) mod platform;
pub(crate) mod secrets;
pub(crate) mod stacks;
pub(crate) mod targets;

use std::sync::Arc;

use utoipa_axum::router::OpenApiRouter;

/// Who carries a request out.
type Platform = Arc<freehold_platform::Platform>;
/// Routes and what the OpenAPI document says of them; their paths are below `/api/v1`.
type Routes = OpenApiRouter<crate::Api>;
