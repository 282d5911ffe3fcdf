//! Clients of a tenant's guestbook on a node: many requests for as long as something lasts, and streams that come back.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use futures::StreamExt as _;
use reqwest::Client;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::site::{host, url};

/// How many requests each second, all clients together.
const RATE: u64 = 330;
/// How many clients, each with connections of its own.
const CLIENTS: u64 = 11;
/// How many streams of events.
const STREAMS: usize = 4;
/// Of so many requests one writes an entry.
const WRITES: u64 = 10;

/// What became of the requests and events.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How many were answered as they should be.
    pub good: u64,
    /// What went wrong with each of the others.
    pub failed: Vec<String>,
    /// How long it went on.
    pub length: Duration,
    /// How many entries were written.
    pub written: usize,
    /// Of those, how many some stream has never told of.
    pub lost: usize,
    /// How often a stream had to come back.
    pub reconnects: u64,
}

impl Outcome {
    /// Good requests each second.
    #[allow(clippy::cast_precision_loss, reason = "small numbers")]
    pub fn rate(&self) -> f64 {
        self.good as f64 / self.length.as_secs_f64()
    }
}

#[derive(Default)]
struct Seen {
    good: AtomicU64,
    failed: Mutex<Vec<String>>,
    written: Mutex<BTreeSet<u64>>,
    reconnects: AtomicU64,
    /// Nothing more is to be asked.
    over: AtomicBool,
    /// Nothing more is written.
    written_all: AtomicBool,
}

/// Requests that go on until [`Traffic::stop`].
pub struct Traffic {
    seen: Arc<Seen>,
    begin: Instant,
    thread: JoinHandle<Result<Vec<BTreeSet<u64>>>>,
}

impl Traffic {
    /// Begins, to the tenant's host.
    pub fn start(tenant: &str) -> Self {
        let seen = Arc::new(Seen::default());
        let (thread_seen, host) = (Arc::clone(&seen), host(tenant));
        let thread = thread::spawn(move || Runtime::new()?.block_on(run(thread_seen, host)));
        Self { seen, begin: Instant::now(), thread }
    }

    /// How many good answers there were so far.
    pub fn good(&self) -> u64 {
        self.seen.good.load(Ordering::Relaxed)
    }

    /// Ends the requests, lets the streams catch up, and says how it was.
    ///
    /// # Errors
    /// The clients could not run.
    pub fn stop(self) -> Result<Outcome> {
        let length = self.begin.elapsed();
        self.seen.over.store(true, Ordering::Relaxed);
        let streams = self.thread.join().map_err(|_| anyhow!("the clients panicked"))??;
        let written = take(&self.seen.written).clone();
        Ok(Outcome {
            good: self.seen.good.load(Ordering::Relaxed),
            failed: take(&self.seen.failed).clone(),
            length,
            lost: streams.iter().map(|stream| written.difference(stream).count()).max().unwrap_or_default(),
            written: written.len(),
            reconnects: self.seen.reconnects.load(Ordering::Relaxed),
        })
    }
}

fn take<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn run(seen: Arc<Seen>, host: String) -> Result<Vec<BTreeSet<u64>>> {
    let streams: Vec<_> = (0..STREAMS).map(|_| tokio::spawn(listen(Arc::clone(&seen), host.clone()))).collect();
    let clients: Vec<_> =
        (0..CLIENTS).map(|number| tokio::spawn(ask(Arc::clone(&seen), host.clone(), number))).collect();
    for client in clients {
        client.await??;
    }
    seen.written_all.store(true, Ordering::Relaxed);
    let mut heard = Vec::new();
    for stream in streams {
        heard.push(stream.await??);
    }
    Ok(heard)
}

/// One client: requests at its share of the rate. A slow answer holds up its next request, and no others.
async fn ask(seen: Arc<Seen>, host: String, number: u64) -> Result<()> {
    let client = Client::builder().no_proxy().timeout(Duration::from_secs(30)).build()?;
    let mut ticks = interval(Duration::from_millis(1000 * CLIENTS / RATE));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut count = number;
    while !seen.over.load(Ordering::Relaxed) {
        ticks.tick().await;
        count += 1;
        match request(&client, &host, number, count).await {
            Ok(None) => {}
            Ok(Some(entry)) => {
                take(&seen.written).insert(entry);
            }
            Err(error) => {
                take(&seen.failed).push(format!("{error:#}"));
                continue;
            }
        }
        seen.good.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// The id of an entry, if it was one that writes.
async fn request(client: &Client, host: &str, number: u64, count: u64) -> Result<Option<u64>> {
    if !count.is_multiple_of(WRITES) {
        let path = if count.is_multiple_of(2) { "/" } else { "/api/entries?limit=5" };
        let response =
            client.get(url(path)).header("host", host).send().await.with_context(|| format!("GET {path}"))?;
        let status = response.status();
        response.bytes().await.with_context(|| format!("the body of GET {path}"))?;
        anyhow::ensure!(status == 200, "GET {path}: {status}");
        return Ok(None);
    }
    let body = json!({"author": format!("client {number}"), "message": format!("entry {count}")});
    // A gateway may send a request twice, which this makes safe.
    let key = format!("{host}-{number}-{count}");
    let request = client.post(url("/api/entries")).header("host", host).header("idempotency-key", key).json(&body);
    let response = request.send().await.context("POST")?;
    let status = response.status();
    let text = response.text().await.context("the answer to POST")?;
    anyhow::ensure!(status.is_success(), "POST: {status} {text}");
    let entry: Value = serde_json::from_str(&text)?;
    Ok(Some(entry.get("id").and_then(Value::as_u64).context("an entry without id")?))
}

/// One stream, which comes back with the last id that it has seen. It ends when it has heard of everything, or two minutes after the end.
async fn listen(seen: Arc<Seen>, host: String) -> Result<BTreeSet<u64>> {
    let client = Client::builder().no_proxy().build()?;
    let mut heard = BTreeSet::new();
    let mut last = 0;
    let mut patience = 1200;
    loop {
        let request = client.get(url(&format!("/events?after={last}"))).header("host", &host);
        let response = match request.header("last-event-id", last.to_string()).send().await {
            Ok(response) if response.status() == 200 => response,
            Ok(response) => {
                take(&seen.failed).push(format!("GET /events: {}", response.status()));
                sleep(Duration::from_millis(100)).await;
                continue;
            }
            Err(error) => {
                take(&seen.failed).push(format!("GET /events: {error:#}"));
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let mut chunks = response.bytes_stream();
        let mut text = String::new();
        loop {
            if seen.written_all.load(Ordering::Relaxed) {
                patience -= 1;
                if patience == 0 || take(&seen.written).is_subset(&heard) {
                    return Ok(heard);
                }
            }
            match timeout(Duration::from_millis(100), chunks.next()).await {
                Err(_) => continue,
                Ok(Some(Ok(chunk))) => text.push_str(&String::from_utf8_lossy(&chunk)),
                Ok(_) => break,
            }
            while let Some((line, rest)) = text.split_once('\n') {
                if let Some(id) = line.strip_prefix("id:").and_then(|id| id.trim().parse().ok()) {
                    heard.insert(id);
                    last = last.max(id);
                }
                text = rest.to_owned();
            }
        }
        seen.reconnects.fetch_add(1, Ordering::Relaxed);
    }
}
