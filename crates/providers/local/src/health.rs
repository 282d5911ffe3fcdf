//! Asks an instance how it is.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(5);
/// How much of an unhappy answer is passed on.
const SHOWN: usize = 300;

/// What tells that an instance is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sign {
    /// A path that answers 2xx.
    Answers(SocketAddr, String),
    /// Its port takes connections.
    Accepts(SocketAddr),
    /// It has lived for a while.
    Lives(Duration),
}

impl Sign {
    /// Looks once.
    ///
    /// # Errors
    /// What was seen instead, in words for people.
    pub(crate) async fn look(&self) -> Result<(), String> {
        match self {
            Self::Answers(address, path) => get(*address, path).await,
            Self::Accepts(address) => connect(*address).await.map(drop),
            Self::Lives(time) => {
                tokio::time::sleep(*time).await;
                Ok(())
            }
        }
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    match tokio::time::timeout(LIMIT, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            Err(format!("nothing listens on port {}, its PORT", address.port()))
        }
        Ok(Err(error)) => Err(format!("no connection to port {}: {error}", address.port())),
        Err(_elapsed) => Err(format!("no connection to port {} within {LIMIT:?}", address.port())),
    }
}

/// Asks for a path.
///
/// # Errors
/// The answer, if it wasn't 2xx, or why there was none.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Result<(), String> {
    match tokio::time::timeout(LIMIT, exchange(address, path)).await {
        Ok(result) => result,
        Err(_elapsed) => Err(format!("GET {path} was not answered within {LIMIT:?}")),
    }
}

async fn exchange(address: SocketAddr, path: &str) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("GET {path} was not answered: {error}");
    let stream = connect(address).await?;
    let (mut sender, connection) =
        http1::handshake::<_, Empty<Bytes>>(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
    let request = hyper::Request::get(path)
        .header(hyper::header::HOST, address.to_string())
        .header(hyper::header::USER_AGENT, "freehold-probe")
        .header(hyper::header::CONNECTION, "close")
        .body(Empty::new())
        .map_err(|error| failed(&error))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| failed(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let body = Limited::new(response.into_body(), SHOWN * 4).collect().await;
        let body = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).chars().take(SHOWN).collect::<String>());
        let body = body.unwrap_or_default();
        let separator = if body.trim().is_empty() { "" } else { ": " };
        Err(format!("GET {path} answered {}{separator}{}", status.as_u16(), body.trim()))
    };
    tokio::pin!(answer);
    tokio::select! {
        result = &mut answer => result,
        // The connection may be over before its last answer was looked at.
        _ended = connection => answer.await,
    }
}
