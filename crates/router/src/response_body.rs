//! The body that goes to the client: a page of our own, or the upstream's frames, each handed on as it comes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::alarm::Alarm;
use crate::backend::{Connection, Flight};
use crate::header;

/// The body of a response.
pub(crate) enum ResponseBody {
    /// Written here, whole; `None` once it was taken.
    Page(Option<Bytes>),
    /// Relayed from an upstream.
    Relay(Relay),
}

/// An upstream's body under way. The request is in flight until the last frame was read or this is dropped.
pub(crate) struct Relay {
    incoming: Incoming,
    /// The request and its connection, as long as the body is not over.
    open: Option<(Flight, Connection)>,
    deadline: Instant,
    /// The alarm of the client's connection, which reads this.
    alarm: Arc<Alarm>,
    /// An event stream may end at any frame, and its client connects again. Any other body that is cut must not look complete.
    ends_anywhere: bool,
}

/// Why a body breaks off; hyper closes the client's connection on it, so that the client sees that something is missing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Interrupted {
    #[error("the upstream broke off its response")]
    Upstream(#[source] hyper::Error),
    #[error("the response took longer than its route allows")]
    TimedOut,
    #[error("the upstream was stopped")]
    Cut,
}

impl ResponseBody {
    pub(crate) fn page(text: Bytes) -> ResponseBody {
        ResponseBody::Page(Some(text))
    }
}

impl Relay {
    pub(crate) fn new(
        incoming: Incoming,
        flight: Flight,
        connection: Connection,
        deadline: Instant,
        alarm: Arc<Alarm>,
        ends_anywhere: bool,
    ) -> Relay {
        let mut relay = Relay { incoming, open: Some((flight, connection)), deadline, alarm, ends_anywhere };
        if relay.incoming.is_end_stream() {
            relay.finish();
        }
        relay
    }

    /// The body is complete: its connection can be used again.
    fn finish(&mut self) {
        if let Some((flight, connection)) = self.open.take() {
            flight.end_with(connection);
        }
    }

    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Interrupted>>> {
        let Some((flight, _)) = &self.open else { return Poll::Ready(None) };
        if flight.backend().cut.is_given() {
            return self.interrupt(Interrupted::Cut);
        }
        match Pin::new(&mut self.incoming).poll_frame(context) {
            Poll::Ready(Some(Ok(_))) if Instant::now() >= self.deadline => self.interrupt(Interrupted::TimedOut),
            Poll::Ready(Some(Ok(mut frame))) => {
                if let Some(trailers) = frame.trailers_mut() {
                    header::clean_trailers(trailers);
                }
                if self.incoming.is_end_stream() {
                    self.finish();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(_))) if flight.backend().cut.is_given() => self.interrupt(Interrupted::Cut),
            Poll::Ready(Some(Err(error))) => {
                self.open = None;
                Poll::Ready(Some(Err(Interrupted::Upstream(error))))
            }
            Poll::Ready(None) => {
                self.finish();
                Poll::Ready(None)
            }
            // A cut ends the connection to the upstream, and that is an error here.
            Poll::Pending => match self.alarm.poll(self.deadline, context) {
                Poll::Ready(()) => self.interrupt(Interrupted::TimedOut),
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn interrupt(&mut self, reason: Interrupted) -> Poll<Option<Result<Frame<Bytes>, Interrupted>>> {
        // Dropping the connection makes its driver close it, which tells the upstream.
        self.open = None;
        if self.ends_anywhere { Poll::Ready(None) } else { Poll::Ready(Some(Err(reason))) }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Interrupted;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        match self.get_mut() {
            ResponseBody::Page(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            ResponseBody::Relay(relay) => relay.poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ResponseBody::Page(text) => text.is_none(),
            ResponseBody::Relay(relay) => relay.open.is_none() || relay.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ResponseBody::Page(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            ResponseBody::Relay(relay) => relay.incoming.size_hint(),
        }
    }
}
