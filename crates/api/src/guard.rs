//! What stands around all handlers: who may ask, how long an answer may take, and what a refusal looks like that the HTTP
//! library gives by itself.

use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use freehold_platform::Actor;
use freehold_problem::{Code, Problem};
use tracing::{Instrument as _, warn_span};

use crate::Api;
use crate::response::ProblemResponse;

/// How long an answer may take to begin. Streams and uploads may go on for longer.
const PATIENCE: Duration = Duration::from_secs(120);
/// The longest message of the HTTP library.
const MESSAGE: usize = 16 << 10;

/// Refuses names that are not this machine's. A page in a browser can let its own name point here (DNS rebinding), and then it
/// would be of the same origin as the API.
pub(crate) async fn own_names(State(api): State<Api>, request: Request, next: Next) -> Response {
    // In a cluster it is called by many names, and who doesn't show the token is refused under each of them.
    if !api.loopback_only || is_at_home(request.headers(), request.uri()) {
        return next.run(request).await;
    }
    ProblemResponse::from(
        Problem::new(Code::HostNotAllowed, "the API answers to the loopback's names only")
            .help("use http://127.0.0.1:PORT, as server.json in the data directory says"),
    )
    .into_response()
}

fn is_at_home(headers: &HeaderMap, uri: &Uri) -> bool {
    let host = match headers.get(header::HOST) {
        Some(host) => host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()).map(Some),
        // Browsers always give one.
        None => Some(uri.authority().cloned()),
    };
    let origin = headers.get(header::ORIGIN).map(|origin| origin.to_str().ok().and_then(|text| text.parse().ok()));
    let origin = origin.map(|origin: Option<Uri>| origin.and_then(|origin| origin.authority().cloned()));
    let ours = |name: &Authority| matches!(name.host(), "127.0.0.1" | "localhost" | "[::1]");
    host.is_some_and(|host| host.as_ref().is_none_or(ours))
        && origin.is_none_or(|origin| origin.as_ref().is_some_and(ours))
}

/// Lets in whoever has the token. Names that a browser might have been tricked into are refused before ([`own_names`]).
pub(crate) async fn authenticate(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .unwrap_or_default();
    if api.token.is(given) {
        let actor = Actor::operator();
        let (method, path) = (request.method(), request.uri().path());
        // At the level of what it is to explain: a warning is told with the request that led to it.
        let span = warn_span!("request", id = %actor.request(), %method, path, actor = actor.audited());
        request.extensions_mut().insert(actor);
        return next.run(request).instrument(span).await;
    }
    let refusal = Problem::new(Code::Unauthorised, "the token is missing or wrong")
        .help("send `Authorization: Bearer TOKEN`; on one machine the token is in server.json in the data directory");
    ProblemResponse::from(refusal).into_response()
}

/// Answers in time, also where a part that the platform stands on neither works nor says so.
pub(crate) async fn deadline(request: Request, next: Next) -> Response {
    match tokio::time::timeout(PATIENCE, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let detail = format!("there was no answer within {} s", PATIENCE.as_secs());
            ProblemResponse::from(Problem::new(Code::NotNow, detail).help("try again in a moment")).into_response()
        }
    }
}

/// The HTTP library refuses in plain text what it can't read; callers get a problem document like everywhere else.
pub(crate) async fn problems(request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = next.run(request).await;
    let status = response.status();
    let content = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_document = content.is_some_and(|content| content.contains("json"));
    if method == Method::HEAD || is_document || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (parts, body) = response.into_parts();
    let text = to_bytes(body, MESSAGE).await.unwrap_or_default();
    let detail = match (status, String::from_utf8_lossy(&text).trim()) {
        (StatusCode::METHOD_NOT_ALLOWED, _) => format!("{path} does not take {method}"),
        // What can't be read may be quoted in the message, and here it may be a secret.
        _ if method == Method::PUT => "the body is not what is expected here".to_owned(),
        (_, "") => format!("{method} {path} can't be answered"),
        (_, text) => text.to_owned(),
    };
    let refusal = ProblemResponse::transport(status, detail);
    let mut response = refusal.help("GET /api/v1/openapi.json says what is expected").into_response();
    if let Some(allow) = parts.headers.get(header::ALLOW) {
        response.headers_mut().insert(header::ALLOW, allow.clone());
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::body::Body;
    use axum::http::HeaderValue;
    use axum::middleware;
    use axum::routing::put;
    use freehold::wire::SecretValue;
    use tower::ServiceExt as _;

    fn at_home(host: &'static str, origin: Option<&'static str>) -> bool {
        let mut headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static(host))]);
        headers.extend(origin.map(|origin| (header::ORIGIN, HeaderValue::from_static(origin))));
        is_at_home(&headers, &Uri::from_static("/api/v1/platform"))
    }

    #[test]
    fn only_the_loopbacks_names_are_let_in() {
        assert!(at_home("127.0.0.1:7391", None));
        assert!(at_home("localhost:7391", Some("http://localhost:7391")));
        assert!(at_home("[::1]:7391", None));
        assert!(!at_home("evil.example:7391", None));
        assert!(!at_home("127.0.0.1.evil.example", None));
        assert!(!at_home("127.0.0.1:7391", Some("https://evil.example")));
        assert!(!at_home("127.0.0.1:7391", Some("null")));
    }

    async fn answer(method: Method, kind: &str, body: &'static str) -> (StatusCode, String, String) {
        async fn handler(_: axum::Json<SecretValue>) {}
        let router = Router::new().route("/secrets/x", put(handler)).layer(middleware::from_fn(problems));
        let request = Request::builder().method(method).uri("/secrets/x").header(header::CONTENT_TYPE, kind);
        let response = router.oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let text = to_bytes(response.into_body(), MESSAGE).await.unwrap();
        let kind = headers[header::CONTENT_TYPE].to_str().unwrap().to_owned();
        (status, kind, String::from_utf8(text.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn what_can_t_be_read_is_refused_with_a_problem_document_that_quotes_no_secret() {
        for (kind, body, expected) in [
            ("application/json", "{\"value\": 271828}", StatusCode::UNPROCESSABLE_ENTITY),
            ("application/json", "271828", StatusCode::UNPROCESSABLE_ENTITY),
            ("application/json", "{", StatusCode::BAD_REQUEST),
            ("text/plain", "271828", StatusCode::UNSUPPORTED_MEDIA_TYPE),
        ] {
            let (status, kind, text) = answer(Method::PUT, kind, body).await;
            assert_eq!((status, kind.as_str()), (expected, "application/problem+json"), "{text}");
            assert!(text.contains("FH1011") && !text.contains("271828"), "{text}");
        }
        let (status, _, text) = answer(Method::PATCH, "application/json", "{}").await;
        assert!(status == StatusCode::METHOD_NOT_ALLOWED && text.contains("does not take PATCH"), "{text}");
    }
}
