//! Authentication: whoever shows the installation's token is its operator.

use std::fmt;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use freehold_platform::Actor;
use freehold_problem::{Code, Problem};
use subtle::ConstantTimeEq as _;
use tracing::{Instrument as _, warn_span};

use crate::Api;
use crate::response::ProblemResponse;

/// The installation's token. Its `Debug` prints nothing of it.
#[derive(Clone)]
pub struct Token(Arc<str>);

impl Token {
    /// From its text.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Compares in constant time: how long it takes says nothing about how much of it was right.
    fn is(&self, given: &str) -> bool {
        given.as_bytes().ct_eq(self.0.as_bytes()).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(•••)")
    }
}

/// Lets in whoever has the token. Names that a browser might have been tricked into are refused before ([`crate::guard::own_names`]).
pub(crate) async fn authenticate(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .unwrap_or_default();
    if api.token.is(given) {
        let actor = Actor::operator();
        let (method, path) = (request.method(), request.uri().path());
        // At the level of what it is to explain: a warning is told with the request that led to it.
        let span = warn_span!("request", id = %actor.request(), %method, path, actor = actor.audited());
        request.extensions_mut().insert(actor);
        return next.run(request).instrument(span).await;
    }
    let refusal = Problem::new(Code::Unauthorised, "the token is missing or wrong")
        .help("send `Authorization: Bearer TOKEN`; on one machine the token is in server.json in the data directory");
    ProblemResponse::from(refusal).into_response()
}
