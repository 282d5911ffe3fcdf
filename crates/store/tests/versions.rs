//! What is stored by one release and read by another.

use freehold_problem::Code;
use freehold_store::Access;
use sqlx::{Executor, Row};

use crate::fixture::{Fixture, deploy, next};
use freehold_plan::Purpose;

/// The SHA-384 of each migration that a release has run. A store that ran another text of it is refused at the start, so these only grow.
const MIGRATIONS: [(i64, &str); 9] = [
    (1, "1d638509cd851b282feeb9112e671fa4ad89585a592efb3daa95eec35215b92f9e3c38823a707bef7b23827497e9f986"),
    (2, "fc44522a6a31def00ebd611366c44c396387fd45afa8959e1f549c6bd7413ea1f14e2921372582f185cfdc947390faf3"),
    (3, "320df2d7839f7f528c27166b6cc1319a4f90a492b72e87bac5f14a6510ff3cf7b4050a64cf8940ea1ce740edd90f9f7e"),
    (4, "4ca3a64eca7def87bf27bf50ffd8ada605eaeeb5341810cc1905cb6b09ecf1a469814928a4206c05cb834b5017068935"),
    (5, "2c92cc0eec7485cdd1f95f2b698a930a779ea2538d118cd6ba15622b2b1d6f5530ed41f21caffba0cb87b36fe1174df9"),
    (6, "195b774e608de53b3e8438df2c823efed3122669c08831238652608e56d33cef1467f3536365d8a50ea8769a979fff34"),
    (7, "9d81af6db5c08e59398b1485c2b87570c75b993449310301883dc4848e0c8d337f1675bb1af966ba48dfcff5c3ea4999"),
    (8, "5b1f05e27142cf184aea6bb09c4e1f0c6d8a55f31ae105adb3ce99d9de0476313e59bbc86d31b085856b6f7a2531d17f"),
    (9, "5634c1e2246b2d2936bc28b0942f9d7274de1d125ec8750fb1cc066356dcc0ddb020bbe01f136ec4240c68888167d656"),
];

#[tokio::test]
async fn a_migration_that_a_release_has_run_never_changes() {
    let fixture = Fixture::new().await;
    let read = "SELECT version, encode(checksum, 'hex') AS checksum FROM _sqlx_migrations ORDER BY version";
    let rows = fixture.superuser().await.fetch_all(read).await.unwrap();
    let found: Vec<(i64, String)> = rows.iter().map(|row| (row.get("version"), row.get("checksum"))).collect();
    assert_eq!(found, MIGRATIONS.map(|(version, checksum)| (version, checksum.to_owned())));
}

#[tokio::test]
async fn what_a_newer_release_has_written_is_refused_and_left_alone_and_the_rest_goes_on() {
    let fixture = Fixture::new().await;
    let (acme, globex) = (fixture.deployed("acme").await, fixture.deployed("globex").await);
    let mut newer = fixture.superuser().await;
    newer.execute("UPDATE stacks SET request = '{\"of\":2}', request_version = 2 WHERE name = 'globex'").await.unwrap();
    newer.execute("UPDATE definitions SET language = 32000").await.unwrap();

    let tenant = fixture.tenant("globex").await;
    let mut tx = fixture.store.begin(tenant).await.unwrap();
    let refused = tx.stack_by_id(globex.stack).await.unwrap_err();
    assert_eq!(refused.code(), Code::StoreUnreadable);
    let expected = "a request in the store can't be read: it has version 2, and this release reads up to 1";
    assert_eq!(refused.to_string(), expected);
    let refused = tx.definition(&globex.definition).await.unwrap_err();
    assert_eq!(refused.code(), Code::StoreUnreadable);
    assert!(refused.to_string().contains("its language is version"), "{refused}");
    drop(tx);
    let kept: String = newer.fetch_one("SELECT request::text FROM stacks WHERE name = 'globex'").await.unwrap().get(0);
    assert_eq!(kept, r#"{"of":2}"#);

    let again = next(&acme, Purpose::Deploy);
    fixture.enqueue(&again, &[]).await.unwrap();
    let mut tx = fixture.store.begin(fixture.tenant("acme").await).await.unwrap();
    assert_eq!(tx.stack_by_id(acme.stack).await.unwrap().unwrap().request, Some(again.request));
}

#[tokio::test]
async fn what_an_older_release_has_written_beside_this_one_is_read() {
    let fixture = Fixture::new().await;
    let acme = fixture.deployed("acme").await;
    let tenant = fixture.tenant("acme").await;
    let other = deploy("acme", 0);
    let mut tx = fixture.store.begin(tenant).await.unwrap();
    tx.save_plan(&other).await.unwrap();
    tx.commit().await.unwrap();
    // A release that knows of no versions names none of their columns.
    let mut older = fixture.superuser().await;
    for statement in [
        "INSERT INTO plans (tenant_id, id, stack, plan) SELECT tenant_id, gen_random_uuid(), stack, plan FROM plans",
        "UPDATE stacks SET request = request, outputs = outputs, changed_at = clock_timestamp()",
        "INSERT INTO definitions (hash, app, source) VALUES (repeat('e', 64), 'guestbook', 'of an older release')",
        "INSERT INTO settings (name, value) VALUES ('of-an-older-release', '1')",
    ] {
        older.execute(statement).await.unwrap();
    }
    let ids = older.fetch_all("SELECT id FROM plans ORDER BY created_at").await.unwrap();
    assert_eq!(ids.len(), 2);
    let mut tx = fixture.store.look(Access::AllTenants).await.unwrap();
    for id in ids {
        assert_eq!(tx.plan(id.get("id")).await.unwrap(), Some(other.clone()));
    }
    let mut tx = fixture.store.begin(tenant).await.unwrap();
    assert_eq!(tx.stack_by_id(acme.stack).await.unwrap().unwrap().request, Some(acme.request));
    let older = tx.definition(&"e".repeat(64)).await.unwrap().unwrap();
    assert_eq!((older.source.as_str(), older.files.len()), ("of an older release", 0));
}
