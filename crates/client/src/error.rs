//! Why a call fails.

use thiserror::Error;

use crate::connection::ConnectionError;
use crate::wire::Problem;

/// Why a call failed.
#[derive(Debug, Error)]
pub enum ClientError {
    /// It isn't known where the platform is.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The server refused, or the work failed.
    #[error("{}: {}", .0.code, .0.detail)]
    Problem(Box<Problem>),
    /// The server can't be reached.
    #[error("the platform does not answer at {url}: {reason}")]
    Unreachable {
        /// Where it should be.
        url: String,
        /// The innermost cause: `Connection refused`.
        reason: String,
    },
    /// The connection broke.
    #[error("the connection to the platform broke: {0}")]
    Broken(String),
    /// An answer that this client doesn't understand.
    #[error("the platform's response is not what this client expects: {0}")]
    Answer(String),
}

impl From<reqwest::Error> for ClientError {
    fn from(error: reqwest::Error) -> Self {
        if error.is_connect() {
            let url = error.url().map(|url| url.origin().ascii_serialization()).unwrap_or_default();
            return Self::Unreachable { url, reason: innermost(&error) };
        }
        if error.is_decode() { Self::Answer(error.to_string()) } else { Self::Broken(innermost(&error)) }
    }
}

/// The reason behind the reasons: "Connection refused".
fn innermost(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).last().map(ToString::to_string).unwrap_or_default()
}
