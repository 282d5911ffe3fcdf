//! Targets: kept with their credentials, seen by the operator only, and not removed from under a stack.

use std::collections::BTreeMap;

use freehold_engine::{Leases, Secrets};
use freehold_graph::expand::{ClusterDatabases, Gateway, KubernetesTarget};
use freehold_graph::value::Digests;
use freehold_graph::{SecretRef, SecretText, Target};
use freehold_plan::Plan;
use freehold_spec::Name;
use freehold_store::{Access, Credential, NewTarget, PLATFORM, StoreError};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, Executor, Row};

use crate::fixture::{Fixture, deploy, waiting};

const KUBECONFIG: &str = "apiVersion: v1\nkind: Config\nusers: [correct horse]\n";
const REGISTRY: &str = "{\"auths\": {\"registry.example.org\": {\"auth\": \"YmF0dGVyeTpzdGFwbGU=\"}}}";

fn prod() -> Name {
    "prod".parse().unwrap()
}

fn facts(domain: &str) -> Target {
    let databases = ClusterDatabases::CloudNativePg { operator_namespace: "cnpg-system".to_owned() };
    let bare = KubernetesTarget::minimal(prod(), databases);
    Target::Kubernetes(Box::new(KubernetesTarget {
        domain: domain.to_owned(),
        cluster: "7a0c".to_owned(),
        version: "v1.36.3".to_owned(),
        gateway: Gateway {
            namespace: "infra".to_owned(),
            name: "public".to_owned(),
            https: true,
            port: 443,
            data_plane_namespace: "infra".to_owned(),
            retries: true,
            ..bare.gateway
        },
        registry_credentials: true,
        ..bare
    }))
}

async fn put(fixture: &Fixture, domain: &str, credentials: &[(Credential, &str)]) -> bool {
    let credentials: BTreeMap<Credential, SecretText> =
        credentials.iter().map(|(credential, text)| (*credential, SecretText::new(*text))).collect();
    let (facts, settings) = (facts(domain), json!({ "domain": domain }));
    let new = NewTarget { facts: &facts, settings: &settings, credentials: &credentials, by: "ada" };
    fixture.store.put_target(&new).await.unwrap()
}

fn on_prod(name: &str) -> Plan {
    let mut plan = deploy(name, 0);
    plan.key.target = prod();
    plan.request.key.target = prod();
    plan
}

#[tokio::test]
async fn a_target_is_kept_with_its_credentials_and_changed_as_a_whole() {
    let fixture = Fixture::new().await;
    let both = [(Credential::Kubeconfig, KUBECONFIG), (Credential::Registry, REGISTRY)];
    assert!(put(&fixture, "example.org", &both).await);
    let kept = fixture.store.look(Access::AllTenants).await.unwrap().target(&prod()).await.unwrap().unwrap();
    assert_eq!((kept.facts, kept.settings), (facts("example.org"), json!({ "domain": "example.org" })));
    let text = fixture.store.target_credential(&prod(), Credential::Kubeconfig).await.unwrap();
    assert_eq!(text.unwrap().reveal(), KUBECONFIG);
    assert!(!put(&fixture, "example.net", &[(Credential::Kubeconfig, "other")]).await);
    let targets = fixture.store.look(Access::AllTenants).await.unwrap().targets().await.unwrap();
    assert_eq!(targets.len(), 1);
    let target = targets[0].as_ref().unwrap();
    assert_eq!(target.facts.domain(), "example.net");
    assert!(target.changed_at > kept.changed_at && target.created_at == kept.created_at);
    assert_eq!(fixture.store.target_credential(&prod(), Credential::Registry).await.unwrap(), None);
}

#[tokio::test]
async fn a_credential_is_not_in_the_database_in_plain_text_and_opens_in_its_own_row_only() {
    let fixture = Fixture::new().await;
    put(&fixture, "example.org", &[(Credential::Kubeconfig, KUBECONFIG), (Credential::Registry, REGISTRY)]).await;
    let mut superuser = fixture.superuser().await;
    let everything = "SELECT string_agg(query_to_xml(format('SELECT * FROM %I', relname), true, true, '')::text, '')
                      FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'";
    let everything: String = superuser.fetch_one(everything).await.unwrap().get(0);
    assert!(everything.contains("kubeconfig") && everything.contains("target.add"));
    for secret in ["correct horse", "YmF0dGVyeTpzdGFwbGU="] {
        assert!(!everything.contains(secret), "{secret}");
    }
    // Whoever can write the table puts one credential in the place of another.
    superuser
        .execute(
            "UPDATE target_credentials SET sealed = (SELECT sealed FROM target_credentials WHERE purpose = 'registry')
             WHERE purpose = 'kubeconfig'",
        )
        .await
        .unwrap();
    let opened = fixture.store.target_credential(&prod(), Credential::Kubeconfig).await;
    assert!(matches!(opened, Err(StoreError::Tampered { .. })), "{opened:?}");
}

#[tokio::test]
async fn no_tenant_sees_or_changes_a_target() {
    let fixture = Fixture::new().await;
    put(&fixture, "example.org", &[(Credential::Kubeconfig, KUBECONFIG)]).await;
    let acme = fixture.tenant("acme").await;
    let mut session = Fixture::session(&fixture.connections.tenant).await;
    for table in ["targets", "target_credentials"] {
        let mut seen = Vec::new();
        for tenant in [acme.to_string(), String::new(), PLATFORM.to_string()] {
            let mut tx = session.begin().await.unwrap();
            let name = "SELECT set_config('freehold.tenant_id', $1, true)";
            sqlx::query(name).bind(tenant).execute(&mut *tx).await.unwrap();
            seen.push(tx.fetch_all(AssertSqlSafe(format!("SELECT FROM {table}"))).await.unwrap().len());
            seen.push(tx.execute(AssertSqlSafe(format!("DELETE FROM {table}"))).await.unwrap().rows_affected() as usize);
            tx.rollback().await.unwrap();
        }
        assert_eq!(seen, [0, 0, 0, 0, 1, 1], "{table}");
        let mut engine = Fixture::session(&fixture.connections.engine).await;
        let refused = engine.fetch_all(AssertSqlSafe(format!("SELECT FROM {table}"))).await.unwrap_err();
        assert!(refused.to_string().contains("permission denied"), "{refused}");
    }
    // An operator's listing sees targets, and none of their credentials.
    session.execute("SELECT set_config('freehold.operator', 'on', false)").await.unwrap();
    assert_eq!(session.fetch_all("SELECT FROM targets").await.unwrap().len(), 1);
    assert_eq!(session.fetch_all("SELECT FROM target_credentials").await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_target_with_stacks_is_not_removed_and_one_without_is_with_all_that_belongs_to_it() {
    let fixture = Fixture::new().await;
    put(&fixture, "example.org", &[(Credential::Kubeconfig, KUBECONFIG)]).await;
    fixture.enqueue(&on_prod("acme"), &[]).await.unwrap();
    fixture.deployed("globex").await;
    match fixture.store.remove_target(&prod(), "ada").await {
        Err(StoreError::TargetInUse { target, stacks }) => {
            assert_eq!((target.as_str(), stacks), ("prod", vec!["guestbook/tenant/acme".to_owned()]));
        }
        other => panic!("{other:?}"),
    }
    let count = fixture.store.look(Access::AllTenants).await.unwrap().stacks_of_targets().await.unwrap();
    assert_eq!(count, BTreeMap::from([(prod(), 1), ("local".parse().unwrap(), 1)]));

    let fixture = Fixture::new().await;
    put(&fixture, "example.org", &[(Credential::Kubeconfig, KUBECONFIG)]).await;
    assert!(fixture.store.remove_target(&prod(), "ada").await.unwrap());
    assert!(!fixture.store.remove_target(&prod(), "ada").await.unwrap());
    assert_eq!(fixture.superuser().await.fetch_all("SELECT FROM target_credentials").await.unwrap().len(), 0);
    let log = fixture.store.begin(PLATFORM).await.unwrap().audit_log(None, None, 10).await.unwrap();
    let lines: Vec<_> = log.iter().map(|line| (line.actor.as_str(), line.action.as_str())).collect();
    assert_eq!(lines, [("ada", "target.remove"), ("ada", "target.add")]);
}

#[tokio::test]
async fn a_stack_is_not_made_on_a_target_that_was_removed() {
    let fixture = Fixture::new().await;
    let refused = fixture.enqueue(&on_prod("acme"), &[]).await;
    assert!(matches!(refused, Err(StoreError::UnknownTarget(_))), "{refused:?}");
    put(&fixture, "example.org", &[]).await;
    let operation = fixture.enqueue(&on_prod("acme"), &[]).await.unwrap();
    let queue = fixture.engine("one").queue().await.unwrap().waiting;
    assert_eq!((queue[0].operation, queue[0].target.clone()), (operation, prod()));
}

#[tokio::test]
async fn stacks_may_refer_to_the_registry_credentials_of_their_own_target_and_to_nothing_else_of_it() {
    let fixture = Fixture::new().await;
    put(&fixture, "example.org", &[(Credential::Kubeconfig, KUBECONFIG), (Credential::Registry, REGISTRY)]).await;
    let (there, here) = (on_prod("acme"), deploy("globex", 0));
    fixture.enqueue(&there, &[]).await.unwrap();
    fixture.enqueue(&here, &[]).await.unwrap();
    let of = |name: &str| SecretRef::Target(name.to_owned());
    let store = &fixture.store;
    assert_eq!(store.reveal(there.stack, &of("registry")).await.unwrap().reveal(), REGISTRY);
    assert_eq!(store.reveal_secret(here.stack, &of("registry")).await.unwrap(), None);
    for other in ["kubeconfig", "database", "x"] {
        assert_eq!(store.reveal_secret(there.stack, &of(other)).await.unwrap(), None, "{other}");
    }
    // The digest is of the tenant's own key: equal texts of two tenants don't look equal.
    let acme = store.digests(fixture.tenant("acme").await, there.stack, &prod()).await.unwrap();
    let globex = store.digests(fixture.tenant("globex").await, here.stack, &prod()).await.unwrap();
    let digest = acme.of_secret(&of("registry"));
    assert!(digest.is_some() && digest != globex.of_secret(&of("registry")));
    assert_eq!(acme.of_secret(&of("kubeconfig")), None);
    put(&fixture, "example.org", &[(Credential::Registry, "{\"auths\": {}}")]).await;
    let changed = store.digests(fixture.tenant("acme").await, there.stack, &prod()).await.unwrap();
    assert!(changed.of_secret(&of("registry")).is_some_and(|new| Some(new) != digest));
}

#[tokio::test]
async fn a_process_that_stops_leaves_its_operations_to_others_at_once_and_writes_nothing_more() {
    let fixture = Fixture::new().await;
    let (first, second) = (fixture.engine("first"), fixture.engine("second"));
    let (_, operation, fence) = fixture.running("acme", &first).await;
    let (_, kept, _) = fixture.running("globex", &second).await;
    assert_eq!(waiting(&second).await, []);
    first.release_all().await.unwrap();
    assert_eq!(waiting(&second).await, [operation]);
    assert!(first.renew(operation, fence).await.is_err());
    assert!(second.acquire(operation).await.unwrap().is_some_and(|lease| lease.fence > fence));
    assert!(second.acquire(kept).await.unwrap().is_none(), "the other's own lease is untouched");
}
