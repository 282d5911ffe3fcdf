//! The installation's token: whoever shows it is its operator.

use std::fmt;
use std::sync::Arc;

use subtle::ConstantTimeEq as _;

/// The installation's token. Its `Debug` prints nothing of it.
#[derive(Clone)]
pub struct Token(Arc<str>);

impl Token {
    /// From its text.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Compares in constant time: how long it takes says nothing about how much of it was right.
    pub(crate) fn is(&self, given: &str) -> bool {
        given.as_bytes().ct_eq(self.0.as_bytes()).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(•••)")
    }
}
