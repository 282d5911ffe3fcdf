//! The server as clients see it: boto3 and rclone; and what a crash, a full bucket and a full disk leave behind.

#![cfg(test)]

mod clients;
mod crashes;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use freehold_bucket::{Access, Limits, Server, Store};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

/// The most that the bucket of these tests holds, in bytes.
const MAX_SIZE: u64 = 64 << 20;

fn limits() -> Limits {
    Limits { max_size: MAX_SIZE, reserve: 0 }
}

fn access() -> Access {
    Access {
        name: "uploads-0123456789ab".to_owned(),
        region: "local".to_owned(),
        access_key_id: "FHTESTTESTTESTTESTTE".to_owned(),
        secret_access_key: "not-so-secret".to_owned(),
    }
}

fn open(folder: &Path, versioning: bool) -> Arc<Store> {
    Arc::new(Store::open(folder, versioning, limits()).unwrap())
}

/// Serves a store until the handle is aborted.
async fn serve(store: Arc<Store>) -> (SocketAddr, AbortHandle) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::new(store, access());
    let task = tokio::spawn(async move {
        loop {
            let (connection, _) = listener.accept().await.unwrap();
            let server = server.clone();
            tokio::spawn(async move { server.serve(connection).await });
        }
    });
    (address, task.abort_handle())
}
