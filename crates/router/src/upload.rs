//! The body that goes to an upstream: the client's frames, each handed on as it comes.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

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
}

/// Why a body was not sent to its end; hyper closes the connection to the upstream on it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    #[error("the client broke off its request")]
    Client(#[source] hyper::Error),
    #[error("the request took longer than its route allows")]
    TimedOut,
}

impl Upload {
    pub(crate) fn new(incoming: Incoming, deadline: Instant) -> Upload {
        Upload { incoming, deadline, expiry: None }
    }

    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        match Pin::new(&mut self.incoming).poll_frame(context) {
            Poll::Ready(frame) => Poll::Ready(frame.map(|frame| frame.map_err(UploadError::Client))),
            Poll::Pending => {
                let deadline = self.deadline;
                let expiry = self.expiry.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
                expiry.as_mut().poll(context).map(|()| Some(Err(UploadError::TimedOut)))
            }
        }
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
