//! Refusals: whatever goes wrong in a request, as the problem document that the caller gets.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use freehold::wire::Problem;
use freehold_engine::ProviderError;
use freehold_engine::journal::Failure;
use freehold_graph::ProviderName;
use freehold_provider_kubernetes::ClusterError;
use uuid::Uuid;

/// A request that isn't carried out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refusal(Box<Problem>);

/// The result of a request.
pub(crate) type Answer<T> = Result<T, Refusal>;

impl Refusal {
    /// With a status, a code and what happened.
    pub(crate) fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self(Box::new(Problem {
            kind: format!("urn:freehold:{code}"),
            title: title(code).to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            code: code.to_owned(),
            help: None,
            lines: Vec::new(),
            diagnostics: Vec::new(),
            operation: None,
        }))
    }

    /// The request itself is wrong: 422.
    pub(crate) fn invalid(code: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
    }

    /// It is in conflict with what is there: 409.
    pub(crate) fn conflict(code: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// There is no such thing: 404.
    pub(crate) fn unknown(code: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, detail)
    }

    /// Something that the platform needs doesn't answer: 503.
    pub(crate) fn unavailable(code: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail)
    }

    /// Its code, `FH0901`.
    pub(crate) fn code(&self) -> &str {
        &self.0.code
    }

    /// With what to do next.
    #[must_use]
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.0.help = Some(help.into());
        self
    }

    /// With lines to show below.
    #[must_use]
    pub(crate) fn lines(mut self, lines: Vec<String>) -> Self {
        self.0.lines = lines;
        self
    }

    /// With what is wrong with the definition.
    #[must_use]
    pub(crate) fn diagnostics(mut self, diagnostics: &[freehold_check::Diagnostic]) -> Self {
        self.0.diagnostics = diagnostics.iter().filter_map(|item| serde_json::to_value(item).ok()).collect();
        self
    }

    /// With the operation that is in the way.
    #[must_use]
    pub(crate) fn operation(mut self, operation: Uuid) -> Self {
        self.0.operation = Some(operation);
        self
    }

    /// The document.
    pub(crate) fn into_problem(self) -> Problem {
        *self.0
    }
}

/// The title of a code's page.
fn title(code: &str) -> &'static str {
    freehold_check::Code::parse(code).map_or("", |code| code.title())
}

/// A failed step, as the document that people get.
pub(crate) fn failure(failure: &Failure) -> Problem {
    let mut problem = Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, &failure.code, failure.message.clone())
        .lines(failure.detail.clone());
    problem.0.help.clone_from(&failure.help);
    problem.into_problem()
}

impl From<ClusterError> for Refusal {
    fn from(error: ClusterError) -> Self {
        let refusal = match &error {
            ClusterError::Unreachable { .. } => Self::unavailable(error.code(), error.to_string()),
            _ => Self::conflict(error.code(), error.to_string()),
        };
        match error.help() {
            Some(help) => refusal.help(help),
            None => refusal,
        }
    }
}

impl Refusal {
    /// A provider's failure; what may pass by itself is explained by the system that it came from.
    pub(crate) fn of_provider(provider: ProviderName, error: ProviderError) -> Self {
        match (provider, error) {
            (
                ProviderName::Kubernetes,
                ProviderError::Retryable { message, .. } | ProviderError::Unknown { message },
            ) => Self::unavailable("FH1200", message).help("`freehold target check` says more; try again in a moment"),
            (_, error) => Self::from(error),
        }
    }

    /// With other things that are wrong, too.
    #[must_use]
    pub(crate) fn more(mut self, others: Vec<String>) -> Self {
        self.0.lines.extend(others);
        self
    }
}

impl From<ProviderError> for Refusal {
    fn from(error: ProviderError) -> Self {
        match error {
            ProviderError::Rejected { code, message, detail, help } => {
                let mut refusal = Self::conflict(code, message).lines(detail);
                refusal.0.help = help;
                refusal
            }
            // The server answers, if only to say this.
            ProviderError::Retryable { message, .. } if message.contains("out of connections") => {
                Self::unavailable("FH0514", message)
                    .help("raise max_connections, or close connections that nobody needs")
            }
            ProviderError::Retryable { message, .. } => {
                Self::unavailable("FH0504", message).help("try again in a moment")
            }
            ProviderError::Unknown { message } => {
                Self::unavailable("FH0504", format!("no answer: {message}")).help("try again in a moment")
            }
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self.0).unwrap_or_default();
        (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response()
    }
}
