//! The HTTP API: `/api/v1`, `/health`. Handlers parse the request, call one use case of the
//! [`Platform`](freehold_platform::Platform), and write the response.
//!
//! ```text
//!  request ─► own names ─► problems ─► token ─► deadline ─► routes ─► Platform
//!             guard.rs     guard.rs    guard.rs guard.rs    routes/
//! ```
//!
//! Each route stands once, in the attribute of its handler: the router and the OpenAPI document are both made from it.

#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

mod convert;
mod guard;
mod response;
mod routes;
mod state;
mod token;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::header;
use axum::middleware;
use axum::routing::get;
use freehold_problem::{Code, Problem};
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use response::ProblemResponse;
pub use state::Api;
pub use token::Token;

/// The largest body of a request, in bytes; artifacts have no limit but the disk's.
const LARGEST_BODY: usize = 1 << 20;

/// The OpenAPI 3.1 document's head.
#[derive(utoipa::OpenApi)]
#[openapi(info(title = "Freehold", description = "Deploys fully provisioned tenants.", license(name = "Apache-2.0")))]
struct Document;

/// All routes below `/api/v1`, and the document that describes them.
fn described() -> (Router<Api>, OpenApi) {
    let bounded = OpenApiRouter::new()
        .merge(routes::stacks::routes())
        .merge(routes::operations::routes())
        .merge(routes::secrets::routes())
        .merge(routes::platform::routes())
        .merge(routes::targets::routes())
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(middleware::from_fn(guard::deadline));
    let streamed = routes::artifacts::routes().layer(DefaultBodyLimit::disable());
    let (router, paths) = bounded.merge(streamed).split_for_parts();
    (router, Document::openapi().nest("/api/v1", paths))
}

/// The OpenAPI document as JSON.
pub fn openapi() -> String {
    described().1.to_pretty_json().unwrap_or_default()
}

/// The service that answers requests.
pub fn router(api: Api) -> Router {
    let (v1, document) = described();
    let document = document.to_pretty_json().unwrap_or_default();
    let document = move || async move { ([(header::CONTENT_TYPE, "application/json")], document) };
    let v1 = v1.fallback(unknown_path).layer(middleware::from_fn_with_state(api.clone(), guard::authenticate));
    Router::new()
        .nest("/api/v1", v1)
        .route("/api/v1/openapi.json", get(document))
        .route("/health/live", get(routes::health::live))
        .route("/health/ready", get(routes::health::ready))
        .fallback(unknown_path)
        .layer(middleware::from_fn(guard::problems))
        .layer(middleware::from_fn_with_state(api.clone(), guard::own_names))
        .with_state(api)
}

async fn unknown_path(request: Request) -> ProblemResponse {
    let message = format!("there is nothing at {} {}", request.method(), request.uri().path());
    Problem::new(Code::NotFound, message).help("GET /api/v1/openapi.json lists what there is").into()
}
