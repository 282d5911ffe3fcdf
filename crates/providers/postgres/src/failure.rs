//! What the server's errors mean to the engine.
//!
//! The difference that matters: [`ProviderError::Retryable`] is for what certainly did not happen or may be repeated,
//! [`ProviderError::Unknown`] for what was sent and not answered. The messages name the object and what was being done;
//! none contains a statement, because statements may contain password verifiers.

use freehold_engine::ProviderError;
use freehold_problem::{Code, Problem};
use sqlx::postgres::PgDatabaseError;

/// What was being done to which object: `making database acme__guestbook`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Doing(pub(crate) String);

impl Doing {
    pub(crate) fn new(what: &str, object: impl std::fmt::Display) -> Self {
        Self(format!("{what} {object}"))
    }

    /// Judges an error while connecting: nothing was asked of the server yet.
    pub(crate) fn connecting(&self, error: sqlx::Error) -> ProviderError {
        match self.failed(error) {
            ProviderError::Unknown(Problem { message, cause, .. }) => {
                let unreached = |why: String| format!("the PostgreSQL server can't be reached: {why}");
                let problem = Problem::new(Code::PostgresUnreachable, unreached(message));
                ProviderError::Retryable {
                    problem: Problem { cause: cause.map(|why| unreached(why.into()).into()), ..problem },
                    after: None,
                }
            }
            other => other,
        }
    }

    /// Judges an error of a statement.
    pub(crate) fn failed(&self, error: sqlx::Error) -> ProviderError {
        match error {
            sqlx::Error::Database(error) => match error.try_downcast_ref::<PgDatabaseError>() {
                Some(error) => self.refused(error),
                None => self.rejected(Code::StepFailed, error.message(), None, None),
            },
            // Neither says whether the server did what it was asked to.
            sqlx::Error::Io(_) | sqlx::Error::Protocol(_) => {
                ProviderError::Unknown(self.problem(Code::PostgresUnreachable, error.to_string()))
            }
            other => self.rejected(Code::StepFailed, &other.to_string(), None, None),
        }
    }

    fn refused(&self, error: &PgDatabaseError) -> ProviderError {
        let words = error.message();
        let retry_later = |code, why: &str| ProviderError::Retryable {
            problem: self.problem(code, format!("{why} ({words})")),
            after: None,
        };
        let retry = |why: &str| retry_later(Code::NotNow, why);
        match error.code() {
            "53300" => {
                let why = format!("the PostgreSQL server is out of connections ({words})");
                let problem = self.problem(Code::NoConnectionsLeft, why);
                let help = "raise max_connections, or close unused connections";
                ProviderError::Retryable { problem: problem.help(help), after: None }
            }
            "57P03" => retry_later(Code::PostgresUnreachable, "the PostgreSQL server is starting or stopping"),
            "53200" => retry_later(Code::PostgresUnreachable, "the PostgreSQL server is out of memory"),
            "55P03" | "57014" => retry("the statement timed out"),
            "55006" => retry("the object is in use"),
            "40001" | "40P01" => retry("another session was faster"),
            // Made or changed at the same moment by somebody else: the next look tells by whom.
            "23505" | "42710" | "42P04" | "3D000" => retry("it changed in the meantime"),
            "XX000" if words.contains("concurrently updated") => retry("another session was faster"),
            // The session was ended while it worked.
            code if code.starts_with("57P") => ProviderError::Unknown(self.problem(Code::PostgresUnreachable, words)),
            code if is_full(code, words) => self.rejected(
                Code::DiskFull,
                "the disk of the PostgreSQL server is full",
                Some(words),
                Some("free some space"),
            ),
            code if code.starts_with("28") => {
                let help = "check the server's address, the role and its password";
                self.rejected(
                    Code::PostgresUnreachable,
                    "the PostgreSQL server rejects Freehold's login",
                    Some(words),
                    Some(help),
                )
            }
            "42501" => {
                let help = "grant Freehold's role what is missing, or let a superuser do it";
                self.rejected(Code::StepFailed, "Freehold's role lacks a right", Some(words), Some(help))
            }
            code => {
                // Others hold what belongs to it, or gave it rights that only they can take back.
                let code = if code == "2BP01" { Code::UsedByOthers } else { Code::StepFailed };
                let mut rejected = self.rejected(code, words, None, error.hint());
                if let ProviderError::Rejected(Problem { lines, .. }) = &mut rejected {
                    lines.extend(error.detail().into_iter().flat_map(str::lines).map(str::to_owned));
                }
                rejected
            }
        }
    }

    pub(crate) fn rejected(&self, code: Code, why: &str, detail: Option<&str>, help: Option<&str>) -> ProviderError {
        let lines = detail.into_iter().map(str::to_owned).collect();
        self.problem(code, why).lines(lines).maybe_help(help).into()
    }

    fn problem(&self, code: Code, why: impl Into<String>) -> Problem {
        Problem::caused(code, &self.0, why)
    }
}

fn is_full(code: &str, words: &str) -> bool {
    code == "53100" || (matches!(code, "58030" | "XX000") && says_full(words))
}

/// Whether the server or one of its programs says that a disk or a quota is full, in the system's own words.
pub(crate) fn says_full(text: &str) -> bool {
    ["No space left on device", "Disk quota exceeded"].iter().any(|words| text.contains(words))
}

/// Whether a login isn't let in, in a way that making it anew would fix: no such role, another password, no right to connect,
/// NOLOGIN, a limit of the database's.
pub(crate) fn is_shut_out(error: &sqlx::Error) -> bool {
    matches!(sqlstate(error).as_deref(), Some("28P01" | "28000" | "42501" | "55000" | "42704"))
}

/// The server's code of an error, if it is one of the server's.
pub(crate) fn sqlstate(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(|error| error.code()).map(|code| code.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_by_its_code_and_where_that_says_less_by_the_systems_words() {
        assert!(is_full("53100", "anything"));
        for words in ["could not write to file: No space left on device", "could not extend file: Disk quota exceeded"]
        {
            assert!(is_full("58030", words) && is_full("XX000", words), "{words}");
            assert!(!is_full("42501", words), "a right that is missing is no full disk");
        }
        assert!(!is_full("58030", "could not open file: Permission denied"));
    }

    #[test]
    fn what_is_said_of_a_connection_has_the_same_cause_for_each_object() {
        let of =
            |object: &str| Doing::new("looking at database", object).connecting(sqlx::Error::Protocol("gone".into()));
        let (one, other) = (of("one"), of("other"));
        assert!(one.to_string().starts_with("the PostgreSQL server can't be reached: looking at database one: "));
        assert!(one.problem().cause.is_some() && one.problem().cause == other.problem().cause, "{one:?}");
    }
}
