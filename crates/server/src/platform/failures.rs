//! The store's and the plan's failures, as refusals with a code and a way on.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::StatusCode;
use freehold_plan::{Change, PlanError, Purpose};
use freehold_store::StoreError;

use crate::refusal::Refusal;

/// What the caller is told about a failure of the store.
pub(crate) fn store(error: StoreError) -> Refusal {
    let message = error.to_string();
    match error {
        StoreError::PlanOutdated { .. } => {
            Refusal::conflict("FH0901", message).help("plan again and look at what is different now")
        }
        StoreError::AnotherRunning { operation, .. } => {
            Refusal::conflict("FH0902", message).operation(operation.0).help("wait until it has ended, or cancel it")
        }
        StoreError::ClaimTaken { scope, name, by, .. } => {
            Refusal::conflict("FH0802", format!("{scope} {name} is taken by {by}"))
                .help(format!("choose another {scope} in the definition, another name for the stack, or destroy {by}"))
        }
        StoreError::ConnectionsTaken { .. } => Refusal::conflict("FH1010", message)
            .help("lower `connections` in the definition, or raise max_connections of the server"),
        StoreError::TargetInUse { .. } => Refusal::conflict("FH1241", message).help("destroy these stacks first"),
        StoreError::UnknownTarget(_) => {
            Refusal::unknown("FH1240", message).help("`freehold target list` shows those there are")
        }
        StoreError::NotFound { .. } => Refusal::unknown("FH1003", message),
        StoreError::Unavailable { .. } => Refusal::unavailable("FH0504", message).help("try again in a moment"),
        other => {
            let passes = matches!(other, StoreError::NoConnections(_) | StoreError::DiskFull(_));
            let status = if passes { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::INTERNAL_SERVER_ERROR };
            let refusal = Refusal::new(status, other.code(), message);
            match other.help() {
                Some(help) => refusal.help(help),
                None => refusal,
            }
        }
    }
}

/// How many reasons are told in full. Who is in somebody else's namespace meets two dozen objects of theirs.
const TOLD: usize = 4;

/// The namespace before what is in it.
fn telling_first(errors: &[PlanError]) -> Vec<&PlanError> {
    let mut errors: Vec<&PlanError> = errors.iter().collect();
    errors.sort_by_key(|error| !matches!(error, PlanError::NotOurs { id, .. } if id.word() == "namespace"));
    errors
}

/// How everything that is in the way is adopted at once.
fn adopt(command: &str, errors: &[&PlanError]) -> String {
    let handles: Vec<&str> = errors
        .iter()
        .filter_map(|error| match error {
            PlanError::NotOurs { handle, .. } => Some(handle.as_str()),
            _ => None,
        })
        .collect();
    let flags: Vec<String> = handles.iter().take(TOLD).map(|handle| format!("--adopt {handle}")).collect();
    let (it, more) = match handles.len() {
        0 | 1 => ("it", ""),
        2..=TOLD => ("them", ""),
        _ => ("them", " and so on"),
    };
    format!(
        "adopt {it} with `freehold {command} {}`{more}, which recreates nothing, or choose another name",
        flags.join(" ")
    )
}

/// The command that a plan is of, where it takes `--adopt` and `--delete-data`.
fn command(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Rollback { .. } => "rollback",
        Purpose::Deploy | Purpose::Destroy { .. } => "deploy",
    }
}

/// What the caller is told if there can be no plan: all reasons together, and below them what else would change or was found.
pub(crate) fn plan(purpose: Purpose, errors: &[PlanError], rest: &[Change]) -> Refusal {
    let refusal = reasons(command(purpose), errors);
    let lines: Vec<String> =
        rest.iter().filter_map(Change::told).chain(rest.iter().flat_map(Change::told_beside)).collect();
    if lines.is_empty() {
        return refusal;
    }
    refusal.lines(
        std::iter::once("besides, as of now:".to_owned())
            .chain(lines.into_iter().map(|line| format!("  {line}")))
            .collect(),
    )
}

fn reasons(command: &str, errors: &[PlanError]) -> Refusal {
    let errors = telling_first(errors);
    let mut message = errors.iter().take(TOLD).map(ToString::to_string).collect::<Vec<_>>().join("; ");
    if errors.len() > TOLD {
        message.push_str(&format!("; and {} more like these", errors.len() - TOLD));
    }
    match errors.first() {
        Some(PlanError::NotOurs { owner, .. }) if owner.starts_with("it belongs to stack") => {
            let refusal = Refusal::conflict("FH0801", message);
            refusal.help(
                "that stack may be another platform's: choose another name; nothing that serves a stack can be adopted",
            )
        }
        Some(PlanError::NotOurs { .. }) => Refusal::conflict("FH0801", message).help(adopt(command, &errors)),
        Some(PlanError::Conflicts { handle, .. }) => Refusal::conflict("FH0807", message)
            .help(format!("give these fields up there, or take them with `freehold {command} --adopt {handle}`")),
        Some(PlanError::NotAdoptable { .. }) => Refusal::conflict("FH0808", message)
            .help("nothing is deleted that isn't ours: take it away yourself, or give it what the definition asks for"),
        Some(PlanError::LosesData { id, .. }) => Refusal::conflict("FH0803", message).help(format!(
            "if its data may be lost, say so with `freehold {command} --delete-data {id}`; if it was renamed, give it its old name back"
        )),
        None => Refusal::conflict("FH0906", "there is no plan, for no known reason"),
    }
}

/// The code of a permission that is missing in a cluster.
pub(crate) const NOT_PERMITTED: &str = "FH1202";

/// What the caller is told if several things are not permitted in a cluster: a line for each resource with all verbs that are missing.
pub(crate) fn not_permitted(messages: &BTreeSet<&str>) -> Refusal {
    let mut verbs: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut users = BTreeSet::new();
    // `looking at …: not permitted: get deployments.apps in namespace acme, for ada`
    for message in messages {
        let what = message.split_once("not permitted: ").map_or(*message, |(_, what)| what);
        let (what, user) = what.rsplit_once(", for ").map_or((what, None), |(what, user)| (what, Some(user)));
        let (verb, resource) = what.split_once(' ').unwrap_or(("", what));
        verbs.entry(resource).or_default().insert(verb);
        users.extend(user);
    }
    let user = users.first().copied().unwrap_or("the platform");
    let lines: Vec<String> = verbs
        .into_iter()
        .map(|(resource, verbs)| format!("{} {resource}", verbs.into_iter().collect::<Vec<_>>().join(", ")))
        .collect();
    Refusal::conflict(NOT_PERMITTED, format!("the cluster doesn't permit {user} what this takes:"))
        .lines(lines)
        .help(granting(user))
}

/// How an administrator grants all that is needed.
fn granting(user: &str) -> String {
    let apply = |options: &str| {
        format!("as an administrator of the cluster: `freehold target rbac{options} | kubectl apply -f -`")
    };
    match user.strip_prefix("system:serviceaccount:").and_then(|account| account.split_once(':')) {
        Some(("freehold", "freehold")) => apply(""),
        Some((namespace, name)) => apply(&format!(" --namespace {namespace} --service-account {name}")),
        None => format!(
            "`freehold target rbac` prints the permissions for a service account: give the target its token, or bind them to {user}"
        ),
    }
}

#[cfg(test)]
mod tests {
    use freehold_graph::ResourceId;

    use super::*;

    fn resource(id: &str) -> ResourceId {
        let (word, name) = id.split_once('.').unwrap();
        ResourceId::new(word, name)
    }

    fn in_the_way(id: &str, identity: &str) -> PlanError {
        let handle = format!("{}/{identity}", resource(id).word());
        let (identity, owner) = (identity.to_owned(), "managed by helm".to_owned());
        PlanError::NotOurs { id: resource(id), identity, owner, handle }
    }

    #[test]
    fn whoever_is_in_somebody_elses_namespace_learns_how_to_adopt_all_of_it() {
        let two =
            [in_the_way("deployment.web", "acme--guestbook/web"), in_the_way("namespace.main", "acme--guestbook")];
        let problem = reasons("deploy", &two).into_problem();
        let (message, help) = (problem.detail, problem.help.unwrap());
        assert!(message.starts_with("namespace acme--guestbook is not ours"), "{message}");
        let both = "--adopt namespace/acme--guestbook --adopt deployment/acme--guestbook/web";
        assert!(help.contains(both), "{help}");
    }

    #[test]
    fn two_dozen_objects_in_the_way_are_told_in_a_few_lines() {
        let all: Vec<PlanError> =
            (0..24).map(|at| in_the_way(&format!("configmap.c{at}"), &format!("n/c{at}"))).collect();
        let problem = reasons("deploy", &all).into_problem();
        assert!(problem.detail.ends_with("; and 20 more like these"), "{}", problem.detail);
    }

    #[test]
    fn missing_permissions_are_a_line_for_each_resource_and_the_command_that_grants_them() {
        let message =
            |doing: &str, what: &str| format!("{doing}: not permitted: {what}, for system:serviceaccount:ops:deployer");
        let messages = [
            message("looking at deployment a/web", "get deployments.apps in namespace a"),
            message("trying deployment a/web out", "patch deployments.apps in namespace a"),
            message("looking at deployment a/api", "get deployments.apps in namespace a"),
            message("looking at namespace a", "get namespaces in the whole cluster"),
        ];
        let problem = not_permitted(&messages.iter().map(String::as_str).collect()).into_problem();
        assert_eq!(problem.detail, "the cluster doesn't permit system:serviceaccount:ops:deployer what this takes:");
        assert_eq!(
            problem.lines,
            ["get, patch deployments.apps in namespace a", "get namespaces in the whole cluster"]
        );
        let grant = "`freehold target rbac --namespace ops --service-account deployer | kubectl apply -f -`";
        assert!(problem.help.unwrap().contains(grant));
    }
}
