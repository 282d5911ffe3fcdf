//! `freehold target`: the clusters that stacks are deployed to.

use freehold::wire::{Level, Target, TargetKind, TargetRequest};
use freehold_problem::Code;

use crate::arguments::{AddTarget, Existing, PlatformArguments, RbacArguments, RemoveTarget, TargetCommand};
use crate::kubeconfig::Context;
use crate::layout::{BOLD, count, paint};
use crate::platform::{self, Platform};
use crate::report::{CommandError, CommandResult, ExitStatus};
use crate::terminal::Terminal;
use crate::view;

use super::doctor::told;
use super::install::is_name;
use super::precheck::confirmed;

/// Where a database's URL may be given, since an argument can be read by everybody on the machine.
const DATABASE_URL: &str = "FREEHOLD_TARGET_DATABASE_URL";

pub(super) fn run(terminal: Terminal, command: &TargetCommand) -> CommandResult {
    match command {
        TargetCommand::Add(arguments) => add(terminal, arguments),
        TargetCommand::Check(existing) => check(terminal, existing),
        TargetCommand::List(arguments) => list(terminal, arguments),
        TargetCommand::Remove(arguments) => remove(terminal, arguments),
        TargetCommand::Rbac(arguments) => rbac(terminal, arguments),
    }
}

fn add(terminal: Terminal, arguments: &AddTarget) -> CommandResult {
    let platform = Platform::connect(&arguments.platform)?;
    let known = platform::run(async { Ok(platform.client.targets().await?) })?;
    let is_new = !known.iter().any(|target| target.name == arguments.name);
    if is_new {
        complete(arguments)?;
    }
    let named = arguments.context.is_some() || arguments.kubeconfig.is_some();
    let context = match named || (is_new && !arguments.in_cluster) {
        true => Some(Context::read(arguments.kubeconfig.as_deref(), arguments.context.as_deref())?),
        false => None,
    };
    if let Some(context) = context.as_ref().filter(|_| !terminal.json) {
        terminal.say(&format!("Using context {} at {}", context.name, context.server));
    }
    let request = request(terminal, arguments, context)?;
    let (target, findings) = platform::run(async {
        let target = platform.client.put_target(&arguments.name, &request).await?;
        let findings = platform.client.check_target(&arguments.name).await?;
        Ok((target, findings))
    })?;
    let errors = findings.iter().filter(|finding| finding.level == Level::Error).count();
    if terminal.json {
        terminal.print_json(&serde_json::json!({ "target": target, "findings": findings }));
        return Ok(if errors > 0 { ExitStatus::Failed } else { ExitStatus::Done });
    }
    let done = if is_new { "was added" } else { "was changed" };
    terminal.print(format!("{} {done}\n{}\n", paint(BOLD, &target.name), view::target::facts(&target)));
    let outcome = told(terminal, &findings);
    if errors > 0 {
        terminal.say(&format!("It can't be deployed to yet. Then: `freehold target check {}`", target.name));
    }
    Ok(outcome)
}

/// What a new target can't do without.
fn complete(arguments: &AddTarget) -> CommandResult<()> {
    let missing: Vec<&str> = [("--domain", &arguments.domain), ("--gateway", &arguments.gateway)]
        .iter()
        .filter(|(_, given)| given.is_none())
        .map(|(flag, _)| *flag)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let detail = format!("the new target {} needs {}", arguments.name, missing.join(" and "));
    Err(CommandError::new(Code::TargetSettings, detail)
        .help("such as `--domain example.org --gateway NAMESPACE/NAME`; `kubectl get gateways -A` lists what there is"))
}

fn request(terminal: Terminal, arguments: &AddTarget, context: Option<Context>) -> CommandResult<TargetRequest> {
    let registry_credentials = arguments.registry_config.as_ref().map(|file| {
        std::fs::read_to_string(file).map_err(|error| {
            CommandError::new(Code::PullCredentials, format!("{} can't be read: {error}", file.display()))
        })
    });
    Ok(TargetRequest {
        kubeconfig: context.map(|context| context.text),
        domain: arguments.domain.clone(),
        gateway: arguments.gateway.clone(),
        listener: arguments.listener.clone(),
        port: arguments.port,
        data_plane_namespace: arguments.data_plane_namespace.clone(),
        database_url: database_url(terminal, arguments)?,
        database_address: arguments.database_address.clone(),
        cloudnative_pg: arguments.cloudnative_pg,
        issuer: arguments.issuer.clone(),
        external_dns: arguments.external_dns,
        storage_class: arguments.storage_class.clone(),
        cache_image: arguments.cache_image.clone(),
        registry_credentials: registry_credentials.transpose()?,
        insecure_registries: arguments.insecure_registry.iter().cloned().collect(),
        allowed_kinds: arguments.allow_kind.iter().cloned().collect(),
        replace_cluster: arguments.replace_cluster,
        in_cluster: arguments.in_cluster,
        unset: arguments.unset.iter().copied().map(Into::into).collect(),
    })
}

fn database_url(terminal: Terminal, arguments: &AddTarget) -> CommandResult<Option<String>> {
    if arguments.cloudnative_pg {
        return Ok(None);
    }
    if !arguments.database_url_stdin {
        return Ok(std::env::var(DATABASE_URL).ok().filter(|url| !url.is_empty()));
    }
    let url = terminal
        .read_secret("URL of the PostgreSQL server: ")
        .map_err(|error| CommandError::new(Code::BadRequest, format!("the URL can't be read: {error}")))?;
    match url.trim() {
        "" => Err(CommandError::new(Code::BadRequest, "there is no URL on stdin, and nothing was changed")
            .help("it looks like postgresql://user:password@host:5432/postgres")),
        url => Ok(Some(url.to_owned())),
    }
}

fn check(terminal: Terminal, existing: &Existing) -> CommandResult {
    let platform = Platform::connect(&existing.platform)?;
    let findings = platform::run(async {
        platform.target(&existing.name).await?;
        Ok(platform.client.check_target(&existing.name).await?)
    })?;
    Ok(told(terminal, &findings))
}

fn list(terminal: Terminal, arguments: &PlatformArguments) -> CommandResult {
    let platform = Platform::connect(arguments)?;
    let targets = platform::run(async { Ok(platform.client.targets().await?) })?;
    match (terminal.json, targets.is_empty()) {
        (true, _) => terminal.print_json(&targets),
        (false, true) => terminal.tell("There are no targets. `freehold target add NAME …` adds a cluster."),
        (false, false) => terminal.print(view::target::list(&targets)),
    }
    Ok(ExitStatus::Done)
}

fn remove(terminal: Terminal, arguments: &RemoveTarget) -> CommandResult {
    let name = &arguments.target.name;
    let platform = Platform::connect(&arguments.target.platform)?;
    let target = platform::run(platform.target(name))?;
    refuse_own(&target)?;
    refuse_used(&target)?;
    if !terminal.json {
        terminal
            .say(&format!("This forgets {name} and its credentials, and removes what Freehold made there for itself."));
    }
    if !confirmed(terminal, arguments.yes, "Go on?", "--yes")? {
        terminal.tell("Nothing was changed.");
        return Ok(ExitStatus::Failed);
    }
    platform::run(async { Ok(platform.client.remove_target(name).await?) })?;
    match terminal.json {
        true => terminal.print_json(&serde_json::json!({ "removed": name })),
        false => terminal.print(format!("Target {name} was removed.")),
    }
    Ok(ExitStatus::Done)
}

/// The platform refuses this and the next, too; but nobody need be asked first.
fn refuse_own(target: &Target) -> CommandResult<()> {
    if target.kind != TargetKind::Local {
        return Ok(());
    }
    let detail = format!("{} is the machine that the platform runs on, and can't be removed", target.name);
    Err(CommandError::new(Code::OtherKindOfTarget, detail).help("`freehold target list` shows which targets can"))
}

fn refuse_used(target: &Target) -> CommandResult<()> {
    if target.stacks == 0 {
        return Ok(());
    }
    let detail = format!("{} has {}, and nothing was changed", target.name, count(target.stacks, "stack"));
    Err(CommandError::new(Code::TargetInUse, detail)
        .help(format!("`freehold list --target {}` shows what has to be destroyed first", target.name)))
}

/// Whether this can be the name of a kind that manifests may hold.
fn may_be_allowed(kind: &str) -> CommandResult<()> {
    let (plural, group) = kind.split_once('.').unwrap_or((kind, ""));
    let is_word =
        |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if !is_word(plural) || !(group.is_empty() || group.split('.').all(is_word)) {
        let detail = format!("{kind:?} is not a kind as RBAC names it");
        return Err(
            CommandError::new(Code::BadName, detail).help("write its plural and its group: widgets.example.org")
        );
    }
    match freehold_graph::delivered::refused(group, plural) {
        Some(why) => Err(CommandError::new(Code::NotDeliverable, format!("no stack may deliver {kind}: {why}"))),
        None => Ok(()),
    }
}

fn rbac(terminal: Terminal, arguments: &RbacArguments) -> CommandResult {
    for name in [&arguments.service_account, &arguments.namespace] {
        is_name(name)?;
    }
    for kind in &arguments.allow_kind {
        may_be_allowed(kind)?;
    }
    let allowed = arguments.allow_kind.iter().cloned().collect();
    let yaml = freehold_provider_kubernetes::rbac(&arguments.service_account, &arguments.namespace, &allowed);
    match terminal.json {
        true => terminal.print_json(&serde_json::json!({ "yaml": yaml })),
        false => terminal.print(yaml.trim_end()),
    }
    Ok(ExitStatus::Done)
}
