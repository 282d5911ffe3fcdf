//! Whose a row is.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A tenant's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TenantId(pub Uuid);

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The reserved tenant: previews, stages and operators' things belong to it. (The last six bytes spell `freehd`.)
pub const PLATFORM: TenantId = TenantId(Uuid::from_u128(0x0000_0000_0000_8000_8000_6672_6565_6864));
