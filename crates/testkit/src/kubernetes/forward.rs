//! A way for Pods to something that listens on this machine's loopback only: a database, Freehold itself.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::Context;

use crate::connection::carry;

/// Carries connections to a port of 127.0.0.1 until it is dropped; then new ones are refused.
#[derive(Debug)]
pub struct Forward {
    address: SocketAddr,
    over: Arc<AtomicBool>,
}

impl Forward {
    /// Listens on a free port of `host`.
    pub(super) fn start(host: &str, port: u16) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((host, 0)).with_context(|| format!("listening on {host}"))?;
        let address = listener.local_addr()?;
        let over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&over);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if ends.load(Ordering::Relaxed) {
                    return;
                }
                thread::spawn(move || carry(client, TcpStream::connect(("127.0.0.1", port))?));
            }
        });
        Ok(Self { address, over })
    }

    /// Where Pods, and this machine, reach it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // Wakes the thread, which then closes the port.
        let _ = TcpStream::connect(self.address);
    }
}
