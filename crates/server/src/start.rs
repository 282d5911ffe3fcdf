//! The way to the platform's store, and what can go wrong when the platform starts.

use std::fmt;

use freehold_problem::{Code, Problem};
use freehold_store::{Connections, KeyCheck, MasterKey, StoreError, StoreNames, bootstrap, key_check};
use sqlx::postgres::PgConnectOptions;

/// Why the platform didn't start. Shown to people: what happened, to what, why, and what to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartError {
    /// The diagnostic's code: `FH0507`.
    pub code: Code,
    /// What happened, to what, why.
    pub message: String,
    /// Lines to show below: the end of a log.
    pub detail: Vec<String>,
    /// What to do next.
    pub help: Option<String>,
}

impl StartError {
    /// With a code and what happened.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), detail: Vec::new(), help: None }
    }

    /// With what to do next.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// With lines to show below.
    #[must_use]
    pub fn detail(mut self, detail: Vec<String>) -> Self {
        self.detail = detail;
        self
    }
}

/// A PostgreSQL server that is there. The URL isn't repeated in the error: it may hold a password.
pub(crate) fn server_at(url: &str) -> Result<PgConnectOptions, StartError> {
    url.trim().parse().map_err(|_| {
        StartError::new(Code::DatabaseUrl, "the database URL can't be read")
            .help("it looks like postgresql://user:password@host:5432/postgres")
    })
}

/// The master key, which has to fit what is sealed, and the store's roles and tables as this release needs them. Platforms that start on
/// one server at the same time wait for each other here.
pub(crate) async fn prepare_store(
    admin: &PgConnectOptions,
    master: impl FnOnce(Option<&KeyCheck>) -> Result<MasterKey, StoreError>,
) -> Result<(Connections, MasterKey), StartError> {
    let names = StoreNames::default();
    let check = key_check(admin, &names).await.map_err(store_failed)?;
    let master = master(check.as_ref()).map_err(store_failed)?;
    let connections = bootstrap(admin, &names, &master).await.map_err(store_failed)?;
    Ok((connections, master))
}

/// Why the platform doesn't start: its store.
pub(crate) fn store_failed(error: StoreError) -> StartError {
    let mut failure = StartError::new(error.code(), error.to_string());
    failure.help = error.help().map(Into::into);
    failure
}

impl From<Problem> for StartError {
    fn from(problem: Problem) -> Self {
        Self { code: problem.code, message: problem.message, detail: problem.lines, help: problem.help }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for StartError {}
