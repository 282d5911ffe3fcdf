//! The environment contract: what a program reads against what is set for it.

use std::collections::BTreeSet;

use freehold_problem::Code;
use freehold_spec::app::Read;
use freehold_spec::{EnvName, Segment, Spanned, nearest};

use crate::diagnostic::Diagnostic;
use crate::scope::{Program, Scope};

/// How many names are compared with one that is missing.
const CANDIDATES: usize = 200;

pub(super) fn check(scope: &mut Scope<'_>) {
    for program in scope.programs() {
        reserved(scope, &program);
        too_long(scope, &program);
        if let Some(reads) = program.reads {
            let read: BTreeSet<&EnvName> = reads.iter().map(|read| &read.name).collect();
            not_set(scope, &program, reads, &read);
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
        let port = name.as_str() == "PORT" || program.given.contains(name.as_str());
        let help = if port { "leave it out, and say `port = …` in the service" } else { "choose another name" };
        scope.report(diagnostic.help(help));
    }
}

/// Variables that are read and that nobody sets.
fn not_set(scope: &mut Scope<'_>, program: &Program<'_>, reads: &[Spanned<Read>], read_names: &BTreeSet<&EnvName>) {
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
        scope.report(match remedy(program, read, read_names) {
            Remedy::Rename(set) => {
                let place = program.env.get(set).map_or(program.span, |value| value.span);
                diagnostic
                    .at(place, format!("`{set}` is set"))
                    .help(format!("`{set}` is set, the app reads `{}`: use one name", read.name))
            }
            Remedy::Say(help) => diagnostic.help(help),
        });
    }
}

enum Remedy<'a> {
    Rename(&'a EnvName),
    Say(String),
}

fn remedy<'a>(program: &Program<'a>, read: &Read, read_names: &BTreeSet<&EnvName>) -> Remedy<'a> {
    if read.name.as_str() == "PORT" && program.word == "service" {
        return Remedy::Say("give the service a `port`; then Freehold sets PORT".to_owned());
    }
    let unread = program.env.keys().filter(|name| !read_names.contains(name)).take(CANDIDATES);
    let near = nearest(read.name.as_str(), unread.clone().map(EnvName::as_str));
    match unread.into_iter().find(|name| Some(name.as_str()) == near) {
        Some(set) => Remedy::Rename(set),
        None => Remedy::Say(format!(
            "set it in `[{0}.env]`, or write `\"{1}?\"` if the program does without it",
            program.path, read.name
        )),
    }
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
