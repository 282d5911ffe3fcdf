//! Where the programs are that `scripts/kubernetes` has built.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::bail;

use crate::cache;

/// The module that the programs are built from: its version of Kubernetes is the one that tests use.
const MODULE: &str = include_str!("../../../../testkit/kubernetes/go.mod");

/// The folder of one version's programs, definitions and stages.
#[derive(Debug, Clone)]
pub struct Parts {
    folder: PathBuf,
}

impl Parts {
    /// # Errors
    /// They are not built, or only in part: the error is the reason to print for a skipped test.
    pub fn find() -> anyhow::Result<Self> {
        let version = version();
        let parts = Self { folder: cache().join(format!("kubernetes-{version}")) };
        for needed in ["bin/kube-apiserver", "bin/etcd", "bin/kwok", "share/definitions", "share/stages"] {
            if !parts.folder.join(needed).exists() {
                bail!("Kubernetes {version} is not built: run scripts/kubernetes");
            }
        }
        Ok(parts)
    }

    /// A program. Of the API's, the one in `KUBEBUILDER_ASSETS` comes first.
    pub fn program(&self, name: &str) -> PathBuf {
        let given = env::var_os("KUBEBUILDER_ASSETS").map(|folder| PathBuf::from(folder).join(name));
        given
            .filter(|program| matches!(name, "etcd" | "kube-apiserver" | "kubectl") && program.exists())
            .unwrap_or_else(|| self.folder.join("bin").join(name))
    }

    /// A file or folder beside the programs: the real one, since kubectl doesn't follow a link to a folder.
    pub fn share(&self, name: &str) -> PathBuf {
        let path = self.folder.join("share").join(name);
        path.canonicalize().unwrap_or(path)
    }

    /// The folder of all of it.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// The version that is asked for, or the one that the module names.
fn version() -> String {
    let pinned = || MODULE.lines().find_map(|line| line.trim().strip_prefix("k8s.io/kubernetes v"));
    env::var("FREEHOLD_KUBERNETES_VERSION")
        .ok()
        .filter(|version| !version.is_empty())
        .or_else(|| pinned().map(str::to_owned))
        .unwrap_or_default()
}
