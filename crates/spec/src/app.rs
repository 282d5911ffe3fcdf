//! The app: what `freehold.toml` says, after decoding. Its parts are in [`crate::part`].

pub use crate::collation::Collation;
pub use crate::part::backup::Backup;
pub use crate::part::bucket::{Bucket, Expiry};
pub use crate::part::cache::{Cache, Eviction};
pub use crate::part::database::{CharacterSet, Database};
pub use crate::part::database_server::{DatabaseServer, PoolMode, Pooler, PostgresVersion};
pub use crate::part::job::{Job, Retry, When};
pub use crate::part::manifest::{Manifest, ManifestFile};
pub use crate::part::quota::Quota;
pub use crate::part::route::{Cors, Headers, Method, PathRule, Period, RateLimit, Redirect, Respond, Route};
pub use crate::part::secret::{Encoding, Generate, Secret};
pub use crate::part::service::{
    Autoscale, Build, File, Health, Init, Port, Probe, Prometheus, Protocol, Question, Service, Sidecar, Update, Volume,
};
pub use crate::part::stage::Stage;
pub use crate::part::tier::Tier;
pub use crate::part::{App, Read};

use std::collections::BTreeMap;

use crate::name::{EnvName, Name};
use crate::span::Spanned;
use crate::template::Template;

/// The texts of a program: its variables, and its files.
pub fn texts<'a>(
    env: &'a BTreeMap<EnvName, Spanned<Template>>,
    files: &'a BTreeMap<Name, File>,
) -> impl Iterator<Item = &'a Spanned<Template>> {
    env.values().chain(files.values().map(|file| &file.content))
}
