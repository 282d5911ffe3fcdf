//! `/health/live`, `/health/ready` and `/version`.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::App;
use crate::database::{DatabaseError, Probe};
use crate::fault::Fault;
use crate::feed;
use crate::{log, migration};

/// How long a dependency may take to answer.
const TIMEOUT: Duration = Duration::from_secs(3);

/// A dependency as it was found.
struct Check {
    name: &'static str,
    /// What is wrong, if anything is.
    problem: Option<String>,
    latency: Option<Duration>,
    critical: bool,
}

/// Only whether the process answers.
pub async fn live(State(app): State<App>) -> Response {
    answer(&app, &[])
}

/// Whether requests can be answered.
pub async fn ready(State(app): State<App>) -> Response {
    let mut warm = app.warm.subscribe();
    let probe = async {
        // The sender lives as long as the program.
        let _ = warm.wait_for(|warm| *warm).await;
        app.database.probe().await
    };
    let probe = tokio::time::timeout(TIMEOUT, probe).await;
    let probe =
        probe.unwrap_or_else(|_| Err(DatabaseError::Unavailable(format!("no answer in {} s", TIMEOUT.as_secs()))));
    let mut checks = checks(&probe, app.feed.state());
    if app.settings.fault == Fault::NeverReady {
        let problem = Some("GUESTBOOK_FAULT=never-ready".to_owned());
        checks.push(Check { name: "fault", problem, latency: None, critical: true });
    }
    let answer = answer(&app, &checks);
    if app.settings.fault == Fault::ExitAfterReady && answer.status() == StatusCode::OK {
        tokio::spawn(async {
            // The answer is to be read first.
            tokio::time::sleep(Duration::from_millis(50)).await;
            log::error("GUESTBOOK_FAULT=exit-after-ready: ending as told", json!({}));
            std::process::exit(3);
        });
    }
    answer
}

fn checks(probe: &Result<Probe, DatabaseError>, feed: feed::State) -> Vec<Check> {
    let latency = probe.as_ref().ok().map(|probe| probe.latency);
    let database = probe.as_ref().err().map(ToString::to_string);
    let mut checks = vec![Check { name: "database", problem: database, latency, critical: true }];
    if let Ok(probe) = probe {
        let problem = match probe.schema {
            Some(version) if version >= migration::NEEDED => None,
            Some(version) => Some(format!("at {version}, needs {}: run guestbook migrate", migration::NEEDED)),
            None => Some("missing: run guestbook migrate".to_owned()),
        };
        checks.push(Check { name: "schema", problem, latency: None, critical: true });
    }
    // Streams read the table every few seconds even without it.
    let feed = (feed == feed::State::Connecting).then(|| "not listening: new entries come late".to_owned());
    checks.push(Check { name: "notifications", problem: feed, latency: None, critical: false });
    checks
}

fn answer(app: &App, checks: &[Check]) -> Response {
    let (status, code) = status(checks);
    let body = json!({
        "status": status,
        "timestamp": log::now(),
        "uptime": app.started.elapsed().as_secs(),
        "version": env!("CARGO_PKG_VERSION"),
        "checks": checks.iter().map(shown).collect::<Vec<_>>(),
    });
    (code, [("cache-control", "no-store")], Json(body)).into_response()
}

fn status(checks: &[Check]) -> (&'static str, StatusCode) {
    if checks.iter().any(|check| check.critical && check.problem.is_some()) {
        ("unhealthy", StatusCode::SERVICE_UNAVAILABLE)
    } else if checks.iter().any(|check| check.problem.is_some()) {
        ("degraded", StatusCode::OK)
    } else {
        ("ok", StatusCode::OK)
    }
}

fn shown(check: &Check) -> Value {
    let status = if check.problem.is_some() { "unhealthy" } else { "healthy" };
    let mut shown = json!({ "name": check.name, "status": status, "critical": check.critical });
    if let Value::Object(fields) = &mut shown {
        if let Some(latency) = check.latency {
            fields.insert("latencyMs".to_owned(), json!(latency.as_millis() as u64));
        }
        if let Some(problem) = &check.problem {
            fields.insert("error".to_owned(), json!(problem));
        }
    }
    shown
}

/// What runs here: changes with each deploy in at least one field.
pub async fn version(State(app): State<App>) -> Response {
    let body = json!({
        "name": env!("CARGO_PKG_NAME"),
        "version": env!("CARGO_PKG_VERSION"),
        "release": app.settings.release,
        "schema": migration::NEEDED,
        "process": std::process::id(),
        "startedAt": app.started_at,
    });
    ([("cache-control", "no-store")], Json(body)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(schema: Option<i32>) -> Result<Probe, DatabaseError> {
        Ok(Probe { latency: Duration::from_millis(5), schema })
    }

    #[test]
    fn a_database_that_does_not_answer_makes_it_unready() {
        let checks = checks(&Err(DatabaseError::Unavailable("refused".to_owned())), feed::State::Idle);
        assert_eq!(status(&checks), ("unhealthy", StatusCode::SERVICE_UNAVAILABLE));
    }

    #[test]
    fn a_schema_that_is_missing_or_too_old_makes_it_unready_and_a_later_one_does_not() {
        for (schema, expected) in [(None, 503), (Some(1), 503), (Some(migration::NEEDED), 200), (Some(9999), 200)] {
            assert_eq!(status(&checks(&probe(schema), feed::State::Idle)).1.as_u16(), expected, "{schema:?}");
        }
    }

    #[test]
    fn without_notifications_it_is_degraded_but_ready() {
        let checks = checks(&probe(Some(migration::NEEDED)), feed::State::Connecting);
        assert_eq!(status(&checks), ("degraded", StatusCode::OK));
    }
}
