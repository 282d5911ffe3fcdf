//! `GET` and `POST /api/entries`.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::json;

use super::App;
use super::answer::{self, Problem};
use crate::database::Page;
use crate::entry::{Draft, Entry, KEY_LIMIT};

/// Entries in one answer, unless the request says how many.
const DEFAULT_LIMIT: i64 = 50;
const GREATEST_LIMIT: i64 = 500;

/// Which entries: the newest first; `before` goes on from there; `after` reads upwards, oldest first.
#[derive(Deserialize)]
pub struct Wanted {
    limit: Option<i64>,
    before: Option<i64>,
    after: Option<i64>,
}

pub async fn list(State(app): State<App>, wanted: Result<Query<Wanted>, QueryRejection>) -> Result<Response, Problem> {
    let bad = |detail: String| Problem::new(StatusCode::BAD_REQUEST, detail);
    let Query(wanted) = wanted.map_err(|error| bad(error.body_text()))?;
    let limit = wanted.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=GREATEST_LIMIT).contains(&limit) {
        return Err(bad(format!("limit can be 1 to {GREATEST_LIMIT}")));
    }
    let page = match (wanted.before, wanted.after) {
        (Some(_), Some(_)) => return Err(bad("before and after can't be combined".to_owned())),
        (before, None) => Page::Newest { before },
        (None, Some(after)) => Page::After(after),
    };
    let entries = app.database.entries(page, limit, None).await?;
    let full = i64::try_from(entries.len()).is_ok_and(|count| count == limit);
    // What to pass as before, or after, for the next page.
    let next = entries.last().filter(|_| full).map(|entry| entry.id);
    Ok(Json(json!({ "entries": entries, "next": next })).into_response())
}

/// Writes an entry: 201, or 200 and `"repeated": true` where this `Idempotency-Key` has written it before.
pub async fn write(
    State(app): State<App>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let body = body.map_err(|error| Problem::new(error.status(), error.body_text()))?;
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !kind.to_ascii_lowercase().starts_with("application/json") {
        let detail = "an entry is written as application/json: {\"author\": …, \"message\": …}";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    let malformed = |error: serde_json::Error| Problem::new(StatusCode::BAD_REQUEST, error.to_string());
    let draft: Draft = serde_json::from_slice(&body).map_err(malformed)?;
    let draft = draft.checked()?;
    let key = key(headers.get("idempotency-key").map(|value| value.to_str().unwrap_or_default()))?;
    let session = answer::session(&app, &headers)?;
    let written = app.database.write(&draft, &key, &session.name).await?;
    let Entry { id, author, message, created_at, .. } = written.entry;
    let body = json!({
        "id": id, "author": author, "message": message, "createdAt": created_at, "repeated": written.repeated,
    });
    let status = if written.repeated { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, answer::set_cookie(&app, &session), Json(body)).into_response())
}

/// The key under which an entry is written: the client's, else a new one.
pub fn key(given: Option<&str>) -> Result<String, Problem> {
    match given {
        None => Ok(format!("guestbook:{}", URL_SAFE_NO_PAD.encode(answer::random()?))),
        Some(key) if (1..=KEY_LIMIT).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Ok(key.to_owned())
        }
        Some(_) => {
            let detail = format!("an Idempotency-Key has 1 to {KEY_LIMIT} visible ASCII characters");
            Err(Problem::new(StatusCode::BAD_REQUEST, detail))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_without_a_key_gets_one_of_its_own() {
        let keys = [key(None).unwrap(), key(None).unwrap()];
        assert_ne!(keys[0], keys[1]);
        assert_eq!(key(Some("order-17")).unwrap(), "order-17");
        for wrong in ["", "two words", "ä", &"x".repeat(201)] {
            assert_eq!(key(Some(wrong)).unwrap_err().status, StatusCode::BAD_REQUEST, "{wrong}");
        }
    }
}
