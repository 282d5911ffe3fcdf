//! What the answer to a step shows needs no look: that an object is ready, and that there is nothing yet where others are to be made.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use freehold_engine::testing::{FakeProvider, NoSecrets, complete};
use freehold_engine::{
    Context, Dependencies, Lookup, Outcome, OwnedObject, Performed, Provider, ProviderError, Readiness, Task,
};
use freehold_graph::{ProviderName, StackId};
use freehold_plan::{Observation, Purpose};
use tokio_util::sync::CancellationToken;

use crate::fixture::Shape;
use crate::shell::{PROVIDERS, Site};

/// Reports with each reply that the object is ready, and with a service's that nothing else of its name can be there.
struct InformativeProvider {
    inner: FakeProvider,
    asked: Arc<Mutex<Vec<String>>>,
}

impl InformativeProvider {
    fn note(&self, what: &str, lookup: &Lookup) {
        self.asked.lock().unwrap().push(format!("{what} {}", lookup.id));
    }
}

#[async_trait]
impl Provider for InformativeProvider {
    fn name(&self) -> ProviderName {
        self.inner.name()
    }

    fn concurrency(&self) -> usize {
        self.inner.concurrency()
    }

    async fn observe(&self, stack: StackId, lookup: &Lookup) -> Result<Option<Observation>, ProviderError> {
        self.note("observe", lookup);
        self.inner.observe(stack, lookup).await
    }

    async fn perform(&self, context: &Context, task: &Task) -> Result<Performed, ProviderError> {
        let performed = self.inner.perform(context, task).await?;
        let new_scope = match task {
            Task::Apply { resource, .. } if resource.id.word() == "service" => Some(resource.id.name().to_owned()),
            _ => None,
        };
        Ok(Performed { ready: true, new_scope, ..performed })
    }

    async fn readiness(&self, stack: StackId, lookup: &Lookup) -> Result<Readiness, ProviderError> {
        self.note("readiness", lookup);
        self.inner.readiness(stack, lookup).await
    }

    async fn owned(&self, stack: Option<StackId>) -> Result<Vec<OwnedObject>, ProviderError> {
        self.inner.owned(stack).await
    }
}

async fn asked_while(site: &mut Site, shape: &Shape) -> Vec<String> {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let providers = PROVIDERS.map(|name| -> Arc<dyn Provider> {
        let inner = FakeProvider::new(name, Arc::clone(&site.world), Duration::from_millis(10));
        Arc::new(InformativeProvider { inner, asked: Arc::clone(&asked) })
    });
    let parts = Dependencies::new(site.store.clone(), site.store.clone(), Arc::new(NoSecrets), providers);
    let plan = site.plan(Purpose::Deploy, shape);
    let outcome = complete(site.next_operation(), &plan, &parts, &CancellationToken::new()).await.unwrap();
    assert_eq!(outcome, Outcome::Succeeded);
    site.settle(&plan, shape, outcome);
    site.assert_is(shape);
    let asked = asked.lock().unwrap();
    asked.clone()
}

#[tokio::test(start_paused = true)]
async fn what_is_made_where_nothing_can_be_yet_is_looked_at_once_before_all_steps_and_not_again() {
    let mut site = Site::new();
    let shape =
        Shape { services: BTreeMap::from([("web", 1)]), routes: BTreeMap::from([("web", (1, 1))]), ..Shape::default() };
    let asked = asked_while(&mut site, &shape).await;
    let times = |what: &str| asked.iter().filter(|asked| *asked == what).count();
    assert_eq!(times("observe service.web"), 2, "by the comparison and by its step: {asked:?}");
    assert_eq!(times("observe route.web"), 1, "by the comparison: {asked:?}");
    // A change of what is there is looked at as ever.
    let changed = Shape { services: BTreeMap::from([("web", 2)]), routes: BTreeMap::from([("web", (2, 1))]), ..shape };
    let asked = asked_while(&mut site, &changed).await;
    assert_eq!(asked.iter().filter(|asked| *asked == "observe route.web").count(), 2, "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn what_an_answer_showed_to_be_ready_is_not_asked_for_at_the_end() {
    let mut site = Site::new();
    let shape = Shape { services: BTreeMap::from([("web", 1)]), ..Shape::default() };
    let asked = asked_while(&mut site, &shape).await;
    assert!(!asked.iter().any(|asked| asked.starts_with("readiness")), "{asked:?}");
    // What no step has touched is.
    let more = Shape { services: BTreeMap::from([("api", 1), ("web", 1)]), ..Shape::default() };
    let asked = asked_while(&mut site, &more).await;
    let readiness: Vec<&String> = asked.iter().filter(|asked| asked.starts_with("readiness")).collect();
    assert_eq!(readiness, ["readiness service.web"]);
}
