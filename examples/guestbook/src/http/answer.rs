//! What all handlers answer alike: problems (RFC 9457) and the session's cookie.

use std::time::SystemTime;

use axum::Json;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::App;
use crate::database::DatabaseError;
use crate::entry::DraftError;
use crate::log;
use crate::session::{COOKIE, LIFETIME, Session};

/// A request that could not be answered as it was meant.
#[derive(Debug)]
pub struct Problem {
    pub status: StatusCode,
    pub detail: String,
}

impl Problem {
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into() }
    }
}

impl From<DraftError> for Problem {
    fn from(error: DraftError) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string())
    }
}

impl From<DatabaseError> for Problem {
    fn from(error: DatabaseError) -> Self {
        match &error {
            DatabaseError::KeyReused => Self::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()),
            DatabaseError::Unavailable(_) => {
                log::warn("a request failed", json!({ "reason": error.to_string() }));
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "the database can't be reached at the moment")
            }
            DatabaseError::Refused(_) => {
                log::error("a request failed", json!({ "reason": error.to_string() }));
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the database refused a statement; the log says more")
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let body =
            json!({ "type": "about:blank", "title": title, "status": self.status.as_u16(), "detail": self.detail });
        let mut answer = (self.status, Json(body)).into_response();
        answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            answer.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
        }
        answer
    }
}

pub async fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is nothing here; the page is at /")
}

/// The session of a request, or a new one.
pub fn session(app: &App, headers: &HeaderMap) -> Result<Session, Problem> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    Ok(app.signer.session(cookies, SystemTime::now(), random()?))
}

/// 128 random bits.
pub fn random() -> Result<[u8; 16], Problem> {
    let mut bytes = [0; 16];
    let unlucky = |_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "there are no random numbers to be had");
    getrandom::fill(&mut bytes).map_err(unlucky)?;
    Ok(bytes)
}

/// The header that gives a new session to the client; none where it has it already.
pub fn set_cookie(app: &App, session: &Session) -> Option<[(header::HeaderName, String); 1]> {
    let secure = if app.settings.public_url.starts_with("https://") { "; Secure" } else { "" };
    let seconds = LIFETIME.as_secs();
    let value = session.new_cookie.as_ref()?;
    let cookie = format!("{COOKIE}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
    Some([(header::SET_COOKIE, cookie)])
}
