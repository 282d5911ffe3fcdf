//! Asks an instance how it is.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use freehold_router::Connect;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::cache::socket::CacheSocket;
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
    /// The server of a cache answers PING.
    Pongs(CacheSocket),
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
    /// The server of a cache answered, and not what it should; in words for people.
    Answered(String),
    /// Nobody of the instance listens on its port; in words for people.
    NotListening(String),
    /// Nothing: we lack something ourselves. Says nothing about the instance.
    Nothing(String),
}

impl ProbeFailure {
    pub(crate) fn words(self) -> String {
        match self {
            Self::Bad(words) | Self::Answered(words) | Self::NotListening(words) | Self::Nothing(words) => words,
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
            Self::Pongs(socket) => ping(socket).await,
            Self::Accepts(place) => connect(place).await.map(drop),
            Self::Lives(time) => {
                tokio::time::sleep(*time).await;
                Ok(())
            }
        }
    }
}

/// Asks the server of a cache whether it responds: it lets the probe log in and answers PONG.
///
/// # Errors
/// What was seen instead.
pub(crate) async fn ping(socket: &CacheSocket) -> Result<(), ProbeFailure> {
    match tokio::time::timeout(LIMIT, socket.ping()).await {
        Ok(Ok(answer)) if answer == "PONG" => Ok(()),
        Ok(Ok(answer)) => Err(ProbeFailure::Answered(format!("PING was answered {answer:?}"))),
        Ok(Err(error)) if is_exhaustion(&error) => {
            Err(ProbeFailure::Nothing(format!("PING failed inside Freehold: {error}")))
        }
        Ok(Err(error)) => Err(ProbeFailure::Bad(format!("PING was not answered: {error}"))),
        Err(_elapsed) => Err(ProbeFailure::Bad(format!("PING was not answered within {LIMIT:?}"))),
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
    Probes::of(place).last(path).await
}

/// Questions to one instance, one after the other, over one connection where the instance leaves it open: each connection is proved.
pub(crate) struct Probes<'a> {
    place: &'a Endpoint,
    kept: Option<Connection>,
}

struct Connection {
    sender: http1::SendRequest<Empty<Bytes>>,
    work: Pin<Box<http1::Connection<TokioIo<TcpStream>, Empty<Bytes>>>>,
}

impl<'a> Probes<'a> {
    pub(crate) fn of(place: &'a Endpoint) -> Self {
        Self { place, kept: None }
    }

    /// Asks for a path, with more questions to come.
    ///
    /// # Errors
    /// As [`get`].
    pub(crate) async fn get(&mut self, path: &str) -> Result<(), ProbeFailure> {
        self.within_limit(path, "keep-alive").await
    }

    /// Asks for the last path.
    ///
    /// # Errors
    /// As [`get`].
    pub(crate) async fn last(mut self, path: &str) -> Result<(), ProbeFailure> {
        self.within_limit(path, "close").await
    }

    async fn within_limit(&mut self, path: &str, then: &'static str) -> Result<(), ProbeFailure> {
        match tokio::time::timeout(LIMIT, self.ask(path, then)).await {
            Ok(result) => result,
            Err(_elapsed) => Err(ProbeFailure::Bad(format!("GET {path} was not answered within {LIMIT:?}"))),
        }
    }

    async fn ask(&mut self, path: &str, then: &'static str) -> Result<(), ProbeFailure> {
        let failed = |error: &dyn std::fmt::Display| ProbeFailure::Bad(format!("GET {path} was not answered: {error}"));
        let request = || {
            hyper::Request::get(path)
                .header(hyper::header::HOST, self.place.address.to_string())
                .header(hyper::header::USER_AGENT, "freehold-probe")
                .header(hyper::header::CONNECTION, then)
                .body(Empty::new())
                .map_err(|error| failed(&error))
        };
        let (question, again) = (request()?, request()?);
        if let Some(connection) = self.kept.take()
            && let Ok(result) = self.exchange(connection, question, path).await
        {
            return result;
        }
        // There was none, or the instance has closed it behind its last answer.
        let (sender, work) =
            http1::handshake(TokioIo::new(connect(self.place).await?)).await.map_err(|error| failed(&error))?;
        let connection = Connection { sender, work: Box::pin(work) };
        self.exchange(connection, again, path).await.unwrap_or_else(|error| Err(failed(&error)))
    }

    /// What was answered; an error if nothing was. The connection is kept if it can be used again.
    async fn exchange(
        &mut self,
        connection: Connection,
        request: hyper::Request<Empty<Bytes>>,
        path: &str,
    ) -> hyper::Result<Result<(), ProbeFailure>> {
        let Connection { mut sender, mut work } = connection;
        let (result, is_open) = {
            let answer = async {
                sender.ready().await?;
                let response = sender.send_request(request).await?;
                let status = response.status();
                if status.is_success() {
                    return Ok(Ok(()));
                }
                let body = Limited::new(response.into_body(), SHOWN * 4).collect().await;
                let body =
                    body.map(|body| String::from_utf8_lossy(&body.to_bytes()).chars().take(SHOWN).collect::<String>());
                // One line of it, without the NUL that no database takes: what a program says must not look like another line of ours.
                let body = body.unwrap_or_default().replace('\0', "\u{2400}");
                let body = body.split_whitespace().collect::<Vec<_>>().join(" ");
                let separator = if body.is_empty() { "" } else { ": " };
                Ok(Err(ProbeFailure::Bad(format!("GET {path} answered {}{separator}{body}", status.as_u16()))))
            };
            let mut answer = std::pin::pin!(answer);
            tokio::select! {
                result = &mut answer => (result, true),
                // The connection may be over before its last answer was looked at.
                _ended = &mut work => (answer.await, false),
            }
        };
        if is_open && matches!(result, Ok(Ok(()))) {
            self.kept = Some(Connection { sender, work });
        }
        result
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

    /// Answers with these responses, each behind a request, on one connection after the other; how many requests each has brought.
    async fn instance(connections: Vec<Vec<&'static str>>) -> (Endpoint, tokio::task::JoinHandle<Vec<usize>>) {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = tokio::spawn(async move {
            let mut counts = Vec::new();
            for responses in connections {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut count = 0;
                for response in responses {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        head.push(stream.read_u8().await.unwrap());
                    }
                    count += 1;
                    stream.write_all(response.as_bytes()).await.unwrap();
                }
                counts.push(count);
            }
            counts
        });
        (Endpoint { address, connect: Arc::new(Direct) }, served)
    }

    #[derive(Debug)]
    struct Direct;

    impl Connect for Direct {
        fn connect(&self, address: SocketAddr) -> Connecting<'_> {
            Box::pin(TcpStream::connect(address))
        }
    }

    const GOOD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

    #[tokio::test]
    async fn two_questions_go_over_one_connection_where_it_stays_open() {
        let (place, served) = instance(vec![vec![GOOD, GOOD]]).await;
        let mut probes = Probes::of(&place);
        probes.get("/live").await.unwrap();
        probes.last("/ready").await.unwrap();
        assert_eq!(served.await.unwrap(), [2]);
    }

    #[tokio::test]
    async fn a_connection_that_is_closed_behind_an_answer_or_still_has_some_of_it_costs_no_probe() {
        for first in [
            "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n",
            "HTTP/1.0 200 OK\r\n\r\n",
            GOOD,
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n",
        ] {
            let (place, served) =
                instance(vec![vec![first], vec!["HTTP/1.1 503 No\r\ncontent-length: 4\r\n\r\nlate"]]).await;
            let mut probes = Probes::of(&place);
            probes.get("/live").await.unwrap();
            let answer = probes.last("/ready").await;
            assert_eq!(answer, Err(ProbeFailure::Bad("GET /ready answered 503: late".to_owned())), "{first:?}");
            assert_eq!(served.await.unwrap(), [1, 1], "{first:?}");
        }
    }
}
