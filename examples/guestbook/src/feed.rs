//! Wakes the event streams when there may be new entries.
//!
//! While there is at least one stream, one connection listens for the table's notifications; without streams there is
//! none. Streams read the entries from the table themselves, so that nothing is lost while the connection is.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::sync::{Notify, watch};
use tokio_postgres::{AsyncMessage, Config, NoTls};

use crate::log;

/// Between two tries to connect.
const PAUSE: Duration = Duration::from_millis(500);

/// What the feed is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// There is no stream to wake.
    Idle = 0,
    Connecting = 1,
    Listening = 2,
}

/// Where streams subscribe.
#[derive(Clone)]
pub struct Feed {
    wake: Arc<watch::Sender<()>>,
    subscribed: Arc<Notify>,
    state: Arc<AtomicU8>,
}

impl Feed {
    /// Starts it; it runs as long as the program.
    pub fn start(config: Config) -> Self {
        let feed = Self {
            wake: Arc::new(watch::Sender::new(())),
            subscribed: Arc::new(Notify::new()),
            state: Arc::new(AtomicU8::new(State::Idle as u8)),
        };
        tokio::spawn(feed.clone().run(config));
        feed
    }

    /// Changes whenever there may be new entries.
    pub fn subscribe(&self) -> watch::Receiver<()> {
        let receiver = self.wake.subscribe();
        self.subscribed.notify_one();
        receiver
    }

    pub fn state(&self) -> State {
        match self.state.load(Ordering::Relaxed) {
            0 => State::Idle,
            1 => State::Connecting,
            _ => State::Listening,
        }
    }

    fn enter(&self, state: State) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    async fn run(self, config: Config) {
        loop {
            self.enter(State::Idle);
            while self.wake.receiver_count() == 0 {
                self.subscribed.notified().await;
            }
            self.enter(State::Connecting);
            tokio::select! {
                () = self.wake.closed() => {}
                outcome = self.listen(&config) => {
                    let reason = outcome.err().map_or_else(|| "the server ended it".to_owned(), |e| log::causes(&e));
                    log::warn("the connection for notifications is lost", json!({ "reason": reason }));
                    self.enter(State::Connecting);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Listens until the connection is lost.
    async fn listen(&self, config: &Config) -> Result<(), tokio_postgres::Error> {
        let (client, mut connection) = config.connect(NoTls).await?;
        let mut messages = pin!(async {
            loop {
                match poll_fn(|context| connection.poll_message(context)).await {
                    Some(Ok(AsyncMessage::Notification(_))) => self.wake.send_replace(()),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(error),
                    None => return Ok(()),
                }
            }
        });
        tokio::select! {
            outcome = &mut messages => return outcome,
            outcome = client.batch_execute("LISTEN entries") => outcome?,
        }
        self.enter(State::Listening);
        // Something may have been written before the server began to listen.
        self.wake.send_replace(());
        messages.await
    }
}
