//! The use cases called in process: what there is for whom.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use chrono::Utc;
use freehold_graph::{StackId, StackKey, StackKind};
use freehold_platform::runtime::Workshop;
use freehold_platform::{
    Actor, Facts, Hub, OperationId, Platform, Scope, SecretText, StackFilter, StackSelector, Targets,
};
use freehold_problem::{Code, Problem};
use freehold_store::{Connections, MasterKey, Store, StoreNames, TenantId, bootstrap};
use freehold_testkit::postgres::TestServer;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// A platform on a store of its own, with nowhere to deploy to.
async fn platform() -> Arc<Platform> {
    let ([platform, _], _) = replicas().await;
    platform
}

/// Two replicas on a store of their own, and the database that it is in.
pub(crate) async fn replicas() -> ([Arc<Platform>; 2], String) {
    let names = StoreNames::with_suffix(&TestServer::unique("actors")).unwrap();
    let connections = bootstrap(&TestServer::shared().superuser(), &names, &master()).await.unwrap();
    ([replica(&connections).await, replica(&connections).await], names.database)
}

async fn replica(connections: &Connections) -> Arc<Platform> {
    let store = Store::open(connections, master()).await.unwrap();
    let engine = store.engine("a test");
    let workshop = Workshop { store: store.clone(), engine, dumps: std::env::temp_dir(), binaries: None };
    let facts =
        Facts { data_directory: None, postgres: String::new(), started_at: Utc::now(), started: Instant::now() };
    let targets = Targets::load(workshop, None).await.unwrap();
    let hub = Hub::new(&store);
    let keys = Mutex::new(BTreeSet::new());
    Arc::new(Platform { store, targets, facts, stopping: CancellationToken::new(), hub, keys })
}

fn master() -> MasterKey {
    MasterKey::from_bytes([7; 32])
}

pub(crate) fn key(tenant: &str) -> StackKey {
    StackKey {
        target: "local".parse().unwrap(),
        app: "guestbook".parse().unwrap(),
        kind: StackKind::Tenant,
        name: tenant.parse().unwrap(),
    }
}

async fn stack_of(platform: &Platform, tenant: &str) -> (TenantId, StackId) {
    let owner = platform.store.tenant_of(&key(tenant)).await.unwrap();
    let mut tx = platform.store.begin(owner).await.unwrap();
    let id = tx.name_stack(&key(tenant)).await.unwrap();
    tx.commit().await.unwrap();
    (owner, id)
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tenants_stack_does_not_exist_for_a_key_and_neither_does_an_operation_or_a_plan() {
    let platform = platform().await;
    let ((acme, own), (_, others)) = (stack_of(&platform, "acme").await, stack_of(&platform, "globex").await);
    let actor = Actor::tenant(acme, "ci", Scope::ALL);
    assert_eq!(platform.secrets(&actor, own).await.unwrap(), []);
    let absent = platform.secrets(&actor, StackId(Uuid::new_v4())).await.unwrap_err();
    let hidden = platform.secrets(&actor, others).await.unwrap_err();
    assert_eq!((absent.code, hidden.code), (Code::NotFound, Code::NotFound));
    let words = |problem: Problem, id: StackId| (problem.message.replace(&id.to_string(), "ID"), problem.help);
    let unknown = platform.secrets(&actor, StackId(Uuid::nil())).await.unwrap_err();
    assert_eq!(words(hidden, others), words(unknown, StackId(Uuid::nil())), "nobody can tell the two apart");
    assert_eq!(platform.secrets(&Actor::operator(), others).await.unwrap(), []);
    for refused in [
        platform.operation(&actor, OperationId(Uuid::new_v4())).await.map(drop),
        platform.stack(&actor, others).await.map(drop),
        platform.revisions(&actor, others).await.map(drop),
        platform.cancel(&actor, OperationId(Uuid::new_v4())).await.map(drop),
    ] {
        assert_eq!(refused.unwrap_err().code, Code::NotFound);
    }
    assert_eq!(platform.stacks(&actor, &StackFilter::default()).await.unwrap().items, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_does_what_its_scopes_say_and_makes_no_tenant() {
    let platform = platform().await;
    let (acme, own) = stack_of(&platform, "acme").await;
    let reader = Actor::tenant(acme, "dashboard", [Scope::Read]);
    assert_eq!(platform.secrets(&reader, own).await.unwrap(), []);
    let selector = |tenant: &str| StackSelector {
        target: None,
        app: "guestbook".to_owned(),
        kind: "tenant".to_owned(),
        name: tenant.to_owned(),
    };
    let value = || SecretText::new("x");
    let refused = platform.set_secret(&reader, &selector("acme"), "api-key", value()).await.unwrap_err();
    assert_eq!(refused.code, Code::Forbidden);
    let refused = platform.doctor(&reader, false).await.unwrap_err();
    assert_eq!(refused.code, Code::Forbidden);
    assert_eq!(platform.store.find_tenant(&key("initech")).await.unwrap(), None);
}
