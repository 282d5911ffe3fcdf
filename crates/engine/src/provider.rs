//! What the engine asks of a provider.
//!
//! A provider is stateless as far as the engine is concerned: everything it needs comes with the call, and whatever it
//! remembers it remembers in the outside world (marks, comments, files of its own). All calls are idempotent under
//! (operation, step): the engine repeats them after a crash or an unknown outcome.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use freehold_graph::{ProviderName, Resource, ResourceId, ResourceKind, Run, SecretRef, SecretText, StackId, Value};
use freehold_plan::{Conflict, Observation, Preview};
use freehold_problem::Code;
use futures::future::join_all;
use futures::stream::{self, BoxStream, StreamExt};

use crate::capability::Capabilities;

pub use crate::context::{CallWaits, Context};
pub use crate::owned_object::OwnedObject;
pub use crate::provider_error::ProviderError;
pub use crate::secrets::Secrets;

/// How many objects a provider is asked about at once, unless it knows better.
const LOOKS: usize = 8;

/// Talks to one kind of system.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Which system it talks to. A target has at most one provider of a name.
    fn name(&self) -> ProviderName;

    /// How many calls it wants at once at the most, over all operations.
    fn concurrency(&self) -> usize;

    /// Looks at one object; `None` if there is certainly none. An answer that can't be relied on is an error, never `None`.
    ///
    /// It sees what every earlier call about the object did. Where the outside system may still be at work on a call that
    /// was given up (a statement whose connection is gone), `observe` and `perform` wait for it first: by a lock in that
    /// system, for example.
    async fn observe(&self, stack: StackId, lookup: &Lookup) -> Result<Option<Observation>, ProviderError>;

    /// What else it can do, for whoever asks a target for it.
    fn capabilities(self: Arc<Self>) -> Capabilities {
        Capabilities::default()
    }

    /// Finds out what would come of a desired resource, without changing anything. Where a system can't tell, what is desired.
    async fn preview(&self, stack: StackId, proposal: &Proposal<'_>) -> Result<Preview, ProviderError> {
        let _ = stack;
        Ok(Preview::exact(proposal.desired.clone()))
    }

    /// Finds out what deleting an object that is ours would come to, without changing anything. Whatever the deletion would be refused for
    /// is the error.
    async fn preview_deletion(&self, _stack: StackId, _lookup: &Lookup) -> Result<Deletion, ProviderError> {
        Ok(Deletion::default())
    }

    /// Finds out whether a dump of an object that is ours can be had, as far as that can be seen beforehand: a plan that promises one has
    /// to know. Whatever the dump would be refused for is the error.
    async fn preview_dump(&self, _stack: StackId, _lookup: &Lookup) -> Result<(), ProviderError> {
        Ok(())
    }

    /// Does one step. Idempotent under (operation, step); see each [`Task`].
    async fn perform(&self, context: &Context, task: &Task) -> Result<Performed, ProviderError>;

    /// Somebody asked the operation to stop while it does a step: what would only be waited for is given up, so that the call returns soon. A
    /// job that runs is ended, a service that doesn't get ready isn't waited for; an effect that is nearly done may still be finished.
    async fn interrupt(&self, _stack: StackId, _task: &Task) {}

    /// Whether a resource does what it is for, or the reason why not. A quick look, no waiting.
    async fn readiness(&self, stack: StackId, lookup: &Lookup) -> Result<Readiness, ProviderError>;

    /// The same for whoever has changed something `changed` ago and wants to know what came of it: what is older than that is no
    /// evidence against it, such as what a container says that was started before its secret was put back.
    async fn readiness_after(
        &self,
        stack: StackId,
        lookup: &Lookup,
        changed: Duration,
    ) -> Result<Readiness, ProviderError> {
        let _ = changed;
        self.readiness(stack, lookup).await
    }

    /// Which versions of a service take requests now; `None` for what takes none, or where that can't be told apart.
    async fn serving(&self, _stack: StackId, _lookup: &Lookup) -> Result<Option<Serving>, ProviderError> {
        Ok(None)
    }

    /// Whether objects of any stacks do what they are for now, in their order: [`Provider::readiness`], and what hinders no deploy but is
    /// wrong all the same, such as a schedule whose runs fail. Where a system can be asked for many at once, it is.
    async fn health(&self, objects: &[(StackId, Lookup)]) -> Vec<Result<Readiness, ProviderError>> {
        let mut health = Vec::with_capacity(objects.len());
        for some in objects.chunks(LOOKS) {
            let looks: Vec<_> = some.iter().map(|(stack, lookup)| self.readiness(*stack, lookup)).collect();
            health.extend(join_all(looks).await);
        }
        health
    }

    /// Everything in the outside system that bears the stack's mark, or any stack's for `None`. Trusts no record of ours.
    async fn owned(&self, stack: Option<StackId>) -> Result<Vec<OwnedObject>, ProviderError>;

    /// Tells of changes to objects that bear a stack's mark, of any stack, whoever makes them. A change may be told more than once, and
    /// several as one; whoever listens looks at the object itself. The stream ends only with the provider: where it loses track of what
    /// happened it says so ([`Changed::Anything`]). A system that doesn't tell of changes has nothing to say.
    fn watch(self: Arc<Self>) -> BoxStream<'static, Changed> {
        stream::pending().boxed()
    }

    /// Removes what is left of a destroyed stack and isn't a resource, such as logs and the traces of runs. Called when all resources
    /// are deleted, right before [`Provider::owned`] has to find nothing; may be called again.
    async fn forget(&self, _stack: StackId) -> Result<(), ProviderError> {
        Ok(())
    }
}

/// Which object to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// The resource's name within its stack.
    pub id: ResourceId,
    /// By which its provider knows how to look.
    pub kind: ResourceKind,
    /// Its outside name.
    pub identity: String,
    /// The last body that is known (desired, or as last applied), for providers that need a field of it to look (names of roles).
    pub body: Value,
}

impl From<&Resource> for Lookup {
    fn from(resource: &Resource) -> Self {
        Self {
            id: resource.id.clone(),
            kind: resource.kind,
            identity: resource.identity.clone(),
            body: resource.body.clone(),
        }
    }
}

/// A change that a plan thinks about.
#[derive(Debug, Clone, Copy)]
pub struct Proposal<'a> {
    /// The resource as desired, with references to secrets. No secret is revealed for a plan.
    pub resource: &'a Resource,
    /// The desired body in comparable form.
    pub desired: &'a Value,
    /// What is there now.
    pub observed: Option<&'a Observation>,
    /// The resource was named to be adopted: fields may be taken from those who manage them.
    pub adopt: bool,
}

/// What deleting an object would come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    /// What people have to know about it, in sentences.
    pub remarks: Vec<String>,
    /// There may be data in it, if its kind bears any. Only what was seen to be empty has none.
    pub may_hold_data: bool,
}

impl Default for Deletion {
    /// Nothing is known about it.
    fn default() -> Self {
        Self { remarks: Vec::new(), may_hold_data: true }
    }
}

/// Something has happened to objects that bear a mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// To this object: it was made, changed or deleted.
    Object(OwnedObject),
    /// To any of them: changes may have been missed.
    Anything,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// Make the resource what it should be: create, update or adopt. Creating marks it as ours in the same effect, or in an
    /// order in which a crash between leaves nothing unmarked. Fails with [`ProviderError::Rejected`] if an object is there that
    /// isn't ours and `adopt` isn't set.
    Apply {
        /// As desired, with references to secrets.
        resource: Resource,
        /// The desired body in comparable form (digests instead of secrets), for providers that remember what was applied.
        desired: Value,
        /// The object that the plan is about; `None` if it is to be created.
        object: Option<String>,
        /// An object without our mark may be taken over.
        adopt: bool,
        /// The fields that may be taken from those who manage them: what the plan showed.
        takes: Vec<Conflict>,
    },
    /// Delete the object, if it bears the stack's mark and (where `object` is known) is that very object. An object that is
    /// gone already is a success.
    Delete {
        /// The object to delete.
        lookup: Lookup,
        /// Its identity as recorded when we made or adopted it.
        object: Option<String>,
    },
    /// Run a job once for (stack, revision, job), or wait for the run that was started before, or tell the outcome that was recorded.
    Run {
        /// What to run, and how often it may be tried.
        run: Run,
    },
    /// See to it that nobody writes through this object any more, and that nothing that was sent before is still to come: a service and its
    /// processes are stopped, a schedule begins no more runs, logins are shut and their sessions ended. Everything that is needed for
    /// [`Task::Lift`] or [`Task::Delete`] is kept. Only with the stack's mark and, where `object` is known, that very object.
    Fence {
        /// What to stop.
        lookup: Lookup,
        /// Its identity as recorded when we made or adopted it.
        object: Option<String>,
    },
    /// Make it again what it was before [`Task::Fence`], whether or how far that got.
    Lift {
        /// As last applied, with references to secrets.
        resource: Resource,
        /// What was observed before the fence.
        observed: Value,
        /// Its identity as recorded when we made or adopted it.
        object: Option<String>,
    },
    /// Write a dump and prove that it restores. Repeated after a crash it may start over.
    Dump {
        /// The database to dump.
        lookup: Lookup,
    },
}

/// What came of a step.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Performed {
    /// The object's identity, if there is one now.
    pub object: Option<String>,
    /// What to tell people, in a few words: "ready after 3 probes", "acme-20260302.dump (6 MB), restored once to prove it".
    pub note: Option<String>,
    /// The answer to the call shows that the object is ready, so that nobody has to ask for it. Kinds whose readiness may change by itself
    /// ([`freehold_graph::kind::Row::status`]) are looked at again before the end all the same.
    pub ready: bool,
    /// The call has made what other objects are kept in: none whose identity begins with this can have been there before. Whoever makes
    /// one of them in the same operation needs no look first, because the provider's [`Task::Apply`] proves that it was not there.
    pub new_scope: Option<String>,
}

/// Whether a resource does what it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// It does what it is for.
    Ready,
    /// It does, but hasn't for long enough to be relied on.
    Settling {
        /// How much longer it has to.
        remaining: Duration,
    },
    /// Not yet; the reason in words for people.
    Waiting(String),
    /// It won't without a change.
    Failed(ReadinessFailure),
}

/// Why something won't do what it is for without a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadinessFailure {
    /// What kind of problem it is, where it is one with a page of its own.
    pub code: Option<Code>,
    /// What is wrong, in words for people.
    pub message: String,
    /// Lines to show below: the end of a log.
    pub lines: Vec<String>,
}

impl Readiness {
    /// It won't be ready without a change, for a reason without a code.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed(ReadinessFailure { code: None, message: message.into(), lines: Vec::new() })
    }

    /// It won't be ready without a change, for a reason that a code explains.
    pub fn failed_with(code: Code, message: impl Into<String>) -> Self {
        Self::Failed(ReadinessFailure { code: Some(code), message: message.into(), lines: Vec::new() })
    }
}

/// For people: `FH0706: web keeps failing`, and below it the lines.
impl fmt::Display for ReadinessFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.code.iter().try_for_each(|code| write!(f, "{code}: "))?;
        f.write_str(&self.message)?;
        self.lines.iter().try_for_each(|line| write!(f, "\n  │ {line}"))
    }
}

/// How many copies of a service take requests now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Serving {
    /// Of the version that was applied last.
    pub newest: u32,
    /// Of those before.
    pub former: u32,
}

/// The secrets of one body, revealed for the length of one call.
pub struct Revealed(BTreeMap<SecretRef, SecretText>);

impl Revealed {
    /// Reveals every secret that `body` refers to.
    ///
    /// # Errors
    /// The first secret that can't be revealed.
    pub async fn all(context: &Context, body: &Value) -> Result<Self, ProviderError> {
        let wanted: BTreeSet<&SecretRef> = body.secrets().into_iter().collect();
        let mut revealed = BTreeMap::new();
        for secret in wanted {
            revealed.insert(secret.clone(), context.secrets.reveal(context.stack, secret).await?);
        }
        Ok(Self(revealed))
    }

    /// The text of a field: plain, secret or joined.
    ///
    /// # Errors
    /// The field is not a text, or refers to a secret that wasn't in the body.
    pub fn text(&self, value: &Value) -> Result<SecretText, ProviderError> {
        value.reveal(&mut |secret| {
            let text = self.0.get(secret).cloned();
            text.ok_or_else(|| ProviderError::rejected(Code::StepFailed, format!("{secret} was not revealed")))
        })
    }
}
