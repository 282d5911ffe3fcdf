//! Artifacts: what services run from, by content hash.

use std::io;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use freehold::wire::Problem;
use freehold_platform::Actor;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use utoipa_axum::routes;

use super::{Platform, Routes};
use crate::response::Result;

pub(crate) fn routes() -> Routes {
    Routes::new().routes(routes!(head, put))
}

/// How long the next piece of an artifact may take to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether the server has an artifact.
#[utoipa::path(head, tag = "artifacts", path = "/artifacts/{artifact}", params(("artifact" = String, Path)),
    responses((status = 200), (status = 404)))]
pub(crate) async fn head(
    State(platform): State<Platform>,
    Extension(actor): Extension<Actor>,
    Path(artifact): Path<String>,
) -> Result<StatusCode> {
    Ok(if platform.artifacts.has(&actor, &artifact).await? { StatusCode::OK } else { StatusCode::NOT_FOUND })
}

/// Takes an artifact as a tar stream, and checks that its content is what its name says.
#[utoipa::path(put, tag = "artifacts", path = "/artifacts/{artifact}", params(("artifact" = String, Path)),
    request_body(content = Vec<u8>, content_type = "application/x-tar"),
    responses((status = 201), (status = 422, body = Problem)))]
pub(crate) async fn put(
    State(platform): State<Platform>,
    Extension(actor): Extension<Actor>,
    Path(artifact): Path<String>,
    body: Body,
) -> Result<StatusCode> {
    // Nobody waits for an upload that has come to rest.
    let pieces = stream::unfold(body.into_data_stream(), |mut pieces| async move {
        let late = |_| Some(Err(axum::Error::new(io::Error::from(io::ErrorKind::TimedOut))));
        let piece = tokio::time::timeout(PATIENCE, pieces.next()).await.unwrap_or_else(late);
        piece.map(|piece| (piece, pieces))
    });
    platform.artifacts.receive(&actor, &artifact, pieces.map_err(io::Error::other).boxed()).await?;
    Ok(StatusCode::CREATED)
}
