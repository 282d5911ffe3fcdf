//! What an exchange with a registry may take.

use std::time::Duration;

/// How long one exchange may take, from the first connection to the last byte, redirects included.
pub const DEADLINE: Duration = Duration::from_secs(10);
/// How large an answer may be, in bytes: what the distribution specification asks registries to take as a manifest.
pub const BODY_LIMIT: usize = 4 << 20;
