//! Stacks as people read them: one with its resources, lists, revisions, secrets.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use freehold::wire::{
    Finding, Level, Operation, Purpose, ResourceState, ResourceStatus, Revision, SecretStatus, Stack, StackState,
};
use freehold_graph::ResourceKind;
use freehold_graph::kind::{Called, Program};
use freehold_spec::PRODUCTION;

use super::{cluster, outputs, plan, waits};
use crate::layout::{
    BOLD, DIM, GREEN, RED, WIDTH, YELLOW, ago, columns, count, hanging, pad, paint, rows_of, short_digest, short_id,
    shorten, table, wrap,
};
use crate::platform::LOCAL;
use crate::report;

/// How a stack is written: `guestbook/tenant/acme`.
pub(crate) fn key(stack: &Stack) -> String {
    format!("{}/{}/{}", stack.app, stack.kind, stack.name)
}

/// One stack with its resources and the reasons why they aren't ready.
/// `verbose` with every object of a cluster.
pub(crate) fn status(stack: &Stack, verbose: bool, now: DateTime<Utc>) -> String {
    let mut facts = vec![stack.state.to_string()];
    facts.extend(stack.revision.map(|revision| format!("revision {revision}")));
    facts.extend(stack.tier.as_ref().map(|tier| format!("tier {tier}")));
    facts.extend(stack.stage.as_ref().filter(|stage| *stage != PRODUCTION).map(|stage| format!("stage {stage}")));
    facts.push(format!("changed {} ago", ago((now - stack.updated_at).num_seconds())));
    let mut lines = vec![format!("{}   {}", paint(BOLD, key(stack)), facts.join(" · "))];
    if columns(&key(stack)) + columns(&facts.join(" · ")) + 3 > WIDTH {
        lines = vec![paint(BOLD, key(stack)), format!("  {}", hanging(&facts.join(" · "), 2, 2))];
    }
    lines.extend(outputs::urls(&stack.outputs).iter().map(|url| format!("  {url}")));
    if let Some(operation) = stack.operation {
        lines.push(format!("  operation {} is at work on it", short_id(operation)));
        let waits = stack.waits.iter().map(|wait| waits::line(wait, now));
        lines.extend(waits.map(|text| format!("    {}", hanging(&text, 4, 6))));
    }
    lines.extend(stack.failed.iter().flat_map(|operation| failed(stack, operation, now)));
    if !stack.resources.is_empty() {
        lines.push(String::new());
    }
    let called = |id: &str| cluster::row(id.split('.').next().unwrap_or_default()).map(|row| row.called);
    let name_of = |id: &str, identity: &str| match called(id) {
        // The hosts of a route stand above, as URLs.
        Some(Called::Id | Called::Hosts) => id.split_once('.').map_or("", |(_, name)| name).to_owned(),
        Some(Called::Fixed(name)) => name.to_owned(),
        Some(Called::Identity | Called::Object) | None => identity.to_owned(),
    };
    let folds = |resource: &&ResourceStatus| {
        let word = resource.id.split('.').next().unwrap_or_default();
        !verbose && resource.state == ResourceState::Ready && resource.reason.is_none() && cluster::is_plumbing(word)
    };
    let folded = stack.resources.iter().filter(folds).count();
    let unseen = if verbose { BTreeMap::new() } else { unseen(&stack.resources) };
    let is_unseen = |one: &ResourceStatus| cause(one).is_some_and(|cause| unseen.contains_key(cause));
    let mut resources: Vec<&ResourceStatus> =
        stack.resources.iter().filter(|one| (folded < 2 || !folds(one)) && !is_unseen(one)).collect();
    resources.sort_by_key(|resource| plan::rank(resource.id.split('.').next().unwrap_or_default()));
    let names: Vec<String> = resources.iter().map(|one| name_of(&one.id, &one.identity)).collect();
    let own = resources.iter().zip(&names).filter(|(one, _)| !matches!(called(&one.id), Some(Called::Fixed(_))));
    let widths = own.map(|(_, name)| columns(name));
    let width = widths.filter(|width| *width <= 24).max().unwrap_or(0) + 2;
    for (resource, name) in resources.iter().zip(&names) {
        let word = resource.id.split('.').next().unwrap_or_default();
        let code = resource.code.map(|code| format!("{code}: ")).unwrap_or_default();
        let state = match resource.reason.as_ref().map(|reason| format!("{code}{reason}")) {
            Some(reason) if resource.state != ResourceState::Ready => format!("{}: {reason}", resource.state),
            Some(reason) => reason,
            None => resource.state.to_string(),
        };
        let begin = 15 + width.max(columns(name) + 2);
        let head = format!("  {} {}", mark(&resource.state), pad(cluster::short(word), 11));
        lines.push(match begin {
            0..=56 => format!("{head}{}{}", pad(name, begin - 15), hanging(&state, begin, begin)),
            _ => format!("{head}{name}\n{}{}", " ".repeat(17), hanging(&state, 17, 17)),
        });
        lines.extend(report::quoted(&resource.lines));
    }
    for (reason, objects) in &unseen {
        let text = format!("{} unknown: {reason} (-v lists them)", count(*objects, "resource"));
        lines.push(format!("  {} {}", mark(&ResourceState::Unknown), hanging(&text, 4, 4)));
    }
    if folded > 1 {
        lines.push(format!(
            "  {} {} more, all as they should be (-v lists them)",
            mark(&ResourceState::Ready),
            count(folded, "object")
        ));
    }
    if let Some(problem) = &stack.unreadable {
        let text = format!("{}: {}", problem.code, problem.detail);
        lines.push(format!("  {} {}", mark(&ResourceState::Unknown), hanging(&text, 4, 4)));
    }
    if !stack.not_enforced.is_empty() {
        let text = format!("not enforced here: {}", stack.not_enforced.join(", "));
        lines.push(format!("  {} {}", paint(YELLOW, "~"), hanging(&text, 4, 4)));
    }
    lines.join("\n")
}

/// Why the last operation didn't make of the stack what it was to, and how to go on.
fn failed(stack: &Stack, operation: &Operation, now: DateTime<Utc>) -> Vec<String> {
    let begun = match &operation.purpose {
        Purpose::Destroy => "the destroy".to_owned(),
        purpose @ (Purpose::Deploy | Purpose::Rollback { .. } | Purpose::Other(_)) => {
            format!("revision {} ({purpose})", operation.revision)
        }
    };
    let ended = operation.finished_at.map(|at| format!(" {} ago", ago((now - at).num_seconds()))).unwrap_or_default();
    let head = format!("{begun}: {}{ended}", operation.state);
    let target = if stack.target == LOCAL { String::new() } else { format!(" --target {}", stack.target) };
    let which = format!("--{} {} --app {}{target}", stack.kind, stack.name, stack.app);
    let goes_on = match &operation.purpose {
        Purpose::Rollback { to } => format!("`freehold rollback {to} {which}` continues from here"),
        Purpose::Destroy => {
            format!("`freehold destroy {which}` continues from here, with --no-dump if it was started with it")
        }
        purpose @ (Purpose::Deploy | Purpose::Other(_)) => {
            format!("`freehold {} {which}` continues from here", purpose.command())
        }
    };
    let mut lines = Vec::new();
    let mut help = None;
    match &operation.failure {
        Some(problem) => {
            let mut paragraphs = problem.detail.lines();
            let first = paragraphs.next().unwrap_or(&problem.title);
            let text = format!("{head}, {}: {first}", problem.code);
            lines.push(format!("  {}", paint(RED, hanging(&text, 2, 4))));
            lines.extend(paragraphs.map(|line| format!("    {}", hanging(line, 4, 6))));
            lines.extend(report::quoted(&problem.lines));
            help.clone_from(&problem.help);
        }
        None => lines.push(format!("  {}", hanging(&head, 2, 4))),
    }
    let when = if help.is_some() { "then:" } else { "next:" };
    lines.extend(help.iter().flat_map(|help| report::to_do("next:", help)));
    lines.extend(report::to_do(when, &goes_on));
    lines
}

/// What nothing is known of, for a reason that several resources have in common: how many they are.
fn unseen(resources: &[ResourceStatus]) -> BTreeMap<&str, usize> {
    let mut reasons = BTreeMap::new();
    for cause in resources.iter().filter(|one| one.state == ResourceState::Unknown).filter_map(cause) {
        *reasons.entry(cause).or_insert(0) += 1;
    }
    reasons.retain(|_, objects| *objects > 2);
    reasons
}

/// Why a resource isn't ready, in words that fit others that aren't for the same reason.
fn cause(resource: &ResourceStatus) -> Option<&str> {
    resource.cause.as_deref().or(resource.reason.as_deref())
}

/// The sign before a resource.
fn mark(state: &ResourceState) -> String {
    match state {
        ResourceState::Ready => paint(GREEN, "✓"),
        ResourceState::Failed | ResourceState::Missing => paint(RED, "✗"),
        ResourceState::Waiting | ResourceState::Unknown | ResourceState::Other(_) => paint(YELLOW, "…"),
    }
}

/// The sign before a finding.
fn sign(level: &Level) -> String {
    match level {
        Level::Ok => paint(GREEN, "✓"),
        Level::Warning => paint(YELLOW, "!"),
        Level::Error => paint(RED, "✗"),
        Level::Other(_) => paint(YELLOW, "…"),
    }
}

/// A stack's state, and which of its scheduled jobs fail.
fn standing(stack: &Stack) -> String {
    let fails = |one: &&ResourceStatus| {
        let word = one.id.split('.').next().unwrap_or_default();
        let kind = ResourceKind::of_id_word(word);
        one.state == ResourceState::Failed && kind.is_some_and(|kind| kind.row().program == Program::Schedule)
    };
    let failing = stack.resources.iter().filter(fails);
    let failing: Vec<String> =
        failing.filter_map(|one| Some(format!("job {} fails", one.id.split_once('.')?.1))).collect();
    std::iter::once(stack.state.to_string()).chain(failing).collect::<Vec<_>>().join(", ")
}

/// A line for each stack, and below it what its operation waits for.
pub(crate) fn list(stacks: &[Stack], now: DateTime<Utc>) -> String {
    let headings = ["APP", "STACK", "STATE", "REV", "TIER", "URL"];
    let rows = |url: fn(String) -> String| -> Vec<Vec<String>> {
        let row = |stack: &Stack| {
            vec![
                stack.app.clone(),
                format!("{}/{}", stack.kind, stack.name),
                standing(stack),
                stack.revision.map_or_else(|| "-".to_owned(), |revision| revision.to_string()),
                stack.tier.clone().unwrap_or_else(|| "-".to_owned()),
                outputs::first_url(&stack.outputs).map(url).unwrap_or_default(),
            ]
        };
        stacks.iter().map(row).collect()
    };
    let whole = rows_of(&headings, &rows(|url| url));
    let fits = |row: &String| anstream::adapter::strip_str(row).to_string().lines().all(|line| columns(line) <= WIDTH);
    let mut lines = match whole.iter().all(fits) {
        true => whole,
        // Without the scheme most of them fit.
        false => rows_of(&headings, &rows(|url| url.trim_start_matches("http://").to_owned())),
    };
    // From the last one up, so that what is put in moves none that is still to come.
    for (at, stack) in stacks.iter().enumerate().rev() {
        let told = stack.waits.first().map(|wait| {
            let more = stack.waits.len().saturating_sub(1);
            let more =
                if more == 0 { String::new() } else { format!(" (and {more} more: `freehold status` has them)") };
            format!("  {}", hanging(&format!("{}{more}", waits::line(wait, now)), 2, 4))
        });
        lines.splice(at + 2..at + 2, told);
    }
    // Once for all stacks of a cluster that is away.
    let mut unseen: BTreeMap<&str, usize> = BTreeMap::new();
    for stack in stacks.iter().filter(|stack| stack.state == StackState::Unknown) {
        let own = stack.unreadable.as_ref().map(|problem| problem.detail.as_str());
        let part = stack.resources.iter().find(|part| part.state == ResourceState::Unknown);
        if let Some(reason) = own.or_else(|| part.and_then(cause)) {
            *unseen.entry(reason).or_default() += 1;
        }
    }
    lines.extend(unseen.into_iter().map(|(reason, stacks)| {
        let text = format!("{} unknown: {reason}", count(stacks, "stack"));
        format!("  {} {}", mark(&ResourceState::Unknown), hanging(&text, 4, 4))
    }));
    lines.join("\n")
}

/// A line for each revision.
pub(crate) fn history(revisions: &[Revision]) -> String {
    let rows: Vec<Vec<String>> = revisions
        .iter()
        .map(|revision| {
            // Services that are built the same way have the same one.
            let artifacts: BTreeSet<String> =
                revision.artifacts.values().map(|artifact| short_digest(digest_of(artifact))).collect();
            vec![
                format!("{}{}", revision.number, if revision.current { " *" } else { "" }),
                revision.created_at.format("%Y-%m-%d %H:%M:%S").to_string(),
                revision.purpose.to_string(),
                if revision.verified { "verified".to_owned() } else { revision.state.to_string() },
                revision.tier.clone().unwrap_or_else(|| "-".to_owned()),
                artifacts.into_iter().collect::<Vec<_>>().join(" "),
            ]
        })
        .collect();
    let mut lines = rows_of(&["REV", "WHEN (UTC)", "WHAT", "STATE", "TIER", "ARTIFACT"], &rows);
    // From the last one up, so that what is put in moves none that is still to come.
    for (at, problem) in revisions.iter().map(|revision| &revision.failure).enumerate().rev() {
        let reason = problem.as_ref().map(|problem| format!("  {} {}", problem.code, problem.detail));
        let reason = reason.map(|reason| paint(RED, shorten(reason.lines().next().unwrap_or_default(), WIDTH)));
        lines.splice(at + 2..at + 2, reason);
    }
    lines.join("\n")
}

/// What tells one artifact from another: of an image its digest.
fn digest_of(artifact: &str) -> &str {
    artifact.rsplit_once('@').map_or(artifact, |(_, digest)| digest)
}

/// A line for each secret. Values are not known here.
pub(crate) fn secrets(secrets: &[SecretStatus], now: DateTime<Utc>) -> String {
    let rows: Vec<Vec<String>> = secrets
        .iter()
        .map(|secret| {
            let age = secret.set_at.map(|at| format!("{} ago", ago((now - at).num_seconds())));
            vec![
                secret.name.clone(),
                secret.state.to_string(),
                secret.version.to_string(),
                age.unwrap_or_else(|| "-".to_owned()),
                secret.readers.join(", "),
            ]
        })
        .collect();
    table(&["SECRET", "STATE", "VERSION", "SINCE", "READ BY"], &rows)
}

/// What a doctor found, a line or a few for each. What several in a row ask for is said once, behind the last of them.
pub(crate) fn findings(findings: &[Finding]) -> String {
    let mut lines = Vec::new();
    for (at, finding) in findings.iter().enumerate() {
        let sign = sign(&finding.level);
        let subject = pad(&finding.subject, 14);
        let begin = 5 + columns(&subject);
        lines.push(match begin {
            0..=20 => format!("  {sign} {} {}", paint(BOLD, &subject), hanging(&finding.message, begin, begin)),
            _ => format!("  {sign} {}\n      {}", paint(BOLD, &subject), hanging(&finding.message, 6, 6)),
        });
        let said_below = findings.get(at + 1).is_some_and(|next| next.help == finding.help);
        if let Some(help) = finding.help.as_ref().filter(|_| !said_below) {
            let wrapped = wrap(help, WIDTH - 12);
            lines.push(format!("      {} {}", paint(DIM, "next:"), wrapped.join(&format!("\n{}", " ".repeat(12)))));
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;
    use freehold::wire::Problem;
    use freehold_graph::StackKind;
    use freehold_problem::Code;

    fn stack(name: &str, resources: Vec<ResourceStatus>) -> Stack {
        let now = DateTime::UNIX_EPOCH;
        Stack {
            id: uuid::Uuid::nil(),
            target: "local".to_owned(),
            app: "guestbook".to_owned(),
            kind: StackKind::Tenant,
            name: name.to_owned(),
            state: "failed".into(),
            generation: 3,
            revision: Some(3),
            tier: Some("pro".to_owned()),
            stage: None,
            artifacts: Default::default(),
            outputs: serde_json::json!({ "routes": { "web": { "url": format!("http://{name}.localhost:7080") } } }),
            created_at: now,
            updated_at: now,
            operation: None,
            failed: None,
            waits: Vec::new(),
            resources,
            serving: Vec::new(),
            not_enforced: Vec::new(),
            unreadable: None,
        }
    }

    fn resource(id: &str, identity: &str, state: &str, reason: Option<&str>) -> ResourceStatus {
        ResourceStatus {
            id: id.to_owned(),
            kind: String::new(),
            identity: identity.to_owned(),
            state: state.into(),
            reason: reason.map(str::to_owned),
            code: None,
            lines: Vec::new(),
            cause: None,
        }
    }

    fn shown(text: &str) -> String {
        let text = anstream::adapter::strip_str(text).to_string();
        assert!(text.lines().all(|line| columns(line) <= WIDTH), "{text}");
        text
    }

    #[test]
    fn a_cluster_that_is_away_is_said_once_for_all_that_it_has() {
        let unknown = |id, identity| {
            let why = "the API server at https://10.0.0.1:6443 does not respond: Connection refused (os error 111)";
            let reason = format!("looking at {identity}: {why}");
            ResourceStatus { cause: Some(why.to_owned()), ..resource(id, identity, "unknown", Some(&reason)) }
        };
        let stack = stack(
            "acme",
            vec![
                unknown("namespace.main", "acme--guestbook"),
                unknown("poddisruptionbudget.web", "acme--guestbook/web"),
                unknown("deployment.web", "acme--guestbook/web"),
                resource("database.main", "acme_guestbook", "ready", None),
            ],
        );
        let now = DateTime::UNIX_EPOCH + TimeDelta::seconds(120);
        insta::assert_snapshot!(shown(&status(&stack, false, now)), @"
        guestbook/tenant/acme   failed · revision 3 · tier pro · changed 2 min ago
          http://acme.localhost:7080

          ✓ database   acme_guestbook  ready
          … 3 resources unknown: the API server at https://10.0.0.1:6443 does not
            respond: Connection refused (os error 111) (-v lists them)
        ");
        let all = shown(&status(&stack, true, now));
        assert!(all.contains("  … budget     acme--guestbook/web  unknown: looking at"), "{all}");
        assert!(all.contains("  … deployment acme--guestbook/web  unknown"), "{all}");
    }

    #[test]
    fn revisions_in_a_cluster_are_told_apart_by_their_images_digests() {
        assert_eq!(
            short_digest(digest_of("127.0.0.1:5000/guestbook@sha256:2f1ae03c0f9b775dc0")),
            "sha256:2f1ae03c0f9b"
        );
        assert_eq!(short_digest(digest_of("sha256:2f1ae03c0f9b775dc0")), "sha256:2f1ae03c0f9b");
    }

    #[test]
    fn a_stack_is_shown_with_the_reason_why_a_part_is_not_ready() {
        let reason = "web keeps failing, 4 times so far: it exited with exit code 1 after 0.2 s";
        let web = ResourceStatus {
            code: Some(Code::CrashLoop),
            lines: vec!["the table is missing".to_owned()],
            ..resource("service.web", "acme/web", "failed", Some(reason))
        };
        let stack = stack(
            "acme",
            vec![
                web,
                resource("database.main", "acme__guestbook", "ready", None),
                resource("roles.main", "acme__guestbook", "ready", None),
            ],
        );
        insta::assert_snapshot!(shown(&status(&stack, false, DateTime::UNIX_EPOCH + TimeDelta::seconds(130))), @r"
        guestbook/tenant/acme   failed · revision 3 · tier pro · changed 2 min ago
          http://acme.localhost:7080

          ✓ database   acme__guestbook  ready
          ✓ roles      owner · migrator · app  ready
          ✗ service    web              failed: FH0706: web keeps failing, 4 times so
                                        far: it exited with exit code 1 after 0.2 s
            │ the table is missing
        ");
    }

    fn problem(detail: &str, help: Option<&str>) -> Problem {
        Problem {
            kind: String::new(),
            title: "a job failed".to_owned(),
            status: 500,
            detail: detail.to_owned(),
            code: Code::JobFailed,
            help: help.map(str::to_owned),
            lines: vec!["error: relation \"entries\" already exists".to_owned()],
            diagnostics: Vec::new(),
            operation: None,
        }
    }

    fn operation(purpose: &str, state: &str, failure: Option<Problem>) -> Operation {
        Operation {
            id: uuid::Uuid::nil(),
            stack: uuid::Uuid::nil(),
            key: "guestbook/tenant/acme".to_owned(),
            purpose: purpose.into(),
            state: state.into(),
            revision: 4,
            taken: 1,
            created_at: DateTime::UNIX_EPOCH,
            finished_at: Some(DateTime::UNIX_EPOCH),
            failure,
            outputs: serde_json::Value::Null,
            waits: Vec::new(),
        }
    }

    #[test]
    fn of_a_failed_stack_the_reason_is_told_and_how_to_go_on() {
        let failed = |operation| Stack { failed: Some(Box::new(operation)), ..stack("acme", Vec::new()) };
        let now = DateTime::UNIX_EPOCH + TimeDelta::seconds(130);
        let why = problem("job migrate failed\nexit code 3 after 0.4 s", Some("fix it and deploy again"));
        insta::assert_snapshot!(shown(&status(&failed(operation("deploy", "failed", Some(why))), false, now)), @r#"
        guestbook/tenant/acme   failed · revision 3 · tier pro · changed 2 min ago
          http://acme.localhost:7080
          revision 4 (deploy): failed 2 min ago, FH0701: job migrate failed
            exit code 3 after 0.4 s
            │ error: relation "entries" already exists
          next: fix it and deploy again
          then: `freehold deploy --tenant acme --app guestbook` continues from here
        "#);
        let cancelled = Stack { target: "prod".to_owned(), ..failed(operation("destroy", "cancelled", None)) };
        let text = shown(&status(&cancelled, false, now));
        assert!(text.contains("\n  the destroy: cancelled 2 min ago\n"), "{text}");
        assert!(text.contains("next: `freehold destroy --tenant acme --app guestbook --target prod`"), "{text}");
        let back = shown(&status(&failed(operation("rollback to 2", "failed", None)), false, now));
        assert!(back.contains("`freehold rollback 2 --tenant acme --app guestbook`"), "{back}");
    }

    #[test]
    fn below_a_revision_that_failed_stands_why() {
        let revision = |number, failure| Revision {
            number,
            created_at: DateTime::UNIX_EPOCH,
            verified: number == 1,
            current: number == 1,
            purpose: "deploy".into(),
            state: if number == 1 { "succeeded" } else { "failed" }.into(),
            tier: None,
            stage: None,
            artifacts: Default::default(),
            definition: String::new(),
            operation: uuid::Uuid::nil(),
            failure,
        };
        let why = |number: u64| {
            revision(number, Some(problem(&format!("job migrate failed for {number}\nexit code 3"), None)))
        };
        insta::assert_snapshot!(shown(&history(&[why(3), why(2), revision(1, None)])), @"
        REV  WHEN (UTC)           WHAT    STATE     TIER  ARTIFACT
        3    1970-01-01 00:00:00  deploy  failed    -
          FH0701 job migrate failed for 3
        2    1970-01-01 00:00:00  deploy  failed    -
          FH0701 job migrate failed for 2
        1 *  1970-01-01 00:00:00  deploy  verified  -
        ");
    }

    #[test]
    fn a_list_keeps_its_addresses_whole() {
        let one = shown(&list(&[stack("acme", Vec::new())], DateTime::UNIX_EPOCH));
        assert!(one.ends_with("http://acme.localhost:7080"), "{one}");
        let long = list(&[stack("a-tenant-with-quite-long-name", Vec::new())], DateTime::UNIX_EPOCH);
        let long = anstream::adapter::strip_str(&long).to_string();
        assert!(long.ends_with(" a-tenant-with-quite-long-name.localhost:7080"), "{long}");
    }

    #[test]
    fn a_list_says_once_why_it_could_not_look() {
        let why = "the API server at https://10.0.0.1:6443 does not respond: timed out";
        let reason = format!("looking at acme--guestbook/web: {why}");
        let part = resource("deployment.web", "web", "unknown", Some(&reason));
        let part = ResourceStatus { cause: Some(why.to_owned()), ..part };
        let away = |name: &str| Stack { state: "unknown".into(), ..stack(name, vec![part.clone()]) };
        let told = shown(&list(&[away("acme"), away("beta"), stack("ready", Vec::new())], DateTime::UNIX_EPOCH));
        let last = told.split_once("  … ").map(|(_, last)| last.split_whitespace().collect::<Vec<_>>().join(" "));
        let expected = "2 stacks unknown: the API server at https://10.0.0.1:6443 does not respond: timed out";
        assert_eq!(last.as_deref(), Some(expected), "{told}");
    }

    #[test]
    fn a_stack_that_can_t_be_read_is_told_with_the_reason() {
        let detail = "a request in the store can't be read: it has version 2, and this release reads up to 1";
        let unreadable = Problem { code: Code::StoreUnreadable, lines: Vec::new(), ..problem(detail, None) };
        let later =
            Stack { state: "unknown".into(), unreadable: Some(Box::new(unreadable)), ..stack("acme", Vec::new()) };
        let one = shown(&status(&later, false, DateTime::UNIX_EPOCH));
        let told = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(told(&one).ends_with(&format!("… FH0516: {detail}")), "{one}");
        let all = shown(&list(&[later, stack("globex", Vec::new())], DateTime::UNIX_EPOCH));
        assert!(told(&all).ends_with(&format!("… 1 stack unknown: {detail}")), "{all}");
    }

    #[test]
    fn below_a_stack_in_a_list_stands_what_its_operation_waits_for() {
        let wait = freehold::wire::Wait {
            subject: "deployment.web".to_owned(),
            reason: "the admission webhook policy.example.org can't be asked".to_owned(),
            since: DateTime::UNIX_EPOCH,
        };
        let busy = Stack { state: "destroying".into(), waits: vec![wait], ..stack("acme", Vec::new()) };
        let now = DateTime::UNIX_EPOCH + TimeDelta::seconds(12);
        insta::assert_snapshot!(shown(&list(&[busy, stack("beta", Vec::new())], now)), @"
        APP        STACK        STATE       REV  TIER  URL
        guestbook  tenant/acme  destroying  3    pro   http://acme.localhost:7080
          it waits for deployment web: the admission webhook policy.example.org can't be
            asked, for 12 s
        guestbook  tenant/beta  failed      3    pro   http://beta.localhost:7080
        ");
    }

    #[test]
    fn findings_say_what_to_do() {
        let finding = |level: &str, subject: &str, message: &str, help: Option<&str>| Finding {
            level: level.into(),
            subject: subject.to_owned(),
            message: message.into(),
            help: help.map(str::to_owned),
        };
        let grant = Some("`freehold target rbac | kubectl apply -f -`");
        let all = [
            finding("ok", "postgresql", "PostgreSQL 15.18, private, port 54329", None),
            finding("error", "permissions", "may not create, patch deployments.apps (services)", grant),
            finding("error", "permissions", "may not get pods/log (logs)", grant),
            finding(
                "warning",
                "drift guestbook/tenant/acme",
                "role acme__guestbook__app was changed",
                Some("run `freehold deploy --tenant acme`"),
            ),
        ];
        insta::assert_snapshot!(shown(&findings(&all)), @r"
        ✓ postgresql     PostgreSQL 15.18, private, port 54329
        ✗ permissions    may not create, patch deployments.apps (services)
        ✗ permissions    may not get pods/log (logs)
            next: `freehold target rbac | kubectl apply -f -`
        ! drift guestbook/tenant/acme
            role acme__guestbook__app was changed
            next: run `freehold deploy --tenant acme`
        ");
    }
}
