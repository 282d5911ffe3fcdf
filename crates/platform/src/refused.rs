//! Why there can be no plan, as a refusal with a code and a way on.

use std::collections::{BTreeMap, BTreeSet};

use freehold_graph::{ResourceId, StackKey};
use freehold_plan::preview::Autoscaler;
use freehold_plan::{Change, Ownership, PlanError, Purpose};
use freehold_problem::{About, Code, Problem};

/// How many reasons are told in full. Who is in somebody else's namespace meets two dozen objects of theirs.
const TOLD: usize = 4;

/// What encloses others before what is in it.
fn telling_first(errors: &[PlanError]) -> Vec<&PlanError> {
    let mut errors: Vec<&PlanError> = errors.iter().collect();
    errors.sort_by_key(|error| !matches!(error, PlanError::NotOurs { kind, .. } if kind.row().encloses));
    errors
}

/// How everything that is in the way is adopted at once.
fn adopt(command: &str, errors: &[&PlanError]) -> String {
    let handles: Vec<&str> = errors
        .iter()
        .filter_map(|error| match error {
            PlanError::NotOurs { handle, .. } => Some(handle.as_str()),
            PlanError::Conflicts { .. }
            | PlanError::Scaled { .. }
            | PlanError::NotAdoptable { .. }
            | PlanError::LosesData { .. } => None,
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

/// How fields are taken that somebody else manages.
fn take(refused: &Refused<'_>, errors: &[&PlanError]) -> String {
    let handles = errors.iter().filter_map(|error| match error {
        PlanError::Conflicts { handle, .. } => Some(format!("--adopt {handle}")),
        PlanError::NotOurs { .. }
        | PlanError::Scaled { .. }
        | PlanError::NotAdoptable { .. }
        | PlanError::LosesData { .. } => None,
    });
    let flags = handles.take(TOLD).collect::<Vec<_>>().join(" ");
    let forward = format!("give these fields up there, or take them with `freehold {} {flags}`", refused.command());
    match refused.way_back() {
        Some(back) => format!(
            "{forward}, which makes them what the definition says now; `freehold {back} {flags}` makes them what they were in the \
             version before"
        ),
        None => forward,
    }
}

/// The two ways on where an autoscaler of somebody else is at work: Freehold scales from now on, with that autoscaler or without it.
fn scaling(refused: &Refused<'_>, id: &ResourceId, autoscaler: &Autoscaler) -> String {
    let service = id.name();
    let own = format!("write `autoscale = {{ max = N }}` into [service.{service}]");
    match &autoscaler.handle {
        Some(handle) => format!(
            "{own} and adopt that autoscaler with `freehold {} --adopt {handle}`; or delete it, and the definition has the number",
            refused.command()
        ),
        None => format!(
            "`{}`, and {own} if it is to be scaled; or give that autoscaler the name {service} and adopt it with --adopt",
            autoscaler.removal
        ),
    }
}

/// The plan that there can't be: its purpose, its stack, and whether that has an older version to go back to.
pub(crate) struct Refused<'a> {
    pub(crate) purpose: Purpose,
    pub(crate) key: &'a StackKey,
    pub(crate) has_older: bool,
}

impl Refused<'_> {
    /// The command that the plan is of, where it takes `--adopt` and `--delete-data`.
    fn command(&self) -> String {
        let option = self.key.option();
        match self.purpose {
            Purpose::Rollback { to } => format!("rollback {to} {option}"),
            Purpose::Deploy | Purpose::Destroy { .. } => format!("deploy {option}"),
        }
    }

    /// The command that takes the fields to what was before what the stack is meant to be now, which may be the broken version that
    /// somebody has undone by hand.
    fn way_back(&self) -> Option<String> {
        let forward = match self.purpose {
            Purpose::Deploy => self.has_older,
            Purpose::Rollback { .. } | Purpose::Destroy { .. } => false,
        };
        forward.then(|| format!("rollback {}", self.key.option()))
    }
}

/// What the caller is told if there can be no plan: all reasons together, and below them what else would change or was found.
pub(crate) fn plan(refused: &Refused<'_>, errors: &[PlanError], rest: &[Change]) -> Problem {
    let refusal = reasons(refused, errors);
    let lines: Vec<String> =
        rest.iter().filter_map(Change::summary).chain(rest.iter().flat_map(Change::notes)).collect();
    if lines.is_empty() {
        return refusal;
    }
    refusal.lines(
        std::iter::once("also, at present:".to_owned())
            .chain(lines.into_iter().map(|line| format!("  {line}")))
            .collect(),
    )
}

fn reasons(refused: &Refused<'_>, errors: &[PlanError]) -> Problem {
    let command = &refused.command();
    let errors = telling_first(errors);
    let mut message = errors.iter().take(TOLD).map(ToString::to_string).collect::<Vec<_>>().join("; ");
    if errors.len() > TOLD {
        message.push_str(&format!("; and {} more like these", errors.len() - TOLD));
    }
    match errors.first() {
        Some(PlanError::NotOurs { owner: Ownership::OtherStack(_), .. }) => {
            let refusal = Problem::new(Code::NotOwned, message);
            refusal.help(
                "that stack may be another platform's: choose another name; nothing that serves a stack can be adopted",
            )
        }
        Some(PlanError::NotOurs { .. }) => Problem::new(Code::NotOwned, message).help(adopt(command, &errors)),
        Some(PlanError::Conflicts { .. }) => Problem::new(Code::FieldConflict, message).help(take(refused, &errors)),
        Some(PlanError::Scaled { id, autoscaler, .. }) => {
            Problem::new(Code::FieldConflict, message).help(scaling(refused, id, autoscaler))
        }
        Some(PlanError::NotAdoptable { .. }) => Problem::new(Code::NotAdoptable, message)
            .help("Freehold does not delete unmanaged objects: remove it, or change it to match the definition"),
        Some(PlanError::LosesData { id, .. }) => Problem::new(Code::DataWouldBeDeleted, message).help(format!(
            "if its data may be lost, confirm with `freehold {command} --delete-data {id}`; if it was renamed, give it its old name back"
        )),
        None => Problem::new(Code::Internal, "planning failed for an unknown reason"),
    }
}

/// What the caller is told if several things are not permitted in a cluster: a line for each resource with all verbs that are missing.
pub(crate) fn not_permitted<'a>(missing: impl Iterator<Item = &'a About>) -> Problem {
    let mut verbs: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut users = BTreeMap::new();
    for about in missing {
        let About::Permission { verb, object, user, grant } = about else { continue };
        verbs.entry(object).or_default().insert(verb);
        users.insert(user.as_deref().unwrap_or("the platform"), grant);
    }
    let lines: Vec<String> = verbs
        .into_iter()
        .map(|(object, verbs)| format!("{} {object}", verbs.into_iter().collect::<Vec<_>>().join(", ")))
        .collect();
    let (user, grant) = users.into_iter().next().unwrap_or(("the platform", &None));
    Problem::new(Code::NotPermitted, format!("{user} lacks permissions on the cluster:"))
        .lines(lines)
        .maybe_help(grant.as_deref())
}

#[cfg(test)]
mod tests {
    use freehold_graph::ResourceKind;

    use super::*;

    fn key() -> StackKey {
        StackKey {
            target: "prod".parse().unwrap(),
            app: "guestbook".parse().unwrap(),
            kind: freehold_graph::StackKind::Tenant,
            name: "acme".parse().unwrap(),
        }
    }

    fn deploy(key: &StackKey) -> Refused<'_> {
        Refused { purpose: Purpose::Deploy, key, has_older: true }
    }

    #[test]
    fn what_somebody_has_undone_by_hand_can_be_taken_with_either_version() {
        let conflict = freehold_plan::Conflict {
            manager: "kubectl-rollout".to_owned(),
            path: "spec.template.spec.containers[web].image".to_owned(),
        };
        let handle = "deployment/acme--guestbook/web".to_owned();
        let (id, identity) = (resource("deployment.web"), "acme--guestbook/web".to_owned());
        let errors = [PlanError::Conflicts { id, identity, handle, conflicts: vec![conflict] }];
        let help = |refused: Refused<'_>| reasons(&refused, &errors).help.unwrap();
        let key = key();
        let option = key.option();
        let both = help(deploy(&key));
        assert!(both.contains(&format!("`freehold deploy {option} --adopt deployment/acme--guestbook/web`")), "{both}");
        assert!(
            both.contains(&format!("`freehold rollback {option} --adopt deployment/acme--guestbook/web`")),
            "{both}"
        );
        let first = help(Refused { has_older: false, ..deploy(&key) });
        assert!(!first.contains("rollback"), "{first}");
        let back = help(Refused { purpose: Purpose::Rollback { to: 3 }, ..deploy(&key) });
        assert!(
            back.contains(&format!("`freehold rollback 3 {option} --adopt")) && !back.contains("deploy -"),
            "{back}"
        );
    }

    fn resource(id: &str) -> ResourceId {
        let (word, name) = id.split_once('.').unwrap();
        ResourceId::new(word, name)
    }

    fn in_the_way(id: &str, identity: &str) -> PlanError {
        let id = resource(id);
        let kind = ResourceKind::of_id_word(id.word()).unwrap();
        let handle = format!("{}/{identity}", kind.word());
        let (identity, owner) = (identity.to_owned(), Ownership::Foreign("managed by helm".to_owned()));
        PlanError::NotOurs { id, kind, identity, owner, handle }
    }

    #[test]
    fn whoever_is_in_somebody_elses_namespace_learns_how_to_adopt_all_of_it() {
        let two =
            [in_the_way("deployment.web", "acme--guestbook/web"), in_the_way("namespace.main", "acme--guestbook")];
        let problem = reasons(&deploy(&key()), &two);
        let (message, help) = (problem.message, problem.help.unwrap());
        assert!(message.starts_with("namespace acme--guestbook is not managed by this stack"), "{message}");
        let both = "--adopt namespace/acme--guestbook --adopt deployment/acme--guestbook/web";
        assert!(help.contains(both), "{help}");
    }

    #[test]
    fn two_dozen_objects_in_the_way_are_told_in_a_few_lines() {
        let all: Vec<PlanError> =
            (0..24).map(|at| in_the_way(&format!("configmap.c{at}"), &format!("n/c{at}"))).collect();
        let problem = reasons(&deploy(&key()), &all);
        assert!(problem.message.ends_with("; and 20 more like these"), "{}", problem.message);
    }

    #[test]
    fn whoever_has_an_autoscaler_of_their_own_learns_both_ways_on() {
        let key = key();
        let help = |name: &str, handle: Option<&str>| {
            let autoscaler = Autoscaler {
                name: name.to_owned(),
                handle: handle.map(str::to_owned),
                removal: format!("remove {name}"),
            };
            let (id, identity) = (resource("deployment.web"), "acme--guestbook/web".to_owned());
            let problem = reasons(&deploy(&key), &[PlanError::Scaled { id, identity, autoscaler }]);
            assert!(problem.message.contains(&format!("is scaled by the autoscaler {name},")), "{}", problem.message);
            problem.help.unwrap()
        };
        let own = "write `autoscale = { max = N }` into [service.web]";
        let adopted = help("web", Some("scaler/web"));
        let command = format!("`freehold deploy {} --adopt scaler/web`", key.option());
        assert!(adopted.starts_with(own) && adopted.contains(&command), "{adopted}");
        let other = help("theirs", None);
        assert!(
            other.starts_with("`remove theirs`") && other.contains(own) && other.contains("the name web"),
            "{other}"
        );
    }

    #[test]
    fn missing_permissions_are_a_line_for_each_resource_and_the_command_that_grants_them() {
        let grant = "apply what `freehold target rbac` prints";
        let missing = |verb: &str, object: &str| About::Permission {
            verb: verb.to_owned(),
            object: object.to_owned(),
            user: Some("system:serviceaccount:ops:deployer".to_owned()),
            grant: Some(grant.to_owned()),
        };
        let missing = [
            missing("get", "deployments.apps in namespace a"),
            missing("patch", "deployments.apps in namespace a"),
            missing("get", "deployments.apps in namespace a"),
            missing("get", "namespaces in the whole cluster"),
        ];
        let problem = not_permitted(missing.iter());
        assert_eq!(problem.message, "system:serviceaccount:ops:deployer lacks permissions on the cluster:");
        assert_eq!(
            problem.lines,
            ["get, patch deployments.apps in namespace a", "get namespaces in the whole cluster"]
        );
        assert_eq!(problem.help.as_deref(), Some(grant));
    }
}
