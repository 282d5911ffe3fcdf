//! Plans and stacks.

use std::convert::Infallible;
use std::task::Poll;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use freehold::wire::{
    ApplyRequest, CommandEvent, CommandRequest, DeployRequest, DestroyRequest, LogLine, Operation, Page, PlanResponse,
    Problem, Revision, Stack, StackPlanRequest,
};
use freehold_platform::view::LogLine as Line;
use freehold_platform::{Actor, Destroy, PlanOptions, StackFilter, StackId};
use freehold_problem::{Code, Problem as Refused};
use futures::{StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Serialize};
use tracing::Instrument as _;
use utoipa::IntoParams;
use utoipa_axum::routes;
use uuid::Uuid;

use super::{Platform, Routes};
use crate::convert::{IntoDomain as _, IntoWire, whole};
use crate::response::Result;

/// How often the stream of a command says that it goes on.
const BEAT: Duration = Duration::from_secs(5);

pub(crate) fn routes() -> Routes {
    Routes::new()
        .routes(routes!(plan))
        .routes(routes!(list, apply))
        .routes(routes!(get, destroy))
        .routes(routes!(plan_for))
        .routes(routes!(revisions))
        .routes(routes!(logs))
        .routes(routes!(run))
}

/// Makes a plan. Nothing changes.
#[utoipa::path(post, tag = "stacks", path = "/plans", request_body = DeployRequest,
    responses((status = 201, body = PlanResponse), (status = 422, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn plan(
    State(platform): State<Platform>,
    Extension(actor): Extension<Actor>,
    Json(request): Json<DeployRequest>,
) -> Result<(StatusCode, Json<PlanResponse>)> {
    Ok((StatusCode::CREATED, Json(platform.plans.deploy(&actor, &request.into_domain()).await?.into_wire())))
}

/// Deploys: applies a plan that was shown, or plans and applies in one. The same `Idempotency-Key` starts it once.
#[utoipa::path(post, tag = "stacks", path = "/stacks", request_body = ApplyRequest,
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key starts the same operation once")),
    responses((status = 202, body = Operation), (status = 200, body = Operation, description = "There was nothing to change"),
        (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn apply(
    State(platform): State<Platform>,
    Extension(actor): Extension<Actor>,
    headers: HeaderMap,
    Json(request): Json<ApplyRequest>,
) -> Result<(StatusCode, Json<Operation>)> {
    let request = request.into_domain();
    let key = headers.get("idempotency-key").map(idempotency_key).transpose()?;
    // On its own: whoever hangs up in the middle of it leaves no key behind that was taken and never answered.
    let work = tokio::spawn(
        async move { platform.operations.apply(&actor, &request, key.as_deref()).await }.in_current_span(),
    );
    let operation = work
        .await
        .map_err(|error| Refused::new(Code::Internal, format!("the request was not carried out: {error}")))??;
    let status = if operation.state.is_finished() { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(operation.into_wire())))
}

fn idempotency_key(value: &HeaderValue) -> Result<String> {
    match value.to_str() {
        Ok(key) if (1..=255).contains(&key.len()) => Ok(key.to_owned()),
        _ => Err(Refused::new(Code::BadRequest, "an Idempotency-Key is 1 to 255 visible ASCII characters").into()),
    }
}

/// Which stacks, and from where on.
#[derive(Debug, Default, Deserialize, IntoParams)]
pub(crate) struct ListQuery {
    /// On this target.
    target: Option<String>,
    /// Of this app.
    app: Option<String>,
    /// Of this kind.
    kind: Option<String>,
    /// Of this name.
    name: Option<String>,
    /// Where the page before ended.
    cursor: Option<String>,
    /// How many at the most: 1 to 1000, 100 unless told.
    limit: Option<usize>,
}

impl From<ListQuery> for StackFilter {
    fn from(query: ListQuery) -> Self {
        let ListQuery { target, app, kind, name, cursor, limit } = query;
        Self { target, app, kind, name, cursor, limit }
    }
}

/// Lists stacks, by app, kind and name.
#[utoipa::path(get, tag = "stacks", path = "/stacks", params(ListQuery), responses((status = 200, body = Page<Stack>)))]
pub(crate) async fn list(
    State(platform): State<Platform>,
    Extension(actor): Extension<Actor>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<Stack>>> {
    Ok(Json(platform.stacks.list(&actor, &query.into()).await?.into_wire()))
}

/// One stack, with the state of its resources. The `ETag` is its generation.
#[utoipa::path(get, tag = "stacks", path = "/stacks/{stack}", params(("stack" = Uuid, Path)),
    responses((status = 200, body = Stack), (status = 404, body = Problem)))]
pub(crate) async fn get(
    State(platform): State<Platform>,
    Extension(actor): Extension<Actor>,
    Path(stack): Path<Uuid>,
) -> Result<Response> {
    let stack = platform.stacks.get(&actor, StackId(stack)).await?;
    Ok(([(header::ETAG, format!("\"{}\"", stack.generation))], Json(stack.into_wire())).into_response())
}

/// Makes a plan to roll back, repair or destroy. Nothing changes.
#[utoipa::path(post, tag = "stacks", path = "/stacks/{stack}/plans", params(("stack" = Uuid, Path)), request_body = StackPlanRequest,
    responses((status = 201, body = PlanResponse), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn plan_for(
    State(platform): State<Platform>,
    Extension(actor): Extension<Actor>,
    Path(stack): Path<Uuid>,
    Json(request): Json<StackPlanRequest>,
) -> Result<(StatusCode, Json<PlanResponse>)> {
    let stack = StackId(stack);
    let planned = match request {
        StackPlanRequest::Rollback { to, adopt, delete_data, settle } => {
            platform.plans.rollback(&actor, stack, to, PlanOptions { adopt, delete_data, settle }).await?
        }
        StackPlanRequest::Destroy { dump } => platform.plans.destroy(&actor, stack, dump).await?,
        StackPlanRequest::Repair => platform.plans.repair(&actor, stack).await?,
    };
    Ok((StatusCode::CREATED, Json(planned.into_wire())))
}

/// Destroys a stack. Its name has to be given again; dumps of its databases are written and proved first. With `If-Match`, only
/// if nothing has changed since it was looked at.
#[utoipa::path(delete, tag = "stacks", path = "/stacks/{stack}",
    params(("stack" = Uuid, Path), ("confirm" = String, Query), ("dump" = Option<bool>, Query), ("plan" = Option<Uuid>, Query)),
    responses((status = 202, body = Operation), (status = 404, body = Problem), (status = 409, body = Problem), (status = 412, body = Problem)))]
pub(crate) async fn destroy(
    State(platform): State<Platform>,
    Extension(actor): Extension<Actor>,
    Path(stack): Path<Uuid>,
    Query(request): Query<DestroyRequest>,
    headers: HeaderMap,
) -> Result<(StatusCode, Json<Operation>)> {
    let generation = headers.get(header::IF_MATCH).map(expected_generation).transpose()?.flatten();
    let request = Destroy { generation, ..request.into_domain() };
    let operation = platform.operations.destroy(&actor, StackId(stack), &request).await?;
    Ok((StatusCode::ACCEPTED, Json(operation.into_wire())))
}

/// The generation that an `If-Match` names; `None`: any. What can't be read is no reason to go on without it.
fn expected_generation(value: &HeaderValue) -> Result<Option<u64>> {
    let text = value.to_str().unwrap_or_default().trim();
    let tag = text.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).unwrap_or(text);
    match tag.parse() {
        Ok(generation) => Ok(Some(generation)),
        Err(_) if text == "*" => Ok(None),
        Err(_) => {
            Err(Refused::new(Code::BadRequest, "an If-Match is the ETag of one answer, such as \"3\", or *").into())
        }
    }
}

/// The revisions of a stack, newest first.
#[utoipa::path(get, tag = "stacks", path = "/stacks/{stack}/revisions", params(("stack" = Uuid, Path)),
    responses((status = 200, body = Page<Revision>), (status = 404, body = Problem)))]
pub(crate) async fn revisions(
    State(platform): State<Platform>,
    Extension(actor): Extension<Actor>,
    Path(stack): Path<Uuid>,
) -> Result<Json<Page<Revision>>> {
    Ok(Json(whole(platform.stacks.revisions(&actor, StackId(stack)).await?)))
}

/// Which log, and how much of it.
#[derive(Debug, Deserialize, IntoParams)]
pub(crate) struct LogQuery {
    /// `service.web`, `job.migrate`.
    of: String,
    /// How many of the last lines. 100 unless told.
    lines: Option<usize>,
    /// Go on with what is written from now on.
    #[serde(default)]
    follow: bool,
}

impl From<LogQuery> for freehold_platform::LogQuery {
    fn from(query: LogQuery) -> Self {
        let LogQuery { of, lines, follow } = query;
        Self { of, lines, follow }
    }
}

/// The log of a service or a job: a JSON object for each line.
#[utoipa::path(get, tag = "stacks", path = "/stacks/{stack}/logs", params(("stack" = Uuid, Path), LogQuery),
    responses((status = 200, body = LogLine, content_type = "application/x-ndjson"), (status = 404, body = Problem)))]
pub(crate) async fn logs(
    State(platform): State<Platform>,
    Extension(actor): Extension<Actor>,
    Path(stack): Path<Uuid>,
    Query(query): Query<LogQuery>,
) -> Result<Response> {
    let lines = platform.logs.read(&actor, StackId(stack), &query.into()).await?;
    let lines = lines.map_ok(|lines| lines.into_iter().map(written).collect::<String>());
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}

/// Runs a command in the stack's environment, from what a service or a job was deployed as: a JSON object for each thing that comes of it.
/// Whoever closes the connection ends it.
#[utoipa::path(post, tag = "stacks", path = "/stacks/{stack}/commands", params(("stack" = Uuid, Path)), request_body = CommandRequest,
    responses((status = 200, body = CommandEvent, content_type = "application/x-ndjson"), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub(crate) async fn run(
    State(platform): State<Platform>,
    Extension(actor): Extension<Actor>,
    Path(stack): Path<Uuid>,
    Json(request): Json<CommandRequest>,
) -> Result<Response> {
    let mut events = platform.commands.run(&actor, StackId(stack), &request.into_domain()).await?;
    let mut beats = tokio::time::interval(BEAT);
    // An empty line now and then: whoever is gone is noticed by what can't be sent.
    let lines = futures::stream::poll_fn(move |context| match events.poll_next_unpin(context) {
        Poll::Ready(event) => Poll::Ready(event.map(|event| sent(&event.into_wire()))),
        Poll::Pending => beats.poll_tick(context).map(|_| Some("\n".to_owned())),
    });
    let lines = lines.map(Ok::<_, Infallible>);
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}

/// A line as it is sent: a JSON object, and a line break.
fn written(line: Line) -> String {
    sent(&line.into_wire())
}

fn sent<T: Serialize>(value: &T) -> String {
    let mut text = serde_json::to_string(value).unwrap_or_default();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_if_match_that_can_t_be_read_is_refused() {
        let expected = |value: &[u8]| expected_generation(&HeaderValue::from_bytes(value).unwrap());
        assert_eq!(expected(b"\"3\"").unwrap(), Some(3));
        assert_eq!(expected(b"3").unwrap(), Some(3));
        assert_eq!(expected(b"*").unwrap(), None);
        for wrong in [&b"\"3"[..], b"\xff", b"", b"W/\"3\"", b"\"3\", \"4\"", b"\"three\""] {
            assert!(expected(wrong).is_err(), "{wrong:?}");
        }
    }
}
