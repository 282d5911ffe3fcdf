//! What requests need around operations: kept plans, idempotency keys, artifacts, facts.

use chrono::{TimeDelta, Utc};
use freehold_store::audit::AuditEntry;
use freehold_store::idempotency::KeyState;
use serde_json::json;
use sqlx::Executor;

use crate::fixture::{Fixture, deploy};

#[tokio::test]
async fn a_plan_is_kept_for_its_tenant_until_it_expires() {
    let fixture = Fixture::new().await;
    let (acme, globex) = (fixture.tenant("acme").await, fixture.tenant("globex").await);
    let plan = deploy("acme", 0);
    let mut tx = fixture.store.begin(acme).await.unwrap();
    tx.save_plan(&plan).await.unwrap();
    tx.save_plan(&deploy("acme", 0)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(fixture.store.begin(acme).await.unwrap().plan(plan.id).await.unwrap(), Some(plan.clone()));
    assert_eq!(fixture.store.begin(globex).await.unwrap().plan(plan.id).await.unwrap(), None);
    let engine = fixture.engine("server");
    assert_eq!(engine.purge_expired().await.unwrap(), 0);
    let expire = format!("UPDATE plans SET expires_at = clock_timestamp() WHERE id = '{}'", plan.id);
    fixture.superuser().await.execute(sqlx::AssertSqlSafe(expire)).await.unwrap();
    assert_eq!(fixture.store.begin(acme).await.unwrap().plan(plan.id).await.unwrap(), None);
    assert_eq!(engine.purge_expired().await.unwrap(), 1);
}

#[tokio::test]
async fn a_repeated_request_gets_the_first_ones_answer() {
    let fixture = Fixture::new().await;
    let tenant = fixture.tenant("acme").await;
    let take = async |fingerprint: &str| {
        let mut tx = fixture.store.begin(tenant).await.unwrap();
        let seen = tx.claim_key("key", fingerprint).await.unwrap();
        tx.commit().await.unwrap();
        seen
    };
    assert_eq!(take("a").await, KeyState::New);
    assert_eq!(take("a").await, KeyState::InProgress);
    let mut tx = fixture.store.begin(tenant).await.unwrap();
    tx.answer_key("key", 202, &json!({ "operation": 1 })).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(take("a").await, KeyState::Answered(json!({ "operation": 1 })));
    assert_eq!(take("b").await, KeyState::Other);
    // The same key of another tenant is another key.
    let globex = fixture.tenant("globex").await;
    assert_eq!(fixture.store.begin(globex).await.unwrap().claim_key("key", "b").await.unwrap(), KeyState::New);
    fixture.superuser().await.execute("UPDATE idempotency SET expires_at = clock_timestamp()").await.unwrap();
    assert_eq!(take("b").await, KeyState::New);
}

#[tokio::test]
async fn only_artifacts_that_no_revision_wants_are_unused() {
    let fixture = Fixture::new().await;
    let tenant = fixture.tenant("acme").await;
    let (wanted, unused) = (format!("sha256:{}", "a".repeat(64)), format!("sha256:{}", "b".repeat(64)));
    let mut tx = fixture.store.begin(tenant).await.unwrap();
    tx.keep_artifact(&wanted, 12).await.unwrap();
    tx.keep_artifact(&unused, 34).await.unwrap();
    assert_eq!(tx.artifact(&unused).await.unwrap().unwrap().size, 34);
    tx.commit().await.unwrap();
    fixture.deployed("acme").await;
    let engine = fixture.engine("server");
    let soon = Utc::now() + TimeDelta::minutes(1);
    assert_eq!(engine.unused_artifacts(Utc::now() - TimeDelta::days(1)).await.unwrap(), Vec::<String>::new());
    assert_eq!(engine.unused_artifacts(soon).await.unwrap(), std::slice::from_ref(&unused));
    assert!(engine.forget_artifact(&unused, Utc::now() - TimeDelta::days(1)).await.unwrap().is_none());
    drop(engine.forget_artifact(&unused, soon).await.unwrap().unwrap());
    assert!(fixture.store.begin(tenant).await.unwrap().artifact(&unused).await.unwrap().is_some(), "not confirmed");
    engine.forget_artifact(&unused, soon).await.unwrap().unwrap().confirm().await.unwrap();
    assert_eq!(fixture.store.begin(tenant).await.unwrap().artifact(&unused).await.unwrap(), None);
}

#[tokio::test]
async fn artifacts_are_kept_for_the_revisions_that_can_be_gone_back_to() {
    let fixture = Fixture::new().await;
    let tenant = fixture.tenant("acme").await;
    fixture.deployed("acme").await;
    let hash = |number: u32| format!("sha256:{number:064}");
    let mut tx = fixture.store.begin(tenant).await.unwrap();
    for number in 0..40 {
        tx.keep_artifact(&hash(number), 12).await.unwrap();
    }
    tx.commit().await.unwrap();
    // Twelve verified revisions, and then twenty that failed.
    let revisions = "INSERT INTO revisions (tenant_id, stack, number, definition, request, graph, secrets, artifacts, operation, verified_at)
         SELECT tenant_id, stack, number + n, definition, request, graph, secrets, ARRAY['sha256:' || lpad(n::text, 64, '0')],
                operation, CASE WHEN n <= 12 THEN clock_timestamp() END
         FROM revisions, generate_series(1, 32) n";
    fixture.superuser().await.execute(revisions).await.unwrap();
    let soon = Utc::now() + TimeDelta::minutes(1);
    let unused = fixture.engine("server").unused_artifacts(soon).await.unwrap();
    let kept: Vec<u32> = (0..40).filter(|number| !unused.contains(&hash(*number))).collect();
    let expected: Vec<u32> = (3..=12).chain(23..=32).collect();
    assert_eq!(kept, expected);
}

#[tokio::test]
async fn the_audit_log_is_read_page_by_page() {
    let fixture = Fixture::new().await;
    let tenant = fixture.tenant("acme").await;
    let mut tx = fixture.store.begin(tenant).await.unwrap();
    for action in ["first", "second", "third"] {
        let detail = json!({});
        let entry =
            AuditEntry { actor: "ada\0", action, stack: None, subject: "acme", operation: None, detail: &detail };
        tx.audit(&entry).await.unwrap();
    }
    let page = tx.audit_log(None, None, 2).await.unwrap();
    assert_eq!(page.iter().map(|line| line.action.as_str()).collect::<Vec<_>>(), ["third", "second"]);
    assert_eq!(page[0].actor, "ada");
    let rest = tx.audit_log(None, Some(page[1].id), 2).await.unwrap();
    assert_eq!(rest.iter().map(|line| line.action.as_str()).collect::<Vec<_>>(), ["first"]);
}

#[tokio::test]
async fn facts_about_the_platform_are_kept_and_replaced() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.store.setting("port").await.unwrap(), None);
    fixture.store.keep_setting("port", "5433").await.unwrap();
    fixture.store.keep_setting("port", "5434").await.unwrap();
    assert_eq!(fixture.store.setting("port").await.unwrap().as_deref(), Some("5434"));
}
