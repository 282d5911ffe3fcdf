//! `freehold init`: a first definition, made from what is in a folder.
//!
//! ```text
//! compose file ── services, databases, caches, jobs ──┐
//! Dockerfile, Procfile, package.json, … ── programs ──┼──► Draft ──► text ──► check
//! .env.example ── variables, secrets ─────────────────┘
//! ```
//!
//! The folder may be anybody's. Nothing is run, nothing outside it is read, and no value of a secret is taken over. Whatever is guessed is said.

mod compose;
mod draft;
mod folder;
mod programs;
#[cfg(test)]
mod tests;
mod variables;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use draft::{Draft, Job, Service};
use folder::{Folder, Found};

use crate::secret_file;

/// Files with the variables of an app, without their secrets.
const VARIABLES: [&str; 4] = [".env.example", ".env.sample", ".env.template", "env.example"];
/// The most variables that are taken from one.
const MOST: usize = 200;
/// Names of services that the world asks first.
const FRONT: [&str; 7] = ["web", "frontend", "app", "nginx", "proxy", "gateway", "ui"];
/// The port of a program that says none.
const PORT: u16 = 8080;

/// A definition that was made.
pub(crate) struct Made {
    pub(crate) text: String,
    /// What was guessed or left out.
    pub(crate) guesses: Vec<String>,
}

/// Makes a definition from what a folder has; `None` where there is nothing to make one from.
///
/// # Errors
/// If the folder can't be opened.
pub(crate) fn make(path: &Path) -> std::io::Result<Option<Made>> {
    let folder = Folder::open(path)?;
    let mut draft = Draft::default();
    let project = programs::project_name(&mut draft, &folder).unwrap_or_else(|| folder.name());
    draft.name = draft::name(&project).map_or_else(|| "app".to_owned(), |name| name.to_string());
    let known = variables_of(&mut draft, &folder);
    if let Some((file, text)) =
        compose::FILES.iter().find_map(|file| Some((file, programs::text(&mut draft, &folder, file)?)))
    {
        match compose::read(&mut draft, &folder, &text, &known) {
            Ok(()) => draft.guess(format!("services are those of {file}")),
            Err(why) => draft.guess(format!("{file} is left out: {why}")),
        }
    }
    if draft.services.is_empty() {
        of_folder(&mut draft, &folder, &known);
    }
    if draft.services.is_empty() {
        return Ok(None);
    }
    settle(&mut draft);
    Ok(Some(Made { text: draft.text(), guesses: draft.guesses }))
}

/// The variables that the app's own example has.
fn variables_of(draft: &mut Draft, folder: &Folder) -> BTreeMap<String, String> {
    for file in VARIABLES {
        match folder.read(file) {
            Found::Absent => {}
            Found::Unread(why) => draft.guess(why),
            Found::Text(text) => match secret_file::parse(&text) {
                Ok(values) => {
                    draft
                        .guess(format!("variables are those of {file}; those without a value are optional in `reads`"));
                    return values.into_iter().take(MOST).collect();
                }
                Err(mistakes) => {
                    draft.guess(format!("{file} is left out: {}", mistakes.first().map_or("", String::as_str)))
                }
            },
        }
    }
    BTreeMap::new()
}

/// The service of a folder that has no compose file.
fn of_folder(draft: &mut Draft, folder: &Folder, known: &BTreeMap<String, String>) {
    let program = programs::read(draft, folder, "Dockerfile");
    let Some(web) = draft::name("web") else { return };
    let image = program.has_image.then(|| format!("registry.example.org/{}/web", draft.name));
    // What an image runs without being told, only the image says.
    let build = program.build.filter(|_| !program.command.is_empty());
    if image.is_none() && build.is_none() {
        return;
    }
    draft.guess(match program.source.as_str() {
        "" => "service web: it runs what its image says".to_owned(),
        source => format!("service web: its command is from {source}"),
    });
    let mut given = known.clone();
    given.extend(program.env);
    let (env, empty) = variables::read(draft, &BTreeMap::new(), &given, "service web");
    let reads = (!known.is_empty()).then(|| empty.into_iter().collect::<BTreeSet<_>>());
    if program.port.is_none() {
        draft.guess(format!("service web: nothing says its port; {PORT} is taken, and Freehold tells it in PORT"));
    }
    let service = Service {
        image,
        build,
        command: program.command,
        port: program.port.or(Some(PORT)),
        ready: program.ready,
        host: Some(String::new()),
        env,
        reads,
    };
    for (kind, command) in program.others {
        let Some(name) = draft::name(&kind).filter(|name| *name != web) else { continue };
        if kind == "release" {
            let mut env = service.env.clone();
            variables::of_migrator(&mut env);
            draft.guess("job release: each deploy runs it before the services, as the migrator");
            draft.jobs.insert(name, Job { service: web.clone(), command, env });
        } else {
            draft.guess(format!("service {name}: a line of the Procfile, without a port"));
            let (port, ready, host) = (None, None, None);
            draft.services.insert(name, Service { command, port, ready, host, ..service.clone() });
        }
    }
    draft.services.insert(web, service);
}

/// What follows from all of it together: hosts of routes, ports of those that are asked, and what is no longer there.
fn settle(draft: &mut Draft) {
    if draft
        .services
        .values()
        .any(|service| service.image.as_ref().is_some_and(|image| image.starts_with("registry.example.org/")))
    {
        draft.guess("images: registry.example.org stands for where yours are pushed to; a tag or digest comes with the deploy (`--image web=:1.2`)");
    }
    let names: BTreeSet<String> = draft.services.keys().map(ToString::to_string).collect();
    let mut asked = BTreeSet::new();
    let service = |value: &str| Some(value.strip_prefix("${service.")?.split('.').next()?.to_owned());
    let mut gone = Vec::new();
    let envs = draft.services.iter_mut().map(|(name, one)| (name, &mut one.env));
    for (whose, env) in envs.chain(draft.jobs.iter_mut().map(|(name, one)| (name, &mut one.env))) {
        env.retain(|variable, value| match service(value) {
            Some(name) if !names.contains(&name) => {
                gone.push(format!("{whose}: {variable} is left out, as {name} is, to which it leads"));
                false
            }
            Some(name) => {
                asked.insert(name);
                true
            }
            None => true,
        });
    }
    gone.into_iter().for_each(|line| draft.guess(line));
    let mut guesses = Vec::new();
    for (name, service) in &mut draft.services {
        if asked.contains(name.as_str()) && service.port.is_none() {
            service.port = Some(PORT);
            guesses.push(format!("service {name}: others ask it, and nothing says its port; {PORT} is taken"));
        }
    }
    guesses.into_iter().for_each(|line| draft.guess(line));
    let mut routed: Vec<_> =
        draft.services.iter_mut().filter(|(_, one)| one.host.is_some() && one.port.is_some()).collect();
    routed.sort_by_key(|(name, _)| FRONT.iter().position(|front| *front == name.as_str()).unwrap_or(FRONT.len()));
    for (at, (name, service)) in routed.into_iter().enumerate() {
        service.host = Some(match at {
            0 => "${stack.name}.${target.domain}".to_owned(),
            _ => format!("${{stack.name}}-{name}.${{target.domain}}"),
        });
    }
    draft.services.values_mut().filter(|one| one.port.is_none()).for_each(|one| one.host = None);
}
