//! Whether we may do what we need to do: asked for each verb of [`crate::rbac()`], so that what is missing is known before it is needed.

use std::collections::BTreeMap;

use freehold_graph::AllowedKind;
use freehold_graph::expand::KubernetesTarget;
use futures::{FutureExt, StreamExt, stream};
use serde_json::json;

use freehold_engine::capability::Finding;

use super::finding;
use crate::document::Fields;
use crate::error::ClusterError;
use crate::manifests::rbac::{Permission, of_allowed, permissions};
use crate::neighbour::ACCESS_REVIEW;
use crate::object::Place;
use crate::reader::Reader;
use crate::request::Request;

/// How many questions at once.
const AT_ONCE: usize = 8;

pub(super) async fn check(reader: &Reader<'_>, facts: &KubernetesTarget) -> Vec<Finding> {
    let subject = "permissions";
    let allowed: Vec<String> = facts.allowed_kinds.iter().map(AllowedKind::resource).collect();
    let questions: Vec<(usize, Permission, &'static str)> = permissions()
        .into_iter()
        .chain(of_allowed(allowed.iter().map(String::as_str)))
        .filter(|permission| is_needed(permission, facts))
        .enumerate()
        .flat_map(|(number, permission)| permission.verbs.iter().map(move |verb| (number, permission.clone(), *verb)))
        .collect();
    let count = questions.len();
    // Boxed one by one: a stream of closures that borrow is beyond what the compiler can tell to be `Send`.
    let asked = questions.into_iter().map(|(number, permission, verb)| {
        async move {
            let answer = may(reader, &permission, verb).await;
            (number, permission, verb, answer)
        }
        .boxed()
    });
    let asked: Vec<_> = asked.collect();
    let answers: Vec<_> = stream::iter(asked).buffer_unordered(AT_ONCE).collect().await;
    let mut missing: BTreeMap<usize, (Permission, Vec<&str>)> = BTreeMap::new();
    for (number, permission, verb, answer) in answers {
        match answer {
            Ok(true) => {}
            Ok(false) => missing.entry(number).or_insert_with(|| (permission, Vec::new())).1.push(verb),
            Err(error) => return vec![finding::of_error(subject, &error)],
        }
    }
    if missing.is_empty() {
        return vec![Finding::ok(subject, format!("all {count} that are needed"))];
    }
    let told = missing.into_values().map(|(permission, mut verbs)| {
        verbs.sort_unstable();
        let message = format!("may not {} {} ({})", verbs.join(", "), called(&permission), permission.why);
        Finding::error(subject, message, fix(&permission, facts))
    });
    told.collect()
}

fn fix(permission: &Permission, facts: &KubernetesTarget) -> String {
    let is_allowed = |kind: &&AllowedKind| kind.group == permission.group && kind.plural == permission.resource;
    match facts.allowed_kinds.iter().find(is_allowed) {
        Some(_) => {
            let kinds = facts.allowed_kinds.iter().map(|kind| format!(" --allow-kind {}", kind.resource()));
            format!("apply what `freehold target rbac{}` prints as an administrator", kinds.collect::<String>())
        }
        None => {
            "apply what `freehold target rbac` prints as an administrator; these are the minimum permissions".to_owned()
        }
    }
}

/// What isn't used on this target needs no permission.
fn is_needed(permission: &Permission, facts: &KubernetesTarget) -> bool {
    use freehold_graph::expand::ClusterDatabases;
    match permission.group.as_ref() {
        "cert-manager.io" | "acme.cert-manager.io" => facts.issuer.is_some(),
        "postgresql.cnpg.io" => matches!(facts.databases, ClusterDatabases::CloudNativePg { .. }),
        _ => true,
    }
}

/// `deployments.apps`, `pods/log`
fn called(permission: &Permission) -> String {
    let mut name = permission.resource.to_string();
    if let Some(subresource) = permission.subresource {
        name = format!("{name}/{subresource}");
    }
    if !permission.group.is_empty() {
        name = format!("{name}.{}", permission.group);
    }
    name
}

async fn may(reader: &Reader<'_>, permission: &Permission, verb: &str) -> Result<bool, ClusterError> {
    let review = json!({
        "apiVersion": ACCESS_REVIEW.api_version(),
        "kind": ACCESS_REVIEW.name,
        "spec": {"resourceAttributes": {
            "verb": verb,
            "group": permission.group,
            "resource": permission.resource,
            "subresource": permission.subresource.unwrap_or_default(),
        }},
    });
    let request = Request::create(&Place::all(ACCESS_REVIEW, None), &review);
    Ok(reader.cluster.send(&request, reader.deadline).await?.body.flag("/status/allowed"))
}
