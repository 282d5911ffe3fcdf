//! How fast it is. Not part of the tests; run with `cargo test -p freehold-provider-postgres -- --ignored --nocapture pace`.

use std::time::{Duration, Instant};

use futures::StreamExt as _;

use crate::setting::{Stack, admin, run};

/// 30 tenants, made with 1, 2, 4 and 8 steps at once, beside the bare statements with the same parallelism.
#[tokio::test]
#[ignore = "a measurement"]
async fn pace_of_thirty_tenants() {
    run(&mut admin("postgres").await, "ALTER SYSTEM RESET ALL").await;
    run(&mut admin("postgres").await, "SELECT pg_reload_conf()").await;
    for parallel in [1, 2, 4, 8] {
        let ours = timed(parallel, |index| async move {
            let stack = Stack::named(&format!("pace_{parallel}_{index}"));
            let begun = Instant::now();
            stack.deploy().await;
            begun.elapsed()
        });
        let (ours, mut each) = ours.await;
        each.sort();
        let (bare, _) = timed(parallel, |index| async move {
            let begun = Instant::now();
            bare(&format!("bare_{parallel}_{index}")).await;
            begun.elapsed()
        })
        .await;
        println!(
            "{parallel} at once: ours {ours:?} (p50 {:?}, p95 {:?}), bare {bare:?}, ratio {:.2}",
            each[15],
            each[28],
            ours.as_secs_f64() / bare.as_secs_f64()
        );
    }
}

async fn timed<F: Future<Output = Duration>>(parallel: usize, work: impl Fn(usize) -> F) -> (Duration, Vec<Duration>) {
    let begun = Instant::now();
    let each = futures::stream::iter(0..30).map(work).buffer_unordered(parallel).collect().await;
    (begun.elapsed(), each)
}

/// What a shell script with `psql` would do: two connections, the same statements.
async fn bare(name: &str) {
    let mut maintenance = admin("postgres").await;
    let roles = format!(
        "CREATE ROLE {name}_owner; CREATE ROLE {name}_migrator LOGIN PASSWORD 'x'; CREATE ROLE {name}_app LOGIN PASSWORD 'x';
         GRANT {name}_owner TO {name}_migrator; ALTER ROLE {name}_migrator SET role = {name}_owner;
         ALTER ROLE {name}_app SET statement_timeout = 30000"
    );
    run(&mut maintenance, &roles).await;
    run(&mut maintenance, &format!("CREATE DATABASE {name} OWNER {name}_owner TEMPLATE template0")).await;
    run(
        &mut maintenance,
        &format!("REVOKE ALL ON DATABASE {name} FROM PUBLIC; GRANT CONNECT ON DATABASE {name} TO {name}_app"),
    )
    .await;
    let mut inside = admin(name).await;
    run(&mut inside, &format!("ALTER DEFAULT PRIVILEGES FOR ROLE {name}_owner GRANT ALL ON TABLES TO {name}_app"))
        .await;
    run(&mut inside, "CREATE EXTENSION pgcrypto").await;
}
