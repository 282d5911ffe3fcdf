//! Runs whose platform, credentials or connection goes away at any request: none runs twice without asking.

use std::sync::Arc;
use std::time::Duration;

use freehold_engine::{Performed, Provider, ProviderError, Task};
use freehold_graph::Run;
use freehold_provider_kubernetes::{Cluster, KubernetesProvider};
use serde_json::Value as Json;
use tokio::sync::Notify;

use crate::facts::facts;
use crate::ground::Ground;
use crate::proxy::{Fate, Proxy};

/// How many interruptions: `FREEHOLD_RUN_INTERRUPTIONS`, 12 unless told.
fn interruptions() -> u64 {
    std::env::var("FREEHOLD_RUN_INTERRUPTIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(12)
}

/// How many requests a run has, from the first look to the note of its end.
const REQUESTS: u64 = 14;
/// How long an interrupted attempt goes on.
const ATTEMPT: Duration = Duration::from_secs(6);

/// What goes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gone {
    Platform,
    Credentials,
    Api,
}

/// One attempt that is cut off at a request. `None` if the platform was killed in it.
async fn attempt(
    provider: &KubernetesProvider,
    proxy: &Proxy,
    (ground, revision): (&Ground, u64),
    (gone, at): (Gone, u64),
) -> Option<Result<Performed, ProviderError>> {
    let killed = Arc::new(Notify::new());
    let (kill, mut requests) = (Arc::clone(&killed), 0);
    proxy.rule(move |_, _| {
        requests += 1;
        match gone {
            _ if requests <= at => Fate::Pass,
            Gone::Platform => {
                kill.notify_one();
                Fate::LoseAnswer
            }
            Gone::Credentials => Fate::Withdrawn,
            Gone::Api => Fate::LoseAnswer,
        }
    });
    let context = ground.context(revision, ATTEMPT);
    let task = Task::Run { run: ground.run("example.test/migrate:1", "ask", 60) };
    let result = tokio::select! {
        result = provider.perform(&context, &task) => Some(result),
        () = killed.notified() => None,
    };
    proxy.rule(|_, _| Fate::Pass);
    result
}

/// How many of the Jobs of these revisions have run, or do.
fn ran(ground: &Ground, revisions: [u64; 2]) -> usize {
    let jobs = ground.control.get(&["jobs", "--namespace", &ground.namespace]).unwrap();
    let names = revisions.map(|revision| format!("migrate-r{revision}"));
    let of_these = |job: &&Json| names.iter().any(|name| job["metadata"]["name"] == name.as_str());
    let has_run = |job: &&Json| {
        ["active", "succeeded", "failed"].iter().any(|of| job["status"][of].as_u64().unwrap_or_default() > 0)
    };
    jobs["items"].as_array().unwrap().iter().filter(of_these).filter(has_run).count()
}

/// What comes of it in the end: what may pass is tried again, as the engine does.
async fn settled(ground: &Ground, run: &Run, revision: u64) -> Result<Performed, ProviderError> {
    loop {
        match ground.perform(run, revision).await {
            Err(ProviderError::Retryable { .. }) => {}
            settled => return settled,
        }
    }
}

#[tokio::test]
async fn a_run_that_is_interrupted_at_any_request_never_runs_twice_unasked() {
    let Some(ground) = Ground::new("a_run_that_is_interrupted_at_any_request_never_runs_twice_unasked").await else {
        return;
    };
    let proxy = Proxy::start(ground.control.admin()).await;
    let provider = KubernetesProvider::new(proxy.access(), facts(&Cluster::connect(&proxy.access()).await.unwrap()));
    let run = ground.run("example.test/migrate:1", "ask", 60);
    let (mut twice, mut unseen, mut asked) = (0, 0, 0);
    for number in 0..interruptions() {
        let gone = [Gone::Platform, Gone::Credentials, Gone::Api][usize::try_from(number % 3).unwrap()];
        // Spread over the requests, in an order that mixes early and late.
        let (revision, at) = (2 * number + 1, (number * 5) % REQUESTS);
        let first = attempt(&provider, &proxy, (&ground, revision), (gone, at)).await;
        if matches!(first, Some(Ok(_))) {
            continue;
        }
        unseen += 1;
        // A killed platform goes on with the same revision; after the others, somebody deploys again.
        let next = if gone == Gone::Platform { revision } else { revision + 1 };
        match settled(&ground, &run, next).await {
            Ok(_) => {}
            Err(ProviderError::Rejected { code: "FH0705", .. }) => asked += 1,
            Err(error) => panic!("{gone:?} gone at request {at}: {error:?}"),
        }
        if ran(&ground, [revision, revision + 1]) > 1 {
            println!("run twice: {gone:?} gone at request {at}");
            twice += 1;
        }
    }
    println!(
        "interruptions: {} of runs, {unseen} without a seen end, {asked} asked about, runs done twice unasked {twice}",
        interruptions()
    );
    assert_eq!(twice, 0);
    assert_ne!(unseen, 0, "no interruption met a run");
}
