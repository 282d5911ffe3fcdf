//! `freehold secret`: values come in by stdin, never by the command line, and never go out.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use freehold::wire::{SecretStatus, SecretValue, SecretValues, Stack};
use freehold_problem::Code;
use freehold_spec::Name;

use crate::arguments::{ImportSecrets, OneStack, SecretCommand, SecretName, SetSecret};
use crate::definition;
use crate::layout::hanging;
use crate::platform::{self, Platform};
use crate::report::{CommandError, CommandResult, ExitStatus};
use crate::secret_file;
use crate::terminal::Terminal;
use crate::view;

pub(super) fn run(terminal: Terminal, command: &SecretCommand) -> CommandResult {
    match command {
        SecretCommand::Set(secret) => set(terminal, secret),
        SecretCommand::Import(file) => import(terminal, file),
        SecretCommand::List(selection) => list(terminal, selection),
        SecretCommand::Rotate(secret) => rotate(terminal, secret),
    }
}

fn set(terminal: Terminal, arguments: &SetSecret) -> CommandResult {
    let secret = &arguments.secret;
    let Some((kind, stack)) = secret.stack.which.selected() else {
        return Err(CommandError::new(Code::BadRequest, "no stack was named"));
    };
    let platform = Platform::connect(&secret.stack.platform)?;
    let value = terminal
        .read_secret(&format!("Value of {}: ", secret.name))
        .map_err(|error| CommandError::new(Code::BadRequest, format!("the value can't be read: {error}")))?;
    if value.is_empty() {
        return Err(CommandError::new(Code::BadRequest, "the value is empty, and nothing was changed")
            .help(format!("give it on stdin: `freehold secret set {} … < FILE`", secret.name)));
    }
    let status = platform::run(async {
        let app = app(&platform, &secret.stack).await?;
        if !arguments.force {
            refuse_undefined(&platform, &app, secret).await?;
        }
        let value = SecretValue { value };
        let target = secret.stack.target.as_deref();
        let force = arguments.force;
        Ok(platform.client.set_secret(target, (&app, kind.as_str(), stack), &secret.name, &value, force).await?)
    })?;
    told(terminal, &status, "set");
    Ok(ExitStatus::Done)
}

fn import(terminal: Terminal, arguments: &ImportSecrets) -> CommandResult {
    let Some((kind, stack)) = arguments.stack.which.selected() else {
        return Err(CommandError::new(Code::BadRequest, "no stack was named"));
    };
    let values = read(&arguments.file)?;
    let platform = Platform::connect(&arguments.stack.platform)?;
    let (set, left_out) = platform::run(async {
        let app = app(&platform, &arguments.stack).await?;
        let (values, left_out) = match defined(&platform, &app, &arguments.stack).await? {
            Some(known) => sorted(values, &known, &app, arguments.known_only)?,
            None => (all(values)?, Vec::new()),
        };
        let (target, values) = (arguments.stack.target.as_deref(), SecretValues { values });
        let stack = (app.as_str(), kind.as_str(), stack);
        Ok((platform.client.set_secrets(target, stack, &values, arguments.force).await?, left_out))
    })?;
    if terminal.json {
        terminal.print_json(&serde_json::json!({ "set": set, "left_out": left_out }));
        return Ok(ExitStatus::Done);
    }
    set.iter().for_each(|status| told(terminal, status, "set"));
    if !left_out.is_empty() {
        terminal.say(&format!("Left out, since the definition has no such secret: {}.", left_out.join(", ")));
    }
    Ok(ExitStatus::Done)
}

/// The names and values of a file.
fn read(file: &Path) -> CommandResult<BTreeMap<String, String>> {
    let text = match file == Path::new("-") {
        true => std::io::read_to_string(std::io::stdin()),
        false => std::fs::read_to_string(file),
    };
    let shown = file.display();
    let text = text.map_err(|error| CommandError::new(Code::BadRequest, format!("{shown} can't be read: {error}")))?;
    secret_file::parse(&text).map_err(|mistakes| {
        CommandError::new(Code::BadRequest, format!("{shown} can't be read as secrets, and nothing was changed"))
            .lines(mistakes)
            .help("NAME=VALUE on each line, or a JSON object with texts")
    })
}

/// The values by the secrets that they are for, and the names that are for none. These are refused, each with the nearest, unless they are
/// to be left out.
fn sorted(
    values: BTreeMap<String, String>,
    known: &BTreeSet<String>,
    app: &str,
    known_only: bool,
) -> CommandResult<(BTreeMap<String, String>, Vec<String>)> {
    let (mut wanted, mut unknown) = (BTreeMap::new(), Vec::new());
    for (name, value) in values {
        let secret = secret_name(&name);
        if !known.contains(&secret) {
            unknown.push(name);
        } else {
            add(&mut wanted, secret, value)?;
        }
    }
    if unknown.is_empty() || known_only {
        return Ok((wanted, unknown));
    }
    let near = |name: &String| match freehold_spec::nearest(&secret_name(name), known.iter().map(String::as_str)) {
        Some(near) => format!("{name}: did you mean {near}?"),
        None => name.clone(),
    };
    let names = if unknown.len() == 1 { "a name" } else { "names" };
    let message = format!("the file has {names} that {app} defines no secret for, and nothing was changed");
    Err(CommandError::new(Code::NotFound, message)
        .lines(unknown.iter().map(near).collect())
        .help("correct them, or leave them out with --known-only"))
}

/// The values by the secrets that they are for, where nobody knows which there are.
fn all(values: BTreeMap<String, String>) -> CommandResult<BTreeMap<String, String>> {
    let mut wanted = BTreeMap::new();
    for (name, value) in values {
        add(&mut wanted, secret_name(&name), value)?;
    }
    Ok(wanted)
}

fn add(wanted: &mut BTreeMap<String, String>, secret: String, value: String) -> CommandResult<()> {
    match wanted.entry(secret) {
        Entry::Vacant(free) => {
            free.insert(value);
            Ok(())
        }
        Entry::Occupied(taken) => {
            let secret = taken.key();
            let message = format!("the file has {secret} twice, written in two ways, and nothing was changed");
            Err(CommandError::new(Code::BadRequest, message))
        }
    }
}

/// The secret that is meant by a name as variables have it: `session-key` of `SESSION_KEY`.
fn secret_name(name: &str) -> String {
    if name.parse::<Name>().is_ok() { name.to_owned() } else { name.to_lowercase().replace('_', "-") }
}

/// The app of a stack that need not exist yet.
async fn app(platform: &Platform, selection: &OneStack) -> CommandResult<String> {
    if let Some(app) = selection.app.clone().or_else(platform::app_at_hand) {
        return Ok(app);
    }
    match platform.find(selection).await {
        Ok(stack) => Ok(stack.app),
        Err(failure) if failure.problem.code == Code::NotFound => {
            Err(failure.help("if it is still to be made, say of which app with --app NAME"))
        }
        Err(failure) => Err(failure),
    }
}

/// A name that the definition doesn't have is most likely a mistake: nothing would ever read the value.
async fn refuse_undefined(platform: &Platform, app: &str, secret: &SecretName) -> CommandResult<()> {
    let Some(known) = defined(platform, app, &secret.stack).await? else { return Ok(()) };
    if known.contains(&secret.name) {
        return Ok(());
    }
    let names: Vec<&str> = known.iter().map(String::as_str).collect();
    let has = if names.is_empty() { "it has none".to_owned() } else { format!("it has {}", names.join(", ")) };
    let detail = format!("{app} defines no secret {}, and nothing was changed; {has}", secret.name);
    let force = "a definition that is still to be deployed may have it: --force sets it anyway";
    let help = match freehold_spec::nearest(&secret.name, names.iter().copied()) {
        Some(near) => format!("did you mean {near}? {force}"),
        None => force.to_owned(),
    };
    Err(CommandError::new(Code::NotFound, detail).help(help))
}

/// The secrets of an app: by its definition in this folder, else as the platform knows it; `None` if neither does.
async fn defined(platform: &Platform, app: &str, selection: &OneStack) -> CommandResult<Option<BTreeSet<String>>> {
    let here = definition::find(None).ok().flatten().and_then(|definition| definition.app);
    if let Some(here) = here.filter(|here| here.name.value.as_str() == app) {
        return Ok(Some(here.secrets.keys().map(ToString::to_string).collect()));
    }
    let stacks = platform.client.stacks(&[("app", app)]).await?;
    let meant = |stack: &&Stack| selection.which.selected() == Some((stack.kind, stack.name.as_str()));
    let Some(stack) = stacks.iter().find(meant).or_else(|| stacks.first()) else { return Ok(None) };
    Ok(Some(platform.client.secrets(stack.id).await?.into_iter().map(|secret| secret.name).collect()))
}

fn list(terminal: Terminal, selection: &OneStack) -> CommandResult {
    let platform = Platform::connect(&selection.platform)?;
    let secrets = platform::run(async {
        let stack = platform.find(selection).await?;
        Ok(platform.client.secrets(stack.id).await?)
    })?;
    match (terminal.json, secrets.is_empty()) {
        (true, _) => terminal.print_json(&secrets),
        (false, true) => terminal.tell("It has no secrets."),
        (false, false) => terminal.print(view::stack::secrets(&secrets, chrono::Utc::now())),
    }
    Ok(ExitStatus::Done)
}

fn rotate(terminal: Terminal, secret: &SecretName) -> CommandResult {
    let platform = Platform::connect(&secret.stack.platform)?;
    let status = platform::run(async {
        let stack = platform.find(&secret.stack).await?;
        Ok(platform.client.rotate_secret(stack.id, &secret.name).await?)
    })?;
    told(terminal, &status, "rotated");
    Ok(ExitStatus::Done)
}

fn told(terminal: Terminal, status: &SecretStatus, done: &str) {
    if terminal.json {
        return terminal.print_json(status);
    }
    let readers = match status.readers.is_empty() {
        true => "takes effect with the next deploy".to_owned(),
        false => {
            let verb = if status.readers.len() == 1 { "restarts" } else { "restart" };
            format!("{} {verb} with the next deploy", status.readers.join(", "))
        }
    };
    let text = format!("{} was {done} (version {}); {readers}.", status.name, status.version);
    terminal.print(hanging(&text, 0, 0));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_is_there_in_two_spellings_is_refused_whether_it_is_known_or_not() {
        let values = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), (*name).to_owned())).collect();
        let known = BTreeSet::from(["session-key".to_owned()]);
        for refused in [
            all(values(&["SESSION_KEY", "session-key"])).unwrap_err(),
            sorted(values(&["SESSION_KEY", "session-key"]), &known, "shop", false).unwrap_err(),
        ] {
            assert!(refused.problem.detail.contains("session-key twice"), "{}", refused.problem.detail);
        }
        let wanted = all(values(&["SESSION_KEY", "api-key"])).unwrap();
        assert_eq!(wanted["session-key"], "SESSION_KEY");
        assert_eq!(wanted.len(), 2);
    }
}
