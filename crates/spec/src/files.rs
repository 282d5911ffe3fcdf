//! The files of an app's folder that its definition names: it means nothing without them.

use std::collections::BTreeMap;

/// Texts by their paths, relative to the folder of `freehold.toml`.
pub type Files = BTreeMap<String, String>;
