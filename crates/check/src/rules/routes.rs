//! Routes: which path of which host leads where, and what is done to requests on the way.

use std::collections::BTreeMap;

use freehold_graph::expand::redirect::Destination;
use freehold_problem::Code;
use freehold_spec::app::{Cors, PathRule, Route};
use freehold_spec::{Fact, Name, Reference, Segment, Span, Spanned, Template};

use crate::diagnostic::Diagnostic;
use crate::scope::Scope;

pub(super) fn check(scope: &mut Scope<'_>) {
    without_port(scope);
    unclear(scope);
    claimed_twice(scope);
    never_tried_again(scope);
    unfit_texts(scope);
    of_pods(scope);
    open_passwords(scope);
    origins(scope);
}

fn without_port(scope: &mut Scope<'_>) {
    for (name, route) in &scope.app.routes {
        let mut told = Vec::new();
        for service in route.services() {
            let portless = scope.app.services.get(&service.value).is_some_and(|service| service.port.is_none());
            if told.contains(&service) || !portless || !scope.knows(&format!("service.{}.port", service.value)) {
                continue;
            }
            told.push(service);
            let message = format!("route {name} leads to {}, which has no port", service.value);
            let diagnostic = Diagnostic::error(Code::RouteWithoutPort, message)
                .at(service.span, "takes no requests")
                .help(format!("set `port` in `[service.{}]`, or leave the route out", service.value));
            scope.report(diagnostic);
        }
    }
}

/// Paths that lead nowhere, or to two places.
fn unclear(scope: &mut Scope<'_>) {
    for (name, route) in &scope.app.routes {
        for rule in &route.paths {
            let ways = [
                ("service", rule.service.as_ref().map(|service| service.span)),
                ("redirect", rule.redirect.as_ref().map(|redirect| redirect.span)),
                ("respond", rule.respond.as_ref().map(|respond| respond.span)),
            ];
            let said: Vec<(&str, Span)> = ways.into_iter().filter_map(|(key, span)| Some((key, span?))).collect();
            let prefix = &rule.prefix.value;
            let diagnostic = match said[..] {
                [] if route.service.is_none() && scope.knows(&format!("route.{name}")) => Diagnostic::error(
                    Code::PathUnclear,
                    format!("{prefix} of route {name} leads nowhere"),
                )
                .at(rule.prefix.span, "neither it nor the route names a service")
                .help("give it a `service`, a `redirect` or a `respond`, or the route a `service` for all its paths"),
                [(first, _), (second, span), ..] => {
                    Diagnostic::error(Code::PathUnclear, format!("{prefix} of route {name} leads to two places"))
                        .at(span, format!("it has a `{first}` and a `{second}`"))
                        .help("keep one of them")
                }
                [] | [_] => continue,
            };
            scope.report(diagnostic);
        }
    }
}

/// The same path of the same host twice, in one route or in two.
fn claimed_twice(scope: &mut Scope<'_>) {
    let mut claims: BTreeMap<(String, &str), (&Name, Span)> = BTreeMap::new();
    for (name, route) in &scope.app.routes {
        same_prefix(scope, name, route);
        let serving = route.hosts.iter().flat_map(|host| {
            let prefixes = route.paths.iter().map(|rule| rule.prefix.value.as_str());
            prefixes.map(move |prefix| (host, prefix))
        });
        let redirected = route.redirect_from.iter().map(|host| (host, "/"));
        let mut told = false;
        for (host, prefix) in serving.chain(redirected) {
            let (first, place) = *claims.entry((as_text(host), prefix)).or_insert((name, host.span));
            // Of one host a route has a path once, which the rule above sees to.
            if place == host.span || told {
                continue;
            }
            told = true;
            let message = match first == name {
                true => format!("route {name} has the same host twice"),
                false => format!("routes {first} and {name} both claim {prefix} on the same host"),
            };
            let diagnostic = Diagnostic::error(Code::RouteTwice, message)
                .at(host.span, "the same host again")
                .at(place, format!("already taken by route {first}"));
            scope.report(diagnostic.help(match first == name {
                true => "keep one of them",
                false => "give one of them another host, or other paths: `paths = [{ prefix = \"/api\" }]`",
            }));
        }
    }
}

/// The same prefix twice in one route.
fn same_prefix(scope: &mut Scope<'_>, name: &Name, route: &Route) {
    let mut seen: BTreeMap<&str, &PathRule> = BTreeMap::new();
    for rule in &route.paths {
        let Some(first) = seen.insert(&rule.prefix.value, rule) else { continue };
        let message = format!("route {name} has two rules for {}", rule.prefix.value);
        let diagnostic = Diagnostic::error(Code::RouteTwice, message)
            .at(rule.prefix.span, "the second rule")
            .at(first.prefix.span, "the first rule");
        scope.report(diagnostic.help("keep one of them"));
    }
}

/// Retries that can't happen, because one attempt may take all the time that there is.
fn never_tried_again(scope: &mut Scope<'_>) {
    for (name, route) in &scope.app.routes {
        for rule in &route.paths {
            let prefix = &rule.prefix.value;
            let (message, span) = match &rule.attempt_timeout {
                Some(attempt) if attempt.value > rule.timeout.value => {
                    (format!("an attempt for {prefix} of route {name} may take longer than all of them"), attempt.span)
                }
                Some(attempt) if attempt.value == rule.timeout.value && rule.retries.value > 0 => (
                    format!("an attempt for {prefix} of route {name} that takes too long is never tried again"),
                    attempt.span,
                ),
                Some(_) | None if rule.is_answered() && rule.retries.value > 0 => (
                    format!("{prefix} of route {name} is answered at the entrance, so nothing is tried again"),
                    rule.retries.span,
                ),
                Some(_) | None => continue,
            };
            // A gateway takes no attempt that is longer than all of them.
            let longer = rule.attempt_timeout.as_ref().is_some_and(|attempt| attempt.value > rule.timeout.value);
            let told = if longer { Diagnostic::error } else { Diagnostic::warning };
            let diagnostic = told(Code::RetryNever, message).at(span, "").note(
                "`timeout` is for all attempts together, `attempt_timeout` for each of them until its answer begins",
            );
            scope
                .report(diagnostic.help(
                    "make `attempt_timeout` so short that a second attempt fits into `timeout`, or leave it out",
                ));
        }
    }
}

/// The largest fixed answer, in bytes: what gateways keep of one by themselves (Envoy's default for a direct response).
const LARGEST_ANSWER: usize = 4096;
/// The longest value of a header field that an HTTPRoute takes (`maxLength` in its definition).
const LONGEST_FIELD: usize = 4096;

/// Values of header fields, redirections and answers that can't be sent.
fn unfit_texts(scope: &mut Scope<'_>) {
    for (name, route) in &scope.app.routes {
        for headers in [&route.request_headers, &route.response_headers] {
            for (field, value) in headers.set.iter().chain(&headers.add) {
                let Some(why) = unfit_field(value) else { continue };
                let message = format!("route {name} can't send {field} with this value");
                scope.report(Diagnostic::error(Code::RouteSetting, message).at(value.span, why));
            }
        }
        for rule in &route.paths {
            if let Some(redirect) = &rule.redirect
                && Destination::parse(&with_references(&redirect.to)).is_none()
            {
                let message = format!("{} of route {name} can't be redirected there", rule.prefix.value);
                let diagnostic = Diagnostic::error(Code::RouteSetting, message)
                    .at(redirect.to.span, "neither a path nor a URL")
                    .note("it leads to a path of the same host, or to an http or https URL, and the request's own query is kept");
                scope.report(
                    diagnostic.help("for example: \"/new\", \"https://example.org/new\", \"${route.web.url}/new\""),
                );
            }
            if let Some(respond) = &rule.respond
                && length(&respond.body) > LARGEST_ANSWER
            {
                let message = format!("the answer to {} of route {name} is too large", rule.prefix.value);
                let most = format!("{LARGEST_ANSWER} bytes are the most");
                let diagnostic = Diagnostic::error(Code::RouteSetting, message).at(respond.body.span, most);
                scope.report(diagnostic.help("let a service answer"));
            }
            if let Some(respond) = &rule.respond
                && let Some(odd) = respond.content_type.chars().find(|c| !matches!(c, ' '..='~'))
            {
                let message = format!("the media type of an answer of route {name} can't be sent");
                let why = format!("it has {odd:?} in it");
                scope.report(Diagnostic::error(Code::RouteSetting, message).at(respond.span, why));
            }
        }
    }
}

/// What a Pod knows of itself, where no Pod is.
fn of_pods(scope: &mut Scope<'_>) {
    for (name, route) in &scope.app.routes {
        let hosts: Vec<Span> = route.hosts.iter().chain(&route.redirect_from).map(|host| host.span).collect();
        let texts = route.public_texts().chain(route.basic_auth.values()).filter(|text| !hosts.contains(&text.span));
        for reference in texts.flat_map(|text| text.references()) {
            let Reference::Fact(Fact::Pod(_)) = &reference.value else { continue };
            let message = format!("route {name} can't say `${{{}}}`", reference.value);
            let diagnostic = Diagnostic::error(Code::RouteSetting, message)
                .at(reference.span, "known to programs alone")
                .help("let the service say it: it can have it as a variable");
            scope.report(diagnostic);
        }
    }
}

fn unfit_field(value: &Template) -> Option<String> {
    let texts = value.segments.iter().filter_map(|segment| match segment {
        Segment::Text(text) => Some(text.as_str()),
        Segment::Reference(_) => None,
    });
    let odd = texts.flat_map(str::chars).find(|c| !matches!(c, ' '..='~' | '\t'));
    match odd {
        Some(odd) => Some(format!("it has {odd:?} in it")),
        None if value.segments.is_empty() => Some("it is empty; `remove` takes a field out".to_owned()),
        None => (length(value) > LONGEST_FIELD).then(|| format!("{LONGEST_FIELD} bytes are the most")),
    }
}

/// Passwords that stand in the definition.
fn open_passwords(scope: &mut Scope<'_>) {
    for (name, route) in &scope.app.routes {
        for (user, password) in &route.basic_auth {
            let secret = password
                .references()
                .any(|reference| reference.value.output().is_some_and(|(_, output)| output.row().secrecy.is_secret()));
            if secret {
                continue;
            }
            let message = format!("the password of {user} for route {name} is no secret");
            let diagnostic = Diagnostic::error(Code::PlaceholderSecret, message)
                .at(password.span, "anybody who reads the definition knows it")
                .help(format!(
                    "use a secret: `[secret.{name}-password]`, then {user} = \"${{secret.{name}-password}}\""
                ));
            scope.report(diagnostic);
        }
    }
}

/// Origins that no browser sends, and permissions that no browser takes.
fn origins(scope: &mut Scope<'_>) {
    for (name, route) in &scope.app.routes {
        let Some(cors) = &route.cors else { continue };
        for origin in &cors.origins {
            if is_origin(&with_references(origin)) {
                continue;
            }
            let diagnostic = Diagnostic::error(
                Code::RouteSetting,
                format!("route {name} lets in an origin that there can't be"),
            )
            .at(origin.span, "a scheme, a host, and a port where it isn't the scheme's own: nothing else")
            .help("for example: \"https://app.example.org\", \"https://*.example.org\", \"${route.web.url}\", \"*\"");
            scope.report(diagnostic);
        }
        if let Some(all) = everybody(cors).filter(|_| cors.origins.len() > 1) {
            let message = format!("route {name} lets every origin in, and others besides");
            let diagnostic = Diagnostic::error(Code::RouteSetting, message).at(all.span, "all of them");
            scope.report(diagnostic.help("keep `\"*\"` alone, or the others"));
        }
        if let Some(all) = everybody(cors).filter(|_| cors.credentials.value) {
            let diagnostic =
                Diagnostic::error(Code::RouteSetting, format!("route {name} lets every origin in with credentials"))
                    .at(all.span, "all of them")
                    .note("any page that a user opens could act as that user; browsers refuse the combination");
            scope.report(diagnostic.help("name the origins, or leave `credentials` out"));
        }
    }
}

fn everybody(cors: &Cors) -> Option<&Spanned<Template>> {
    cors.origins.iter().find(|origin| as_text(origin) == "*")
}

fn is_origin(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let plain = || {
        let text = text.replacen("://*.", "://", 1);
        Destination::parse(&text).is_some_and(|url| url.path == "/" && url.origin.is_some()) && !text.ends_with('/')
    };
    text == "*" || (host.is_some() && plain())
}

/// A template with what its references may stand for: a URL where it begins with one of a part, else a word.
fn with_references(template: &Template) -> String {
    let texts = template.segments.iter().enumerate().map(|(place, segment)| match segment {
        Segment::Text(text) => text.as_str(),
        Segment::Reference(reference) => match reference.value.output() {
            Some(_) if place == 0 => "https://x",
            Some(_) | None => "x",
        },
    });
    texts.collect()
}

/// How long a text is at least, in bytes.
fn length(template: &Template) -> usize {
    let texts = template.segments.iter().map(|segment| match segment {
        Segment::Text(text) => text.len(),
        Segment::Reference(_) => 0,
    });
    texts.sum()
}

/// A template as it is written, in lower case: equal texts give equal hosts.
fn as_text(template: &Template) -> String {
    let parts = template.segments.iter().map(|part| match part {
        Segment::Text(text) => text.to_lowercase(),
        Segment::Reference(reference) => format!("${{{}}}", reference.value),
    });
    parts.collect()
}
