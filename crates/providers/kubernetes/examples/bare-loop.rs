//! The floor of `scripts/bench kubernetes`: a bare loop that dry-runs and applies manifests, 16 at a time, and does nothing else. No
//! journal, no ownership, no verification.
//!
//! `bare-loop KUBECONFIG < manifests.jsonl`: a manifest a line; those without a namespace first. Prints seconds for each phase as JSON.

use std::io::BufRead;
use std::time::Instant;

use anyhow::{Context, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::Value;

const CONNECTIONS: usize = 16;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a benchmark's result")]
async fn main() -> anyhow::Result<()> {
    let file = std::env::args().nth(1).context("usage: bare-loop KUBECONFIG < manifests.jsonl")?;
    let kubeconfig = Kubeconfig::read_from(file)?;
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    config.read_timeout = None;
    let client = Client::try_from(config)?;
    let lines: Vec<String> = std::io::stdin().lock().lines().collect::<Result<_, _>>()?;
    let manifests: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line)).collect::<Result<_, _>>()?;
    let (spaces, others): (Vec<Value>, Vec<Value>) =
        manifests.into_iter().partition(|manifest| manifest.pointer("/metadata/namespace").is_none());
    let begin = Instant::now();
    all(&client, &spaces, "dryRun=All&").await?;
    all(&client, &spaces, "").await?;
    let namespaces = begin.elapsed();
    // What has no namespace yet can't be tried out: a floor that knows its namespaces exist.
    let begin = Instant::now();
    all(&client, &others, "dryRun=All&").await?;
    let dry_run = begin.elapsed();
    let begin = Instant::now();
    all(&client, &others, "").await?;
    let apply = begin.elapsed();
    let result = serde_json::json!({
        "objects": spaces.len() + others.len(),
        "namespaces_seconds": namespaces.as_secs_f64(),
        "dry_run_seconds": dry_run.as_secs_f64(),
        "apply_seconds": apply.as_secs_f64(),
    });
    println!("{result}");
    Ok(())
}

async fn all(client: &Client, manifests: &[Value], query: &str) -> anyhow::Result<()> {
    stream::iter(manifests)
        .map(|manifest| one(client, manifest, query))
        .buffer_unordered(CONNECTIONS)
        .try_collect()
        .await
}

async fn one(client: &Client, manifest: &Value, query: &str) -> anyhow::Result<()> {
    let uri = format!("{}?{query}fieldManager=bare-loop", path(manifest)?);
    let request = http::Request::patch(uri)
        .header("content-type", "application/apply-patch+yaml")
        .body(Body::from(serde_json::to_vec(manifest)?))?;
    let response = client.send(request).await?;
    ensure!(response.status().is_success(), "{}: {}", path(manifest)?, response.status());
    // The body is read to its end, so that the connection can be used again.
    response.into_body().collect_bytes().await?;
    Ok(())
}

fn path(manifest: &Value) -> anyhow::Result<String> {
    let text = |pointer: &str| manifest.pointer(pointer).and_then(Value::as_str);
    let version = text("/apiVersion").context("a manifest without apiVersion")?;
    let kind = text("/kind").context("a manifest without kind")?.to_lowercase();
    let plural = match kind.as_str() {
        "networkpolicy" => "networkpolicies".to_owned(),
        _ => format!("{kind}s"),
    };
    let root = if version.contains('/') { format!("/apis/{version}") } else { format!("/api/{version}") };
    let name = text("/metadata/name").context("a manifest without a name")?;
    Ok(match text("/metadata/namespace") {
        Some(namespace) => format!("{root}/namespaces/{namespace}/{plural}/{name}"),
        None => format!("{root}/{plural}/{name}"),
    })
}
