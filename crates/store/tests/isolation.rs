//! Attempts to see or change another tenant's rows, with nothing but row-level security in the way: bare sessions of the
//! store's own roles.

use freehold_engine::{Journal, Record, StateChange};
use freehold_graph::SecretText;
use freehold_store::{Access, PLATFORM, TenantId};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Executor, Row};

use crate::fixture::{Fixture, deploy, key, resource};

/// A store in which both tenants have rows in every table.
async fn filled() -> (Fixture, TenantId, TenantId) {
    let fixture = Fixture::new().await;
    let engine = fixture.engine("server");
    for name in ["acme", "globex"] {
        let plan = deploy(name, 0);
        let operation = fixture.enqueue(&plan, &[("host", &format!("{name}.localhost"))]).await.unwrap();
        let lease = freehold_engine::Leases::acquire(&engine, operation).await.unwrap().unwrap();
        let state = StateChange::Pending(Box::new(resource("main")));
        let record = Record::StepStarted { step: "create/database.main".parse().unwrap(), attempt: 1, state };
        engine.append(operation, lease.fence, &[record]).await.unwrap();
        let tenant = fixture.tenant(name).await;
        let key = fixture.store.data_key(tenant).await.unwrap();
        let mut tx = fixture.store.begin(tenant).await.unwrap();
        tx.save_plan(&plan).await.unwrap();
        tx.claim_key("key", "fingerprint").await.unwrap();
        tx.set_secret(&key, plan.stack, "session-key", &SecretText::new("x"), "a test").await.unwrap();
        tx.commit().await.unwrap();
    }
    let (acme, globex) = (fixture.tenant("acme").await, fixture.tenant("globex").await);
    (fixture, acme, globex)
}

/// Every table that has a tenant's rows, from the catalogue: a new table can't be forgotten here.
async fn tables(fixture: &Fixture) -> Vec<String> {
    let mut superuser = fixture.superuser().await;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
         WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attname = 'tenant_id' ORDER BY 1",
    )
    .fetch_all(&mut superuser)
    .await
    .unwrap();
    assert_eq!(tables.len(), 13, "{tables:?}");
    tables
}

async fn count(session: &mut PgConnection, query: String) -> i64 {
    sqlx::query(AssertSqlSafe(query)).fetch_one(session).await.unwrap().get(0)
}

/// Runs a statement as a tenant and takes it back. Rows affected, or why it was refused.
async fn attempt(session: &mut PgConnection, tenant: TenantId, statement: String) -> Result<u64, String> {
    let mut tx = session.begin().await.unwrap();
    let name = "SELECT set_config('freehold.tenant_id', $1, true)";
    sqlx::query(name).bind(tenant.to_string()).execute(&mut *tx).await.unwrap();
    let done = tx.execute(AssertSqlSafe(statement)).await;
    tx.rollback().await.unwrap();
    done.map(|done| done.rows_affected()).map_err(|error| error.to_string())
}

fn is_refusal(message: &str) -> bool {
    message.contains("row-level security") || message.contains("permission denied")
}

#[tokio::test]
async fn a_tenant_sees_its_own_rows_and_no_others() {
    let (fixture, acme, globex) = filled().await;
    let mut session = Fixture::session(&fixture.connections.tenant).await;
    for table in tables(&fixture).await {
        for tenant in [acme, globex] {
            let own = format!("SELECT FROM {table} WHERE tenant_id = '{tenant}'");
            assert!(attempt(&mut session, tenant, own).await.unwrap() > 0, "{table}: nothing of its own");
            let others = format!("SELECT FROM {table} WHERE tenant_id <> '{tenant}'");
            assert_eq!(attempt(&mut session, tenant, others).await, Ok(0), "{table}: others' rows");
        }
    }
}

#[tokio::test]
async fn without_a_tenant_there_is_nothing_to_see_before_and_after_a_transaction() {
    let (fixture, acme, _) = filled().await;
    let mut session = Fixture::session(&fixture.connections.tenant).await;
    for table in tables(&fixture).await {
        assert_eq!(count(&mut session, format!("SELECT count(*) FROM {table}")).await, 0, "{table}: at first");
        for end in ["COMMIT", "ROLLBACK"] {
            session.execute("BEGIN").await.unwrap();
            let name = "SELECT set_config('freehold.tenant_id', $1, true)";
            sqlx::query(name).bind(acme.to_string()).execute(&mut session).await.unwrap();
            assert!(count(&mut session, format!("SELECT count(*) FROM {table}")).await > 0, "{table}: within");
            session.execute(end).await.unwrap();
            assert_eq!(count(&mut session, format!("SELECT count(*) FROM {table}")).await, 0, "{table}: after {end}");
        }
    }
}

#[tokio::test]
async fn a_tenant_can_not_change_remove_or_take_the_rows_of_another() {
    let (fixture, acme, globex) = filled().await;
    let mut session = Fixture::session(&fixture.connections.tenant).await;
    for table in tables(&fixture).await {
        for statement in [
            format!("UPDATE {table} SET tenant_id = '{acme}' WHERE tenant_id = '{globex}'"),
            format!("DELETE FROM {table} WHERE tenant_id = '{globex}'"),
            format!("DELETE FROM {table} WHERE tenant_id <> '{acme}'"),
        ] {
            match attempt(&mut session, acme, statement.clone()).await {
                Ok(rows) => assert_eq!(rows, 0, "{statement}"),
                Err(message) => assert!(is_refusal(&message), "{statement}: {message}"),
            }
        }
        // Giving one's own rows away.
        let give = format!("UPDATE {table} SET tenant_id = '{globex}'");
        let refused = attempt(&mut session, acme, give.clone()).await.unwrap_err();
        assert!(is_refusal(&refused), "{give}: {refused}");
    }
}

#[tokio::test]
async fn a_tenant_can_not_insert_rows_for_another() {
    let (fixture, acme, globex) = filled().await;
    let mut session = Fixture::session(&fixture.connections.tenant).await;
    let mut superuser = fixture.superuser().await;
    for table in tables(&fixture).await {
        let row = format!("SELECT row_to_json({table})::text FROM {table} WHERE tenant_id = '{globex}' LIMIT 1");
        let row: String = sqlx::query(AssertSqlSafe(row)).fetch_one(&mut superuser).await.unwrap().get(0);
        let row = row.replace('\'', "''");
        let insert = format!(
            "INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM json_populate_record(NULL::{table}, '{row}')"
        );
        let refused = attempt(&mut session, acme, insert.clone()).await.unwrap_err();
        assert!(is_refusal(&refused), "{insert}: {refused}");
    }
}

#[tokio::test]
async fn the_engine_sees_queue_leases_journal_and_resources_only() {
    let (fixture, ..) = filled().await;
    let mut session = Fixture::session(&fixture.connections.engine).await;
    for table in tables(&fixture).await {
        let seen = session.fetch_all(AssertSqlSafe(format!("SELECT FROM {table}"))).await;
        if ["operations", "journal", "resources", "leases"].contains(&table.as_str()) {
            assert_eq!(seen.unwrap().len(), 2, "{table}");
        } else {
            assert!(is_refusal(&seen.unwrap_err().to_string()), "{table}");
        }
    }
    // And of those it changes only what is its own to change.
    for statement in ["UPDATE operations SET plan = '{}'", "DELETE FROM operations", "DELETE FROM plans RETURNING id"] {
        let refused = session.execute(statement).await;
        assert!(refused.is_err_and(|error| is_refusal(&error.to_string())), "{statement}");
    }
}

#[tokio::test]
async fn an_operator_sees_all_stacks_but_no_secrets_and_changes_nothing() {
    let (fixture, ..) = filled().await;
    let mut tx = fixture.store.look(Access::AllTenants).await.unwrap();
    let stacks: Vec<_> = tx.stacks().await.unwrap().into_iter().map(Result::unwrap).collect();
    assert_eq!(stacks.len(), 2);
    // The latest of an app is one of all, chosen by the database.
    let (app, target) = (&stacks[0].key.app, &stacks[0].key.target);
    let latest = tx.latest_of_app(app, target).await.unwrap();
    assert_eq!(latest.as_ref(), stacks.iter().max_by_key(|stack| stack.changed_at));
    assert_eq!(tx.apps().await.unwrap(), std::slice::from_ref(app));
    assert_eq!(tx.latest_of_app(&"another".parse().unwrap(), target).await.unwrap(), None);
    assert_eq!(tx.operations(10).await.unwrap().len(), 2);
    assert!(tx.audit_log(None, 10).await.unwrap().len() >= 2);
    drop(tx);
    let mut session = Fixture::session(&fixture.connections.tenant).await;
    session.execute("SELECT set_config('freehold.operator', 'on', false)").await.unwrap();
    for table in ["secrets", "data_keys", "journal", "idempotency", "leases"] {
        assert_eq!(count(&mut session, format!("SELECT count(*) FROM {table}")).await, 0, "{table}");
    }
    let updated = session.execute("UPDATE stacks SET state = 'failed'").await.unwrap();
    assert_eq!(updated.rows_affected(), 0);
}

#[tokio::test]
async fn what_one_transaction_names_the_next_on_the_same_connection_does_not_see() {
    let (fixture, acme, globex) = filled().await;
    // More transactions than connections, so that all of them are used again and again.
    for round in 0..20 {
        let (tenant, own, other) = if round % 2 == 0 { (acme, "acme", "globex") } else { (globex, "globex", "acme") };
        let mut tx = fixture.store.begin(tenant).await.unwrap();
        assert!(tx.stack(&key(own)).await.unwrap().is_some());
        assert_eq!(tx.stack(&key(other)).await.unwrap(), None);
        if round % 3 == 0 {
            tx.commit().await.unwrap();
        }
    }
    assert_eq!(fixture.store.begin(PLATFORM).await.unwrap().stack(&key("acme")).await.unwrap(), None);
}
