//! The fence around a database before its last dump.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use freehold_engine::{Lookup, Provider as _, ProviderError, Readiness, Task};
use freehold_problem::Code;
use freehold_provider_postgres::usage::{suspend, usage};
use sqlx::{ConnectOptions as _, Executor as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::setting::{Stack, admin, count, rejection, run, shared};

fn raise(stack: &Stack) -> Task {
    Task::Fence { lookup: Lookup::from(&stack.roles()), object: None }
}

fn lift(stack: &Stack) -> Task {
    Task::Lift { resource: stack.roles(), observed: freehold_graph::Value::Null, object: None }
}

#[tokio::test]
async fn every_row_that_a_constant_writer_was_told_is_written_is_in_the_dump() {
    let stack = Stack::new();
    stack.deploy().await;
    run(&mut stack.connect("migrator").await, "CREATE TABLE entries (id bigserial PRIMARY KEY, body text)").await;
    let acknowledged = Arc::new(AtomicI64::new(0));
    let options = stack.connect_options("app");
    let count_up = Arc::clone(&acknowledged);
    // It comes back as often as it is let in.
    let writer = tokio::spawn(async move {
        loop {
            let Ok(mut session) = options.connect().await else { return };
            while session.execute("INSERT INTO entries (body) VALUES ('a row')").await.is_ok() {
                count_up.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    while acknowledged.load(Ordering::SeqCst) < 100 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    stack.perform(raise(&stack)).await.unwrap();
    let note = stack.dump().await.unwrap().note.unwrap();
    writer.await.unwrap();
    let path = note.split(" (").next().unwrap();
    let data = std::process::Command::new(shared().binaries.program("pg_restore"))
        .args(["--data-only", "--file", "-", path])
        .output();
    let data = String::from_utf8(data.unwrap().stdout).unwrap();
    let dumped = data.lines().filter(|line| line.ends_with("\ta row")).count();
    let acknowledged = usize::try_from(acknowledged.load(Ordering::SeqCst)).unwrap();
    assert!(dumped >= acknowledged, "{dumped} rows in the dump, {acknowledged} were acknowledged");
    assert!(dumped <= acknowledged + 1, "at most one was written and not acknowledged any more");
    stack.destroy().await;
}

#[tokio::test]
async fn a_lifted_fence_lets_everybody_in_again_with_the_passwords_that_they_have() {
    let stack = Stack::new();
    stack.deploy().await;
    let before = stack.observe(&stack.roles()).await.unwrap();
    for _ in 0..2 {
        stack.perform(raise(&stack)).await.unwrap();
        for role in ["app", "migrator"] {
            assert!(stack.connect_options(role).connect().await.is_err(), "{role} gets in");
        }
    }
    for _ in 0..2 {
        stack.perform(lift(&stack)).await.unwrap();
        for role in ["app", "migrator"] {
            run(&mut stack.connect(role).await, "SELECT 1").await;
        }
    }
    assert_eq!(stack.observe(&stack.roles()).await.unwrap(), before);
    let owners = format!("SELECT count(*) FROM pg_roles WHERE rolname = '{}' AND rolcanlogin", stack.role("owner"));
    assert_eq!(count(&mut admin("postgres").await, &owners).await, 0, "nobody logs in as the owner");
    stack.destroy().await;
}

#[tokio::test]
async fn roles_of_somebody_else_are_not_shut() {
    let (ours, theirs) = (Stack::named("fenced"), Stack::named("fenced"));
    theirs.deploy().await;
    let (code, why) = rejection(ours.perform(raise(&theirs)).await);
    assert_eq!(code, Code::NotOwned, "{why}");
    run(&mut theirs.connect("app").await, "SELECT 1").await;
    theirs.destroy().await;
}

#[tokio::test]
async fn a_fence_shuts_the_logins_of_all_rotations_and_opens_only_those_that_it_shut() {
    let mut stack = Stack::new();
    stack.deploy().await;
    stack.rotate();
    stack.apply(stack.roles()).await.unwrap();
    stack.apply(stack.database()).await.unwrap();
    // The first login of the app was closed after the switch; the one of a rotation that failed is still there.
    stack.apply(stack.logins()).await.unwrap();
    let serving = stack.connect_options("app");
    stack.rotate();
    stack.apply(stack.roles()).await.unwrap();
    let mut session = serving.connect().await.unwrap();
    let before = stack.observe(&stack.logins()).await.unwrap();
    let open = format!("SELECT count(*) FROM pg_roles WHERE rolname LIKE '{}\\_\\_%\\_r_' AND rolcanlogin", stack.name);
    assert_eq!(count(&mut admin("postgres").await, &open).await, 4);

    stack.perform(raise(&stack)).await.unwrap();
    assert_eq!(count(&mut admin("postgres").await, &open).await, 0);
    assert!(session.execute("SELECT 1").await.is_err(), "a session of the version that serves goes on");
    assert!(serving.connect().await.is_err() && stack.connect_options("migrator").connect().await.is_err());
    stack.dump().await.unwrap();

    stack.perform(lift(&stack)).await.unwrap();
    assert_eq!(stack.observe(&stack.logins()).await.unwrap(), before);
    run(&mut serving.connect().await.unwrap(), "SELECT 1").await;
    run(&mut stack.connect("app").await, "SELECT 1").await;
    assert!(stack.first_connect_options("app").connect().await.is_err(), "what was closed before is open");

    stack.perform(raise(&stack)).await.unwrap();
    stack.destroy().await;
    assert_eq!(stack.owned().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_database_that_is_closed_before_behind_or_beside_a_fence_stays_closed_when_that_is_lifted() {
    let stack = Stack::new();
    stack.deploy().await;
    let close = async || {
        let all = usage(&shared().admin).await.unwrap();
        let found = all.into_iter().find(|usage| usage.database == stack.name).unwrap();
        suspend(&shared().admin, &found, "it fills the disk").await
    };
    let mut admin = admin("postgres").await;
    let open = format!(
        "SELECT count(*) FROM pg_roles WHERE rolname IN ('{}', '{}') AND rolcanlogin",
        stack.role("app"),
        stack.role("migrator")
    );
    for when in ["before", "behind", "beside"] {
        if when == "before" {
            close().await.unwrap();
        }
        stack.perform(raise(&stack)).await.unwrap();
        if when == "behind" {
            close().await.unwrap();
        }
        if when == "beside" {
            // One of the two may be turned away, and is done again.
            let (lifted, closed) = tokio::join!(stack.perform(lift(&stack)), close());
            if closed.is_err() {
                close().await.unwrap();
            }
            assert!(matches!(lifted, Ok(_) | Err(ProviderError::Retryable { .. })), "{lifted:?}");
        }
        stack.perform(lift(&stack)).await.unwrap();
        assert_eq!(count(&mut admin, &open).await, 0, "closed {when}");
        let readiness = stack.provider.readiness(stack.id, &Lookup::from(&stack.database())).await.unwrap();
        assert!(
            matches!(&readiness, Readiness::Failed(failure) if failure.message.contains("it fills the disk")),
            "{readiness:?}"
        );
        // A deploy opens it again, as always.
        stack.apply(stack.roles()).await.unwrap();
        assert_eq!(count(&mut admin, &open).await, 2, "closed {when}");
    }
    stack.destroy().await;
}

/// A way to the server that stops in the middle of a login: tells that it is there, and goes on when it is told to.
async fn held_way(arrived: Arc<Notify>, go_on: Arc<Notify>) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut server = TcpStream::connect(("127.0.0.1", shared().port)).await.unwrap();
        let mut message = vec![0; 4096];
        // Start-up and its answer, the first message of the exchange and its answer; the proof of the password is held back.
        for _ in 0..2 {
            let length = client.read(&mut message).await.unwrap();
            server.write_all(&message[..length]).await.unwrap();
            let length = server.read(&mut message).await.unwrap();
            client.write_all(&message[..length]).await.unwrap();
        }
        arrived.notify_one();
        go_on.notified().await;
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    });
    port
}

#[tokio::test]
async fn a_login_that_had_begun_when_the_fence_was_raised_is_turned_away_before_the_fence_is_done() {
    let stack = Stack::new();
    stack.deploy().await;
    let (arrived, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let way = stack.connect_options("app").port(held_way(Arc::clone(&arrived), Arc::clone(&go_on)).await);
    let coming = tokio::spawn(async move { way.connect().await.map(drop) });
    arrived.notified().await;
    let done = AtomicBool::new(false);
    let raised = async {
        let raised = stack.perform(raise(&stack)).await;
        done.store(true, Ordering::SeqCst);
        raised
    };
    let turned_away = async {
        let mut admin = admin("postgres").await;
        let app = stack.role("app");
        let shut = format!("SELECT count(*) FROM pg_roles WHERE rolname = '{app}' AND NOT rolcanlogin");
        while !done.load(Ordering::SeqCst) && count(&mut admin, &shut).await == 0 {
            tokio::task::yield_now().await;
        }
        assert!(!done.load(Ordering::SeqCst), "somebody is still being let in");
        go_on.notify_one();
        coming.await.unwrap()
    };
    let (raised, came) = tokio::join!(raised, turned_away);
    raised.unwrap();
    assert_eq!(crate::setting::code(&came.unwrap_err()), "28000");
    stack.destroy().await;
}
