//! What a client gets when no upstream answered: a small page for a browser, problem details (RFC 9457) for everything else.

use bytes::Bytes;
use http::header::{
    ACCEPT, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{Response, StatusCode};

use crate::header::REQUEST_ID;
use crate::response_body::ResponseBody;

/// Why a request has no answer from a service. Nothing in it names an inner address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    #[error("the request is not valid: {0}")]
    Invalid(&'static str),
    #[error("its header has more than {fields} fields or {bytes} bytes")]
    LargeHead { fields: usize, bytes: usize },
    #[error("the router does not carry this kind of request: {0}")]
    Unsupported(&'static str),
    #[error("no stack has this host; the router knows {hosts} other hosts")]
    UnknownHost { hosts: usize },
    #[error("the stack has no route for this path")]
    UnknownPath,
    #[error("the route is not open to this address")]
    Forbidden,
    #[error("the route asks for a user name and a password")]
    Unauthorized,
    #[error("too many requests from this address; the next one may come in {seconds} s")]
    TooMany { seconds: u64 },
    #[error("the body of the request is larger than the route allows, {most} bytes")]
    LargeBody { most: u64 },
    #[error("the service is starting or stopped")]
    NoneLive,
    #[error("the service did not accept the connection")]
    Refused,
    #[error("the router has no descriptors left for a connection to the service")]
    Exhausted,
    #[error("the service broke off the connection before it answered")]
    Broken,
    #[error("the service did not answer within the time that its route allows")]
    TimedOut,
}

impl Failure {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Failure::Invalid(_) => StatusCode::BAD_REQUEST,
            Failure::LargeHead { .. } => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Failure::Unsupported(_) => StatusCode::NOT_IMPLEMENTED,
            Failure::UnknownHost { .. } | Failure::UnknownPath => StatusCode::NOT_FOUND,
            Failure::Forbidden => StatusCode::FORBIDDEN,
            Failure::Unauthorized => StatusCode::UNAUTHORIZED,
            Failure::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
            Failure::LargeBody { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Failure::NoneLive | Failure::Exhausted => StatusCode::SERVICE_UNAVAILABLE,
            Failure::Refused | Failure::Broken => StatusCode::BAD_GATEWAY,
            Failure::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    fn title(self) -> &'static str {
        match self {
            Failure::Invalid(_) => "Bad request",
            Failure::LargeHead { .. } => "The request's header is too large",
            Failure::Unsupported(_) => "Not supported",
            Failure::UnknownHost { .. } => "No stack at this host",
            Failure::UnknownPath => "No route for this path",
            Failure::Forbidden => "Not open to you",
            Failure::Unauthorized => "Who are you?",
            Failure::TooMany { .. } => "Too many requests",
            Failure::LargeBody { .. } => "The request is too large",
            Failure::NoneLive => "The service is not running",
            Failure::Exhausted => "Too many connections",
            Failure::Refused | Failure::Broken => "The service failed",
            Failure::TimedOut => "The service took too long",
        }
    }

    /// The command or step that helps; `label` is "app/kind/name".
    fn next(self, label: Option<&str>) -> Option<String> {
        let select = label.and_then(selector);
        match self {
            Failure::Invalid(_)
            | Failure::LargeHead { .. }
            | Failure::Unsupported(_)
            | Failure::Exhausted
            | Failure::Forbidden
            | Failure::Unauthorized
            | Failure::TooMany { .. }
            | Failure::LargeBody { .. } => None,
            Failure::UnknownHost { .. } => Some("freehold list".to_owned()),
            Failure::UnknownPath | Failure::NoneLive => select.map(|select| format!("freehold status {select}")),
            Failure::Refused | Failure::Broken | Failure::TimedOut => {
                select.map(|select| format!("freehold logs {select}"))
            }
        }
    }
}

/// The arguments that select a stack on the command line: "guestbook/tenant/acme" is `--tenant acme`.
fn selector(label: &str) -> Option<String> {
    let mut parts = label.split('/');
    let (_app, kind, name) = (parts.next()?, parts.next()?, parts.next()?);
    Some(format!("--{kind} {name}"))
}

/// The answer that tells a failure.
pub(crate) fn page(
    failure: Failure,
    label: Option<&str>,
    accepts_html: bool,
    id: &HeaderValue,
) -> Response<ResponseBody> {
    let (media, body) = if accepts_html {
        ("text/html; charset=utf-8", html(failure, label, id))
    } else {
        ("application/problem+json", problem(failure, label, id))
    };
    let mut response = Response::new(ResponseBody::page(Bytes::from(body)));
    *response.status_mut() = failure.status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REQUEST_ID, id.clone());
    if matches!(failure, Failure::LargeHead { .. } | Failure::LargeBody { .. }) {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let wait = match failure {
        Failure::NoneLive | Failure::Exhausted => Some(1),
        Failure::TooMany { seconds } => Some(seconds),
        Failure::Invalid(_)
        | Failure::LargeHead { .. }
        | Failure::Unsupported(_)
        | Failure::UnknownHost { .. }
        | Failure::UnknownPath
        | Failure::Forbidden
        | Failure::Unauthorized
        | Failure::LargeBody { .. }
        | Failure::Refused
        | Failure::Broken
        | Failure::TimedOut => None,
    };
    if let Some(seconds) = wait {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if failure == Failure::Unauthorized {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"freehold\", charset=\"UTF-8\""));
    }
    response
}

/// Whether the client would like a page: it names HTML, as browsers do on navigation.
pub(crate) fn accepts_html(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT).iter().any(|value| value.to_str().is_ok_and(|value| value.contains("text/html")))
}

fn problem(failure: Failure, label: Option<&str>, id: &HeaderValue) -> String {
    let mut problem = serde_json::json!({
        "type": "about:blank",
        "title": failure.title(),
        "status": failure.status().as_u16(),
        "detail": failure.to_string(),
        "request_id": String::from_utf8_lossy(id.as_bytes()),
    });
    if let Some(fields) = problem.as_object_mut() {
        if let Some(label) = label {
            fields.insert("stack".to_owned(), label.into());
        }
        if let Some(next) = failure.next(label) {
            fields.insert("next".to_owned(), next.into());
        }
    }
    problem.to_string()
}

fn html(failure: Failure, label: Option<&str>, id: &HeaderValue) -> String {
    let status = failure.status().as_u16();
    let title = failure.title();
    let detail = escape(&failure.to_string());
    let stack = label.map(|label| format!("<dt>Stack</dt><dd>{}</dd>", escape(label))).unwrap_or_default();
    let next = failure
        .next(label)
        .map(|next| format!("<dt>Next</dt><dd><code>{}</code></dd>", escape(&next)))
        .unwrap_or_default();
    let id = escape(&String::from_utf8_lossy(id.as_bytes()));
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>{status} {title}</title><style>\
         :root{{color-scheme:light dark}}body{{font:16px/1.5 system-ui,sans-serif;max-width:36rem;margin:15vh auto;padding:0 1rem}}\
         h1{{font-size:1.4rem;margin:0}}p{{margin:.5rem 0 1.5rem}}dl{{display:grid;grid-template-columns:auto 1fr;gap:.25rem 1rem}}\
         dt{{opacity:.7}}dd{{margin:0}}code{{font:.9em ui-monospace,monospace}}</style></head>\
         <body><main><h1>{status} · {title}</h1><p>{detail}.</p><dl>{stack}{next}<dt>Request</dt><dd><code>{id}</code></dd></dl>\
         </main></body></html>\n"
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_which_command_helps() {
        let label = Some("guestbook/tenant/acme");
        assert_eq!(Failure::NoneLive.next(label).as_deref(), Some("freehold status --tenant acme"));
        assert_eq!(Failure::Broken.next(label).as_deref(), Some("freehold logs --tenant acme"));
        assert_eq!(Failure::NoneLive.next(Some("odd")), None);
    }

    #[test]
    fn what_comes_from_outside_is_escaped() {
        let text = html(Failure::NoneLive, Some("a/tenant/<b>"), &HeaderValue::from_static("\"x\""));
        assert!(text.contains("a/tenant/&lt;b&gt;") && text.contains("&quot;x&quot;"), "{text}");
    }
}
