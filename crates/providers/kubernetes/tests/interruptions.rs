//! Runs whose platform, credentials or connection goes away at any request: none runs twice without asking.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use freehold_engine::{Performed, Provider, ProviderError, Task};
use freehold_graph::Run;
use freehold_problem::{Code, Problem};
use freehold_provider_kubernetes::{Cluster, KubernetesProvider};
use serde_json::Value as Json;
use tokio::sync::Notify;

use crate::facts::facts;
use crate::fixture::Fixture;
use crate::proxy::{Proxy, ProxyAction};

/// How many interruptions: `FREEHOLD_RUN_INTERRUPTIONS`, 12 unless told.
fn interruptions() -> u64 {
    std::env::var("FREEHOLD_RUN_INTERRUPTIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(12)
}

/// How many namespaces have their runs interrupted at the same time.
const TOGETHER: u64 = 6;
/// How many requests a run has, from the first look to the note of its end.
const REQUESTS: u64 = 14;
/// How long an interrupted attempt goes on.
const ATTEMPT: Duration = Duration::from_secs(6);

/// What goes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gone {
    /// The process, in the middle of a request.
    Platform,
    /// The token isn't known any more: 401.
    Credentials,
    /// The account may nothing any more: 403.
    Permissions,
    /// Every connection is cut.
    Api,
    /// The API server answers 500.
    Etcd,
}

const GONE: [Gone; 5] = [Gone::Platform, Gone::Credentials, Gone::Permissions, Gone::Api, Gone::Etcd];

/// One attempt that is cut off at a request, and whether it came to that. `None` if the platform was killed in it.
async fn attempt(
    provider: &KubernetesProvider,
    proxy: &Proxy,
    (fixture, revision): (&Fixture, u64),
    (gone, at): (Gone, u64),
) -> (Option<Result<Performed, ProviderError>>, bool) {
    let (killed, met) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
    let (kill, meets, mut requests) = (Arc::clone(&killed), Arc::clone(&met), 0);
    proxy.rule(move |_, _| {
        requests += 1;
        if requests <= at {
            return ProxyAction::Pass;
        }
        meets.store(true, Ordering::Relaxed);
        match gone {
            Gone::Platform => {
                kill.notify_one();
                ProxyAction::LoseAnswer
            }
            Gone::Credentials => ProxyAction::Withdrawn,
            Gone::Permissions => ProxyAction::Forbidden,
            Gone::Api => ProxyAction::LoseAnswer,
            Gone::Etcd => ProxyAction::Fault("etcdserver: request timed out"),
        }
    });
    let context = fixture.context(revision, ATTEMPT);
    let task = Task::Run { run: fixture.run("example.test/migrate:1", "ask", 60) };
    let result = tokio::select! {
        result = provider.perform(&context, &task) => Some(result),
        () = killed.notified() => None,
    };
    proxy.rule(|_, _| ProxyAction::Pass);
    (result, met.load(Ordering::Relaxed))
}

/// How many of the Jobs of these revisions have run, or do.
fn ran(fixture: &Fixture, revisions: [u64; 2]) -> usize {
    let jobs = fixture.control.get(&["jobs", "--namespace", &fixture.namespace]).unwrap();
    let names = revisions.map(|revision| format!("migrate-r{revision}"));
    let of_these = |job: &&Json| names.iter().any(|name| job["metadata"]["name"] == name.as_str());
    let has_run = |job: &&Json| {
        ["active", "succeeded", "failed"].iter().any(|of| job["status"][of].as_u64().unwrap_or_default() > 0)
    };
    jobs["items"].as_array().unwrap().iter().filter(of_these).filter(has_run).count()
}

/// What comes of it in the end: what may pass is tried again, as the engine does.
async fn settled(fixture: &Fixture, run: &Run, revision: u64) -> Result<Performed, ProviderError> {
    loop {
        match fixture.perform(run, revision).await {
            Err(ProviderError::Retryable { .. }) => {}
            settled => return settled,
        }
    }
}

/// What came of the interruptions.
#[derive(Default)]
struct Told {
    /// Attempts that something went away in.
    met: u64,
    /// Attempts whose end was not seen.
    unseen: u64,
    /// Of those: where it was asked whether it may run again.
    asked: u64,
    /// Runs that were done twice, and nobody had said so.
    twice: u64,
}

/// Interrupts so many runs, in a namespace of its own.
async fn interrupt(fixture: &Fixture, first: u64, count: u64) -> Told {
    let proxy = Proxy::start(fixture.control.admin()).await;
    let provider = KubernetesProvider::new(proxy.access(), facts(&Cluster::connect(&proxy.access()).await.unwrap()));
    let run = fixture.run("example.test/migrate:1", "ask", 60);
    let mut told = Told::default();
    for number in first.. {
        if told.met == count {
            break;
        }
        let gone = GONE[usize::try_from(number % 5).unwrap()];
        // Spread over the requests, in an order that mixes early and late. Some runs are done before it comes to that.
        let (revision, at) = (2 * number + 1, (number * 3) % REQUESTS);
        let (first, met) = attempt(&provider, &proxy, (fixture, revision), (gone, at)).await;
        told.met += u64::from(met);
        if matches!(first, Some(Ok(_))) {
            continue;
        }
        told.unseen += 1;
        // A killed platform goes on with the same revision; after the others, somebody deploys again.
        let next = if gone == Gone::Platform { revision } else { revision + 1 };
        match settled(fixture, &run, next).await {
            Ok(_) => {}
            Err(ProviderError::Rejected(Problem { code: Code::RunOutcomeUnknown, .. })) => told.asked += 1,
            Err(error) => panic!("{gone:?} gone at request {at}: {error:?}"),
        }
        if ran(fixture, [revision, revision + 1]) > 1 {
            println!("run twice: {gone:?} gone at request {at}");
            told.twice += 1;
        }
    }
    told
}

#[tokio::test]
async fn a_run_that_is_interrupted_at_any_request_never_runs_twice_unasked() {
    let name = "a_run_that_is_interrupted_at_any_request_never_runs_twice_unasked";
    let mut fixtures = Vec::new();
    for _ in 0..TOGETHER {
        let Some(fixture) = Fixture::new(name).await else { return };
        fixtures.push(fixture);
    }
    let all = interruptions();
    let share = |of: u64| all / TOGETHER + u64::from(of < all % TOGETHER);
    let each = fixtures.iter().zip(0..).map(|(fixture, of)| interrupt(fixture, of, share(of)));
    let told = futures::future::join_all(each).await;
    let sum = |part: fn(&Told) -> u64| told.iter().map(part).sum::<u64>();
    let (met, unseen) = (sum(|told| told.met), sum(|told| told.unseen));
    let (asked, twice) = (sum(|told| told.asked), sum(|told| told.twice));
    println!(
        "interruptions: {met} of runs, {unseen} without a seen end, {asked} asked about, runs done twice unasked {twice}"
    );
    assert_eq!(twice, 0);
    assert_ne!(unseen, 0, "no interruption met a run");
}
