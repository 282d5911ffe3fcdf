//! Problems as responses over HTTP: a problem document (RFC 9457) with the status that belongs to its code.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use freehold_problem::{Code, Problem};

use crate::convert::IntoWire as _;

/// Why a request isn't carried out, with the status of the response.
#[derive(Debug)]
pub(crate) struct ProblemResponse {
    status: StatusCode,
    problem: Problem,
}

/// What a handler gives.
pub(crate) type Result<T, E = ProblemResponse> = std::result::Result<T, E>;

impl ProblemResponse {
    /// Of a request that the HTTP library refused, with the status that it gave: there are more of them than there are codes.
    pub(crate) fn transport(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, problem: Problem::new(Code::BadRequest, detail) }
    }

    /// With what to do next.
    #[must_use]
    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        Self { problem: self.problem.help(help), ..self }
    }
}

impl From<Problem> for ProblemResponse {
    fn from(problem: Problem) -> Self {
        let status = StatusCode::from_u16(problem.code.status().http()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, problem }
    }
}

impl IntoResponse for ProblemResponse {
    fn into_response(self) -> Response {
        let document = freehold::wire::Problem { status: self.status.as_u16(), ..self.problem.into_wire() };
        let body = serde_json::to_vec(&document).unwrap_or_default();
        (self.status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response()
    }
}
