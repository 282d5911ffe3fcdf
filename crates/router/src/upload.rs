//! The body that goes to an upstream: the client's frames, each handed on as it comes.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;

/// How long a client that asked whether it may send its body waits for the upstream to say so. Many servers know nothing of the
/// question, and then a client may send all the same (RFC 9110, 10.1.1).
const LEAVE_WAIT: Duration = Duration::from_secs(1);

/// The body of a request on its way to an upstream.
pub(crate) enum RequestBody {
    /// None: the only kind that can be sent twice.
    Empty,
    /// The client's, read as the upstream takes it.
    Client(Upload),
}

/// A client's body under way. It has a limit of its own, because an upstream may answer before it has read everything, and then
/// nobody else waits for the rest.
pub(crate) struct Upload {
    incoming: Incoming,
    deadline: Instant,
    /// Made only when the client is first slower than the upstream.
    expiry: Option<Pin<Box<Sleep>>>,
    /// What has to happen before the body is asked for: the client waits for leave to send it (`Expect: 100-continue`), and gets it
    /// when its body is first read.
    leave: Option<Waiting>,
    /// How many bytes may still come; `None` for any number.
    room: Option<u64>,
}

struct Waiting {
    given: Pin<Box<dyn Future<Output = ()> + Send>>,
    leave: Leave,
}

/// Whether the upstream wants the body of a request whose client asks first.
#[derive(Clone, Default)]
pub(crate) struct Leave {
    given: CancellationToken,
    answered: Arc<AtomicBool>,
}

/// Why a body was not sent to its end; hyper closes the connection to the upstream on it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    #[error("the client broke off its request")]
    Client(#[source] hyper::Error),
    #[error("the request took longer than its route allows")]
    TimedOut,
    #[error("the body is larger than its route allows")]
    TooLarge,
}

impl Leave {
    /// The upstream said `100 Continue`.
    pub(crate) fn give(&self) {
        self.given.cancel();
    }

    /// The upstream has answered: what was not asked for by now never is. Says whether that is so.
    pub(crate) fn end(&self) -> bool {
        let ended = !self.given.is_cancelled();
        self.answered.store(ended, Ordering::Release);
        ended
    }

    fn is_over(&self) -> bool {
        self.answered.load(Ordering::Acquire)
    }
}

impl Upload {
    pub(crate) fn new(incoming: Incoming, deadline: Instant, leave: Option<Leave>, room: Option<u64>) -> Upload {
        let leave = leave.map(|leave| {
            let given = leave.given.clone();
            let given = Box::pin(async move {
                // Given late: from here on the body is under way, and an answer does not end it.
                if tokio::time::timeout(LEAVE_WAIT, given.cancelled()).await.is_err() {
                    given.cancel();
                }
            });
            Waiting { given, leave }
        });
        Upload { incoming, deadline, expiry: None, leave, room }
    }

    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        if let Some(waiting) = &mut self.leave {
            if waiting.leave.is_over() {
                // The connection is closed when the answer has been read.
                return Poll::Pending;
            }
            ready!(waiting.given.as_mut().poll(context));
            self.leave = None;
        }
        match Pin::new(&mut self.incoming).poll_frame(context) {
            // What stands behind a body would be read as header fields by some, past all that is done to those here.
            Poll::Ready(Some(Ok(frame))) if frame.is_trailers() => Poll::Ready(None),
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(self.admit(frame))),
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(UploadError::Client(error)))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                let deadline = self.deadline;
                let expiry = self.expiry.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
                expiry.as_mut().poll(context).map(|()| Some(Err(UploadError::TimedOut)))
            }
        }
    }
}

impl Upload {
    /// Counts what comes.
    fn admit(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, UploadError> {
        if let (Some(room), Some(data)) = (&mut self.room, frame.data_ref()) {
            let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
            *room = room.checked_sub(length).ok_or(UploadError::TooLarge)?;
        }
        Ok(frame)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        match self.get_mut() {
            RequestBody::Empty => Poll::Ready(None),
            RequestBody::Client(upload) => upload.poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            RequestBody::Empty => true,
            RequestBody::Client(upload) => upload.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            RequestBody::Empty => SizeHint::with_exact(0),
            RequestBody::Client(upload) => upload.incoming.size_hint(),
        }
    }
}
