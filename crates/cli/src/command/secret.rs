//! `freehold secret`: values come in by stdin, never by the command line, and never go out.

use std::collections::BTreeSet;

use freehold::wire::{SecretStatus, SecretValue, Stack};
use freehold_problem::Code;

use crate::arguments::{OneStack, SecretCommand, SecretName, SetSecret};
use crate::definition;
use crate::layout::hanging;
use crate::platform::{self, Platform};
use crate::report::{CommandError, CommandResult, ExitStatus};
use crate::terminal::Terminal;
use crate::view;

pub(super) fn run(terminal: Terminal, command: &SecretCommand) -> CommandResult {
    match command {
        SecretCommand::Set(secret) => set(terminal, secret),
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
        Ok(platform.client.set_secret(target, (&app, kind.as_str(), stack), &secret.name, &value).await?)
    })?;
    told(terminal, &status, "set");
    Ok(ExitStatus::Done)
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
