//! Host names of routes.

use freehold_problem::Code;
use freehold_spec::part::output::Secrecy;
use freehold_spec::{Fact, Output, Reference, Segment, Template};

use crate::diagnostic::Diagnostic;
use crate::scope::Scope;

pub(super) fn check(scope: &mut Scope<'_>) {
    bad_hosts(scope);
    shared_hosts(scope);
}

/// Host names that can't be one, whatever the references stand for.
fn bad_hosts(scope: &mut Scope<'_>) {
    for (name, route) in &scope.app.routes {
        for host in route.hosts.iter().chain(&route.redirect_from) {
            let Some((span, why)) = wrong(host) else { continue };
            let diagnostic = Diagnostic::error(Code::BadHost, format!("a host of route {name} is no host name"))
                .at(span.unwrap_or(host.span), why)
                .help("for example: \"${stack.name}.${target.domain}\"");
            scope.report(diagnostic);
        }
    }
}

/// What makes a host name impossible.
fn wrong(host: &Template) -> Option<Why> {
    host.segments.iter().find_map(unfit).or_else(|| badly_joined(host)).or_else(|| {
        let why = too_long(host, shortest)?;
        Some((None, format!("{why}, however short the names are")))
    })
}

/// The shortest text that a reference can stand for.
fn shortest(reference: &Reference) -> usize {
    match reference {
        Reference::Fact(Fact::StackId) => UUID,
        Reference::Fact(Fact::StackKind) => "stage".len(),
        Reference::Fact(Fact::TierName) => 0,
        Reference::Fact(
            Fact::StackName | Fact::StageName | Fact::StackRevision | Fact::TargetDomain | Fact::Pod(_),
        )
        | Reference::Output(..)
        | Reference::Port { .. } => 1,
    }
}

/// The length of a UUID as text.
pub(crate) const UUID: usize = 36;
/// The longest part of a host name between dots, and the longest host name, without a dot at its end (RFC 1035, 2.3.4).
const LONGEST: (usize, usize) = (63, 253);

/// Whether a host name is too long, or a part of it between dots; `length` tells that of the text for a reference.
pub(crate) fn too_long(host: &Template, length: impl Fn(&Reference) -> usize) -> Option<String> {
    let text: String = host
        .segments
        .iter()
        .map(|segment| match segment {
            Segment::Text(text) => text.clone(),
            Segment::Reference(reference) => "x".repeat(length(&reference.value)),
        })
        .collect();
    let longest = text.split('.').map(str::len).max().unwrap_or_default();
    match (longest, text.len()) {
        (label, _) if label > LONGEST.0 => {
            Some(format!("a part has {label} characters, and {} are the most", LONGEST.0))
        }
        (_, whole) if whole > LONGEST.1 => Some(format!("it has {whole} characters, and {} are the most", LONGEST.1)),
        _ => None,
    }
}

type Why = (Option<freehold_spec::Span>, String);

/// A piece that no host name contains.
fn unfit(part: &Segment) -> Option<Why> {
    match part {
        Segment::Text(text) => {
            let odd = text.chars().find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '.'))?;
            Some((None, format!("{odd:?} can't be in a host name")))
        }
        Segment::Reference(reference) => {
            let output = match &reference.value {
                Reference::Output(_, output) => output,
                Reference::Port { output, .. } => {
                    let what = format!("{} is no part of a host name", Output::of_port(*output).row().what);
                    return Some((Some(reference.span), what));
                }
                Reference::Fact(fact) if fact.is_of_stack() => return None,
                Reference::Fact(_) => {
                    return Some((Some(reference.span), "it is not the same for the whole life of a stack".to_owned()));
                }
            };
            match output.row().secrecy {
                Secrecy::Public => {
                    Some((Some(reference.span), format!("{} is no part of a host name", output.row().what)))
                }
                // Another rule says that it would be public.
                Secrecy::Secret(_) => None,
            }
        }
    }
}

/// Empty labels, and labels that begin or end with a hyphen.
fn badly_joined(host: &Template) -> Option<Why> {
    let text: String = host
        .segments
        .iter()
        .map(|segment| match segment {
            Segment::Text(text) => text.as_str(),
            // Any name will do: what matters is what stands around it.
            Segment::Reference(_) => "x",
        })
        .collect();
    if text.is_empty() {
        return Some((None, "it is empty".to_owned()));
    }
    let labels = text.split('.');
    let bad = labels.into_iter().find(|label| label.is_empty() || label.starts_with('-') || label.ends_with('-'))?;
    Some((
        None,
        if bad.is_empty() {
            "two dots, or one at an end".to_owned()
        } else {
            "a part begins or ends with a hyphen".to_owned()
        },
    ))
}

/// Host names that would be the same for every stack.
fn shared_hosts(scope: &mut Scope<'_>) {
    for (name, route) in &scope.app.routes {
        if !scope.knows(&format!("route.{name}.hosts")) {
            continue;
        }
        for host in route.hosts.iter().chain(&route.redirect_from) {
            let facts = host.references().filter_map(|reference| reference.value.fact());
            let own = facts.into_iter().any(|fact| matches!(fact, Fact::StackName | Fact::StackId));
            if own || wrong(host).is_some() {
                continue;
            }
            let message = format!("every stack would claim the same host name for route {name}");
            let diagnostic = Diagnostic::warning(Code::HostSharedByStacks, message)
                .at(host.span, "the same for all")
                .note("the first stack gets it; every other one is refused at plan time");
            scope.report(diagnostic.help("put `${stack.name}` into it"));
        }
    }
}
