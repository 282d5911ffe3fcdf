//! The use cases called in process: what there is for whom.

use std::collections::BTreeMap;

use freehold_graph::{StackId, StackKey, StackKind};
use freehold_platform::{Actor, OperationId, Scope, SecretText, StackFilter, StackSelector};
use freehold_problem::{Code, Problem};
use freehold_store::{Store, TenantId};
use uuid::Uuid;

use crate::testbed::Replica;

pub(crate) fn key(tenant: &str) -> StackKey {
    StackKey {
        target: "local".parse().unwrap(),
        app: "guestbook".parse().unwrap(),
        kind: StackKind::Tenant,
        name: tenant.parse().unwrap(),
    }
}

async fn stack_of(store: &Store, tenant: &str) -> (TenantId, StackId) {
    let owner = store.tenant_of(&key(tenant)).await.unwrap();
    let mut tx = store.begin(owner).await.unwrap();
    let id = tx.name_stack(&key(tenant)).await.unwrap();
    tx.commit().await.unwrap();
    (owner, id)
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tenants_stack_does_not_exist_for_a_key_and_neither_does_an_operation_or_a_plan() {
    let Replica { platform, store } = Replica::alone().await;
    let ((acme, own), (_, others)) = (stack_of(&store, "acme").await, stack_of(&store, "globex").await);
    let actor = Actor::tenant(acme, "ci", Scope::ALL);
    assert_eq!(platform.secrets.list(&actor, own).await.unwrap(), []);
    let absent = platform.secrets.list(&actor, StackId(Uuid::new_v4())).await.unwrap_err();
    let hidden = platform.secrets.list(&actor, others).await.unwrap_err();
    assert_eq!((absent.code, hidden.code), (Code::NotFound, Code::NotFound));
    let words = |problem: Problem, id: StackId| (problem.message.replace(&id.to_string(), "ID"), problem.help);
    let unknown = platform.secrets.list(&actor, StackId(Uuid::nil())).await.unwrap_err();
    assert_eq!(words(hidden, others), words(unknown, StackId(Uuid::nil())), "nobody can tell the two apart");
    assert_eq!(platform.secrets.list(&Actor::operator(), others).await.unwrap(), []);
    for refused in [
        platform.operations.get(&actor, OperationId(Uuid::new_v4())).await.map(drop),
        platform.stacks.get(&actor, others).await.map(drop),
        platform.stacks.revisions(&actor, others).await.map(drop),
        platform.operations.cancel(&actor, OperationId(Uuid::new_v4())).await.map(drop),
    ] {
        assert_eq!(refused.unwrap_err().code, Code::NotFound);
    }
    assert_eq!(platform.stacks.list(&actor, &StackFilter::default()).await.unwrap().items, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_does_what_its_scopes_say_and_makes_no_tenant() {
    let Replica { platform, store } = Replica::alone().await;
    let (acme, own) = stack_of(&store, "acme").await;
    let reader = Actor::tenant(acme, "dashboard", [Scope::Read]);
    assert_eq!(platform.secrets.list(&reader, own).await.unwrap(), []);
    let selector = |tenant: &str| StackSelector {
        target: None,
        app: "guestbook".to_owned(),
        kind: "tenant".to_owned(),
        name: tenant.to_owned(),
    };
    let value = || SecretText::new("x");
    let refused = platform
        .secrets
        .set(&reader, &selector("acme"), &BTreeMap::from([("api-key".to_owned(), value())]), false)
        .await
        .unwrap_err();
    assert_eq!(refused.code, Code::Forbidden);
    let refused = platform.doctor.findings(&reader, false).await.unwrap_err();
    assert_eq!(refused.code, Code::Forbidden);
    // What is of the whole platform is no tenant's, whatever a key says.
    let all = Actor::tenant(acme, "all", Scope::ALL);
    assert_eq!(platform.doctor.findings(&all, false).await.unwrap_err().code, Code::Forbidden);
    assert_eq!(platform.targets.remove(&all, "prod").await.unwrap_err().code, Code::Forbidden);
    let lender = Actor::tenant(acme, "lender", [Scope::Secrets]);
    let operation = OperationId(Uuid::new_v4());
    assert_eq!(platform.operations.get(&lender, operation).await.unwrap_err().code, Code::Forbidden);
    assert_eq!(platform.stacks.get(&lender, own).await.unwrap_err().code, Code::Forbidden);
    assert_eq!(store.find_tenant(&key("initech")).await.unwrap(), None);
}
