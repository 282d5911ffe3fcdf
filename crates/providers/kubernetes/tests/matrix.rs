//! The failure matrix of the engine on a real API server, with the real provider: each step of each kind of plan, with
//! everything that can go wrong with it. Then the work is taken up again or all is taken away, and the cluster has to be as desired or as
//! it was before: nothing made twice, nothing left over, and what belongs to others untouched.
//!
//! ```text
//! FREEHOLD_CLUSTER_MATRIX=all     all cases, some 1400; else so many, 150 unless told
//! ```

mod api;
mod disruption;
mod inspection;
mod shape;
mod site;
mod witness;

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use freehold_engine::{Outcome, Step, StepId, Verb, steps};
use freehold_graph::ProviderName;
use freehold_plan::Purpose;
use freehold_testkit::kubernetes::ControlPlane;
use futures::{StreamExt, stream};
use tokio::time::timeout;

use crate::proxy::{Proxy, ProxyAction};
use disruption::Disruption;
use inspection::Foreign;
use shape::{FIRST, LARGER, NOTHING, REBUILT, SECOND, Shape};
use site::{Bed, Site};

/// How many cases, unless told.
const CASES: usize = 150;
/// How many at once: most of the time of each goes by with waiting for controllers.
const AT_ONCE: usize = 24;
/// How long one may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(400);
/// Which cases are chosen.
const SEED: u64 = 4;

/// A kind of plan, and how to get to where it is made.
struct Kind {
    name: &'static str,
    before: &'static [Shape],
    /// All that it wants to have is there, and somebody else's.
    adopts: bool,
    purpose: Purpose,
    shape: Shape,
}

const KINDS: [Kind; 7] = [
    Kind { name: "create", before: &[], adopts: false, purpose: Purpose::Deploy, shape: FIRST },
    Kind { name: "update", before: &[FIRST], adopts: false, purpose: Purpose::Deploy, shape: SECOND },
    Kind { name: "replace", before: &[FIRST], adopts: false, purpose: Purpose::Deploy, shape: REBUILT },
    Kind { name: "adopt", before: &[], adopts: true, purpose: Purpose::Deploy, shape: FIRST },
    Kind { name: "remove a part", before: &[LARGER], adopts: false, purpose: Purpose::Deploy, shape: FIRST },
    Kind {
        name: "rollback",
        before: &[FIRST, SECOND],
        adopts: false,
        purpose: Purpose::Rollback { to: 1 },
        shape: FIRST,
    },
    Kind {
        name: "destroy",
        before: &[FIRST],
        adopts: false,
        purpose: Purpose::Destroy { dump: false },
        shape: NOTHING,
    },
];

impl Kind {
    const fn destroys(&self) -> bool {
        matches!(self.purpose, Purpose::Destroy { .. })
    }
}

/// One way through.
struct Case {
    kind: &'static Kind,
    /// `None`: nothing goes wrong.
    disruption: Option<(Step, Disruption, usize)>,
    /// Afterwards all is taken away at once, instead of first going on.
    leaves: bool,
}

impl Case {
    fn name(&self) -> String {
        let disruption = match &self.disruption {
            Some((step, disruption, call)) => format!("{disruption:?} of {}, call {call}", step.id),
            None => "nothing goes wrong".to_owned(),
        };
        format!("{}: {disruption}, then destroyed at once: {}", self.kind.name, self.leaves)
    }

    /// The steps of its plan.
    async fn go_through(&self, bed: &Arc<Bed>) -> Result<Vec<Step>> {
        let Self { kind, disruption, .. } = self;
        let mut site = Site::new(bed)?;
        for shape in kind.before {
            site.deploy(*shape).await.context("before")?;
        }
        let foreign = match kind {
            Kind { adopts: true, .. } => Foreign::instead(&mut site, kind.shape).await?,
            _ if kind.destroys() || kind.before.is_empty() => Foreign::default(),
            _ => Foreign::beside(&site).await?,
        };
        let before = bed.api.objects(&site.namespace).await?;
        let plan = site.plan(kind.purpose, kind.shape, kind.adopts).await?;
        let own: Vec<Step> = steps(&plan).into_values().collect();
        let wrong = match disruption {
            Some((step, disruption, call)) => Some((same(step, &own).context("no such step")?, *disruption, *call)),
            None => None,
        };
        let (outcome, failures) = site.work(&plan, kind.shape, wrong).await?;
        let overcome = wrong.is_none_or(|(_, disruption, _)| disruption.is_overcome());
        ensure!((outcome == Outcome::Succeeded) == overcome, "{outcome:?}: {failures:#?}");
        if overcome && !kind.destroys() {
            inspection::is_desired(&mut site, kind.shape, &plan, &before, &foreign).await.context("it succeeded")?;
        }
        if !self.leaves && !kind.destroys() {
            let again = site.plan(kind.purpose, kind.shape, kind.adopts).await.context("again")?;
            ensure!(again.is_noop() || !overcome, "there is still something to do: {:#?}", again.changes);
            if !overcome {
                site.carry_out(&again, kind.shape).await.context("again")?;
                inspection::is_desired(&mut site, kind.shape, &plan, &before, &foreign).await.context("again")?;
            }
        }
        if !(overcome && kind.destroys()) {
            inspection::destroy(&mut site, &foreign).await.context("in the end")?;
        }
        inspection::is_gone(&site, &plan).await?;
        Ok(own)
    }
}

/// The same step of another stack. The subject of the verification is the stack.
fn same<'a>(step: &Step, of: &'a [Step]) -> Option<&'a StepId> {
    let mut of = of.iter().filter(|other| other.verb == step.verb);
    of.find(|other| other.subject == step.subject || other.verb == Verb::Verify).map(|other| &other.id)
}

fn hash(of: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    (SEED, of).hash(&mut hasher);
    hasher.finish()
}

/// All cases of a kind.
fn cases(kind: &'static Kind, steps: &[Step]) -> Vec<Case> {
    let mut cases = Vec::new();
    for step in steps.iter().filter(|step| step.provider != Some(ProviderName::Store)) {
        let moment = Duration::from_millis(hash((kind.name, &step.id)) % 40);
        for disruption in Disruption::all(moment).into_iter().filter(|disruption| disruption.can_happen_to(step)) {
            for call in disruption.calls(step) {
                // A destroy that did not get through is only ever taken up again.
                let ways: &[bool] = if kind.destroys() { &[true] } else { &[false, true] };
                cases.extend(ways.iter().map(|leaves| Case {
                    kind,
                    disruption: Some((step.clone(), disruption, call)),
                    leaves: *leaves,
                }));
            }
        }
    }
    cases
}

/// So many of them: first those that are needed to have each step, and each disruption, of each kind of plan at least once.
fn chosen(mut cases: Vec<Case>, count: usize) -> Vec<Case> {
    cases.sort_by_key(|case| hash(case.name()));
    let mut seen = BTreeSet::new();
    let (needed, others): (Vec<_>, Vec<_>) = cases.into_iter().partition(|case| {
        let Some((step, disruption, _)) = &case.disruption else { return true };
        let disruption = format!("{disruption:?}");
        let word = disruption.split(|letter: char| letter.is_ascii_digit()).next().unwrap_or_default();
        let is_new = [step.id.to_string(), word.to_owned()].map(|what| seen.insert((case.kind.name, what)));
        is_new.contains(&true)
    });
    needed.into_iter().chain(others).take(count).collect()
}

/// The steps of each, and what went wrong that shouldn't have.
async fn go_through_all(bed: &Arc<Bed>, cases: Vec<Case>) -> (Vec<Vec<Step>>, Vec<String>) {
    let ways = cases.into_iter().map(|case| {
        let bed = Arc::clone(bed);
        tokio::spawn(async move {
            let way = timeout(PATIENCE, case.go_through(&bed)).await.context("it takes too long").flatten();
            way.map_err(|error| format!("{}: {error:#}", case.name()))
        })
    });
    let results: Vec<_> = stream::iter(ways).buffered(AT_ONCE).collect().await;
    let (mut steps, mut failures) = (Vec::new(), Vec::new());
    for result in results {
        match result.unwrap_or_else(|panic| Err(panic.to_string())) {
            Ok(of_case) => steps.push(of_case),
            Err(failure) => failures.push(failure),
        }
    }
    (steps, failures)
}

/// How many requests a first deploy may send for two objects, on the average: two dry runs, two applies, and of what has to get ready some
/// looks.
const MOST_FOR_TWO: usize = 7;

#[tokio::test]
async fn a_first_deploy_asks_for_nothing_that_an_answer_has_shown() {
    let Some(control) = ControlPlane::for_test("a_first_deploy_asks_for_nothing") else { return };
    let proxy = Proxy::start(control.admin()).await;
    let bed = Arc::new(Bed::reached_by(control, proxy.access()).await.unwrap());
    let mut site = Site::new(&bed).unwrap();
    proxy.rule(|_, _| ProxyAction::Pass);
    site.deploy(FIRST).await.unwrap();
    let seen = proxy.seen();
    let of = |plural: &str, method: &str| {
        let is_of = |request: &&String| {
            let (path, _) = request.split_once('?').unwrap_or((request, ""));
            request.starts_with(method) && path.split('/').any(|part| part == plural)
        };
        seen.iter().filter(is_of).count()
    };
    for plural in ["configmaps", "secrets", "serviceaccounts", "networkpolicies", "limitranges", "resourcequotas"] {
        let (applied, read) = (of(plural, "PATCH"), of(plural, "GET"));
        // Of the quota also what is used of it, where a Pod isn't there yet.
        assert!(applied > 0 && (read == 0 || plural == "resourcequotas"), "{plural}: {seen:#?}");
    }
    let applies = seen.iter().filter(|request| request.starts_with("PATCH") && !request.contains("dryRun")).count();
    // The job's run is no object of the stack, and its traces come and go.
    let runs = seen.iter().filter(|request| request.contains("/jobs") || request.contains("/pods")).count();
    println!("a first deploy: {} requests for {applies} objects", seen.len() - runs);
    assert!(
        2 * (seen.len() - runs) <= MOST_FOR_TWO * applies,
        "{} requests for {applies} objects: {seen:#?}",
        seen.len() - runs
    );
    let plan = site.plan(Purpose::Destroy { dump: false }, NOTHING, false).await.unwrap();
    site.carry_out(&plan, NOTHING).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_to_a_step_in_a_cluster_the_work_can_be_taken_up_or_taken_away() {
    let name = "whatever_happens_to_a_step_in_a_cluster_the_work_can_be_taken_up_or_taken_away";
    let Some(control) = ControlPlane::for_test(name) else { return };
    let bed = Arc::new(Bed::new(control).await.unwrap());
    let calm = KINDS.iter().map(|kind| Case { kind, disruption: None, leaves: false }).collect();
    let (steps, failures) = go_through_all(&bed, calm).await;
    assert!(failures.is_empty(), "nothing went wrong, and yet:\n{}", failures.join("\n\n"));
    let all: Vec<Case> = KINDS.iter().zip(&steps).flat_map(|(kind, steps)| cases(kind, steps)).collect();
    let wanted = match std::env::var("FREEHOLD_CLUSTER_MATRIX").as_deref() {
        Ok("all") => all.len(),
        Ok(count) => count.parse().unwrap(),
        Err(_) => CASES,
    };
    let (of_all, chosen) = (all.len(), chosen(all, wanted));
    let count = chosen.len();
    let (_, failures) = go_through_all(&bed, chosen).await;
    assert!(failures.is_empty(), "{} of {count} cases:\n{}", failures.len(), failures.join("\n\n"));
    println!(
        "failure matrix: {count} cases on the API server, {} kinds of plans, orphans 0, duplicates 0, runs done twice 0 (of {of_all} in all)",
        KINDS.len(),
    );
}
