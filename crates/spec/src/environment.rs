//! Environments: what one definition holds for, with what its `[stage.X]`, `[tier.X]` and `[preview]` override.

use std::fmt;

/// The stage that tenants belong to unless they are told another one. Every app has it, with or without a table of its own.
pub const PRODUCTION: &str = "production";

/// Where a definition holds. Values resolve in the order of the layers: what a later one says holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Environment {
    /// A stage of the developers: the definition, then `[stage.NAME]`.
    Stage(String),
    /// A tenant: the definition, then `[stage.NAME]`, then `[tier.NAME]`.
    Tenant {
        /// The stage that the tenant belongs to.
        stage: String,
        /// Its tier, where it has one.
        tier: Option<String>,
    },
    /// A pull request's stack: the definition, then `[preview]`.
    Preview,
}

/// A table of the definition that overrides others in some environments.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layer {
    /// `[stage.NAME]`
    Stage(String),
    /// `[tier.NAME]`
    Tier(String),
    /// `[preview]`
    Preview,
}

impl Environment {
    /// The tables that override the definition here, the weakest first. Those that aren't defined are among them.
    pub fn layers(&self) -> Vec<Layer> {
        match self {
            Self::Stage(stage) => vec![Layer::Stage(stage.clone())],
            Self::Tenant { stage, tier } => {
                [Layer::Stage(stage.clone())].into_iter().chain(tier.clone().map(Layer::Tier)).collect()
            }
            Self::Preview => vec![Layer::Preview],
        }
    }

    /// The stage whose values hold; `None` for previews.
    pub fn stage(&self) -> Option<&str> {
        match self {
            Self::Stage(stage) | Self::Tenant { stage, .. } => Some(stage),
            Self::Preview => None,
        }
    }

    /// The tier, where it has one.
    pub fn tier(&self) -> Option<&str> {
        match self {
            Self::Tenant { tier, .. } => tier.as_deref(),
            Self::Stage(_) | Self::Preview => None,
        }
    }
}

impl fmt::Display for Environment {
    /// `stage production`, `tenants of tier pro in stage production`, `previews`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stage(stage) => write!(f, "stage {stage}"),
            Self::Tenant { stage, tier: None } => write!(f, "tenants of stage {stage}"),
            Self::Tenant { stage, tier: Some(tier) } => write!(f, "tenants of tier {tier} in stage {stage}"),
            Self::Preview => f.write_str("previews"),
        }
    }
}

impl fmt::Display for Layer {
    /// As its table's header has it: `stage.production`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stage(name) => write!(f, "stage.{name}"),
            Self::Tier(name) => write!(f, "tier.{name}"),
            Self::Preview => f.write_str("preview"),
        }
    }
}
