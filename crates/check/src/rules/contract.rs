//! The environment contract: what a program reads against what is set for it.

use std::collections::{BTreeMap, BTreeSet};

use freehold_problem::Code;
use freehold_spec::app::Read;
use freehold_spec::{EnvName, Name, PartKind, Segment, Spanned, nearest};

use crate::diagnostic::Diagnostic;
use crate::scope::{Program, Scope};

/// How many names are compared with one that is missing.
const CANDIDATES: usize = 200;

pub(super) fn check(scope: &mut Scope<'_>) {
    let known = Known::of(scope);
    for program in scope.programs() {
        reserved(scope, &program);
        too_long(scope, &program);
        if let Some(reads) = program.reads {
            let read: BTreeSet<&EnvName> = reads.iter().map(|read| &read.name).collect();
            not_set(scope, &program, reads, &read, &known);
            not_read(scope, &program, reads, &read);
        }
    }
}

/// Linux takes no argument (with its NUL) or variable (`NAME=value` and a NUL) of more bytes: `MAX_ARG_STRLEN`, 32 pages. All of them
/// together may have 2 MiB, which is more than a definition can say.
pub(crate) const LONGEST: usize = 128 << 10;

/// Arguments and variables that no process can be started with. References count as nothing: what they come to is known later.
fn too_long(scope: &mut Scope<'_>, program: &Program<'_>) {
    let Program { word, name: of, .. } = program;
    for (name, value) in program.env {
        let texts = value.value.segments.iter().map(|segment| match segment {
            Segment::Text(text) => text.len(),
            Segment::Reference(_) => 0,
        });
        let bytes = name.as_str().len() + texts.sum::<usize>() + 2;
        if bytes > LONGEST {
            let message = format!("{name} of {word} {of} is {} KiB long, and a variable ends at 128 KiB", bytes >> 10);
            let help = "put it into a file of the artifact, and let the variable name the file";
            scope.report(Diagnostic::error(Code::TooLongForProcess, message).at(value.span, "too long").help(help));
        }
    }
    let Some(command) = program.command else { return };
    let build = scope.app.services.get(*of).filter(|_| *word == "service").and_then(|service| service.build.as_ref());
    let build = build.and_then(|build| Some(("`build`", build.span, build.command.as_ref()?)));
    for (which, span, command) in [Some(("`command`", command.span, &command.value)), build].into_iter().flatten() {
        for (number, argument) in command.iter().enumerate().filter(|(_, argument)| argument.len() >= LONGEST) {
            let kib = argument.len() >> 10;
            let which = match number {
                0 => format!("the program in {which}"),
                _ => format!("argument {number} in {which}"),
            };
            let message = format!("{which} of {word} {of} is {kib} KiB long, and an argument ends at 128 KiB");
            let help = "put it into a file of the artifact, and let the argument name the file";
            scope.report(Diagnostic::error(Code::TooLongForProcess, message).at(span, "too long").help(help));
        }
    }
}

/// Variables that Freehold sets itself: `PORT`, and the marks by which it knows its processes.
fn reserved(scope: &mut Scope<'_>, program: &Program<'_>) {
    for (name, value) in program.env {
        let why = match name.as_str() {
            "PORT" if program.word == "service" => "the port is given to each process of the service, on every target",
            name if program.given.contains(name) => "the port is given to each process of the service, on every target",
            name if name.starts_with("FREEHOLD_") => "Freehold knows its processes by the variables of this prefix",
            _ => continue,
        };
        let diagnostic =
            Diagnostic::error(Code::ReservedVariable, format!("{name} is set by Freehold, and only by it"))
                .at(value.span, "set by hand")
                .note(why);
        let help = match name.as_str() {
            "PORT" => "leave it out, and say `port = …` in the service",
            name if program.given.contains(name) => "leave it out: the number is that of the service's `ports`",
            _ => "choose another name",
        };
        scope.report(diagnostic.help(help));
    }
}

/// Variables that are read and that nobody sets.
fn not_set<'a>(
    scope: &mut Scope<'a>,
    program: &Program<'a>,
    reads: &[Spanned<Read>],
    read_names: &BTreeSet<&EnvName>,
    known: &Known<'a>,
) {
    let path = &program.path;
    if !scope.knows(&format!("{path}.env")) || !scope.knows(&format!("{path}.port")) {
        return;
    }
    let missing = reads.iter().filter(|read| {
        let by_freehold = program.given.contains(read.name.as_str());
        !read.optional && !by_freehold && !program.env.contains_key(&read.name)
    });
    for read in missing {
        let message = format!("{} {} reads {}, which is not set", program.word, program.name, read.name);
        let diagnostic = Diagnostic::error(Code::VariableNotSet, message).at(read.span, "not set");
        let diagnostic = match remedy(program, read, read_names, known) {
            Remedy::Rename(set) => {
                let place = program.env.get(set).map_or(program.span, |value| value.span);
                diagnostic
                    .at(place, format!("`{set}` is set"))
                    .help(format!("`{set}` is set, the app reads `{}`: use one name", read.name))
            }
            Remedy::Use(part, name, reference) => {
                let place = scope.app.span(part, name.as_str()).unwrap_or(program.span);
                scope.name_unused(part, name);
                diagnostic
                    .at(place, format!("nothing uses this {}", part.word()))
                    .help(format!("set {} = \"${{{reference}}}\" in `[{path}.env]`", read.name))
            }
            Remedy::Say(help) => diagnostic.help(help),
        };
        scope.report(diagnostic);
    }
}

/// What variables are probably meant to be, by their names.
struct Known<'a> {
    /// Parts that nothing uses, with the reference to them, by the name that a variable would have: `session-key` by `SESSION_KEY`.
    unused: BTreeMap<String, (PartKind, &'a Name, String)>,
    /// References to parts, the same.
    references: BTreeMap<String, String>,
}

/// What the variable with a database's URL is called, and that with a cache's.
const DATABASE: [&str; 4] = ["DATABASE_URL", "DB_URL", "POSTGRES_URL", "DATABASE_URI"];
const CACHE: [&str; 4] = ["REDIS_URL", "VALKEY_URL", "CACHE_URL", "REDIS_URI"];
/// What a Pod knows of itself.
const OF_PODS: [(&str, &str); 6] = [
    ("HOSTNAME", "pod.name"),
    ("NODE_NAME", "pod.node"),
    ("POD_IP", "pod.ip"),
    ("POD_NAME", "pod.name"),
    ("POD_NAMESPACE", "pod.namespace"),
    ("NAMESPACE", "pod.namespace"),
];

impl<'a> Known<'a> {
    fn of(scope: &Scope<'a>) -> Self {
        let variable = |name: &Name| name.as_str().replace('-', "_").to_ascii_uppercase();
        let mut references: BTreeMap<String, String> =
            OF_PODS.iter().map(|(name, fact)| ((*name).to_owned(), (*fact).to_owned())).collect();
        let asked = scope.app.services.iter().filter(|(_, service)| service.port.is_some());
        references.extend(asked.map(|(name, _)| (format!("{}_URL", variable(name)), format!("service.{name}.url"))));
        if let [database] = scope.app.names(PartKind::Database)[..] {
            let parts = ["DB", "DATABASE", "POSTGRES", "PG"].into_iter().flat_map(|begin| {
                let parts = [
                    ("HOST", "host"),
                    ("PORT", "port"),
                    ("USER", "user"),
                    ("PASSWORD", "password"),
                    ("NAME", "name"),
                    ("DATABASE", "name"),
                    ("URL", "url"),
                ];
                let joint = if begin == "PG" { "" } else { "_" };
                parts.map(|(end, field)| (format!("{begin}{joint}{end}"), format!("database.{database}.{field}")))
            });
            references.extend(parts);
        }
        references.extend(scope.app.secrets.keys().map(|name| (variable(name), format!("secret.{name}"))));
        let mut unused = BTreeMap::new();
        // What couldn't be read may use it.
        if !scope.knows_all() {
            return Self { unused, references };
        }
        for name in scope.unused(PartKind::Secret) {
            unused.insert(variable(name), (PartKind::Secret, name, format!("secret.{name}")));
        }
        for (part, names) in [(PartKind::Database, DATABASE), (PartKind::Cache, CACHE)] {
            let [name] = scope.unused(part)[..] else { continue };
            let reference = format!("{}.{name}.url", part.word());
            unused.extend(names.iter().map(|variable| ((*variable).to_owned(), (part, name, reference.clone()))));
        }
        Self { unused, references }
    }
}

enum Remedy<'p, 'a> {
    Rename(&'p EnvName),
    Use(PartKind, &'a Name, &'p str),
    Say(String),
}

/// What each process has without being told, from the machine or the image.
const OF_THE_MACHINE: [&str; 8] = ["HOME", "LANG", "PATH", "PWD", "SHELL", "TMPDIR", "USER", "TZ"];

fn remedy<'p, 'a>(
    program: &'p Program<'a>,
    read: &'p Read,
    read_names: &BTreeSet<&EnvName>,
    known: &'p Known<'a>,
) -> Remedy<'p, 'a> {
    let (name, path) = (read.name.as_str(), &program.path);
    if name == "PORT" && program.word == "service" {
        return Remedy::Say("give the service a `port`; then Freehold sets PORT".to_owned());
    }
    if name.starts_with("FREEHOLD_") {
        return Remedy::Say(
            "leave it out of `reads`: variables of this prefix are Freehold's own, and nothing else sets them"
                .to_owned(),
        );
    }
    if let Some((part, name, reference)) = known.unused.get(name) {
        return Remedy::Use(*part, name, reference);
    }
    if is_port(name) && program.word == "service" {
        let port = if program.given.contains("PORT") { "" } else { ", once the service has a `port`" };
        return Remedy::Say(format!(
            "let the program read PORT, which Freehold sets{port}: on one machine each process gets a port of its own, so none can be written here"
        ));
    }
    let unread = program.env.keys().filter(|name| !read_names.contains(name)).take(CANDIDATES);
    let near = nearest(name, unread.clone().map(EnvName::as_str));
    if let Some(set) = unread.into_iter().find(|name| Some(name.as_str()) == near) {
        return Remedy::Rename(set);
    }
    Remedy::Say(match known.references.get(name) {
        Some(reference) => format!("set {name} = \"${{{reference}}}\" in `[{path}.env]`"),
        None if OF_THE_MACHINE.contains(&name) => {
            format!(
                "leave it out of `reads`, or write `\"{name}?\"`: it comes with the machine or the image, where it comes at all"
            )
        }
        None => format!("set it in `[{path}.env]`, or write `\"{name}?\"` if the program does without it"),
    })
}

/// Whether a variable is what programs call the port that they listen on.
fn is_port(name: &str) -> bool {
    let programs = ["APP", "API", "HTTP", "LISTEN", "NODE", "SERVER", "SERVICE", "WEB"];
    name.strip_suffix("_PORT").is_some_and(|program| programs.contains(&program))
}

/// Variables that are set and never read.
fn not_read(scope: &mut Scope<'_>, program: &Program<'_>, reads: &[Spanned<Read>], read_names: &BTreeSet<&EnvName>) {
    for (name, value) in program.env.iter().filter(|(name, _)| !read_names.contains(name)) {
        let unset = reads.iter().map(|read| read.name.as_str()).filter(|read| !program.env.contains_key(*read));
        let candidates = if scope.is_full_of_warnings() { 0 } else { CANDIDATES };
        let (message, help) = match nearest(name.as_str(), unset.filter(|read| *read != "PORT").take(candidates)) {
            Some(near) => (
                format!("`{name}` is set, the app reads `{near}`"),
                format!("call it `{near}`, or add \"{name}\" to `reads`"),
            ),
            None => (
                format!("{name} is set for {} {}, which doesn't read it", program.word, program.name),
                format!("add \"{name}\" to `reads`, or leave it out"),
            ),
        };
        scope.report(Diagnostic::warning(Code::VariableNotRead, message).at(value.span, "never read").help(help));
    }
}
