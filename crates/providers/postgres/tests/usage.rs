//! What databases take of the disk, and what is done about one that takes too much.

use std::collections::BTreeMap;

use freehold_engine::{Lookup, Provider as _, Readiness};
use freehold_provider_postgres::usage::{culprit, suspend, usage};
use sqlx::ConnectOptions as _;

use crate::setting::{Stack, code, count, refused, run, shared};

#[tokio::test]
async fn a_database_that_fills_the_disk_is_closed_and_a_deploy_opens_it_again() {
    let (greedy, quiet) = (Stack::new(), Stack::new());
    greedy.deploy().await;
    quiet.deploy().await;
    let mine = |found: Vec<freehold_provider_postgres::usage::Usage>| {
        let names = [greedy.name.clone(), quiet.name.clone()];
        found.into_iter().filter(|usage| names.contains(&usage.database)).collect::<Vec<_>>()
    };
    let before = mine(usage(&shared().admin).await.unwrap());
    assert_eq!(before.len(), 2);
    assert!(before.iter().all(|usage| usage.open && usage.bytes > 1 << 20), "{before:?}");
    let mut migrator = greedy.connect("migrator").await;
    run(&mut migrator, "CREATE TABLE t AS SELECT repeat(md5(i::text), 60) FROM generate_series(1, 4000) i").await;
    let now = mine(usage(&shared().admin).await.unwrap());
    let before: BTreeMap<String, u64> = before.into_iter().map(|usage| (usage.database, usage.bytes)).collect();
    assert_eq!(culprit(&before, &now, 64 << 20), None);
    let found = culprit(&before, &now, 4 << 20).unwrap();
    assert_eq!((&found.database, found.stack), (&greedy.name, greedy.id));

    let why = "it has grown to 7 MB, and that is too much";
    suspend(&shared().admin, found, why).await.unwrap();
    assert!(sqlx::query("SELECT 1").execute(&mut migrator).await.is_err(), "its session goes on");
    for role in ["app", "migrator"] {
        assert_eq!(code(&greedy.connect_options(role).connect().await.unwrap_err()), "28000");
    }
    assert!(
        !mine(usage(&shared().admin).await.unwrap()).iter().any(|usage| usage.database == greedy.name && usage.open)
    );
    quiet.connect("app").await;
    let readiness =
        async |stack: &Stack| stack.provider.readiness(stack.id, &Lookup::from(&stack.database())).await.unwrap();
    assert!(matches!(readiness(&greedy).await, Readiness::Failed(failure) if failure.message.contains(why)));
    assert_eq!(readiness(&quiet).await, Readiness::Ready);

    assert_eq!(greedy.drift(&greedy.roles()).await, ["app_login", "migrator_login"]);
    greedy.apply(greedy.roles()).await.unwrap();
    assert_eq!(readiness(&greedy).await, Readiness::Ready);
    assert_eq!(count(&mut greedy.connect("app").await, "SELECT count(*) FROM t").await, 4000);
    greedy.destroy().await;
    quiet.destroy().await;
}

#[tokio::test]
async fn a_limit_of_the_definition_is_kept_where_the_tenant_cant_change_it() {
    let mut stack = Stack::new();
    stack.max_bytes = Some(1 << 30);
    stack.deploy().await;
    let found = async || {
        let all = usage(&shared().admin).await.unwrap();
        all.into_iter().find(|usage| usage.database == stack.name).unwrap()
    };
    assert_eq!((found().await.most, found().await.is_over()), (Some(1 << 30), false));
    assert_eq!(stack.drift(&stack.roles()).await, Vec::<String>::new());
    let mut migrator = stack.connect("migrator").await;
    let comment = format!("COMMENT ON ROLE {} IS 'mine'", stack.role("owner"));
    assert_eq!(refused(&mut migrator, &comment).await, "42501");
    stack.max_bytes = Some(1 << 20);
    assert_eq!(stack.drift(&stack.roles()).await, ["max_bytes"]);
    stack.apply(stack.roles()).await.unwrap();
    let found = async || {
        let all = usage(&shared().admin).await.unwrap();
        all.into_iter().find(|usage| usage.database == stack.name).unwrap()
    };
    assert!(found().await.is_over());
    stack.max_bytes = None;
    assert_eq!(stack.drift(&stack.roles()).await, ["max_bytes"]);
    stack.destroy().await;
}
