//! Asks an instance how it is.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use freehold_router::Connect;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::exhaustion::is_exhaustion;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(5);
/// How much of an unhappy answer is passed on.
const SHOWN: usize = 300;

/// What tells that an instance is ready.
#[derive(Debug, Clone)]
pub(crate) enum ReadinessCheck {
    /// A path that answers 2xx.
    Answers(Endpoint, String),
    /// Its port takes connections.
    Accepts(Endpoint),
    /// It has lived for a while.
    Lives(Duration),
}

/// Where an instance is asked.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    pub(crate) connect: Arc<dyn Connect>,
}

/// What was seen instead of what was hoped for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ProbeFailure {
    /// In words for people.
    Bad(String),
    /// Nobody of the instance listens on its port; in words for people.
    NotListening(String),
    /// Nothing: we lack something ourselves. Says nothing about the instance.
    Nothing(String),
}

impl ProbeFailure {
    pub(crate) fn words(self) -> String {
        match self {
            Self::Bad(words) | Self::NotListening(words) | Self::Nothing(words) => words,
        }
    }
}

impl ReadinessCheck {
    /// Asks once, with a deadline of its own.
    ///
    /// # Errors
    /// What was seen instead.
    pub(crate) async fn look(&self) -> Result<(), ProbeFailure> {
        match self {
            Self::Answers(place, path) => get(place, path).await,
            Self::Accepts(place) => connect(place).await.map(drop),
            Self::Lives(time) => {
                tokio::time::sleep(*time).await;
                Ok(())
            }
        }
    }
}

async fn connect(place: &Endpoint) -> Result<TcpStream, ProbeFailure> {
    let port = place.address.port();
    match tokio::time::timeout(LIMIT, place.connect.connect(place.address)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) if is_exhaustion(&error) => {
            Err(ProbeFailure::Nothing(format!("probe of port {port} failed inside Freehold: {error}")))
        }
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            // One with words of its own is the proof's: somebody else listens.
            Err(ProbeFailure::NotListening(match error.get_ref() {
                Some(why) => format!("the process does not listen on its PORT {port}: {why}"),
                None => format!("nothing listens on port {port}, its PORT"),
            }))
        }
        Ok(Err(error)) => Err(ProbeFailure::Bad(format!("no connection to port {port}: {error}"))),
        Err(_elapsed) => Err(ProbeFailure::Bad(format!("no connection to port {port} within {LIMIT:?}"))),
    }
}

/// Asks for a path.
///
/// # Errors
/// The answer, if it wasn't 2xx, or why there was none.
pub(crate) async fn get(place: &Endpoint, path: &str) -> Result<(), ProbeFailure> {
    match tokio::time::timeout(LIMIT, exchange(place, path)).await {
        Ok(result) => result,
        Err(_elapsed) => Err(ProbeFailure::Bad(format!("GET {path} was not answered within {LIMIT:?}"))),
    }
}

async fn exchange(place: &Endpoint, path: &str) -> Result<(), ProbeFailure> {
    let failed = |error: &dyn std::fmt::Display| ProbeFailure::Bad(format!("GET {path} was not answered: {error}"));
    let stream = connect(place).await?;
    let (mut sender, connection) =
        http1::handshake::<_, Empty<Bytes>>(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
    let request = hyper::Request::get(path)
        .header(hyper::header::HOST, place.address.to_string())
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
        // One line of it, without the NUL that no database takes: what a program says must not look like another line of ours.
        let body = body.unwrap_or_default().replace('\0', "\u{2400}");
        let body = body.split_whitespace().collect::<Vec<_>>().join(" ");
        let separator = if body.is_empty() { "" } else { ": " };
        Err(ProbeFailure::Bad(format!("GET {path} answered {}{separator}{body}", status.as_u16())))
    };
    tokio::pin!(answer);
    tokio::select! {
        result = &mut answer => result,
        // The connection may be over before its last answer was looked at.
        _ended = connection => answer.await,
    }
}

#[cfg(test)]
mod tests {
    use freehold_router::Connecting;

    use super::*;

    /// Fails with the system's number.
    #[derive(Debug)]
    struct Fails(i32);

    impl Connect for Fails {
        fn connect(&self, _address: SocketAddr) -> Connecting<'_> {
            let error = io::Error::from_raw_os_error(self.0);
            Box::pin(async move { Err(error) })
        }
    }

    #[tokio::test]
    async fn a_probe_that_fails_for_want_of_descriptors_says_nothing_about_the_service() {
        let look = async |errno: rustix::io::Errno| {
            let connect = Arc::new(Fails(errno.raw_os_error()));
            let place = Endpoint { address: SocketAddr::from(([127, 0, 0, 1], 1)), connect };
            get(&place, "/live").await.unwrap_err()
        };
        for ours in [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE, rustix::io::Errno::ADDRNOTAVAIL] {
            assert!(matches!(look(ours).await, ProbeFailure::Nothing(_)), "{ours}");
        }
        assert!(matches!(look(rustix::io::Errno::CONNREFUSED).await, ProbeFailure::NotListening(_)));
        assert!(matches!(look(rustix::io::Errno::CONNRESET).await, ProbeFailure::Bad(_)));
    }
}
