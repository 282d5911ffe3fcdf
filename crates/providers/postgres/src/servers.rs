//! The database servers of a target: one without a name, and others by theirs.
//!
//! What is on one of the others says so: in the field `server` of its body, and before the `/` of its identity
//! ([`freehold_graph::expand::names::on_server`]). The provider of that server knows of neither; it is asked about the object by the name
//! that the object has there.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use freehold_engine::capability::{Capabilities, Capacity, DatabaseServers, Finding};
use freehold_engine::provider::Proposal;
use freehold_engine::{Context, Lookup, OwnedObject, Performed, Provider, ProviderError, Readiness, Task};
use freehold_graph::{ProviderName, Resource, StackId, Value};
use freehold_plan::{Observation, Preview};
use freehold_problem::{Code, Problem};

use crate::provider::PostgresProvider;

/// The field of a body.
const SERVER: &str = "server";

/// All of a target's servers, as one provider.
#[derive(Debug, Clone)]
pub struct PostgresServers {
    main: Arc<PostgresProvider>,
    named: BTreeMap<String, Arc<PostgresProvider>>,
}

impl PostgresServers {
    /// The one without a name, and the others.
    pub fn new(main: Arc<PostgresProvider>, named: BTreeMap<String, Arc<PostgresProvider>>) -> Self {
        Self { main, named }
    }

    /// # Errors
    /// There is none of this name (any more).
    fn find(&self, server: Option<&str>) -> Result<&PostgresProvider, ProviderError> {
        let Some(name) = server else { return Ok(&self.main) };
        self.named.get(name).map(AsRef::as_ref).ok_or_else(|| {
            ProviderError::from(
                Problem::new(Code::UnknownServer, format!("the target has no database server {name}"))
                    .help("give it that server again; what is on it can't be reached without"),
            )
        })
    }

    /// Whose an object is, and the object as that server knows it.
    fn of<'a>(&self, lookup: &'a Lookup) -> Result<(&PostgresProvider, Option<&'a str>, Lookup), ProviderError> {
        let server = name_in(&lookup.body);
        let there = Lookup { identity: within(&lookup.identity, server), ..lookup.clone() };
        Ok((self.find(server)?, server, there))
    }

    fn all(&self) -> impl Iterator<Item = (Option<&str>, &PostgresProvider)> {
        let named = self.named.iter().map(|(name, provider)| (Some(name.as_str()), &**provider));
        std::iter::once((None, &*self.main)).chain(named)
    }
}

/// The server that a body says.
fn name_in(body: &Value) -> Option<&str> {
    body.get(SERVER).and_then(Value::as_text)
}

/// A name on its server, of an identity.
fn within(identity: &str, server: Option<&str>) -> String {
    let there = server.and_then(|server| identity.strip_prefix(server)?.strip_prefix('/'));
    there.unwrap_or(identity).to_owned()
}

fn resource_there(resource: &Resource) -> Resource {
    Resource { identity: within(&resource.identity, name_in(&resource.body)), ..resource.clone() }
}

#[async_trait]
impl Provider for PostgresServers {
    fn name(&self) -> ProviderName {
        ProviderName::Postgres
    }

    fn concurrency(&self) -> usize {
        self.all().map(|(_, provider)| provider.concurrency()).sum()
    }

    fn capabilities(self: Arc<Self>) -> Capabilities {
        Capabilities { databases: Some(self), ..Capabilities::default() }
    }

    async fn preview_dump(&self, stack: StackId, lookup: &Lookup) -> Result<(), ProviderError> {
        let (provider, _, there) = self.of(lookup)?;
        provider.preview_dump(stack, &there).await
    }

    async fn observe(&self, stack: StackId, lookup: &Lookup) -> Result<Option<Observation>, ProviderError> {
        let (provider, server, there) = self.of(lookup)?;
        let mut seen = provider.observe(stack, &there).await?;
        if let (Some(Observation { body: Value::Map(fields), .. }), Some(server)) = (&mut seen, server) {
            fields.insert(SERVER.to_owned(), Value::text(server));
        }
        Ok(seen)
    }

    async fn preview(&self, stack: StackId, proposal: &Proposal<'_>) -> Result<Preview, ProviderError> {
        let resource = resource_there(proposal.resource);
        let provider = self.find(name_in(&resource.body))?;
        let Proposal { desired, observed, adopt, .. } = *proposal;
        provider.preview(stack, &Proposal { resource: &resource, desired, observed, adopt }).await
    }

    async fn perform(&self, context: &Context, task: &Task) -> Result<Performed, ProviderError> {
        let (server, there) = match task {
            Task::Apply { resource, desired, object, adopt, takes } => {
                let (desired, object, takes) = (desired.clone(), object.clone(), takes.clone());
                let resource_there = resource_there(resource);
                let there = Task::Apply { resource: resource_there, desired, object, adopt: *adopt, takes };
                (name_in(&resource.body), there)
            }
            Task::Lift { resource, observed, object } => {
                let (observed, object) = (observed.clone(), object.clone());
                (name_in(&resource.body), Task::Lift { resource: resource_there(resource), observed, object })
            }
            Task::Delete { lookup, object } => {
                let (_, server, lookup) = self.of(lookup)?;
                (server, Task::Delete { lookup, object: object.clone() })
            }
            Task::Fence { lookup, object } => {
                let (_, server, lookup) = self.of(lookup)?;
                (server, Task::Fence { lookup, object: object.clone() })
            }
            Task::Dump { lookup } => {
                let (_, server, lookup) = self.of(lookup)?;
                (server, Task::Dump { lookup })
            }
            Task::Run { run } => (None, Task::Run { run: run.clone() }),
        };
        self.find(server)?.perform(context, &there).await
    }

    async fn readiness(&self, stack: StackId, lookup: &Lookup) -> Result<Readiness, ProviderError> {
        let (provider, _, there) = self.of(lookup)?;
        provider.readiness(stack, &there).await
    }

    async fn owned(&self, stack: Option<StackId>) -> Result<Vec<OwnedObject>, ProviderError> {
        let mut owned = Vec::new();
        for (server, provider) in self.all() {
            let there = provider.owned(stack).await?.into_iter();
            owned.extend(there.map(|object| match server {
                Some(server) => OwnedObject { name: format!("{server}/{}", object.name), ..object },
                None => object,
            }));
        }
        Ok(owned)
    }
}

#[async_trait]
impl DatabaseServers for PostgresServers {
    fn names(&self) -> Vec<String> {
        self.named.keys().cloned().collect()
    }

    async fn capacity(&self, server: Option<&str>) -> Result<Capacity, ProviderError> {
        self.find(server)?.capacity().await
    }

    async fn unmanaged(&self) -> Result<Vec<Finding>, ProviderError> {
        let mut findings = Vec::new();
        for (server, provider) in self.all() {
            findings.extend(provider.unmanaged().await?.into_iter().map(|finding| match server {
                Some(server) => Finding { message: format!("server {server}: {}", finding.message), ..finding },
                None => finding,
            }));
        }
        Ok(findings)
    }
}
