//! `GET /events`: new entries as server-sent events.
//!
//! Each event's id is its entry's. A client that comes back with `Last-Event-ID` (or begins with `?after=ID`) gets
//! every entry since, from the table: ids become visible in ascending order, so none can be missed. A stream ends
//! cleanly when the program does, and browsers then come back by themselves.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{mpsc, watch};

use super::App;
use super::answer::Problem;
use crate::database::{Database, DatabaseError, Page};
use crate::entry::Entry;
use crate::log;

/// A comment is sent when there was nothing else for this long, so that nobody on the way takes the stream for dead.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// The table is read even without a notification.
const POLL: Duration = Duration::from_secs(10);
/// Entries that come closer together than this are read together.
const GATHER: Duration = Duration::from_millis(10);
/// After a failure of the database.
const PAUSE: Duration = Duration::from_millis(500);
/// Entries read at once.
const BATCH: i64 = 100;
/// When clients come back after the stream has ended.
const COME_BACK: Duration = Duration::from_millis(500);

#[derive(Deserialize)]
pub struct Begin {
    after: Option<i64>,
}

pub async fn stream(
    State(app): State<App>,
    headers: HeaderMap,
    begin: Result<Query<Begin>, QueryRejection>,
) -> Result<Response, Problem> {
    let last_event = headers.get("last-event-id").and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let begin = last_event.or(begin.ok().and_then(|Query(begin)| begin.after));
    let wake = app.feed.subscribe();
    let after = match begin {
        Some(id) => id,
        None => app.database.newest_id().await?,
    };
    let (sender, mut receiver) = mpsc::channel(BATCH as usize);
    let follower = Follower { database: app.database.clone(), after, wake, stopping: app.stopping.subscribe(), sender };
    tokio::spawn(follower.run());
    let events = futures_util::stream::poll_fn(move |context| receiver.poll_recv(context));
    let heartbeat = KeepAlive::new().interval(HEARTBEAT).text("heartbeat");
    // Proxies such as nginx would else collect events before they pass them on.
    Ok(([("x-accel-buffering", "no")], Sse::new(events).keep_alive(heartbeat)).into_response())
}

/// Feeds one stream.
struct Follower {
    database: Database,
    /// The last entry that was sent.
    after: i64,
    wake: watch::Receiver<()>,
    stopping: watch::Receiver<bool>,
    sender: mpsc::Sender<Result<Event, Infallible>>,
}

impl Follower {
    /// Runs until the client has gone or the program ends.
    async fn run(mut self) {
        let mut stopping = self.stopping.clone();
        let sender = self.sender.clone();
        tokio::select! {
            () = self.follow() => {}
            () = sender.closed() => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
    }

    async fn follow(&mut self) {
        // With an id and without data: nothing happens at the client, but it knows where to begin when it comes back.
        let hello = Event::default().id(self.after.to_string()).retry(COME_BACK);
        if self.sender.send(Ok(hello)).await.is_err() {
            return;
        }
        loop {
            // Before reading, so that what is written meanwhile wakes us again.
            self.wake.mark_unchanged();
            match self.send_batch().await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => {
                    log::warn("an event stream waits", json!({ "reason": error.to_string() }));
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            }
            let woken = tokio::time::timeout(POLL, self.wake.changed()).await;
            if woken.is_ok() {
                tokio::time::sleep(GATHER).await;
            }
        }
    }

    /// Sends what is new; true if there may be more.
    async fn send_batch(&mut self) -> Result<bool, DatabaseError> {
        let entries = self.database.entries(Page::After(self.after), BATCH, None).await?;
        let more = i64::try_from(entries.len()).is_ok_and(|count| count == BATCH);
        for entry in entries {
            if self.sender.send(Ok(event(&entry))).await.is_err() {
                // The client has gone; `run` sees it too.
                return Ok(false);
            }
            self.after = entry.id;
        }
        Ok(more)
    }
}

fn event(entry: &Entry) -> Event {
    // JSON has no line breaks in it, so it is one line of data.
    Event::default().id(entry.id.to_string()).event("entry").data(json!(entry).to_string())
}
