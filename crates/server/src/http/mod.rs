//! The HTTP API: `/api/v1`, `/health`. Thin: handlers parse, call the [`Platform`], and write the answer.

mod artifacts;
mod guard;
mod health;
mod operations;
mod platform;
mod reply;
mod secrets;
mod stacks;
mod targets;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use freehold_platform::{Actor, Platform, Refusal};
use freehold_problem::Code;
use subtle::ConstantTimeEq;
use utoipa::OpenApi;

use reply::Refused;

/// What handlers share.
pub(crate) type Shared = Arc<Platform>;

/// The OpenAPI 3.1 document, made from the handlers and the wire types.
#[derive(OpenApi)]
#[openapi(
    info(title = "Freehold", description = "Deploys fully provisioned tenants.", license(name = "Apache-2.0")),
    paths(
        stacks::plan,
        stacks::apply,
        stacks::list,
        stacks::get,
        stacks::plan_for,
        stacks::destroy,
        stacks::revisions,
        stacks::logs,
        operations::get,
        operations::events,
        operations::cancel,
        secrets::list,
        secrets::set,
        secrets::rotate,
        secrets::access,
        artifacts::head,
        artifacts::put,
        platform::get,
        platform::doctor,
        targets::list,
        targets::get,
        targets::put,
        targets::remove,
        targets::check,
    )
)]
struct Document;

/// The OpenAPI document as JSON.
pub fn openapi() -> String {
    Document::openapi().to_pretty_json().unwrap_or_default()
}

/// All routes.
pub(crate) fn router(platform: Shared) -> Router {
    let api = Router::new()
        .route("/plans", post(stacks::plan))
        .route("/stacks", post(stacks::apply).get(stacks::list))
        .route("/stacks/{stack}", get(stacks::get).delete(stacks::destroy))
        .route("/stacks/{stack}/plans", post(stacks::plan_for))
        .route("/stacks/{stack}/revisions", get(stacks::revisions))
        .route("/stacks/{stack}/logs", get(stacks::logs))
        .route("/stacks/{stack}/secrets", get(secrets::list))
        .route("/stacks/{stack}/secrets/{name}/rotate", post(secrets::rotate))
        .route("/stacks/{stack}/databases/{database}/access", post(secrets::access))
        .route("/secrets/{name}", put(secrets::set))
        .route("/operations/{operation}", get(operations::get))
        .route("/operations/{operation}/events", get(operations::events))
        .route("/operations/{operation}/cancel", post(operations::cancel))
        .route("/platform", get(platform::get))
        .route("/doctor", get(platform::doctor))
        .route("/targets", get(targets::list))
        .route("/targets/{name}", get(targets::get).put(targets::put).delete(targets::remove))
        .route("/targets/{name}/check", post(targets::check))
        .layer(DefaultBodyLimit::max(1 << 20))
        .layer(middleware::from_fn(guard::deadline))
        // Artifacts are streamed to disk; what limits them is the room there.
        .route("/artifacts/{artifact}", put(artifacts::put).head(artifacts::head).layer(DefaultBodyLimit::disable()))
        .fallback(unknown_path)
        .layer(middleware::from_fn_with_state(platform.clone(), authenticate));
    Router::new()
        .nest("/api/v1", api)
        .route("/api/v1/openapi.json", get(|| async { ([(header::CONTENT_TYPE, "application/json")], openapi()) }))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .fallback(unknown_path)
        .layer(middleware::from_fn(guard::problems))
        .layer(middleware::from_fn_with_state(platform.clone(), guard::own_names))
        .with_state(platform)
}

async fn unknown_path(request: Request) -> Refused {
    let message = format!("there is nothing at {} {}", request.method(), request.uri().path());
    Refusal::new(Code::NotFound, message).help("GET /api/v1/openapi.json lists what there is").into()
}

/// Lets in whoever has the token. Names that a browser might have been tricked into are refused before ([`guard::own_names`]).
async fn authenticate(State(platform): State<Shared>, mut request: Request, next: Next) -> Response {
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .unwrap_or_default();
    if bool::from(given.as_bytes().ct_eq(platform.token().as_bytes())) {
        request.extensions_mut().insert(Actor::operator());
        return next.run(request).await;
    }
    let refusal = Refusal::new(Code::Unauthorised, "the token is missing or wrong")
        .help("send `Authorization: Bearer TOKEN`; on one machine the token is in server.json in the data directory");
    Refused::from(refusal).into_response()
}
