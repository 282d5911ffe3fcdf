//! Operations and their events.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::sse::{self, KeepAlive, Sse};
use axum::{Extension, Json};
use freehold::wire::{Event, Operation, Problem};
use freehold_platform::{Actor, OperationId};
use futures::{Stream, StreamExt};
use utoipa_axum::routes;
use uuid::Uuid;

use super::{Platform, Routes};
use crate::convert::IntoWire as _;
use crate::response::Result;

pub(crate) fn routes() -> Routes {
    Routes::new().routes(routes!(get)).routes(routes!(events)).routes(routes!(cancel))
}

/// An operation: how far it is, what it waits for, how it ended.
#[utoipa::path(get, tag = "operations", path = "/operations/{operation}", params(("operation" = Uuid, Path)),
    responses((status = 200, body = Operation), (status = 404, body = Problem)))]
pub(crate) async fn get(
    State(platform): State<Platform>,
    Extension(actor): Extension<Actor>,
    Path(operation): Path<Uuid>,
) -> Result<Json<Operation>> {
    Ok(Json(platform.operations.get(&actor, OperationId(operation)).await?.into_wire()))
}

/// The events of an operation as a stream (SSE), from behind `Last-Event-ID` on; it ends when the operation has.
#[utoipa::path(get, tag = "operations", path = "/operations/{operation}/events", params(("operation" = Uuid, Path)),
    responses((status = 200, body = Event, content_type = "text/event-stream"), (status = 404, body = Problem)))]
pub(crate) async fn events(
    State(platform): State<Platform>,
    Extension(actor): Extension<Actor>,
    Path(operation): Path<Uuid>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<sse::Event, Infallible>>>> {
    let after = headers.get("last-event-id").and_then(|value| value.to_str().ok()).and_then(|value| value.parse().ok());
    let events =
        platform.operations.events(&actor, OperationId(operation), after.unwrap_or_default()).await?.map(|event| {
            let event = event.into_wire();
            let data = serde_json::to_string(&event).unwrap_or_default();
            Ok(sse::Event::default().id(event.sequence.to_string()).data(data))
        });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))))
}

/// Asks an operation to stop: running steps are finished, nothing new is begun.
#[utoipa::path(post, tag = "operations", path = "/operations/{operation}/cancel", params(("operation" = Uuid, Path)),
    responses((status = 200, body = Operation), (status = 404, body = Problem)))]
pub(crate) async fn cancel(
    State(platform): State<Platform>,
    Extension(actor): Extension<Actor>,
    Path(operation): Path<Uuid>,
) -> Result<Json<Operation>> {
    Ok(Json(platform.operations.cancel(&actor, OperationId(operation)).await?.into_wire()))
}
