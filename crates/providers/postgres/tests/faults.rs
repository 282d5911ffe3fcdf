//! The connection breaks at any statement, before or after its effect; what follows completes it.

use std::time::Duration;

use freehold_engine::{Performed, ProviderError};
use freehold_graph::SecretText;
use freehold_problem::Problem;
use freehold_provider_postgres::{Fault, PostgresOptions, PostgresProvider, ensure_provisioner};
use futures::future::join_all;
use sqlx::ConnectOptions as _;

use crate::setting::{LOGIN_KEY, PATIENCE, Stack, admin, run, shared};

/// How many breaks are tried at the same time.
const TOGETHER: usize = 4;

/// Breaks `work` at each of its statements, until it has no more. Returns how many there were.
async fn each_break<W, F>(lose_answer: bool, work: W) -> usize
where
    W: Fn(Fault, usize) -> F,
    F: Future<Output = ()>,
{
    let work = &work;
    for first in (0..100).step_by(TOGETHER) {
        let broken = join_all((first..first + TOGETHER).map(|at| async move {
            let fault = Fault::default();
            fault.arm(at, lose_answer);
            work(fault.clone(), at).await;
            !fault.disarm()
        }));
        if let Some(whole) = broken.await.iter().position(|broken| !broken) {
            return first + whole;
        }
    }
    panic!("it never ends");
}

fn broken(outcome: &Result<Performed, ProviderError>) -> bool {
    match outcome {
        Ok(_) => false,
        Err(ProviderError::Unknown(_) | ProviderError::Retryable { .. }) => true,
        Err(other) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_creation_that_broke_anywhere_is_completed_by_repeating_it_and_leaves_nothing_unmarked() {
    for lose_answer in [false, true] {
        let statements = each_break(lose_answer, |fault, at| async move {
            let stack = Stack::with_fault(&format!("create_{lose_answer}_{at}"), Some(fault.clone()));
            for resource in [stack.roles(), stack.database()] {
                if broken(&stack.apply(resource.clone()).await) {
                    everything_is_marked(&stack).await;
                    stack.apply(resource).await.unwrap();
                }
            }
            assert_eq!(stack.drift(&stack.roles()).await, Vec::<String>::new(), "{at}");
            assert_eq!(stack.drift(&stack.database()).await, Vec::<String>::new(), "{at}");
            stack.connect("app").await;
            let mut maker = Stack::with_fault(&stack.name, None);
            maker.id = stack.id;
            maker.destroy().await;
            assert_eq!(stack.owned().await, Vec::<String>::new());
        })
        .await;
        assert!(statements >= 4, "{statements}");
    }
}

#[tokio::test]
async fn a_creation_that_broke_anywhere_can_be_deleted_instead() {
    for lose_answer in [false, true] {
        each_break(lose_answer, |fault, at| async move {
            let stack = Stack::with_fault(&format!("undo_{lose_answer}_{at}"), Some(fault.clone()));
            let made = stack.apply(stack.roles()).await;
            if made.is_ok() {
                let _ = stack.apply(stack.database()).await;
            }
            let left = fault.disarm();
            stack.destroy().await;
            assert_eq!(stack.owned().await, Vec::<String>::new(), "{at}");
            if left {
                fault.arm(1000, false);
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_deletion_that_broke_anywhere_is_completed_by_repeating_it() {
    for lose_answer in [false, true] {
        let statements = each_break(lose_answer, |fault, at| async move {
            let count = Fault::default();
            let maker = Stack::with_fault(&format!("delete_{lose_answer}_{at}"), Some(count));
            maker.deploy().await;
            let mut stack = Stack::with_fault(&maker.name, Some(fault));
            stack.id = maker.id;
            for resource in [stack.database(), stack.roles()] {
                let object = stack.observe(&resource).await.map(|observation| observation.object);
                if broken(&stack.delete(&resource, object.as_deref()).await) {
                    stack.delete(&resource, object.as_deref()).await.unwrap();
                }
            }
            assert_eq!(stack.owned().await, Vec::<String>::new(), "{at}");
        })
        .await;
        assert!(statements >= 3, "{statements}");
    }
}

#[tokio::test]
async fn a_dump_that_broke_anywhere_leaves_nothing_and_is_completed_by_repeating_it() {
    for lose_answer in [false, true] {
        let statements = each_break(lose_answer, |fault, at| async move {
            let maker = Stack::with_fault(&format!("dump_{lose_answer}_{at}"), None);
            maker.deploy().await;
            let mut stack = Stack::with_fault(&maker.name, Some(fault.clone()));
            stack.id = maker.id;
            if broken(&stack.dump().await) {
                everything_is_marked(&stack).await;
                assert_eq!(std::fs::read_dir(&stack.dumps).map_or(0, Iterator::count), 0, "{at}");
                stack.dump().await.unwrap();
            }
            assert_eq!(std::fs::read_dir(&stack.dumps).unwrap().count(), 1);
            assert_eq!(stack.owned().await.len(), 6, "the second database is gone");
            maker.destroy().await;
        })
        .await;
        assert!(statements >= 3, "{statements}");
    }
}

/// Whatever begins with the stack's name, or was made for its dump, bears its mark.
async fn everything_is_marked(stack: &Stack) {
    let mut superuser = admin("postgres").await;
    let found: Vec<String> = sqlx::query_scalar(
        "SELECT 'role ' || rolname FROM pg_roles WHERE starts_with(rolname, $1 || '__')
         UNION SELECT 'database ' || d.datname FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba
               WHERE d.datname = $1 OR starts_with(r.rolname, $1 || '__') ORDER BY 1",
    )
    .bind(&stack.name)
    .fetch_all(&mut superuser)
    .await
    .unwrap();
    assert_eq!(found, stack.owned().await);
}

/// The server goes on with a statement whose client has given up. A look waits for its end, so what it says stays true.
#[tokio::test]
async fn what_is_seen_after_a_call_was_given_up_stays_true() {
    for milliseconds in (0..60).step_by(4) {
        let stack = Stack::new();
        stack.apply(stack.roles()).await.unwrap();
        let given_up = Duration::from_millis(milliseconds);
        let _ = tokio::time::timeout(given_up, stack.apply(stack.database())).await;
        let first = stack.observe(&stack.database()).await;
        at_rest(&stack).await;
        assert_eq!(stack.observe(&stack.database()).await, first, "after {milliseconds} ms");
        if first.is_some() {
            let _ = tokio::time::timeout(given_up, stack.delete(&stack.database(), None)).await;
            let second = stack.observe(&stack.database()).await;
            at_rest(&stack).await;
            assert_eq!(stack.observe(&stack.database()).await, second, "deletion, after {milliseconds} ms");
        }
        stack.destroy().await;
    }
}

/// Waits until the server is at work on nothing of this stack.
async fn at_rest(stack: &Stack) {
    let mut superuser = admin("postgres").await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let busy: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity
             WHERE state = 'active' AND pid <> pg_backend_pid() AND position($1 in query) > 0",
        )
        .bind(&stack.name)
        .fetch_one(&mut superuser)
        .await
        .unwrap();
        if busy == 0 {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "the server is still at work");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn connections_that_the_server_ends_are_replaced() {
    let mut stack = Stack::new();
    let (role, password) = (format!("{}_provisioner", stack.name), SecretText::new("x"));
    ensure_provisioner(&shared().admin, &role, &password).await.unwrap();
    stack.provider = provider(&stack, &role);
    stack.deploy().await;
    let mut superuser = admin("postgres").await;
    let end = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename";
    run(&mut superuser, &format!("{end} = '{role}'")).await;
    assert_eq!(stack.drift(&stack.roles()).await, Vec::<String>::new());
    stack.destroy().await;
    gone(&role).await;
}

/// Removes a provisioner, with its own database.
async fn gone(role: &str) {
    let mut superuser = admin("postgres").await;
    run(&mut superuser, &format!("DROP DATABASE IF EXISTS freehold_{role} WITH (FORCE)")).await;
    run(&mut superuser, &format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}

#[tokio::test]
async fn another_provisioner_can_take_over() {
    let mut stack = Stack::new();
    stack.deploy().await;
    let (role, password) = (format!("{}_provisioner", stack.name), SecretText::new("x"));
    ensure_provisioner(&shared().admin, &role, &password).await.unwrap();
    stack.provider = provider(&stack, &role);
    assert_eq!(stack.drift(&stack.roles()).await, Vec::<String>::new());
    assert_eq!(stack.drift(&stack.database()).await, Vec::<String>::new());
    stack.deploy().await;
    stack.destroy().await;
    gone(&role).await;
}

/// A provider that works with another role.
fn provider(stack: &Stack, role: &str) -> PostgresProvider {
    PostgresProvider::new(PostgresOptions {
        provisioner: shared().provisioner.clone().username(role).password("x"),
        login_key: SecretText::new(LOGIN_KEY),
        dump_directory: stack.dumps.clone(),
        binaries: None,
        reserved_connections: 0,
        sole: None,
        concurrency: 4,
        fault: None,
    })
}

#[tokio::test]
async fn a_server_out_of_connections_is_tried_again_later() {
    let mut stack = Stack::new();
    let mut superuser = admin("postgres").await;
    let role = format!("{}_provisioner", stack.name);
    run(&mut superuser, &format!("CREATE ROLE {role} LOGIN CREATEDB CREATEROLE CONNECTION LIMIT 1 PASSWORD 'x'; GRANT CONNECT ON DATABASE postgres TO {role}")).await;
    let options = shared().provisioner.clone().username(&role).password("x");
    let held = options.connect().await.unwrap();
    stack.provider = provider(&stack, &role);
    let error = stack.apply(stack.roles()).await.unwrap_err();
    let ProviderError::Retryable { problem: Problem { message, .. }, .. } = error else { panic!("{error:?}") };
    assert!(message.contains("out of connections"), "{message}");
    sqlx::Connection::close(held).await.unwrap();
    // The slot is free as soon as the backend has noticed.
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while let Err(error) = stack.apply(stack.roles()).await {
        assert!(tokio::time::Instant::now() < deadline, "{error}");
    }
    stack.delete(&stack.roles(), None).await.unwrap();
    gone(&role).await;
}
