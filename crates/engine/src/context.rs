//! What comes with each call to a provider.

use std::sync::Arc;

use freehold_graph::{StackId, StackKey};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::journal::OperationId;
use crate::secrets::Secrets;
use crate::step_id::StepId;

/// Who asks, on whose behalf, and until when.
#[derive(Clone)]
pub struct Context {
    /// For whose stack: what is made bears its mark.
    pub stack: StackId,
    /// What people call it.
    pub key: StackKey,
    /// Together with the step what a call is idempotent under.
    pub operation: OperationId,
    /// As the journal calls it: `create/database.main`.
    pub step: StepId,
    /// The revision that the operation makes.
    pub revision: u64,
    /// The call has to return before this; it lies within the lease.
    pub deadline: Instant,
    /// Where secrets are revealed.
    pub secrets: Arc<dyn Secrets>,
    /// Where the call says what it waits for.
    pub waits: CallWaits,
    /// Cancelled once somebody asks the operation to stop, even before the call has begun.
    pub cancel: CancellationToken,
}

/// Where a call that takes long says what it waits for, while it goes on. A reason is repeated for as long as it holds: one that is told
/// once is taken for one that has passed.
#[derive(Clone, Default)]
pub struct CallWaits(Option<Arc<dyn Fn(Option<String>) + Send + Sync>>);

impl CallWaits {
    /// Passes what is said on. It must not block.
    pub fn new(listener: impl Fn(Option<String>) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(listener)))
    }

    /// The call waits, and this is why.
    pub fn tell(&self, reason: impl Into<String>) {
        if let Self(Some(listener)) = self {
            listener(Some(reason.into()));
        }
    }

    /// It doesn't wait any more: it goes on.
    pub fn are_over(&self) {
        if let Self(Some(listener)) = self {
            listener(None);
        }
    }
}
