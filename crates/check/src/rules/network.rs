//! Who reaches whom in a cluster: addresses that are written out and that the stack's own policies shut out, and services that nobody is
//! let in to.
//!
//! A policy opens what references and `egress` say. An address that stands in a variable as a text opens nothing: the program would wait
//! until its connection times out. Only what can't be anything but an address that a program connects to is taken for one: a link to
//! a page (`https://…` of a public host) may be for people.

use std::net::IpAddr;

use freehold_problem::Code;
use freehold_spec::app::{Service, texts};
use freehold_spec::network::{Destination, Egress};
use freehold_spec::part::output::Reach;
use freehold_spec::{Name, PartKind};

use crate::diagnostic::Diagnostic;
use crate::scope::{Program, Scope};

/// Schemes of URLs that programs connect to, and their ports. `0`: there is no usual one.
const SCHEMES: [(&str, u16); 27] = [
    ("amqp", 5672),
    ("amqps", 5671),
    ("grpc", 0),
    ("grpcs", 0),
    ("http", 80),
    ("https", 443),
    ("kafka", 9092),
    ("ldap", 389),
    ("ldaps", 636),
    ("mariadb", 3306),
    ("memcached", 11_211),
    ("mongodb", 27_017),
    ("mqtt", 1883),
    ("mqtts", 8883),
    ("mysql", 3306),
    ("nats", 4222),
    ("postgres", 5432),
    ("postgresql", 5432),
    ("redis", 6379),
    ("rediss", 6379),
    ("smtp", 587),
    ("smtps", 465),
    ("statsd", 8125),
    ("tcp", 0),
    ("valkey", 6379),
    ("ws", 80),
    ("wss", 443),
];
/// Those that browsers, mail and people follow as well.
const FOR_PEOPLE: [&str; 4] = ["http", "https", "ws", "wss"];
/// Ports by which an address without a scheme is one that programs connect to.
const OF_PROTOCOLS: [u16; 18] =
    [25, 389, 465, 587, 636, 1883, 2525, 3306, 4222, 4317, 4318, 5432, 5671, 5672, 6379, 8125, 9092, 27_017];
/// What `internet` opens.
const HTTPS: u16 = 443;

pub(super) fn check(scope: &mut Scope<'_>) {
    // What couldn't be read may be the way.
    if !scope.knows_all() {
        return;
    }
    let shut: Vec<Name> = shut_out(scope);
    reached_by_nobody(scope, &shut);
}

/// An address in a variable.
struct Address<'t> {
    /// As it is written.
    text: &'t str,
    host: &'t str,
    port: u16,
    /// It may be meant for people as well, where its host is public.
    for_people: bool,
}

/// Addresses that a program of a cluster could not reach. The stack's own services among them come out.
fn shut_out(scope: &mut Scope<'_>) -> Vec<Name> {
    let mut own = Vec::new();
    for program in scope.programs() {
        // Without an image it doesn't run in a cluster.
        let Some(service) = program.service.filter(|service| service.image.is_some()) else { continue };
        for (variable, value) in program.env {
            let Some(text) = value.literal() else { continue };
            let addresses = addresses(text, port_beside(&program, variable.as_str()));
            let mut shut = addresses.iter().filter(|address| !is_open(scope, &program, service, address));
            let Some(address) = shut.next() else { continue };
            let (why, help) = match own_part(scope, address.host) {
                Some((PartKind::Service, name)) => {
                    own.push(name.clone());
                    let port = scope.app.services.get(name).and_then(|service| service.port.as_ref());
                    let why = match port {
                        Some(port) if refers_to(scope, &program, PartKind::Service, name) => {
                            format!("{name} is reached at its port {}", port.value)
                        }
                        _ => "a policy opens what references lead to, and this is none".to_owned(),
                    };
                    let help = match address.for_people {
                        true => format!("use `${{service.{name}.url}}`"),
                        false => format!("use `${{service.{name}.host}}` and `${{service.{name}.port}}`"),
                    };
                    (why, help)
                }
                Some((part, name)) => {
                    let why = "a policy opens what references lead to, and this is none".to_owned();
                    (why, format!("use `${{{}.{name}.url}}`", part.word()))
                }
                None if !address.host.contains('.') && address.host.parse::<IpAddr>().is_err() => {
                    let why = "the stack has nothing of this name, and is alone in its namespace".to_owned();
                    (
                        why,
                        format!(
                            "refer to what is meant, or write \"{0}.NAMESPACE.svc\" and say so in `egress`",
                            address.host
                        ),
                    )
                }
                None => {
                    let word = if program.word == "job" { "its service" } else { "the service" };
                    let why = "neither a reference nor `egress` opens it".to_owned();
                    (why, format!("add \"{}\" to `egress` of {word}", way(address)))
                }
            };
            let message = format!("{} {} could not reach {} in a cluster", program.word, program.name, address.text);
            let diagnostic =
                Diagnostic::warning(Code::AddressShutOut, message).at(value.span, "its policies shut it out");
            scope.report(diagnostic.note(why).help(help));
        }
    }
    own
}

/// The port that stands in a variable of its own: `SMTP_PORT` beside `SMTP_HOST`.
fn port_beside(program: &Program<'_>, variable: &str) -> Option<u16> {
    let beside = format!("{}_PORT", variable.strip_suffix("_HOST")?);
    let (_, port) = program.env.iter().find(|(name, _)| name.as_str() == beside)?;
    port.literal()?.parse().ok()
}

/// The addresses in a text: one, or several with commas between them.
fn addresses(text: &str, port: Option<u16>) -> Vec<Address<'_>> {
    if text.contains(char::is_whitespace) {
        return Vec::new();
    }
    text.split(',').filter_map(|text| of_url(text).or_else(|| of_host(text, port))).collect()
}

fn of_url(text: &str) -> Option<Address<'_>> {
    let (scheme, rest) = text.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let (_, usual) = SCHEMES.iter().find(|(known, _)| *known == scheme)?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host_and_port = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (host, port) = split(host_and_port)?;
    let port = port.or((*usual > 0).then_some(*usual))?;
    Some(Address {
        text: without_user(text, authority, host_and_port),
        host,
        port,
        for_people: FOR_PEOPLE.contains(&scheme.as_str()),
    })
}

/// What is shown of a URL: no password.
fn without_user<'t>(text: &'t str, authority: &'t str, host_and_port: &'t str) -> &'t str {
    if authority.len() == host_and_port.len() { text } else { host_and_port }
}

/// An address without a scheme: one of the usual ports makes it one.
fn of_host(text: &str, port: Option<u16>) -> Option<Address<'_>> {
    let (host, own) = split(text)?;
    let port = own.or(port)?;
    let inside = host.ends_with(".svc") || host.ends_with(".svc.cluster.local");
    (inside || OF_PROTOCOLS.contains(&port)).then_some(Address { text, host, port, for_people: false })
}

/// Host and port; of an address of IPv6 without its brackets.
fn split(text: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => (host, Some(port)),
        _ => (text, None),
    };
    let port = port.map(|port| port.parse().ok().filter(|port| *port > 0));
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let is_name = host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'));
    let fits = !host.is_empty() && (is_name || host.parse::<IpAddr>().is_ok());
    match port {
        _ if !fits => None,
        None => Some((host, None)),
        Some(port) => Some((host, Some(port?))),
    }
}

/// An address as `egress` has it.
fn way(address: &Address<'_>) -> String {
    match address.host.contains(':') {
        true => format!("[{}]:{}", address.host, address.port),
        false => format!("{}:{}", address.host, address.port),
    }
}

/// A part of the stack that is called like a host.
fn own_part<'a>(scope: &Scope<'a>, host: &str) -> Option<(PartKind, &'a Name)> {
    let app = scope.app;
    let service = app.services.get_key_value(host).map(|(name, _)| (PartKind::Service, name));
    let cache = || app.caches.get_key_value(host).map(|(name, _)| (PartKind::Cache, name));
    service.or_else(cache).or_else(|| app.databases.get_key_value(host).map(|(name, _)| (PartKind::Database, name)))
}

/// Whether a reference opens the way to a part: the containers of a pod have one policy.
fn refers_to(scope: &Scope<'_>, program: &Program<'_>, part: PartKind, name: &Name) -> bool {
    let job = scope.app.jobs.get(program.name).filter(|_| program.word == "job");
    let pod = program.service.filter(|_| job.is_none()).into_iter().flat_map(Service::programs);
    let programs = job.map(|job| (&job.env, &job.files)).into_iter().chain(pod);
    let templates = programs.flat_map(|(env, files)| texts(env, files));
    let mut outputs =
        templates.flat_map(|template| template.references()).filter_map(|reference| reference.value.output());
    outputs.any(|(other, output)| other == name && output.part() == part && output.row().reach == Reach::Part)
}

/// Whether a program's policy lets it out to an address, or it may be none.
fn is_open(scope: &Scope<'_>, program: &Program<'_>, service: &Service, address: &Address<'_>) -> bool {
    let Address { host, port, for_people, .. } = address;
    let ways: Vec<&Egress> = service.egress.iter().map(|way| &way.value).collect();
    let to_hosts = || {
        (service.internet && *port == HTTPS)
            || ways.iter().any(|way| way.port == *port && matches!(way.to, Destination::Host(_)))
    };
    // Which addresses a name has, nobody knows here.
    let to_block = || ways.iter().any(|way| way.port == *port && matches!(way.to, Destination::Block(_)));
    if let Ok(ip) = host.parse::<IpAddr>() {
        // Where it listens, or itself.
        if ip.is_loopback() || ip.is_unspecified() {
            return true;
        }
        let within =
            |way: &&Egress| matches!(&way.to, Destination::Block(block) if block.contains(&ip)) && way.port == *port;
        return ways.iter().any(within) || to_hosts() || *for_people;
    }
    if host.eq_ignore_ascii_case("localhost") {
        return true;
    }
    let to_namespace = |namespace: &str| {
        // The port of a Service need not be that of its pods, which the policy opens.
        ways.iter().any(|way| matches!(&way.to, Destination::Service { namespace: open, .. } if open == namespace))
    };
    let labels: Vec<&str> = host.trim_end_matches('.').split('.').collect();
    match labels.as_slice() {
        [_, namespace, "svc", ..] => to_namespace(namespace) || to_block(),
        [name] => match own_part(scope, name) {
            Some((PartKind::Service, name)) => {
                let own = scope.app.services.get(name).into_iter();
                let mut own = own.flat_map(|one| one.port.iter().chain(one.ports.values().map(|port| &port.port)));
                refers_to(scope, program, PartKind::Service, name) && own.any(|own| own.value == *port)
            }
            Some((part, name)) => refers_to(scope, program, part, name),
            None => to_hosts() || to_block(),
        },
        [_, second] => *for_people || to_hosts() || to_block() || to_namespace(second),
        _ => *for_people || to_hosts() || to_block(),
    }
}

/// Services with a port that no policy opens to anybody.
fn reached_by_nobody(scope: &mut Scope<'_>, shut: &[Name]) {
    let app = scope.app;
    let asked: Vec<&Name> = scope
        .references()
        .into_iter()
        .filter_map(|reference| reference.value.output())
        .filter(|(_, output)| output.part() == PartKind::Service && output.row().reach == Reach::Part)
        .map(|(name, _)| name)
        .collect();
    for (name, service) in &app.services {
        // Without an image it runs on one machine, where nothing is shut.
        let (Some(port), Some(_)) = (&service.port, &service.image) else { continue };
        let routed = app.routes.values().any(|route| route.services().any(|other| other.value == *name));
        let probed = service.health.probes().next().is_some() || service.prometheus.is_some();
        // A sidecar reaches it, whoever reaches the sidecar; without copies there is nobody to reach.
        let otherwise = !service.ingress.is_empty() || !service.sidecars.is_empty() || service.replicas.value == 0;
        if routed || probed || otherwise || asked.contains(&name) || shut.contains(name) {
            continue;
        }
        let message = format!("service {name} listens on port {}, and nobody can reach it", port.value);
        let diagnostic = Diagnostic::warning(Code::NobodyReaches, message)
            .at(port.span, "no route, no reference and no `ingress` leads here")
            .note("a cluster's policies let in nobody else");
        scope.report(diagnostic.help(format!(
            "lead a route to it, use `${{service.{name}.url}}` where it is asked, say who else may reach it in `ingress`, or leave `port` out: \
             a worker needs none"
        )));
    }
}
