//! The field managers that Freehold writes as. Which fields are whose follows from them.

/// All fields of a stack's objects.
pub(crate) const MANAGER: &str = "freehold";
/// The traces of runs.
pub(crate) const RUNS: &str = "freehold-runs";
/// The number of replicas, until the autoscaler acts.
pub(crate) const SCALE_MANAGER: &str = "freehold-replicas";
