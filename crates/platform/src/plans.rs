//! From a request to a plan: reads the store, observes the world, changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use freehold_check::Diagnostic;
use freehold_engine::OperationId;
use freehold_engine::capability::Capacity;
use freehold_graph::expand::{ExpandError, kubernetes};
use freehold_graph::kind::MIGRATOR_CONNECTIONS;
use freehold_graph::{Graph, Request, StackId, expand};
use freehold_plan::{Inputs, Plan, Purpose};
use freehold_problem::{Code, Problem};
use freehold_spec::{App, Fact, Name};
use freehold_store::{Claim, Revision, SecretDigests, Stack, StackState, TenantId};
use uuid::Uuid;

use super::computing::compute;
use super::definition::{Definition, invalid_definition, never_deployed, not_kept};
use super::images::{self, ImageDemand};
use super::observe::Observed;
use super::plan_target::{PlanTarget, PlanTargets, empty_request};
use super::refused;
use super::runtime::TargetRuntime;
use super::values::{self, ValueChange};
use crate::Result;
use crate::actor::{Actor, Scope};
use crate::records::Records;
use crate::request::{Deploy, PlanOptions};
use crate::targets::Targets;
use crate::view::Planned;

/// How often a deploy is planned while others keep changing the stack. Then what was made last is the answer; applied, it is refused
/// as outdated.
const PLANNING_TRIES: u32 = 5;

/// What a plan of a stack is true for: which one it is, how often it was changed, and by what it is being changed.
fn version_of(stack: &Stack) -> (StackId, u64, Option<OperationId>) {
    (stack.id, stack.generation, stack.operation)
}

/// What a plan is made from.
struct PlanInputs<'a> {
    runtime: &'a TargetRuntime,
    tenant: TenantId,
    stack: Option<&'a Stack>,
    request: &'a Request,
    /// The definition's hash.
    definition: &'a str,
    graph: &'a Graph,
    purpose: Purpose,
    adopt: &'a BTreeSet<String>,
    delete_data: &'a BTreeSet<String>,
}

/// From requests to plans. Changes nothing.
pub struct Plans {
    pub(crate) records: Records,
    pub(crate) targets: Arc<Targets>,
    pub(crate) subjects: PlanTargets,
}

impl Plans {
    /// The plan of a deploy. A plan that has anything to do is kept, so that it can be applied as it was shown.
    pub async fn deploy(&self, actor: &Actor, request: &Deploy) -> Result<Planned> {
        actor.require(Scope::Deploy)?;
        let (answer, _) = self.deploy_plan(actor, request).await?;
        Ok(answer)
    }

    /// The same, with the graph that it leads to.
    pub(crate) async fn deploy_plan(&self, actor: &Actor, request: &Deploy) -> Result<(Planned, Graph)> {
        let mut tries = 0;
        loop {
            tries += 1;
            let subject = self.subjects.find(actor, request).await?;
            let (tenant, key) = (subject.tenant, subject.request.key.clone());
            let before = subject.stack.as_ref().map(version_of);
            let answer = async {
                self.subjects.check_request(&subject).await?;
                let mut tx = self.records.store.begin(tenant).await?;
                tx.check_sharing(&subject.request.key, subject.runtime.sharing).await?;
                drop(tx);
                self.plan_subject(actor, subject, Purpose::Deploy).await
            };
            let answer = answer.await;
            // Made from a stack that another deploy has changed or first made meanwhile, the plan, or the reason why there is none,
            // may be about things that this stack didn't own yet.
            let mut tx = self.records.store.begin(tenant).await?;
            let after = tx.stack(&key).await?;
            if tries == PLANNING_TRIES || before == after.as_ref().map(version_of) {
                return answer;
            }
        }
    }

    /// The plan that makes a stack what it was: the present definition and settings again.
    pub async fn repair(&self, actor: &Actor, stack: StackId) -> Result<Planned> {
        actor.require(Scope::Deploy)?;
        let stack = self.records.find_stack(actor, stack).await?;
        self.repair_of(actor, stack).await
    }

    /// The present definition and settings again.
    pub(crate) async fn repair_of(&self, actor: &Actor, stack: Stack) -> Result<Planned> {
        let tenant = self.records.tenant_of(&stack).await?;
        let definition = self.records.definition_of(tenant, &stack).await?;
        let request = stack.request.clone().ok_or_else(|| never_deployed(&stack))?;
        let runtime = self.targets.find(&stack.key.target).await?;
        let options = PlanOptions::default();
        let subject = PlanTarget { runtime, tenant, stack: Some(stack), request, definition, options };
        Ok(self.plan_subject(actor, subject, Purpose::Deploy).await?.0)
    }

    /// The plan that goes back to an older revision; without a number to the last verified one before the present.
    pub async fn rollback(
        &self,
        actor: &Actor,
        stack: StackId,
        to: Option<u64>,
        options: PlanOptions,
    ) -> Result<Planned> {
        actor.require(Scope::Deploy)?;
        let stack = self.records.find_stack(actor, stack).await?;
        let tenant = self.records.tenant_of(&stack).await?;
        let mut tx = self.records.store.begin(tenant).await?;
        let revisions = tx.revisions(stack.id, 1000).await?;
        let current = stack.verified_revision;
        let is_it = |number: u64, verified: bool| match to {
            Some(wanted) => number == wanted,
            // What served before what serves now; after a failure, what serves now.
            None => verified && (Some(number) != current || stack.state == StackState::Failed),
        };
        let wanted = revisions.into_iter().find(|listed| match listed {
            Ok(revision) => is_it(revision.number, revision.verified_at.is_some()),
            Err(left) => is_it(left.number, left.verified_at.is_some()),
        });
        let Some(wanted) = wanted else {
            let message = match to {
                Some(number) => format!("{} has no revision {number}", stack.key),
                None => format!("{} has no earlier verified revision", stack.key),
            };
            return Err(Problem::new(Code::UnknownRevision, message)
                .help(format!("`freehold history {}` lists the revisions", stack.key.option())));
        };
        let Revision { number, mut request, definition, .. } = wanted.map_err(|left| Problem::from(left.error))?;
        // Secrets and credentials are not rolled back: older values are revoked.
        if let Some(present) = &stack.request {
            request.rotations.clone_from(&present.rotations);
        }
        let stored = tx.definition(&definition).await?.ok_or_else(|| not_kept(&definition))?;
        drop(tx);
        let mut definition = Definition::read(stored, &request.environment()).await?;
        let runtime = self.targets.find(&stack.key.target).await?;
        let wanted = ImageDemand { app: &definition.app, before: None, images: &BTreeMap::new() };
        images::settle(&runtime, &wanted, &mut request).await?;
        let place = (&*runtime, &definition.app);
        definition
            .warnings
            .extend(self.subjects.check_handles(&options, (tenant, Some(&stack)), place, &request).await?);
        let subject = PlanTarget { runtime, tenant, stack: Some(stack), request, definition, options };
        if subject.runtime.capabilities.artifacts.is_some() {
            self.subjects.check_artifacts(&subject.definition.app, &subject.request).await?;
        }
        Ok(self.plan_subject(actor, subject, Purpose::Rollback { to: number }).await?.0)
    }

    /// The plan that takes a stack away; with `dump`, dumps of its databases are written and proved first.
    pub async fn destroy(&self, actor: &Actor, stack: StackId, dump: bool) -> Result<Planned> {
        actor.require(Scope::Deploy)?;
        let stack = self.records.find_stack(actor, stack).await?;
        let tenant = self.records.tenant_of(&stack).await?;
        let request = stack.request.clone().unwrap_or_else(|| empty_request(stack.id, stack.key.clone()));
        let definition = stack.definition.clone().unwrap_or_default();
        let runtime = self.targets.find(&stack.key.target).await?;
        let nothing = BTreeSet::new();
        let inputs = PlanInputs {
            runtime: &runtime,
            tenant,
            stack: Some(&stack),
            request: &request,
            definition: &definition,
            graph: &Graph::default(),
            purpose: Purpose::Destroy { dump },
            adopt: &nothing,
            delete_data: &nothing,
        };
        let plan = self.make_plan(&inputs).await?;
        if dump {
            refuse_what_has_no_dump(&plan)?;
            runtime.preview_dumps(&plan).await?;
        }
        self.save_plan(tenant, &plan).await?;
        self.answer(actor, &runtime, plan, Some(&stack), &[]).await
    }

    async fn plan_subject(&self, actor: &Actor, mut subject: PlanTarget, purpose: Purpose) -> Result<(Planned, Graph)> {
        let numbered = subject.definition.app.asks_for(Fact::StackRevision);
        let number = |revision: u64| if numbered { revision } else { 0 };
        let former_ports = self.former_ports(&subject).await?;
        // As the last revision, for it may be that nothing changes; else as the next one.
        let last = subject.stack.as_ref().filter(|stack| stack.verified_revision == Some(stack.revision));
        let (revision, ports) = match last.and_then(|stack| Some((stack.revision, stack.request.as_ref()?))) {
            Some((revision, request)) => (revision, request.former_ports.clone()),
            None => (subject.stack.as_ref().map_or(0, |stack| stack.revision) + 1, former_ports.clone()),
        };
        (subject.request.revision, subject.request.former_ports) = (number(revision), ports);
        let (mut graph, mut plan) = self.expand_and_plan(&subject, purpose).await?;
        let next = (number(plan.revision), former_ports);
        if plan.revision != revision && next != (subject.request.revision, subject.request.former_ports.clone()) {
            (subject.request.revision, subject.request.former_ports) = next;
            (graph, plan) = self.expand_and_plan(&subject, purpose).await?;
        }
        plan.settle = subject.options.settle;
        let stack = subject.stack.as_ref();
        if !is_settled(&plan, stack) {
            let mut tx = self.records.store.begin(subject.tenant).await?;
            let app = &subject.definition.app.name.value;
            let Definition { hash, stored, .. } = &subject.definition;
            tx.save_definition(hash, app.as_str(), stored).await?;
            tx.save_plan(&plan).await?;
            // A plan that a crash of PostgreSQL loses is made again; `enqueue` waits for the disk, and so for these rows.
            tx.commit_without_waiting().await?;
        }
        let values = self.changed_values(&subject).await?;
        let planned = self.answer(actor, &subject.runtime, plan, stack, &subject.definition.warnings).await?;
        Ok((Planned { values, ..planned }, graph))
    }

    /// The ports of the stack's services in a cluster that this definition gives others to.
    async fn former_ports(&self, subject: &PlanTarget) -> Result<BTreeMap<Name, u16>> {
        let Some(stack) = subject.stack.as_ref().filter(|_| subject.runtime.target.cluster().is_some()) else {
            return Ok(BTreeMap::new());
        };
        let (recorded, _) = self.records.remembered(subject.tenant, stack).await?;
        let ports = kubernetes::service_ports(recorded.values().map(|recorded| &recorded.resource));
        // After a failure it isn't known what has changed over to the new port.
        let settled = stack.verified_revision == Some(stack.revision);
        let services = &subject.definition.app.services;
        let former = ports.into_iter().filter_map(|(name, (own, former))| {
            let port = services.get(&name)?.port.as_ref()?.value;
            let former = own.filter(|own| *own != port).or(former.filter(|former| !settled && *former != port));
            Some((name, former?))
        });
        Ok(former.collect())
    }

    async fn expand_and_plan(&self, subject: &PlanTarget, purpose: Purpose) -> Result<(Graph, Plan)> {
        let graph = compute(|| subject.runtime.expand(&subject.definition.app, &subject.request)).await?;
        let inputs = PlanInputs {
            runtime: &subject.runtime,
            tenant: subject.tenant,
            stack: subject.stack.as_ref(),
            request: &subject.request,
            definition: &subject.definition.hash,
            graph: &graph,
            purpose,
            adopt: &subject.options.adopt,
            delete_data: &subject.options.delete_data,
        };
        let plan = self.make_plan(&inputs).await?;
        Ok((graph, plan))
    }

    /// What the definition says otherwise than when the stack was last deployed.
    async fn changed_values(&self, subject: &PlanTarget) -> Result<Vec<ValueChange>> {
        let Some(stack) = &subject.stack else { return Ok(Vec::new()) };
        let (Some(hash), Some(request)) = (&stack.definition, &stack.request) else { return Ok(Vec::new()) };
        let (before, after) = (request.environment(), subject.request.environment());
        if *hash == subject.definition.hash && before == after {
            return Ok(Vec::new());
        }
        let mut tx = self.records.store.begin(subject.tenant).await?;
        let stored = tx.definition(hash).await?;
        drop(tx);
        let Some(stored) = stored else { return Ok(Vec::new()) };
        Ok(compute(|| values::changed((&stored, &before), (&subject.definition.stored, &after))).await)
    }

    async fn make_plan(&self, inputs: &PlanInputs<'_>) -> Result<Plan> {
        let PlanInputs { runtime, tenant, stack, request, graph, purpose, .. } = *inputs;
        let (recorded, previous) = match stack {
            Some(stack) => self.records.remembered(tenant, stack).await?,
            None => (BTreeMap::new(), None),
        };
        let subjects = freehold_plan::subjects(graph, &recorded);
        // None of them depends on another. What is refused is refused for the first reason in this order all the same.
        let (observed, digests, names, connections) = futures::join!(
            runtime.observe(request.id, &subjects),
            self.records.digests(request),
            self.refuse_taken_names(tenant, request, graph),
            runtime.refuse_too_many_connections(request, graph),
        );
        let (observed, digests) = (observed?, digests?);
        if purpose == Purpose::Deploy {
            refuse_missing_secrets(request, graph, &observed)?;
        }
        names?;
        connections?;
        match purpose {
            Purpose::Deploy | Purpose::Rollback { .. } => refuse_what_is_too_large(graph, &digests)?,
            Purpose::Destroy { .. } => {}
        }
        let previews = runtime.preview(request.id, graph, &observed, &digests, inputs.adopt).await?;
        let nothing = BTreeSet::new();
        let make = || {
            let inputs = Inputs {
                id: Uuid::now_v7(),
                purpose,
                generation: stack.map_or(0, |stack| stack.generation),
                last_revision: stack.map_or(0, |stack| stack.revision),
                definition: inputs.definition,
                request,
                graph,
                recorded: &recorded,
                observed: &observed,
                previews: &previews,
                previous: previous.as_ref(),
                digests: &digests,
                adopt: inputs.adopt,
                delete_data: inputs.delete_data,
                succeeded: stack.map_or(&nothing, |stack| &stack.ran_once),
            };
            let has_older = stack.is_some_and(|stack| stack.verified_revision.is_some_and(|verified| verified > 1));
            let refused = refused::Refused { purpose, key: &request.key, has_older };
            let refused = |errors: Vec<_>| refused::plan(&refused, &errors, &freehold_plan::remainder(&inputs));
            freehold_plan::make(&inputs).map_err(refused)
        };
        let mut plan = compute(make).await?;
        runtime.preview_deletions(&mut plan).await?;
        Ok(plan)
    }

    async fn save_plan(&self, tenant: TenantId, plan: &Plan) -> Result<()> {
        let mut tx = self.records.store.begin(tenant).await?;
        tx.save_plan(plan).await?;
        Ok(tx.commit().await?)
    }

    async fn refuse_taken_names(&self, tenant: TenantId, request: &Request, graph: &Graph) -> Result<()> {
        let claims = claims(graph);
        let mut tx = self.records.store.begin(tenant).await?;
        Ok(tx.check_claims(&request.key.target, request.id, &claims).await?)
    }

    async fn answer(
        &self,
        actor: &Actor,
        runtime: &TargetRuntime,
        plan: Plan,
        stack: Option<&Stack>,
        warnings: &[Diagnostic],
    ) -> Result<Planned> {
        Ok(Planned {
            noop: is_settled(&plan, stack),
            new_stack: stack.is_none_or(|stack| stack.generation == 0),
            diagnostics: warnings.to_vec(),
            values: Vec::new(),
            target: runtime.target.name().clone(),
            cluster: runtime.target.cluster(),
            database_server: runtime.target.database_server(),
            running: self.same_under_way(actor, &plan, stack).await?,
            plan,
        })
    }

    /// The operation that works on the stack, if it is for the very same.
    async fn same_under_way(&self, actor: &Actor, plan: &Plan, stack: Option<&Stack>) -> Result<Option<OperationId>> {
        let Some(operation) = stack.and_then(|stack| stack.operation) else { return Ok(None) };
        let operation = self.records.find_operation(actor, operation).await?;
        let theirs = &operation.plan;
        let same =
            theirs.purpose == plan.purpose && theirs.definition == plan.definition && theirs.request == plan.request;
        Ok((same && !operation.state.is_finished()).then_some(operation.id))
    }
}

impl TargetRuntime {
    /// What a stack consists of on this target.
    pub(crate) fn expand(&self, app: &App, request: &Request) -> Result<Graph> {
        let expanded = expand::expand(app, request, &self.target).map(|mut graph| {
            graph.not_enforced.extend(self.not_enforced.iter().map(|missing| (*missing).to_owned()));
            graph
        });
        expanded.map_err(|errors| {
            let message = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            let has = |kind: fn(&ExpandError) -> bool| errors.iter().any(kind);
            if has(|error| matches!(error, ExpandError::NoDatabaseAddress { .. })) {
                let target = self.target.name();
                return Problem::new(Code::TargetDatabase, message).help(format!(
                    "`freehold target add {target}` with the database's URL resolves the address again; \
                     --database-address HOST:PORT gives it"
                ));
            }
            if has(|error| matches!(error, ExpandError::KindNotAllowed { .. })) {
                let target = self.target.name();
                return Problem::new(Code::KindNotAllowed, message).help(format!(
                    "take the object out of the manifest, or let the target's operator allow its kind: \
                     `freehold target add {target} --allow-kind NAME`"
                ));
            }
            if has(|error| matches!(error, ExpandError::NoLoopback { .. })) {
                return Problem::new(Code::PostgresUnreachable, message)
                    .help("end the other program and start Freehold again, or use `url`, which leads to the socket");
            }
            if has(|error| matches!(error, ExpandError::GatewayLacks { .. })) {
                let target = self.target.name();
                return Problem::new(Code::GatewayLacks, message).help(format!(
                    "leave the key out where this target is meant (`[stage.X]` overrides it), or install what is missing and run \
                     `freehold target add {target}` again"
                ));
            }
            if has(|error| matches!(error, ExpandError::NoCacheImage { .. })) {
                let target = self.target.name();
                return Problem::new(Code::NoCacheImage, message).help(format!(
                    "`freehold target add {target} --cache-image REPOSITORY@sha256:…`: Redis 7 or Valkey, by its digest"
                ));
            }
            if has(|error| matches!(error, ExpandError::NoBucketServer { .. })) {
                return Problem::new(Code::NoBucketServer, message).help(
                    "deploy to this machine; or leave the bucket out, and hand a server's address and credentials to the app as secrets",
                );
            }
            if has(|error| matches!(error, ExpandError::SidecarAnswers { .. })) {
                return Problem::new(Code::SidecarAnswers, message)
                    .help("make the sidecar a service of its own, which refers to the other one's host and port");
            }
            if has(|error| matches!(error, ExpandError::GrpcRoute { .. })) {
                return Problem::new(Code::GrpcRoute, message).help(
                    "leave the route out for stacks on one machine; services reach each other by gRPC there, through `${service.NAME.url}`",
                );
            }
            if has(|error| matches!(error, ExpandError::UnknownServer { .. })) {
                return Problem::new(Code::UnknownServer, message).help(
                    "`freehold up --database-server NAME=FILE` gives this machine another server; or leave `server.name` out where this \
                     target is meant (`[stage.X]` overrides it)",
                );
            }
            if has(|error| matches!(error, ExpandError::ServerTooOld { .. })) {
                return Problem::new(Code::ServerTooOld, message)
                    .help("deploy to a target with a newer server, or ask for less where this target is meant (`[stage.X]` overrides it)");
            }
            if has(|error| matches!(error, ExpandError::ExtensionNotPrepared { .. })) {
                return Problem::new(Code::ExtensionNotPrepared, message)
                    .help("leave it out where this target is meant; a target with a server of its own has it from a template");
            }
            let codes = [
                (Code::SameObject, has(|error| matches!(error, ExpandError::SameName { .. }))),
                (Code::RouteTwice, has(|error| matches!(error, ExpandError::RouteTwice { .. }))),
                (Code::RouteSetting, has(|error| matches!(error, ExpandError::NotUrl { .. }))),
            ];
            let code = codes.into_iter().find_map(|(code, found)| found.then_some(code));
            Problem::new(code.unwrap_or(Code::Dangling), message)
        })
    }

    /// Promised connections have to fit into what the server has. A stack that asks for no more than it has is never refused. This is for
    /// the plan: what counts is the promise that is made when the operation begins.
    pub(super) async fn refuse_too_many_connections(&self, request: &Request, graph: &Graph) -> Result<()> {
        for server in graph.servers() {
            let wanted = graph.connections(server);
            let Some(capacity) = self.capacity_for(server, wanted).await? else { continue };
            let available = capacity.available_to(request.id);
            if capacity.allows(request.id, wanted) {
                continue;
            }
            let called = server.map(|name| format!(" {name}")).unwrap_or_default();
            let message = format!(
                "{} wants {wanted} database connections ({} of each database's are for migrations), and the PostgreSQL server{called} of \
                 {} has {available} left to promise",
                request.key,
                MIGRATOR_CONNECTIONS,
                self.target.name()
            );
            return Err(Problem::new(Code::ConnectionsExceeded, message)
                .help("lower `connections` in the definition, or raise max_connections of the server"));
        }
        Ok(())
    }

    /// The connections of one of the target's database servers, if any of them are wanted.
    pub(super) async fn capacity_for(&self, server: Option<&str>, wanted: u32) -> Result<Option<Capacity>> {
        match &self.capabilities.databases {
            Some(servers) if wanted > 0 => Ok(Some(servers.capacity(server).await?)),
            _ => Ok(None),
        }
    }
}

/// How long secrets are together is known here first.
fn refuse_what_is_too_large(graph: &Graph, digests: &SecretDigests) -> Result<()> {
    match freehold_check::sizes(graph, &|secret| digests.length(secret)) {
        diagnostics if diagnostics.is_empty() => Ok(()),
        diagnostics => Err(invalid_definition(&diagnostics)),
    }
}

fn refuse_missing_secrets(request: &Request, graph: &Graph, observed: &Observed) -> Result<()> {
    let missing: Vec<&str> = graph
        .resources
        .values()
        .filter(|resource| resource.kind.is_sealed())
        .filter(|resource| resource.body.get("required").is_some())
        .filter(|resource| !matches!(observed.get(&resource.id), Some(Some(_))))
        .map(|resource| resource.identity.as_str())
        .collect();
    let Some(first) = missing.first() else { return Ok(()) };
    let key = &request.key;
    let message = format!("{key} has no value for {}", missing.join(", "));
    Err(Problem::new(Code::SecretNotSet, message).help(format!(
        "set it with `freehold secret set {first} {} --app {}`, value on standard input",
        key.option(),
        key.app
    )))
}

/// Whether there is nothing to do: all is as it should be, and was seen to be. After a failure it has yet to be verified, and an
/// operation that is under way may be about to change it.
fn is_settled(plan: &Plan, stack: Option<&Stack>) -> bool {
    let ready = stack.is_some_and(|stack| stack.state == StackState::Ready);
    ready && plan.is_noop() && plan.same && !matches!(plan.purpose, Purpose::Destroy { .. })
}

/// The claims of a graph as the store wants them.
pub(crate) fn claims(graph: &Graph) -> BTreeSet<Claim> {
    graph.claims.iter().map(|(scope, name)| Claim { scope: scope.clone(), name: name.clone() }).collect()
}

/// A destroy promises a dump of all data that goes. Of a volume there is none.
fn refuse_what_has_no_dump(plan: &Plan) -> Result<()> {
    let lost = plan.changes.values().filter(|change| change.loses_data && !change.kind.can_be_dumped());
    let lost: Vec<String> = lost.map(|change| format!("{} {}", change.kind.word(), change.identity)).collect();
    if lost.is_empty() {
        return Ok(());
    }
    Err(Problem::new(
        Code::NoDumpOfIt,
        format!("{} can't be dumped, and would be lost without a copy", lost.join(", ")),
    )
    .help("copy what you want to keep, then run the same command with --no-dump"))
}
