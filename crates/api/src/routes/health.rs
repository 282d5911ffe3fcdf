//! Freehold's own health, in the format that its users' services use: `/health/live` is about the process only,
//! `/health/ready` asks what it depends on. Without the store nothing works; a cluster that is away hinders only its own stacks.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::{SecondsFormat, Utc};
use serde_json::{Value, json};

use super::Platform;

fn document(platform: &Platform, status: &str, checks: Vec<Value>) -> Json<Value> {
    Json(json!({
        "status": status,
        "timestamp": Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true),
        "uptime": platform.uptime().as_secs(),
        "version": env!("CARGO_PKG_VERSION"),
        "checks": checks,
    }))
}

pub(crate) async fn live(State(platform): State<Platform>) -> Json<Value> {
    document(&platform, "ok", Vec::new())
}

pub(crate) async fn ready(State(platform): State<Platform>) -> (StatusCode, Json<Value>) {
    let dependencies = platform.doctor.dependencies().await;
    let failed = |critical| dependencies.iter().any(|one| !one.healthy && one.critical == critical);
    let (code, status) = match (failed(true) || platform.is_stopping(), failed(false)) {
        (true, _) => (StatusCode::SERVICE_UNAVAILABLE, "unhealthy"),
        (false, true) => (StatusCode::OK, "degraded"),
        (false, false) => (StatusCode::OK, "ok"),
    };
    let mut checks: Vec<Value> =
        dependencies.iter().map(|one| check(&one.name, one.healthy, one.latency.as_millis(), one.critical)).collect();
    if platform.is_stopping() {
        checks.push(check("running", false, 0, true));
    }
    (code, document(&platform, status, checks))
}

fn check(name: &str, healthy: bool, milliseconds: u128, critical: bool) -> Value {
    let status = if healthy { "healthy" } else { "unhealthy" };
    json!({ "name": name, "status": status, "latencyMs": milliseconds, "critical": critical })
}
