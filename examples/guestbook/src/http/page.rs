//! The page: `GET /`, and its form, `POST /entries`. It works without JavaScript; with it, entries appear as they come.

use axum::extract::rejection::FormRejection;
use axum::extract::{Form, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::App;
use super::answer::{self, Problem};
use super::api;
use crate::database::{DatabaseError, Page};
use crate::entry::{AUTHOR_LIMIT, Draft, Entry, MESSAGE_LIMIT};
use crate::session::Session;

/// Entries on the page.
const SHOWN: i64 = 50;
/// Nothing but what comes from here.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What stands in the form.
#[derive(Default, Deserialize)]
pub struct Filled {
    author: String,
    message: String,
    /// Made with the page, so that a form that is sent twice is written once.
    key: String,
}

pub async fn show(State(app): State<App>, headers: HeaderMap) -> Result<Response, Problem> {
    let session = answer::session(&app, &headers)?;
    page(&app, &session, &Filled::default(), None).await
}

/// Writes an entry and goes back to the page.
pub async fn write(
    State(app): State<App>,
    headers: HeaderMap,
    filled: Result<Form<Filled>, FormRejection>,
) -> Result<Response, Problem> {
    let Form(filled) = filled.map_err(|error| Problem::new(error.status(), error.body_text()))?;
    let session = answer::session(&app, &headers)?;
    let draft = Draft { author: filled.author.clone(), message: filled.message.clone() };
    let draft = match draft.checked() {
        Ok(draft) => draft,
        Err(error) => return page(&app, &session, &filled, Some(error.to_string())).await,
    };
    let key = api::key(Some(&filled.key))?;
    match app.database.write(&draft, &key, &session.name).await {
        Ok(_) => Ok((answer::set_cookie(&app, &session), Redirect::to("/")).into_response()),
        Err(error @ DatabaseError::KeyReused) => page(&app, &session, &filled, Some(error.to_string())).await,
        Err(error) => Err(error.into()),
    }
}

async fn page(app: &App, session: &Session, filled: &Filled, complaint: Option<String>) -> Result<Response, Problem> {
    let entries = app.database.entries(Page::Newest { before: None }, SHOWN, Some(&session.name)).await?;
    let key = URL_SAFE_NO_PAD.encode(answer::random()?);
    let release = app.settings.release.as_deref();
    let html = html(&entries, filled, &key, complaint.as_deref(), &app.settings.public_url, release);
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    let status = if complaint.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    Ok((status, answer::set_cookie(app, session), headers, html).into_response())
}

fn html(
    entries: &[Entry],
    filled: &Filled,
    key: &str,
    complaint: Option<&str>,
    public_url: &str,
    release: Option<&str>,
) -> String {
    let list: String = entries.iter().map(item).collect();
    let newest = entries.first().map_or(0, |entry| entry.id);
    let complaint = complaint.map(|text| format!("<p class=\"complaint\" role=\"alert\">{}</p>", escaped(text)));
    let release = release.map(|label| format!(" · {}", escaped(label))).unwrap_or_default();
    let host = public_url.split_once("://").map_or(public_url, |(_, host)| host);
    format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Guestbook · {host}</title>
<link rel="canonical" href="{url}/">
<link rel="icon" href="/static/icon.svg">
<link rel="stylesheet" href="/static/guestbook.css">
<script src="/static/guestbook.js" defer></script>
</head>
<body>
<header>
<p class="host">{host}</p>
<h1>Guestbook</h1>
<p class="lead">Leave a line. Everybody who has this page open sees it at once.</p>
</header>
<main>
<form id="form" method="post" action="/entries">
<label>Your name<input name="author" required maxlength="{AUTHOR_LIMIT}" autocomplete="nickname" value="{author}"></label>
<label>Your message<textarea name="message" required maxlength="{MESSAGE_LIMIT}" rows="3">
{message}</textarea></label>
<input type="hidden" name="key" value="{key}">
<div class="actions"><button>Sign the book</button>{complaint}</div>
</form>
<h2>Entries <span id="state" class="state" role="status"></span></h2>
<ol id="entries" data-newest="{newest}">
{list}</ol>
<p class="empty">Nobody has written anything yet.</p>
</main>
<footer>guestbook {version}{release}</footer>
<template id="entry"><li><p></p><footer><b></b><time></time></footer></li></template>
</body>
</html>
"#,
        host = escaped(host),
        url = escaped(public_url),
        author = escaped(&filled.author),
        message = escaped(&filled.message),
        key = escaped(key),
        complaint = complaint.unwrap_or_else(|| "<p class=\"complaint\" role=\"alert\"></p>".to_owned()),
        version = env!("CARGO_PKG_VERSION"),
    )
}

fn item(entry: &Entry) -> String {
    format!(
        "<li id=\"entry-{id}\"{own}><p>{message}</p><footer><b>{author}</b>\
         <time datetime=\"{time}\">{time}</time></footer></li>\n",
        id = entry.id,
        own = if entry.own { " class=\"own\"" } else { "" },
        message = escaped(&entry.message),
        author = escaped(&entry.author),
        time = escaped(&entry.created_at),
    )
}

/// Text for HTML, in elements and in quoted attributes.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_stays_text() {
        let nasty = "\"><script>alert('1')</script>&";
        let entry = Entry {
            id: 7,
            author: nasty.to_owned(),
            message: nasty.to_owned(),
            created_at: "2026-03-02T10:00:00.000Z".to_owned(),
            own: true,
        };
        let filled = Filled { author: nasty.to_owned(), message: nasty.to_owned(), key: String::new() };
        let html = html(&[entry], &filled, "key", Some(nasty), "http://acme.localhost:7080", Some(nasty));
        assert!(!html.contains("<script>"), "{html}");
        assert_eq!(html.matches("&quot;&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;").count(), 6);
        assert!(html.contains("<li id=\"entry-7\" class=\"own\">"));
        assert!(html.contains("data-newest=\"7\""));
    }
}
