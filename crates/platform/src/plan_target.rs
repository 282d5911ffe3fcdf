//! What a plan is about: which target, stack, definition and settings a request means. What it leaves out is as it was.

use std::sync::Arc;

use freehold_check::Diagnostic;
use freehold_graph::expand::local;
use freehold_graph::{Request, StackId, StackKey, Target};
use freehold_problem::{Code, Problem};
use freehold_spec::{App, Name, StackName};
use freehold_store::{Stack, TenantId};
use uuid::Uuid;

use super::definition::{Definition, Given};
use super::handles;
use super::images::{self, ImageDemand};
use super::names::parse_name;
use super::runtime::TargetRuntime;
use crate::Result;
use crate::actor::Actor;
use crate::artifacts::Artifacts;
use crate::records::Records;
use crate::request::{Deploy, PlanOptions};
use crate::targets::Targets;

/// What a plan of a deploy or rollback is made from.
pub(super) struct PlanTarget {
    pub(super) runtime: Arc<TargetRuntime>,
    pub(super) tenant: TenantId,
    pub(super) stack: Option<Stack>,
    pub(super) request: Request,
    pub(super) definition: Definition,
    pub(super) options: PlanOptions,
}

/// Finds what requests are about.
pub(crate) struct PlanTargets {
    pub(crate) records: Records,
    pub(crate) targets: Arc<Targets>,
    pub(crate) artifacts: Arc<Artifacts>,
}

impl PlanTargets {
    /// Finds target, definition, stack and settings for a request.
    pub(super) async fn find(&self, actor: &Actor, request: &Deploy) -> Result<PlanTarget> {
        let name: StackName = request.name.parse().map_err(|error| {
            Problem::new(
                Code::RequestName,
                format!("{:?} can't be the name of a {}: {error}", request.name, request.kind),
            )
            .help("choose a name like acme-corp; keep the customer's display name in your product")
        })?;
        let runtime = self.targets.choose(request.target.as_deref()).await?;
        images::refuse_wrong_kind(&runtime.target, request)?;
        let given = match request.definition.as_deref() {
            Some(source) => Some(Given::check(source, &request.files).await?),
            None => None,
        };
        let app = match (&given, &request.app) {
            (Some(given), Some(app)) if given.app.as_str() != app => {
                let message = format!("the definition is for app {}, not for {app}", given.app);
                return Err(Problem::new(Code::RequestName, message));
            }
            (Some(given), _) => given.app.clone(),
            (None, Some(app)) => parse_name("app", app)?,
            (None, None) => self.only_app(actor).await?,
        };
        let key = StackKey { target: runtime.target.name().clone(), app, kind: request.kind, name };
        let tenant = self.records.enter(actor, &key).await?;
        let mut tx = self.records.store.begin(tenant).await?;
        let stack = tx.stack(&key).await?;
        drop(tx);
        let before = match stack.as_ref().filter(|stack| stack.definition.is_some()) {
            Some(stack) => Some(self.records.definition_of(tenant, stack).await?),
            None => None,
        };
        // In a cluster an app's new stack runs the images of its latest one, also where the definition is given with the deploy.
        let in_cluster = match &runtime.target {
            Target::Kubernetes(_) => true,
            Target::Local(_) => false,
        };
        let latest = match (&before, &given, in_cluster) {
            (None, None, _) | (None, Some(_), true) => self.latest_of(actor, &key).await?,
            _ => None,
        };
        let mut settled = complete(request, stack.as_ref(), key, latest.as_ref())?;
        let environment = settled.environment();
        let mut definition = match (given, stack.as_ref().filter(|_| before.is_some()), &latest) {
            (Some(given), _, _) => given.hold(&environment).await?,
            (None, Some(stack), _) => self.records.definition_in(tenant, stack, &environment).await?,
            (None, None, Some(latest)) => {
                self.records.definition_in(self.records.tenant_of(latest).await?, latest, &environment).await?
            }
            (None, None, None) => {
                let message = format!("the platform does not know app {}", settled.key.app);
                return Err(Problem::new(Code::NotFound, message).help("give its definition: `freehold deploy DIR`"));
            }
        };
        let app = &definition.app;
        settled.artifacts.retain(|service, _| app.services.contains_key(service));
        let wanted = ImageDemand { app, before: before.as_ref().map(|before| &before.app), images: &request.images };
        images::settle(&runtime, &wanted, &mut settled).await?;
        let options = request.options.clone();
        let warnings = self.check_handles(&options, (tenant, stack.as_ref()), (&runtime, app), &settled).await?;
        definition.warnings.extend(warnings);
        Ok(PlanTarget { runtime, tenant, stack, request: settled, definition, options })
    }

    /// Whether what a request names by hand is there. What the definition can't be expanded for is told later.
    pub(super) async fn check_handles(
        &self,
        options: &PlanOptions,
        (tenant, stack): (TenantId, Option<&Stack>),
        (runtime, app): (&TargetRuntime, &App),
        settled: &Request,
    ) -> Result<Vec<Diagnostic>> {
        if options.adopt.is_empty() && options.delete_data.is_empty() {
            return Ok(Vec::new());
        }
        let Ok(graph) = runtime.expand(app, settled) else { return Ok(Vec::new()) };
        let mut recorded = Vec::new();
        if let Some(stack) = stack {
            let mut tx = self.records.store.begin(tenant).await?;
            let stored = tx.resources(stack.id).await?;
            recorded.extend(stored.into_iter().map(|stored| stored.resource));
        }
        handles::check(&options.adopt, &options.delete_data, &settled.key, &graph, &recorded)
    }

    /// The stack that knows an app best: one on the same target before one on another.
    async fn latest_of(&self, actor: &Actor, key: &StackKey) -> Result<Option<Stack>> {
        let mut tx = self.records.store.look(actor.access()).await?;
        Ok(tx.latest_of_app(&key.app, &key.target).await?)
    }

    async fn only_app(&self, actor: &Actor) -> Result<Name> {
        let mut tx = self.records.store.look(actor.access()).await?;
        let apps = tx.apps().await?;
        match apps.as_slice() {
            [app] => Ok(app.clone()),
            [] => Err(Problem::new(Code::NotFound, "the platform does not know any app yet")
                .help("give a definition: `freehold deploy DIR`")),
            [..] => {
                let known: Vec<&str> = apps.iter().map(Name::as_str).collect();
                Err(Problem::new(Code::Ambiguous, format!("the platform has several apps: {}", known.join(", ")))
                    .help("choose one with --app"))
            }
        }
    }

    /// The checks that need the request: tier, stage, artifacts.
    pub(super) async fn check_request(&self, subject: &PlanTarget) -> Result<()> {
        let PlanTarget { definition, request, runtime, .. } = subject;
        let diagnostics = freehold_check::request(&definition.app, request, &runtime.target);
        if diagnostics.iter().any(freehold_check::Diagnostic::is_error) {
            return Err(super::definition::invalid_definition(&diagnostics));
        }
        if subject.runtime.capabilities.artifacts.is_some() {
            self.check_artifacts(&subject.definition.app, &subject.request).await
        } else {
            Ok(())
        }
    }

    /// On this machine: whether what services run from is here.
    pub(super) async fn check_artifacts(&self, app: &App, request: &Request) -> Result<()> {
        let built = app.services.iter().filter(|(_, service)| !local::runs_image(service));
        for (name, service) in built {
            match request.artifacts.get(name) {
                Some(artifact) if !self.artifacts.holds(artifact).await? => {
                    let message = format!("the platform does not have the artifact of service {name}: {artifact}");
                    let help = "deploy from the app's folder, which sends it";
                    return Err(Problem::new(Code::ArtifactUnknown, message).help(help));
                }
                None if service.build.is_some() => {
                    let message = format!("service {name} has no artifact yet");
                    let help = "deploy from the app's folder, which builds it";
                    return Err(Problem::new(Code::NoArtifact, message).help(help));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Fills in what was left out: from the stack's last request, else (artifacts) from the app's latest stack on the same target.
fn complete(request: &Deploy, stack: Option<&Stack>, key: StackKey, latest: Option<&Stack>) -> Result<Request> {
    let id = stack.map_or_else(|| StackId(Uuid::now_v7()), |stack| stack.id);
    let latest = latest.filter(|latest| latest.key.target == key.target).and_then(|latest| latest.request.as_ref());
    let mut complete = stack.and_then(|stack| stack.request.clone()).unwrap_or_else(|| empty_request(id, key));
    // Images of sidecars and init containers are what the definition says, looked up for every deploy.
    complete.containers.clear();
    if let Some(tier) = &request.tier {
        complete.tier = Some(parse_name("tier", tier)?);
    }
    if let Some(stage) = &request.stage {
        complete.stage = Some(parse_name("stage", stage)?);
    }
    for (service, artifact) in latest.into_iter().flat_map(|latest| &latest.artifacts) {
        complete.artifacts.entry(service.clone()).or_insert_with(|| artifact.clone());
    }
    for (service, artifact) in &request.artifacts {
        complete.artifacts.insert(parse_name("service", service)?, artifact.clone());
    }
    Ok(complete)
}

/// The settings of a stack that was never deployed.
pub(super) fn empty_request(id: StackId, key: StackKey) -> Request {
    let (artifacts, containers, rotations, former_ports) = Default::default();
    Request { key, id, tier: None, stage: None, artifacts, containers, rotations, revision: 0, former_ports }
}
