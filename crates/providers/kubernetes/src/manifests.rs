//! Manifests that people apply: the platform's permissions, what admission denies it, and the platform itself in a cluster.
//!
//! They are values, written as YAML by [`yaml`] and nothing else.

pub(crate) mod admission;
pub(crate) mod install;
pub(crate) mod rbac;
mod yaml;

use serde_json::Value as Json;

/// An object, and what is said above it.
pub(crate) struct Manifest {
    comment: Option<&'static str>,
    body: Json,
}

impl Manifest {
    fn new(body: Json) -> Self {
        Self { comment: None, body }
    }

    fn comment(self, comment: &'static str) -> Self {
        Self { comment: Some(comment), ..self }
    }
}

/// The text for `kubectl apply -f -`.
pub(crate) fn text(manifests: &[Manifest]) -> String {
    let document = |manifest: &Manifest| {
        let comment = manifest.comment.map(|comment| format!("# {comment}\n")).unwrap_or_default();
        format!("{comment}{}", yaml::document(&manifest.body))
    };
    manifests.iter().map(document).collect::<Vec<_>>().join("---\n")
}
