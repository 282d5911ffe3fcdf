//! The connection breaks after the server has done what it was asked and before it says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use freehold_engine::journal::Outcome;
use freehold_engine::{Journal, JournalError, Leases, Record};
use freehold_spec::{Files, Language};
use freehold_store::{EngineStore, OperationState, Store, StoreError, StoredDefinition};
use freehold_testkit::postgres::TestServer;
use sqlx::Executor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::fixture::{Fixture, deploy, end};

/// Stands between the store and its server. Swallows answers when it is told to, and breaks the connection then.
struct Line {
    port: u16,
    swallow: Arc<AtomicUsize>,
}

impl Line {
    /// `answers` are in the answers that it may swallow, as PostgreSQL's protocol has them: `COMMIT`, `SELECT 1`.
    async fn new(answers: &'static [&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let swallow = Arc::new(AtomicUsize::new(0));
        let shared = Arc::clone(&swallow);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, answers, Arc::clone(&shared)));
            }
        });
        Self { port, swallow }
    }

    fn swallow(&self, answers: usize) {
        self.swallow.store(answers, Ordering::SeqCst);
    }

    /// The store, reached over this line.
    async fn store(&self, fixture: &Fixture) -> Store {
        let tcp = TestServer::shared().superuser_over_tcp();
        let mut connections = fixture.connections.clone();
        for (options, role) in
            [(&mut connections.tenant, &fixture.names.tenant), (&mut connections.engine, &fixture.names.engine)]
        {
            let password = fixture.master.password(&format!("role {role}"));
            let over = tcp.clone().port(self.port).username(role).password(password.reveal());
            *options = over.database(&fixture.names.database);
        }
        Store::open(&connections, fixture.master.clone()).await.unwrap()
    }
}

async fn carry(client: TcpStream, answers: &'static [&'static str], swallow: Arc<AtomicUsize>) {
    let server = TcpStream::connect(("127.0.0.1", TestServer::shared().port())).await.unwrap();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
    let wanted: Vec<String> = answers.iter().map(|answer| format!("{answer}\0")).collect();
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
        let is_in = |wanted: &String| buffer[..length].windows(wanted.len()).any(|window| window == wanted.as_bytes());
        let found = wanted.iter().any(is_in);
        let take = |left: usize| left.checked_sub(1);
        if found && swallow.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok() {
            return;
        }
        if to_client.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

const RECORD: [Record; 2] = [Record::Acquired { times: 1 }, Record::CancelRequested];

/// A store over a line that swallows the answers of appends, and an operation under way.
async fn over_a_bad_line() -> (Fixture, Line, EngineStore, freehold_engine::OperationId, freehold_engine::Fence) {
    let fixture = Fixture::new().await;
    let line = Line::new(&["SELECT 1", "journal_batch"]).await;
    let engine = line.store(&fixture).await.engine("server");
    let (_, operation, fence) = fixture.running("acme", &engine).await;
    (fixture, line, engine, operation, fence)
}

#[tokio::test]
async fn an_append_whose_answer_is_lost_once_is_repeated_and_written_once() {
    let (fixture, line, engine, operation, fence) = over_a_bad_line().await;
    engine.append(operation, fence, &[Record::Acquired { times: 9 }]).await.unwrap();
    line.swallow(1);
    engine.append(operation, fence, &RECORD).await.unwrap();
    assert_eq!(line.swallow.load(Ordering::SeqCst), 0);
    assert_eq!(fixture.engine("a look").load(operation).await.unwrap().len(), 3);
}

#[tokio::test]
async fn an_append_that_the_engine_repeats_is_written_once() {
    let (fixture, line, engine, operation, fence) = over_a_bad_line().await;
    engine.append(operation, fence, &[Record::Acquired { times: 9 }]).await.unwrap();
    line.swallow(2);
    let lost = engine.append(operation, fence, &RECORD).await;
    assert!(matches!(lost, Err(JournalError::Unavailable(_))), "{lost:?}");
    // Other appends in between change nothing about it.
    engine.append(operation, fence, &[Record::Acquired { times: 10 }]).await.unwrap();
    engine.append(operation, fence, &RECORD).await.unwrap();
    let records = fixture.engine("a look").load(operation).await.unwrap();
    assert_eq!(records.len(), 4);
    assert_eq!(records[1..3], RECORD);
}

#[tokio::test]
async fn after_a_look_at_the_journal_the_same_content_is_a_new_append() {
    let (_fixture, line, engine, operation, fence) = over_a_bad_line().await;
    engine.append(operation, fence, &[Record::Acquired { times: 9 }]).await.unwrap();
    line.swallow(2);
    engine.append(operation, fence, &RECORD).await.unwrap_err();
    assert_eq!(engine.load(operation).await.unwrap().len(), 3);
    engine.append(operation, fence, &RECORD).await.unwrap();
    assert_eq!(engine.load(operation).await.unwrap().len(), 5);
}

#[tokio::test]
async fn an_append_that_is_repeated_too_late_is_refused() {
    let (fixture, line, engine, operation, fence) = over_a_bad_line().await;
    engine.append(operation, fence, &[Record::Acquired { times: 9 }]).await.unwrap();
    line.swallow(2);
    engine.append(operation, fence, &RECORD).await.unwrap_err();
    let successor = fixture.engine("successor");
    successor.take_over_predecessors().await.unwrap();
    successor.acquire(operation).await.unwrap().unwrap();
    assert_eq!(engine.append(operation, fence, &RECORD).await, Err(JournalError::Fenced));
    assert_eq!(successor.load(operation).await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_process_that_outlives_the_loss_of_the_journals_end_does_not_write_on_behind_the_gap() {
    let fixture = Fixture::new().await;
    let engine = fixture.engine("server");
    let (_, operation, fence) = fixture.running("acme", &engine).await;
    engine.append(operation, fence, &RECORD).await.unwrap();
    // What a crash of the server does to records that it had acknowledged and not yet written to the disk.
    let mut superuser = fixture.superuser().await;
    superuser.execute("SET session_replication_role = replica").await.unwrap();
    superuser.execute("DELETE FROM journal WHERE seq = 2").await.unwrap();
    superuser.execute("UPDATE leases SET seq = 1").await.unwrap();
    assert_eq!(engine.append(operation, fence, &RECORD).await, Err(JournalError::Fenced));
    let ended = engine.finish(operation, fence, &end(Outcome::Succeeded)).await;
    assert!(matches!(ended, Err(StoreError::Fenced)), "{ended:?}");
    // Who reads it anew goes on from what is there.
    assert_eq!(engine.load(operation).await.unwrap().len(), 1);
    engine.append(operation, fence, &RECORD).await.unwrap();
    assert_eq!(engine.load(operation).await.unwrap().len(), 3);
}

#[tokio::test]
async fn an_end_whose_answer_is_lost_can_be_repeated() {
    let fixture = Fixture::new().await;
    let line = Line::new(&["COMMIT"]).await;
    let engine = line.store(&fixture).await.engine("server");
    let (plan, operation, fence) = fixture.running("acme", &engine).await;
    engine.append(operation, fence, &[Record::Finished { outcome: Outcome::Succeeded }]).await.unwrap();
    line.swallow(1);
    let lost = engine.finish(operation, fence, &end(Outcome::Succeeded)).await;
    assert!(matches!(lost, Err(StoreError::Unavailable(_))), "{lost:?}");
    engine.finish(operation, fence, &end(Outcome::Succeeded)).await.unwrap();
    assert_eq!(engine.operation(operation).await.unwrap().state, OperationState::Succeeded);
    let changed = engine.finish(operation, fence, &end(Outcome::Failed)).await;
    assert!(matches!(changed, Err(StoreError::Fenced)), "{changed:?}");
    let tenant = fixture.tenant("acme").await;
    let stack = fixture.store.begin(tenant).await.unwrap().stack_by_id(plan.stack).await.unwrap().unwrap();
    assert_eq!(stack.verified_revision, Some(1));
}

#[tokio::test]
async fn after_a_lost_answer_one_can_see_whether_the_operation_is_in_the_queue() {
    let fixture = Fixture::new().await;
    fixture.deployed("globex").await;
    let line = Line::new(&["COMMIT"]).await;
    let over = Fixture { store: line.store(&fixture).await, ..fixture };
    let tenant = over.tenant("acme").await;
    let plan = deploy("acme", 0);
    // One commit for the definition, and one for the operation: the second is lost.
    let mut tx = over.store.begin(tenant).await.unwrap();
    let definition = StoredDefinition { source: String::new(), files: Files::new(), language: Language::V1 };
    tx.save_definition(&plan.definition, "guestbook", &definition).await.unwrap();
    tx.commit().await.unwrap();
    line.swallow(1);
    let (graph, secrets, claims) = Default::default();
    let id = freehold_engine::OperationId(uuid::Uuid::now_v7());
    let new = freehold_store::NewOperation {
        id,
        plan: &plan,
        graph: &graph,
        secrets: &secrets,
        claims: &claims,
        connections: freehold_store::ConnectionRequest {
            wanted: 0,
            usable: 0,
            limits: &std::collections::BTreeMap::new(),
        },
        sharing: freehold_store::Sharing::Tenants,
        requested_by: "a test",
        idempotency_key: None,
    };
    let lost = over.store.enqueue(tenant, &new).await;
    assert!(matches!(lost, Err(StoreError::Unavailable(_))), "{lost:?}");
    assert!(over.store.begin(tenant).await.unwrap().operation(id).await.unwrap().is_some());
    // To ask again is refused, not done twice.
    let again = over.store.enqueue(tenant, &new).await;
    assert!(matches!(again, Err(StoreError::AnotherRunning { operation, .. }) if operation == id), "{again:?}");
}
