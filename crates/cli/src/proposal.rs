//! From what is at hand to a plan: the definition, checked; the artifacts, built and sent; the plan, asked for.

use std::collections::BTreeMap;
use std::time::Instant;

use freehold::ClientError;
use freehold::wire::{DeployRequest, PlanResponse, Stack};
use freehold_check::Diagnostic;
use freehold_graph::StackKind;
use freehold_problem::Code;
use freehold_spec::{Environment, PRODUCTION};

use crate::arguments::RequestArguments;
use crate::artifact::{self, Artifacts};
use crate::definition::{self, Valid};
use crate::platform::Platform;
use crate::report::{CommandError, CommandResult};
use crate::terminal::Terminal;
use crate::view::diagnostics;

/// What plans are asked for with.
pub(crate) struct Proposal {
    definition: Option<Valid>,
    /// Only where the target takes some.
    artifacts: Option<Artifacts>,
    arguments: RequestArguments,
    /// The stage that the tenant belongs to, if that was said.
    stage: Option<String>,
}

/// What a proposal is for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stacks<'a> {
    /// One stack, by kind and name.
    One(StackKind, &'a str),
    /// Tenants that there are.
    Tenants(&'a [Stack]),
}

impl Proposal {
    /// Reads and checks the definition, if there is one.
    pub(crate) fn gather(arguments: &RequestArguments, stage: Option<&str>) -> CommandResult<Self> {
        let definition = match definition::find(arguments.directory.as_deref())? {
            // An app was named that isn't the one in this folder: the platform knows it.
            Some(found) if arguments.directory.is_none() && !is_app(&found, arguments.app.as_deref()) => None,
            Some(found) => Some(found.valid()?),
            None => None,
        };
        let stage = stage.map(str::to_owned);
        Ok(Self { definition, artifacts: None, arguments: arguments.clone(), stage })
    }

    /// Builds the artifacts and sees that the platform has them, if the target takes any: a cluster pulls images, and nothing is
    /// built or sent for it. Gives the milliseconds that it took, if there was anything to do.
    pub(crate) async fn prepare(
        &mut self,
        terminal: Terminal,
        platform: &Platform,
        stacks: Stacks<'_>,
    ) -> CommandResult<Option<u64>> {
        let begin = Instant::now();
        self.say_which(terminal);
        let takes_artifacts = match &self.definition {
            Some(_) => platform.takes_artifacts(self.arguments.target.as_deref()).await?,
            None => false,
        };
        if !takes_artifacts {
            return Ok(None);
        }
        let environments = match &self.definition {
            Some(definition) if definition.builds_differ() => self.environments(platform, stacks).await?,
            Some(_) | None => Vec::new(),
        };
        let Some(definition) = &mut self.definition else { return Ok(None) };
        definition.hold_in(&environments)?;
        let artifacts = artifact::prepare(terminal, definition, self.arguments.rebuild)?;
        artifacts.send(platform, false).await?;
        self.artifacts = Some(artifacts);
        Ok(Some(milliseconds(begin)))
    }

    /// The environments that stacks will be in. A tenant keeps the tier and the stage that it has, unless others are named.
    async fn environments(&self, platform: &Platform, stacks: Stacks<'_>) -> CommandResult<Vec<Environment>> {
        let tenant = |known: Option<&Stack>| {
            let tier = self.arguments.tier.clone().or_else(|| known?.tier.clone());
            let stage = self.stage.clone().or_else(|| known?.stage.clone());
            Environment::Tenant { stage: stage.unwrap_or_else(|| PRODUCTION.to_owned()), tier }
        };
        Ok(match stacks {
            Stacks::Tenants(tenants) => tenants.iter().map(|stack| tenant(Some(stack))).collect(),
            Stacks::One(StackKind::Preview, _) => vec![Environment::Preview],
            Stacks::One(StackKind::Stage, name) => vec![Environment::Stage(name.to_owned())],
            Stacks::One(StackKind::Tenant, name) => {
                let app = self.app().unwrap_or_default();
                let known = platform.client.stacks(&[("app", &app), ("kind", StackKind::Tenant.as_str())]).await?;
                let there = |stack: &&Stack| self.target().is_none_or(|target| stack.target == target);
                vec![tenant(known.iter().filter(there).find(|stack| stack.name == name))]
            }
        })
    }

    /// Says which definition it is where nobody named one and it isn't the one in the current folder.
    fn say_which(&self, terminal: Terminal) {
        if terminal.json || self.arguments.directory.is_some() {
            return;
        }
        match &self.definition {
            Some(definition) if definition.directory.as_path() == std::path::Path::new(".") => {}
            Some(definition) => terminal.say(&format!("The definition is {}.", definition.file)),
            None => {
                terminal.say("No definition was named, and none is here or above: using the platform's latest one.")
            }
        }
    }

    /// The app's name, as far as it is known here.
    pub(crate) fn app(&self) -> Option<String> {
        let defined = self.definition.as_ref().map(|definition| definition.app.name.value.to_string());
        defined.or_else(|| self.arguments.app.clone())
    }

    /// The definition's name and text, for diagnostics that the platform finds.
    pub(crate) fn source(&self) -> Option<(String, String)> {
        self.definition.as_ref().map(|definition| (definition.file.clone(), definition.text.clone()))
    }

    /// The target that was named.
    pub(crate) fn target(&self) -> Option<&str> {
        self.arguments.target.as_deref()
    }

    /// Asks for a plan.
    pub(crate) async fn plan(&self, platform: &Platform, kind: StackKind, name: &str) -> CommandResult<PlanResponse> {
        let request = self.request(kind, name);
        let answer = match platform.client.plan(&request).await {
            Err(ClientError::Problem(problem)) if problem.code == Code::ArtifactUnknown => {
                // It was there once, and the platform has lost it or is another one by now.
                match &self.artifacts {
                    Some(artifacts) => artifacts.send(platform, true).await?,
                    None => return Err((*problem).into()),
                }
                platform.client.plan(&request).await
            }
            answer => answer,
        };
        answer.map_err(|error| Box::<CommandError>::from(error).source(self.source()))
    }

    /// What to deploy.
    pub(crate) fn request(&self, kind: StackKind, name: &str) -> DeployRequest {
        let artifacts = match &self.artifacts {
            Some(artifacts) => artifacts.digests(),
            None => BTreeMap::new(),
        };
        DeployRequest {
            target: self.arguments.target.clone(),
            images: self.arguments.image.iter().cloned().collect(),
            app: self.app(),
            definition: self.definition.as_ref().map(|definition| definition.text.clone()),
            files: self.definition.as_ref().map(|definition| definition.files.clone()).unwrap_or_default(),
            kind,
            name: name.to_owned(),
            tier: self.arguments.tier.clone(),
            stage: self.stage.clone(),
            artifacts,
            adopt: self.arguments.adopt.iter().cloned().collect(),
            delete_data: self.arguments.delete_data.iter().cloned().collect(),
            settle: !self.arguments.no_settle,
        }
    }

    /// Tells people what is odd about the definition as it holds for this stack.
    pub(crate) fn warn(&self, terminal: Terminal, answer: &PlanResponse) {
        let Some(definition) = self.definition.as_ref().filter(|_| !terminal.json) else { return };
        let theirs = answer.diagnostics.iter().map(diagnostics::from_wire);
        let theirs: Vec<Diagnostic> = theirs.filter(Diagnostic::is_open).collect();
        if !theirs.is_empty() {
            terminal.tell(format!("{}\n", diagnostics::render(&theirs, &definition.file, &definition.text)));
        }
    }
}

fn is_app(found: &definition::Definition, app: Option<&str>) -> bool {
    match (app, &found.app) {
        (Some(app), Some(found)) => found.name.value.as_str() == app,
        _ => true,
    }
}

/// How long ago `begin` was, for people: whole milliseconds.
pub(crate) fn milliseconds(begin: Instant) -> u64 {
    u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX)
}
