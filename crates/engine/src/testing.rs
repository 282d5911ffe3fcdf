//! For tests: a fake outside world, a fake store that fences, and a provider that makes any other one fail anywhere.
//!
//! The world ([`World`]) is synchronous and knows no time, so that the simulator can drive it call by call; [`FakeProvider`]
//! puts a [`crate::Provider`] in front of it, and [`Faulty`] puts faults in front of that one, or of a real one.

mod faults;
mod provider;
mod store;
mod world;

use freehold_plan::Plan;
use tokio_util::sync::CancellationToken;

use crate::journal::{OperationId, Outcome};
use crate::shell::{Dependencies, Ended, RunError, run};

pub use faults::{Fault, Faults, Faulty};
pub use provider::FakeProvider;
pub use store::{FakeStore, NoSecrets, remember};
pub use world::{Effect, JobEnd, Object, Sent, World};

/// [`run`], and then what the platform does: it gives the lease back.
///
/// # Errors
/// Those of [`run`].
pub async fn complete(
    operation: OperationId,
    plan: &Plan,
    parts: &Dependencies,
    cancel: &CancellationToken,
) -> Result<Outcome, RunError> {
    let Ended { outcome, lease } = run(operation, plan, parts, cancel).await?;
    if let Some(fence) = lease {
        // A store that is away ends it by itself.
        let _ = parts.leases().release(operation, fence).await;
    }
    Ok(outcome)
}
