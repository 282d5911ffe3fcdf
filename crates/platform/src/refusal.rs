//! Refusals: whatever goes wrong in a request, as the problem document that the caller gets.

use freehold::wire::Problem;
use freehold_engine::ProviderError;
use freehold_problem::Code;
use freehold_provider_kubernetes::ClusterError;
use freehold_store::StoreError;
use uuid::Uuid;

/// A request that isn't carried out.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal(Box<Problem>);

/// The result of a request.
pub type Answer<T> = Result<T, Refusal>;

impl Refusal {
    /// With a code, which says the status, and what happened.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self(Box::new(Problem {
            kind: format!("urn:freehold:{code}"),
            title: code.title().to_owned(),
            status: code.status().http(),
            detail: detail.into(),
            code,
            help: None,
            lines: Vec::new(),
            diagnostics: Vec::new(),
            operation: None,
        }))
    }

    /// What kind of problem it is.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// With what to do next.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.0.help = Some(help.into());
        self
    }

    /// With lines to show below.
    #[must_use]
    pub fn lines(mut self, lines: Vec<String>) -> Self {
        self.0.lines = lines;
        self
    }

    /// With what is wrong with the definition.
    #[must_use]
    pub fn diagnostics(mut self, diagnostics: &[freehold_check::Diagnostic]) -> Self {
        self.0.diagnostics = diagnostics.iter().filter_map(|item| serde_json::to_value(item).ok()).collect();
        self
    }

    /// With the operation that is in the way.
    #[must_use]
    pub fn operation(mut self, operation: Uuid) -> Self {
        self.0.operation = Some(operation);
        self
    }

    /// The document.
    pub fn into_problem(self) -> Problem {
        *self.0
    }
}

/// A failed step, as the document that people get.
pub(crate) fn failure(failure: &freehold_problem::Problem) -> Problem {
    Refusal::from(failure.clone()).into_problem()
}

impl From<ClusterError> for Refusal {
    fn from(error: ClusterError) -> Self {
        let refusal = Self::new(error.code(), error.to_string());
        match error.help() {
            Some(help) => refusal.help(help),
            None => refusal,
        }
    }
}

impl Refusal {
    /// With other things that are wrong, too.
    #[must_use]
    pub fn more(mut self, others: Vec<String>) -> Self {
        self.0.lines.extend(others);
        self
    }
}

impl From<freehold_problem::Problem> for Refusal {
    fn from(problem: freehold_problem::Problem) -> Self {
        let mut refusal = Self::new(problem.code, problem.message).lines(problem.lines);
        refusal.0.help = problem.help;
        refusal
    }
}

/// A provider's failure. What may pass by itself says so.
impl From<ProviderError> for Refusal {
    fn from(error: ProviderError) -> Self {
        let (message, passes) = (error.to_string(), !matches!(error, ProviderError::Rejected(_)));
        let problem = error.into_problem();
        let help = problem.help.clone().or_else(|| passes.then(|| "try again in a moment".to_owned()));
        Self::from(freehold_problem::Problem { message, help, ..problem })
    }
}

/// What the caller is told about a failure of the store.
impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        match error {
            StoreError::PlanOutdated { .. } => {
                Self::new(Code::PlanOutdated, message).help("plan again and look at what is different now")
            }
            StoreError::AnotherRunning { operation, .. } => Self::new(Code::OperationRunning, message)
                .operation(operation.0)
                .help("wait until it has ended, or cancel it"),
            StoreError::ClaimTaken { scope, name, by, .. } => {
                Self::new(Code::NameClaimed, format!("{scope} {name} is taken by {by}")).help(format!(
                    "choose another {scope} in the definition, another name for the stack, or destroy {by}"
                ))
            }
            StoreError::ConnectionsTaken { .. } => Self::new(Code::ConnectionsExceeded, message)
                .help("lower `connections` in the definition, or raise max_connections of the server"),
            StoreError::TargetInUse { .. } => Self::new(Code::TargetInUse, message).help("destroy these stacks first"),
            StoreError::UnknownTarget(_) => {
                Self::new(Code::UnknownTarget, message).help("`freehold target list` shows those there are")
            }
            StoreError::NotFound { .. } => Self::new(Code::NotFound, message),
            StoreError::Unavailable { .. } => {
                Self::new(Code::PostgresUnreachable, message).help("try again in a moment")
            }
            other => {
                let refusal = Self::new(other.code(), message);
                match other.help() {
                    Some(help) => refusal.help(help),
                    None => refusal,
                }
            }
        }
    }
}
