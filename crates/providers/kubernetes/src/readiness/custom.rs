//! An object of any kind, by what controllers agree to write into its status, as kstatus reads it (`sigs.k8s.io/cli-utils`):
//! `observedGeneration`, and the conditions Reconciling, Stalled, Ready and Available. One that has none of these is ready as soon as it
//! is there: nobody can tell whether a controller has yet to look at it.

use freehold_engine::Readiness;
use serde_json::Value as Json;

use crate::document::{Condition, Fields};

/// The conditions that say that an object works, the first that is there decides.
const WORKS: [&str; 2] = ["Ready", "Available"];

pub(super) fn readiness(found: &Json) -> Readiness {
    let generation = found.number("/metadata/generation");
    let observed = found.pointer("/status/observedGeneration").and_then(Json::as_i64);
    if observed.is_some_and(|observed| observed < generation) {
        return Readiness::Waiting("not yet reconciled by its controller".to_owned());
    }
    let condition = |kind: &str| found.condition(kind).filter(|condition| condition.is_about(generation));
    if let Some(stalled) = condition("Stalled").filter(|condition| condition.is_true()) {
        return Readiness::failed(format!("its controller can't go on: {}", stalled.words()));
    }
    if let Some(reconciling) = condition("Reconciling").filter(|condition| condition.is_true()) {
        return Readiness::Waiting(format!("its controller is at work: {}", reconciling.words()));
    }
    let decides = WORKS.iter().find_map(|kind| Some((kind, found.condition(kind)?)));
    match decides {
        None => Readiness::Ready,
        Some((kind, condition)) if !condition.is_about(generation) => {
            Readiness::Waiting(format!("its condition {kind} is about an earlier version of it"))
        }
        Some((_, condition)) if condition.is_true() => Readiness::Ready,
        Some((kind, condition)) => Readiness::Waiting(said(kind, condition)),
    }
}

fn said(kind: &str, condition: Condition<'_>) -> String {
    match condition.words() {
        words if words.is_empty() => format!("it is not {kind}"),
        words => format!("it is not {kind}: {words}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(status: Json) -> Readiness {
        readiness(&json!({"metadata": {"generation": 3}, "status": status}))
    }

    fn conditions(all: &[(&str, &str)]) -> Json {
        all.iter()
            .map(|(kind, status)| json!({"type": kind, "status": status, "reason": "R", "message": "m"}))
            .collect()
    }

    #[test]
    fn without_a_word_of_its_controller_an_object_is_ready() {
        assert_eq!(readiness(&json!({"metadata": {}})), Readiness::Ready);
        assert_eq!(of(json!({"phase": "whatever", "conditions": conditions(&[("Odd", "False")])})), Readiness::Ready);
    }

    #[test]
    fn conditions_count_once_they_are_about_the_present_version() {
        let waits = |words: &str| Readiness::Waiting(words.to_owned());
        assert_eq!(of(json!({"observedGeneration": 2})), waits("not yet reconciled by its controller"));
        assert_eq!(of(json!({"observedGeneration": 3})), Readiness::Ready);
        let old = json!([{"type": "Ready", "status": "True", "observedGeneration": 2}]);
        assert_eq!(of(json!({"conditions": old})), waits("its condition Ready is about an earlier version of it"));
        for (given, expected) in [
            (vec![("Ready", "True")], Readiness::Ready),
            (vec![("Ready", "False")], waits("it is not Ready: R: m")),
            (vec![("Ready", "Unknown")], waits("it is not Ready: R: m")),
            (vec![("Available", "True")], Readiness::Ready),
            (vec![("Available", "False"), ("Ready", "True")], Readiness::Ready),
            (vec![("Available", "False")], waits("it is not Available: R: m")),
            (vec![("Ready", "True"), ("Reconciling", "True")], waits("its controller is at work: R: m")),
            (vec![("Ready", "True"), ("Stalled", "False")], Readiness::Ready),
            (vec![("Stalled", "True")], Readiness::failed("its controller can't go on: R: m")),
        ] {
            assert_eq!(of(json!({"conditions": conditions(&given)})), expected, "{given:?}");
        }
    }
}
