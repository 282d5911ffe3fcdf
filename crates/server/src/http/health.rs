//! Freehold's own health, in the format that its users' services use: `/health/live` is about the process only,
//! `/health/ready` asks what it depends on. Without the store nothing works; a cluster that is away hinders only its own stacks.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::{SecondsFormat, Utc};
use freehold_graph::Target;
use freehold_platform::runtime::TargetRuntime;
use futures::future::join_all;
use serde_json::{Value, json};

use super::Shared;

/// How long a dependency may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

fn document(platform: &super::Platform, status: &str, checks: Vec<Value>) -> Json<Value> {
    Json(json!({
        "status": status,
        "timestamp": Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true),
        "uptime": platform.uptime().as_secs(),
        "version": env!("CARGO_PKG_VERSION"),
        "checks": checks,
    }))
}

pub(super) async fn live(State(platform): State<Shared>) -> Json<Value> {
    document(&platform, "ok", Vec::new())
}

pub(super) async fn ready(State(platform): State<Shared>) -> (StatusCode, Json<Value>) {
    let clusters = platform.targets.all().into_iter().filter(|runtime| runtime.kubernetes.is_some());
    let clusters = clusters.map(|runtime| {
        let name = format!("cluster {}", runtime.target.name());
        async move { check(&name, false, answers(runtime)).await }
    });
    let (database, mut clusters) = tokio::join!(check("database", true, platform.ping_store()), join_all(clusters));
    let mut checks = vec![database];
    checks.append(&mut clusters);
    if platform.stopping.is_cancelled() {
        checks.push(json!({ "name": "running", "status": "unhealthy", "latencyMs": 0, "critical": true }));
    }
    let failed =
        |critical: bool| checks.iter().any(|check| check["status"] != "healthy" && check["critical"] == critical);
    let (code, status) = match (failed(true), failed(false)) {
        (true, _) => (StatusCode::SERVICE_UNAVAILABLE, "unhealthy"),
        (false, true) => (StatusCode::OK, "degraded"),
        (false, false) => (StatusCode::OK, "ok"),
    };
    (code, document(&platform, status, checks))
}

async fn check(name: &str, critical: bool, answers: impl Future<Output = bool>) -> Value {
    let begin = Instant::now();
    let answered = matches!(tokio::time::timeout(PATIENCE, answers).await, Ok(true));
    json!({
        "name": name,
        "status": if answered { "healthy" } else { "unhealthy" },
        "latencyMs": begin.elapsed().as_millis(),
        "critical": critical,
    })
}

/// Whether a target's cluster is there, and still the same.
async fn answers(runtime: Arc<TargetRuntime>) -> bool {
    let (Some(provider), Target::Kubernetes(facts)) = (&runtime.kubernetes, &runtime.target) else { return true };
    let Ok(cluster) = provider.cluster().await else { return false };
    cluster.is_still(&facts.cluster, tokio::time::Instant::now() + PATIENCE).await.is_ok()
}
