//! The cases: which kinds, in which situation, with which fields. Chance decides, and is the same in each run.

use std::fmt;

use freehold_graph::ResourceKind;
use serde_json::Value as Json;

use crate::objects::{self, Style};

/// One object to plan: what it was like before, if it was there, and what it is to be like.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) scenario: &'static str,
    pub(crate) kind: ResourceKind,
    pub(crate) name: String,
    pub(crate) before: Option<Json>,
    pub(crate) after: Json,
    /// What somebody else does to it in between: a verb of kubectl, and arguments.
    pub(crate) meddled: Option<&'static [&'static str]>,
}

/// Cases that share a namespace.
pub(crate) struct World {
    pub(crate) cases: Vec<Case>,
    /// All are planned before the namespace is there.
    pub(crate) planned_first: bool,
    /// A policy changes what comes in.
    pub(crate) policy: bool,
}

/// xorshift64*: small, and the same everywhere.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    /// So many times in a hundred.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        let index = usize::try_from(self.next()).unwrap_or_default() % items.len().max(1);
        items.get(index)
    }
}

impl Case {
    pub(crate) fn of_namespace() -> Self {
        Self {
            scenario: "new namespace",
            kind: ResourceKind::Namespace,
            name: "namespace".to_owned(),
            before: None,
            after: Json::Null,
            meddled: None,
        }
    }

    fn new(scenario: &'static str, kind: ResourceKind, number: usize, before: Option<Json>, after: Json) -> Self {
        let name = format!("{}-{number}", kind.word());
        Self { scenario, kind, name, before, after, meddled: None }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.scenario, self.name)
    }
}

/// What others do beside our fields.
const MEDDLING: [&[&str]; 2] = [&["annotate", "example.org/note=theirs"], &["label", "team=blue"]];

/// What an autoscaler does.
const SCALING: &[&str] = &[
    "patch",
    "--subresource=scale",
    "--type=merge",
    "--patch={\"spec\":{\"replicas\":5}}",
    "--field-manager=kube-controller-manager",
];

/// All cases.
pub(crate) fn worlds(random: &mut Random) -> Vec<World> {
    let mut worlds = Vec::new();
    for _ in 0..4 {
        let make = |(number, kind): (usize, &ResourceKind)| {
            Case::new("new namespace", *kind, number, None, objects::some(*kind, random, 50, Style::Any))
        };
        let cases = objects::KINDS.iter().enumerate().map(make).collect();
        worlds.push(World { cases, planned_first: true, policy: false });
    }
    let mut cases = Vec::new();
    for (number, kind) in objects::KINDS.iter().cycle().take(3 * objects::KINDS.len()).enumerate() {
        cases.push(Case::new("defaults", *kind, number, None, objects::some(*kind, random, 30, Style::Canonical)));
        let (before, after) = objects::fewer(*kind, random);
        cases.push(Case::new("removed fields", *kind, number + 100, Some(before), after));
        let (before, after) =
            (objects::some(*kind, random, 60, Style::Any), objects::some(*kind, random, 60, Style::Any));
        let mut other = Case::new("other fields", *kind, number + 200, Some(before), after);
        other.meddled = random.chance(50).then(|| random.pick(&MEDDLING).copied()).flatten();
        cases.push(other);
    }
    for (number, kind) in objects::WITH_QUANTITIES.into_iter().cycle().take(24).enumerate() {
        let (before, after) = objects::in_other_words(kind, random);
        cases.push(Case::new("quantities", kind, number + 300, Some(before), after));
    }
    for (number, kind) in objects::WITH_LISTS.into_iter().cycle().take(32).enumerate() {
        let (before, after) = objects::lists(kind, random);
        cases.push(Case::new("lists by key", kind, number + 400, Some(before), after));
    }
    for number in 0..20 {
        let (kind, before, after) = objects::immutable(number, random);
        cases.push(Case::new("immutable fields", kind, number + 500, Some(before), after));
    }
    for number in 0..12 {
        let (before, after, autoscaled) = objects::autoscaled(number, random);
        let mut case = Case::new("autoscaling", ResourceKind::Deployment, number + 600, Some(before), after);
        case.meddled = autoscaled.then_some(SCALING);
        cases.push(case);
    }
    worlds.push(World { cases, planned_first: false, policy: false });
    let mut cases = Vec::new();
    for (number, kind) in objects::UNDER_POLICY.into_iter().cycle().take(24).enumerate() {
        let before = random.chance(60).then(|| objects::some(kind, random, 50, Style::Any));
        cases.push(Case::new(
            "a policy that changes",
            kind,
            number,
            before,
            objects::some(kind, random, 50, Style::Any),
        ));
    }
    worlds.push(World { cases, planned_first: false, policy: true });
    worlds
}
