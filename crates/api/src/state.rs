//! What handlers have at hand.

use std::sync::Arc;

use axum::extract::FromRef;
use freehold_platform::Platform;

use crate::token::Token;

/// What the API serves, and to whom.
#[derive(Clone)]
pub struct Api {
    /// Whose use cases are called.
    pub platform: Arc<Platform>,
    /// What callers show to be the operator.
    pub token: Token,
    /// Whether requests under other names than the loopback's are refused. Off in a cluster, where the API has many names.
    pub loopback_only: bool,
}

impl FromRef<Api> for Arc<Platform> {
    fn from_ref(api: &Api) -> Self {
        Self::clone(&api.platform)
    }
}
