//! What a session takes of what all databases share, on a server of its own: the others would feel it.

use std::sync::Arc;

use freehold_provider_postgres::PrivateServer;
use freehold_provider_postgres::pressure::{Excess, Limits, Shared, Watch};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, PgConnection};
use tokio::sync::OnceCell;
use tokio::time::{sleep, timeout};

use crate::setting::{PATIENCE, code, count, open_directory, run, server_options, tie_to_this_process};

struct Own {
    admin: PgConnectOptions,
    apps: PgConnectOptions,
}

impl Own {
    /// A server with two roles that bear the mark of stacks, each with a database.
    async fn start() -> Self {
        let directory = open_directory("pressure");
        let home = directory.join("postgres");
        tie_to_this_process(&home.join("cluster/postmaster.pid"), &directory);
        let mut options = server_options(&home);
        options.max_connections = 20;
        let server = PrivateServer::start(options).await.unwrap();
        let admin = server.admin_options();
        let mut superuser = admin.connect().await.unwrap();
        for role in ["mallory", "victim"] {
            run(&mut superuser, &format!("CREATE ROLE {role} LOGIN PASSWORD 'secret'")).await;
            run(&mut superuser, &format!("COMMENT ON ROLE {role} IS 'freehold stack=test'")).await;
            run(&mut superuser, &format!("CREATE DATABASE {role} OWNER {role}")).await;
        }
        let apps = admin.clone().password("secret");
        Self { admin, apps }
    }

    fn options(&self, role: &str) -> PgConnectOptions {
        self.apps.clone().username(role).database(role)
    }

    async fn connect(&self, role: &str) -> PgConnection {
        self.options(role).connect().await.unwrap()
    }
}

/// One server for the tests of this file, one test at a time: each takes what all need.
async fn own() -> (Arc<Own>, tokio::sync::MutexGuard<'static, ()>) {
    static OWN: OnceCell<Arc<Own>> = OnceCell::const_new();
    static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let turn = TURN.lock().await;
    (OWN.get_or_init(async || Arc::new(Own::start().await)).await.clone(), turn)
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{what}: never"));
}

async fn is_ended(session: &mut PgConnection) -> bool {
    sqlx::query("SELECT 1").execute(session).await.is_err()
}

#[tokio::test]
async fn a_session_that_takes_all_locks_is_ended_and_others_can_log_in_again() {
    let (own, _turn) = own().await;
    let mut watch = Watch::new(own.admin.clone(), Limits::default());
    let (mut mallory, mut bystander) = (own.connect("mallory").await, own.connect("mallory").await);
    run(&mut bystander, "SELECT pg_advisory_lock(0)").await;
    assert_eq!(watch.sessions(), None);
    assert_eq!(watch.look().await.unwrap(), []);
    assert!(watch.sessions().is_some_and(|sessions| sessions.len() >= 2));
    let all = sqlx::query("SELECT count(*) FROM (SELECT pg_advisory_lock(generate_series(1, 100000000))) l")
        .execute(&mut mallory);
    assert_eq!(code(&all.await.unwrap_err()), "53200");
    let refused = own.options("victim").connect().await.unwrap_err();
    assert_eq!(code(&refused), "53200", "{refused}");

    let ended = watch.look().await.unwrap();
    assert_eq!(ended.iter().map(|excess| (excess.of, excess.sessions)).collect::<Vec<_>>(), [(Shared::Locks, 1)]);
    eventually("its session ends", async || is_ended(&mut mallory).await).await;
    eventually("others log in", async || own.options("victim").connect().await.is_ok()).await;
    assert_eq!(count(&mut bystander, "SELECT 1::bigint").await, 1);
    assert_eq!(watch.look().await.unwrap(), []);
}

#[tokio::test]
async fn a_transaction_that_keeps_old_ids_or_notifications_from_being_reused_is_ended() {
    let (own, _turn) = own().await;
    let limits = Limits { transactions: 100, ..Limits::default() };
    let mut watch = Watch::new(own.admin.clone(), limits);
    let (mut old, mut busy) = (own.connect("mallory").await, own.connect("victim").await);
    run(&mut old, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class").await;
    for _ in 0..110 {
        run(&mut busy, "SELECT pg_current_xact_id()").await;
    }
    let ended = watch.look().await.unwrap();
    assert_eq!(
        ended.iter().map(|excess| (excess.of, excess.sessions)).collect::<Vec<_>>(),
        [(Shared::TransactionIds, 1)]
    );
    eventually("its session ends", async || is_ended(&mut old).await).await;
    assert_eq!(count(&mut busy, "SELECT 1::bigint").await, 1);

    let limits = Limits { notifications: 0.0, listening_seconds: 0.0, ..Limits::default() };
    let mut watch = Watch::new(own.admin.clone(), limits);
    assert_eq!(watch.look().await.unwrap(), []);
    let (mut bystander, mut deaf) = (own.connect("victim").await, own.connect("mallory").await);
    run(&mut bystander, "BEGIN; SELECT 1").await;
    run(&mut deaf, "LISTEN nothing").await;
    run(&mut deaf, "BEGIN; SELECT 1").await;
    run(&mut busy, "SELECT count(pg_notify('other', repeat('x', 7000) || i)) FROM generate_series(1, 100) i").await;
    // Who has been at it for longest is ended first, in vain, and isn't blamed for it.
    assert_eq!(watch.look().await.unwrap(), []);
    eventually("the wrong session ends", async || is_ended(&mut bystander).await).await;
    let mut blamed = Vec::new();
    eventually("somebody is blamed", async || {
        blamed = watch.look().await.unwrap();
        !blamed.is_empty()
    })
    .await;
    let mallory = count(
        &mut own.connect("mallory").await,
        "SELECT oid::int8 FROM pg_database WHERE datname = current_database()",
    )
    .await;
    assert_eq!(blamed, [Excess { database: mallory, of: Shared::Notifications, sessions: 1 }]);
    assert!(is_ended(&mut deaf).await);
}

#[tokio::test]
async fn no_session_can_take_the_memory_of_the_machine() {
    let (own, _turn) = own().await;
    let mut victim = own.connect("victim").await;
    let pid = count(&mut victim, "SELECT pg_backend_pid()::bigint").await;
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let data = limits.lines().find(|line| line.starts_with("Max data size")).unwrap();
    let most: u64 = data.split_whitespace().nth(3).unwrap().parse().unwrap_or(u64::MAX);
    assert!((512 << 20..1 << 40).contains(&most), "{data}");
    let pieces = vec!["repeat('x', 900000000)"; usize::try_from(most / 900_000_000 + 1).unwrap()].join(", ");
    let greedy = format!("SELECT pg_column_size(ROW({pieces}))");
    let refused = sqlx::query(sqlx::AssertSqlSafe(greedy)).execute(&mut victim).await.unwrap_err();
    assert_eq!(code(&refused), "53200", "{refused}");
    // Only the statement failed.
    assert_eq!(count(&mut victim, "SELECT 1::bigint").await, 1);
}
