//! Secrets: sealed under their tenant's key, in their own row, and told to nobody else.

use freehold_engine::{ProviderError, Secrets};
use freehold_graph::value::Digests;
use freehold_graph::{SecretRef, SecretText, StackId};
use freehold_problem::{Code, Problem};
use freehold_store::{PLATFORM, Store, TenantId};
use freehold_testkit::postgres::TestServer;
use sqlx::{AssertSqlSafe, Executor, Row};

use crate::fixture::{Fixture, key};

const TEXT: &str = "correct horse battery staple";

async fn set(fixture: &Fixture, name: &str, stack: StackId, text: &str) -> TenantId {
    let tenant = fixture.tenant(name).await;
    let key = fixture.store.data_key(tenant).await.unwrap();
    let mut tx = fixture.store.begin(tenant).await.unwrap();
    tx.set_secret(&key, stack, "session-key", &SecretText::new(text), "ada").await.unwrap();
    tx.commit().await.unwrap();
    tenant
}

fn stored() -> SecretRef {
    SecretRef::Stored("session-key".to_owned())
}

fn derived(purpose: &str, rotation: u32) -> SecretRef {
    SecretRef::Derived { purpose: purpose.to_owned(), rotation }
}

#[tokio::test]
async fn a_secret_is_revealed_as_it_was_set_and_its_last_two_versions_are_kept() {
    let fixture = Fixture::new().await;
    let stack = fixture.deployed("acme").await.stack;
    assert_eq!(fixture.store.reveal_secret(stack, &stored()).await.unwrap(), None);
    for text in ["one", "two", "three", TEXT] {
        set(&fixture, "acme", stack, text).await;
    }
    // Read by a store that has nothing in memory.
    let store = Store::open(&fixture.connections, fixture.master.clone()).await.unwrap();
    assert_eq!(store.reveal(stack, &stored()).await.unwrap().reveal(), TEXT);
    let tenant = fixture.tenant("acme").await;
    let secrets = store.begin(tenant).await.unwrap().secrets(stack).await.unwrap();
    assert_eq!(secrets.len(), 1);
    assert_eq!((secrets[0].version, secrets[0].set_by.as_str(), secrets[0].generated), (4, "ada", false));
    let mut superuser = fixture.superuser().await;
    let row = superuser.fetch_one("SELECT count(*), count(DISTINCT identity) FROM secrets").await.unwrap();
    assert_eq!((row.get::<i64, _>(0), row.get::<i64, _>(1)), (2, 1));
}

#[tokio::test]
async fn no_text_of_a_secret_is_in_the_database_or_its_log() {
    let fixture = Fixture::new().await;
    let stack = fixture.deployed("acme").await.stack;
    set(&fixture, "acme", stack, TEXT).await;
    let mut superuser = fixture.superuser().await;
    let everything = "SELECT string_agg(query_to_xml(format('SELECT * FROM %I', relname), true, true, '')::text, '')
                      FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'";
    let everything: String = superuser.fetch_one(everything).await.unwrap().get(0);
    assert!(everything.contains("session-key"));
    assert!(!everything.contains(TEXT));
    let log = TestServer::shared().log();
    assert!(log.contains("INSERT INTO secrets"));
    assert!(!log.contains(TEXT));
}

#[tokio::test]
async fn a_sealed_value_opens_in_its_own_row_only() {
    let fixture = Fixture::new().await;
    let (first, second) = (fixture.deployed("acme").await.stack, fixture.deployed("globex").await.stack);
    set(&fixture, "acme", first, "one").await;
    set(&fixture, "acme", first, "two").await;
    set(&fixture, "globex", second, "three").await;
    for tamper in [
        // From another tenant's stack.
        format!(
            "UPDATE secrets SET sealed = (SELECT sealed FROM secrets WHERE stack = '{second}') WHERE stack = '{first}'"
        ),
        // From an older version.
        format!("UPDATE secrets SET sealed = (SELECT sealed FROM secrets WHERE stack = '{first}' AND version = 1)"),
        // Another name.
        "UPDATE secrets SET name = 'other'".to_owned(),
        // One bit.
        "UPDATE secrets SET sealed = set_byte(sealed, 20, get_byte(sealed, 20) # 1)".to_owned(),
        "UPDATE secrets SET sealed = ''".to_owned(),
    ] {
        let mut superuser = fixture.superuser().await;
        superuser.execute("CREATE TABLE kept AS TABLE secrets").await.unwrap();
        superuser.execute(AssertSqlSafe(tamper.clone())).await.unwrap();
        let name = if tamper.contains("other") { SecretRef::Stored("other".to_owned()) } else { stored() };
        let error = fixture.store.reveal_secret(first, &name).await.unwrap_err();
        assert_eq!(error.code(), Code::SealBroken, "{tamper}: {error}");
        superuser.execute("DELETE FROM secrets").await.unwrap();
        superuser.execute("INSERT INTO secrets TABLE kept").await.unwrap();
        superuser.execute("DROP TABLE kept").await.unwrap();
        assert_eq!(fixture.store.reveal_secret(first, &stored()).await.unwrap().unwrap().reveal(), "two");
    }
}

#[tokio::test]
async fn a_data_key_opens_for_its_own_tenant_only() {
    let fixture = Fixture::new().await;
    let (acme, globex) = (fixture.tenant("acme").await, fixture.tenant("globex").await);
    let steal = format!(
        "UPDATE data_keys SET wrapped = (SELECT wrapped FROM data_keys WHERE tenant_id = '{acme}')
         WHERE tenant_id = '{globex}'"
    );
    fixture.superuser().await.execute(AssertSqlSafe(steal)).await.unwrap();
    assert_eq!(fixture.store.data_key(globex).await.unwrap_err().code(), Code::SealBroken);
}

#[tokio::test]
async fn two_processes_that_need_a_first_key_at_once_get_the_same() {
    let fixture = Fixture::new().await;
    let other = Store::open(&fixture.connections, fixture.master.clone()).await.unwrap();
    // A customer's key is made with the tenant; the platform's when it is first needed.
    let (one, two) = tokio::join!(fixture.store.data_key(PLATFORM), other.data_key(PLATFORM));
    assert_eq!(one.unwrap().digest("x"), two.unwrap().digest("x"));
}

#[tokio::test]
async fn derived_credentials_are_stable_and_differ_by_stack_purpose_and_rotation() {
    let fixture = Fixture::new().await;
    let (first, second) = (fixture.deployed("acme").await.stack, fixture.deployed("globex").await.stack);
    let again = Store::open(&fixture.connections, fixture.master.clone()).await.unwrap();
    let mut texts = std::collections::BTreeSet::new();
    for (stack, secret) in [
        (first, derived("postgres/main/app", 0)),
        (first, derived("postgres/main/app", 1)),
        (first, derived("postgres/main/migrator", 0)),
        (second, derived("postgres/main/app", 0)),
    ] {
        let text = fixture.store.reveal(stack, &secret).await.unwrap();
        assert_eq!(again.reveal(stack, &secret).await.unwrap(), text);
        assert_eq!(text.reveal().len(), 43);
        texts.insert(text.reveal().to_owned());
    }
    assert_eq!(texts.len(), 4);
}

#[tokio::test]
async fn digests_tell_equal_values_of_a_tenant_from_different_ones() {
    let fixture = Fixture::new().await;
    let (first, second) = (fixture.deployed("acme").await.stack, fixture.deployed("globex").await.stack);
    let acme = set(&fixture, "acme", first, TEXT).await;
    let before = fixture.store.digests(acme, first, &key("x").target).await.unwrap();
    assert_eq!(before.of_secret(&SecretRef::Stored("missing".to_owned())), None);
    set(&fixture, "acme", first, TEXT).await;
    let same = fixture.store.digests(acme, first, &key("x").target).await.unwrap();
    assert_eq!(before.of_secret(&stored()), same.of_secret(&stored()));
    assert_eq!(same.stored().len(), 1);
    set(&fixture, "acme", first, "another").await;
    let changed = fixture.store.digests(acme, first, &key("x").target).await.unwrap();
    assert_ne!(same.of_secret(&stored()), changed.of_secret(&stored()));
    let globex = set(&fixture, "globex", second, TEXT).await;
    let theirs = fixture.store.digests(globex, second, &key("x").target).await.unwrap();
    assert_ne!(same.of_secret(&stored()), theirs.of_secret(&stored()), "tenants' digests can't be compared");
    // A credential's digest is that of its text.
    let credential = fixture.store.reveal(first, &derived("p", 0)).await.unwrap();
    assert_eq!(changed.of_secret(&derived("p", 0)), Some(changed.of_text(credential.reveal())));
}

#[tokio::test]
async fn a_generated_secret_is_made_once() {
    let fixture = Fixture::new().await;
    let stack = fixture.deployed("acme").await.stack;
    let tenant = fixture.tenant("acme").await;
    let key = fixture.store.data_key(tenant).await.unwrap();
    let generate = async |text: &str| {
        let mut tx = fixture.store.begin(tenant).await.unwrap();
        let made = tx.generate_secret(&key, stack, "session-key", &SecretText::new(text), "freehold").await.unwrap();
        tx.commit().await.unwrap();
        made
    };
    let (one, two) = tokio::join!(generate("one"), generate("two"));
    assert_eq!(one, two);
    assert!(one.generated);
    let mut tx = fixture.store.begin(tenant).await.unwrap();
    assert!(tx.remove_secret(stack, "session-key").await.unwrap());
    assert!(!tx.remove_secret(stack, "session-key").await.unwrap());
}

#[tokio::test]
async fn a_secret_without_a_value_is_refused_with_the_way_out() {
    let fixture = Fixture::new().await;
    let stack = fixture.deployed("acme").await.stack;
    let error = fixture.store.reveal(stack, &stored()).await.unwrap_err();
    let ProviderError::Rejected(Problem { message, help, .. }) = error else { panic!("{error}") };
    assert_eq!(message, "secret session-key has no value");
    assert!(help.unwrap().contains("freehold secret set"));
}
