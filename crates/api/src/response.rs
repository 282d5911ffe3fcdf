//! A refusal as an answer over HTTP: a problem document (RFC 9457).

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use freehold_platform::Refusal;
use freehold_problem::Code;

/// Why a request isn't carried out, with the status of the answer.
#[derive(Debug)]
pub(crate) struct ProblemResponse {
    status: StatusCode,
    refusal: Refusal,
}

/// The result of a request.
pub(crate) type Result<T, E = ProblemResponse> = std::result::Result<T, E>;

impl ProblemResponse {
    /// Of a request that the HTTP library refused, with the status that it gave: there are more of them than there are codes.
    pub(crate) fn transport(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, refusal: Refusal::new(Code::BadRequest, detail) }
    }

    /// With what to do next.
    #[must_use]
    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        Self { refusal: self.refusal.help(help), ..self }
    }
}

impl From<Refusal> for ProblemResponse {
    fn from(refusal: Refusal) -> Self {
        let status = StatusCode::from_u16(refusal.code().status().http()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, refusal }
    }
}

impl IntoResponse for ProblemResponse {
    fn into_response(self) -> Response {
        let mut problem = self.refusal.into_problem();
        problem.status = self.status.as_u16();
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        (self.status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response()
    }
}
