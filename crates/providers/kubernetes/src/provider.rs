//! The provider itself: which call goes where.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use freehold_engine::capability::{Capabilities, LogLine};
use freehold_engine::provider::{Deletion, Proposal};
use freehold_engine::{
    Changed, Context, Lookup, OwnedObject, Performed, Provider, ProviderError, Readiness, Serving, Task,
};
use freehold_graph::expand::KubernetesTarget;
use freehold_graph::{ProviderName, StackId};
use freehold_plan::{Observation, Preview};
use freehold_problem::{Code, Problem};
use futures::stream::BoxStream;
use futures::{FutureExt, Stream};
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use crate::apply::{self, Application};
use crate::cluster::{Access, Cluster};
use crate::delete;
use crate::error::ClusterError;
use crate::health;
use crate::logs::{self, PodLogs};
use crate::observe;
use crate::owned;
use crate::preview::Trial;
use crate::readiness;
use crate::run;
use crate::watch;

/// How long a look may take. It has no deadline of its own in the interface; the engine gives it 15 s.
const LOOK: Duration = Duration::from_secs(14);
/// How long a trial may take: an API server lets each webhook have up to 30 s.
const TRIAL: Duration = Duration::from_secs(60);
/// How long the scan may take.
const SCAN: Duration = Duration::from_secs(60);
/// Steps and looks at once. Most of a deletion is waiting, and so is most of a look at what was just applied; how many requests go at once,
/// the cluster's limit says.
const STEPS: usize = 256;

/// The objects of one cluster.
#[derive(Debug)]
pub struct KubernetesProvider {
    facts: KubernetesTarget,
    way: RwLock<Arc<ClusterAccess>>,
}

/// How the cluster is reached, and the connection once it is.
#[derive(Debug)]
struct ClusterAccess {
    access: Access,
    cluster: OnceCell<Arc<Cluster>>,
}

impl KubernetesProvider {
    /// Doesn't connect yet, so that a platform starts while a cluster is away.
    pub fn new(access: Access, facts: KubernetesTarget) -> Self {
        let way = Arc::new(ClusterAccess { access, cluster: OnceCell::new() });
        Self { facts, way: RwLock::new(way) }
    }

    /// Has one that operations still work with reach the cluster as this one does from now on, for its credentials may have been withdrawn.
    /// Nothing, where that is another cluster.
    pub fn inherit_from(&self, former: &Self) {
        if former.facts.cluster == self.facts.cluster {
            *former.way.write().unwrap_or_else(PoisonError::into_inner) = self.way();
        }
    }

    fn way(&self) -> Arc<ClusterAccess> {
        Arc::clone(&self.way.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The cluster. It is the target's own: any other is refused.
    ///
    /// # Errors
    /// It doesn't answer, doesn't let us in, or is another one.
    pub async fn cluster(&self) -> Result<Arc<Cluster>, ProviderError> {
        let way = self.way();
        let connect = async {
            let cluster = Cluster::connect(&way.access).await?;
            cluster.is_still(&self.facts.cluster, Instant::now() + LOOK).await?;
            Ok::<_, ClusterError>(Arc::new(cluster))
        };
        Ok(Arc::clone(way.cluster.get_or_try_init(|| connect).await?))
    }

    /// What the containers of a service or job print.
    ///
    /// # Errors
    /// The cluster doesn't answer, or doesn't let us read.
    pub async fn pod_logs(&self, query: PodLogs) -> Result<impl Stream<Item = LogLine> + use<>, ProviderError> {
        logs::read(self.sure(Instant::now() + LOOK).await?, query).await
    }

    /// The platforms that the cluster's stacks belong to, as their namespaces say: several may use one cluster.
    ///
    /// # Errors
    /// The cluster doesn't answer, or doesn't let us look.
    pub(crate) async fn platforms_of_stacks(&self) -> Result<BTreeMap<StackId, Uuid>, ProviderError> {
        let deadline = Instant::now() + SCAN;
        let look = async { owned::platforms(&*self.sure(deadline).await?, deadline).await };
        in_time(SCAN, "the stacks' namespaces", look).await
    }

    /// What was found out about the cluster when it became a target.
    pub(crate) fn facts(&self) -> &KubernetesTarget {
        &self.facts
    }

    /// The cluster, if it answers now and is still the right one.
    pub(crate) async fn cluster_for_a_look(&self) -> Result<Arc<Cluster>, ProviderError> {
        self.sure(Instant::now() + LOOK).await
    }

    /// The cluster, which was the right one a few seconds ago at most: what another one says about an object means nothing.
    async fn sure(&self, deadline: Instant) -> Result<Arc<Cluster>, ProviderError> {
        let cluster = self.cluster().await?;
        cluster.is_still(&self.facts.cluster, deadline).await?;
        Ok(cluster)
    }

    async fn look_after(
        &self,
        stack: StackId,
        lookup: &Lookup,
        changed: Option<Duration>,
    ) -> Result<Readiness, ProviderError> {
        let look = async { readiness::of(&*self.sure(Instant::now() + LOOK).await?, stack, lookup, changed).await };
        in_time(LOOK, &lookup.identity, look).await
    }

    async fn change(&self, context: &Context, task: &Task) -> Result<Performed, ProviderError> {
        let sure = self.sure(context.deadline).await;
        let cluster = match task {
            Task::Run { .. } => sure.map_err(run::not_seen)?,
            Task::Apply { .. } | Task::Delete { .. } | Task::Dump { .. } | Task::Fence { .. } | Task::Lift { .. } => {
                sure?
            }
        };
        match task {
            Task::Apply { resource, desired, object, adopt, takes } => {
                let wanted = Application { resource, desired, object: object.as_deref(), adopt: *adopt, takes };
                apply::apply(&cluster, context, &wanted).await
            }
            Task::Delete { lookup, object } => delete::delete(&cluster, context, lookup, object.as_deref()).await,
            Task::Run { run } => run::perform(&cluster, context, run).await,
            Task::Fence { lookup, .. } => Err(ProviderError::rejected(
                Code::StepFailed,
                format!("{} is not stopped by itself: the shut logins are the fence", lookup.id),
            )),
            Task::Lift { resource, .. } => Err(ProviderError::rejected(
                Code::StepFailed,
                format!("{} was not stopped, and so can't be started again", resource.id),
            )),
            Task::Dump { lookup } => Err(ProviderError::rejected(
                Code::StepFailed,
                format!("{} can't be dumped through the cluster's API", lookup.id),
            )),
        }
    }
}

#[async_trait]
impl Provider for KubernetesProvider {
    fn name(&self) -> ProviderName {
        ProviderName::Kubernetes
    }

    fn capabilities(self: Arc<Self>) -> Capabilities {
        Capabilities {
            system: Some(Arc::<Self>::clone(&self)),
            logs: Some(Arc::<Self>::clone(&self)),
            commands: Some(Arc::<Self>::clone(&self)),
            scan: Some(self),
            ..Capabilities::default()
        }
    }

    fn concurrency(&self) -> usize {
        STEPS
    }

    async fn observe(&self, stack: StackId, lookup: &Lookup) -> Result<Option<Observation>, ProviderError> {
        let deadline = Instant::now() + LOOK;
        let look = async { observe::observe(&*self.sure(deadline).await?, stack, lookup, deadline).await };
        in_time(LOOK, &lookup.identity, look).await
    }

    async fn preview(&self, stack: StackId, proposal: &Proposal<'_>) -> Result<Preview, ProviderError> {
        let trial = async {
            let deadline = Instant::now() + TRIAL;
            let (cluster, scratch) = (self.sure(deadline).await?, self.facts.scratch_namespace.as_deref());
            Trial::new(&cluster, stack, scratch, proposal, deadline)?.preview().await
        };
        in_time(TRIAL, &proposal.resource.identity, trial).await
    }

    async fn preview_deletion(&self, stack: StackId, lookup: &Lookup) -> Result<Deletion, ProviderError> {
        let deadline = Instant::now() + SCAN;
        let look = async { delete::preview(&*self.sure(deadline).await?, stack, lookup, deadline).await };
        in_time(SCAN, &lookup.identity, look).await
    }

    async fn perform(&self, context: &Context, task: &Task) -> Result<Performed, ProviderError> {
        let late = |_| ProviderError::unknown(Code::ClusterUnreachable, "the cluster did not answer in time");
        timeout_at(context.deadline, self.change(context, task)).await.unwrap_or_else(|elapsed| Err(late(elapsed)))
    }

    async fn readiness(&self, stack: StackId, lookup: &Lookup) -> Result<Readiness, ProviderError> {
        self.look_after(stack, lookup, None).await
    }

    async fn readiness_after(
        &self,
        stack: StackId,
        lookup: &Lookup,
        changed: Duration,
    ) -> Result<Readiness, ProviderError> {
        self.look_after(stack, lookup, Some(changed)).await
    }

    async fn serving(&self, stack: StackId, lookup: &Lookup) -> Result<Option<Serving>, ProviderError> {
        let look = async { readiness::serving(&*self.sure(Instant::now() + LOOK).await?, stack, lookup).await };
        in_time(LOOK, &lookup.identity, look).await
    }

    async fn health(&self, objects: &[(StackId, Lookup)]) -> Vec<Result<Readiness, ProviderError>> {
        let deadline = Instant::now() + LOOK;
        let look = async { Ok(health::of(&*self.sure(deadline).await?, objects, deadline).await) };
        match in_time(LOOK, "the stacks' objects", look).await {
            Ok(health) => health,
            Err(error) => objects.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    fn watch(self: Arc<Self>) -> BoxStream<'static, Changed> {
        let allowed = self.facts.allowed_kinds.clone();
        let connect: watch::Connect = Arc::new(move || {
            let provider = Arc::clone(&self);
            async move { provider.cluster_for_a_look().await }.boxed()
        });
        watch::of_all(&connect, &allowed)
    }

    async fn owned(&self, stack: Option<StackId>) -> Result<Vec<OwnedObject>, ProviderError> {
        let deadline = Instant::now() + SCAN;
        let scan =
            async { owned::owned(&*self.sure(deadline).await?, &self.facts.allowed_kinds, stack, deadline).await };
        in_time(SCAN, "managed objects", scan).await
    }
}

/// For what changes nothing: no answer is no more than that.
async fn in_time<T>(
    limit: Duration,
    what: &str,
    look: impl Future<Output = Result<T, ProviderError>>,
) -> Result<T, ProviderError> {
    match timeout_at(Instant::now() + limit, look).await {
        Ok(answer) => answer,
        Err(_) => {
            let doing = format!("looking at {what}");
            let problem = Problem::caused(Code::ClusterUnreachable, doing, "the cluster did not answer in time");
            Err(ProviderError::Retryable { problem, after: None })
        }
    }
}
