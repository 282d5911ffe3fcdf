//! A cluster: how it is reached, and which one it is.
//!
//! One client with kept connections for each cluster, shared by everything that talks to it; the limit of requests at once is
//! shared, too. A cluster is known by the uid of its namespace `kube-system`, whatever its address is.

mod identity;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use freehold_engine::newest::Newest;
use freehold_graph::SecretText;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::Value as Json;
use tokio::time::Instant;

use crate::awaited::Awaited;
use crate::clock::Clock;
use crate::error::ClusterError;
use crate::kinds::Kinds;
use crate::limit::Limit;
use crate::namespaces::Namespaces;
use crate::object::{DEPLOYMENT, ObjectKind, SERVICE};
use crate::object_cache::ObjectCache;
use crate::taken::TakenNames;

/// How long a first contact may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long after a lost connection a refusal for want of permission is not believed.
const STARTING: Duration = Duration::from_secs(20);
/// At once, at first, at the least, at the most.
const REQUESTS: (usize, usize, usize) = (16, 2, 48);

/// How to get at a cluster.
#[derive(Debug, Clone)]
pub enum Access {
    /// A kubeconfig (YAML) whose current context is the one to use. It carries everything itself: no files, no programs.
    Kubeconfig(SecretText),
    /// As a Pod of that cluster, with the token of its service account.
    InCluster,
}

/// A cluster that has answered.
pub struct Cluster {
    client: Client,
    server: String,
    identity: String,
    version: String,
    limit: Limit,
    /// We are a Pod of it.
    in_it: bool,
    /// When it was last seen to be the same cluster.
    sure: Mutex<Instant>,
    identities: Newest<Result<String, ClusterError>>,
    /// When a connection was last lost.
    lost: Mutex<Option<Instant>>,
    clock: Clock,
    namespaces: Namespaces,
    object_cache: ObjectCache,
    taken_in_scratch: TakenNames,
    deployments: Awaited,
    services: Awaited,
    kinds: Mutex<Option<(Instant, Arc<Kinds>)>>,
    routes: Newest<Arc<Vec<Json>>>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("server", &self.server)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

impl Cluster {
    /// Connects, and asks the cluster who it is.
    ///
    /// # Errors
    /// The credentials can't be used, or the cluster doesn't answer or doesn't let us in.
    pub async fn connect(access: &Access) -> Result<Self, ClusterError> {
        let mut config = config(access).await?;
        // Repeated is what `send` says, and nothing else.
        config.default_retry = false;
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let client = Client::try_from(config).map_err(|error| ClusterError::Kubeconfig {
            why: format!("the cluster's credentials can't be used: {error}"),
            help: "check its certificates and its token".to_owned(),
        })?;
        let (start, least, most) = REQUESTS;
        let limit = Limit::new(start, least, most);
        let sure = Mutex::new(Instant::now());
        let (identity, version) = (String::new(), String::new());
        let mut cluster = Self {
            client,
            server,
            identity,
            version,
            limit,
            in_it: matches!(access, Access::InCluster),
            sure,
            identities: Newest::default(),
            lost: Mutex::default(),
            clock: Clock::default(),
            namespaces: Namespaces::default(),
            object_cache: ObjectCache::default(),
            taken_in_scratch: TakenNames::default(),
            deployments: Awaited::default(),
            services: Awaited::default(),
            kinds: Mutex::default(),
            routes: Newest::default(),
        };
        let deadline = Instant::now() + CONNECT;
        cluster.identity = cluster.ask_identity(deadline).await?;
        cluster.version = cluster.ask_version(deadline).await?;
        Ok(cluster)
    }

    /// The uid of its namespace `kube-system`.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// `v1.36.3`
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The URL of its API server.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The client itself, for logs and watches. [`Self::send`] is for everything else.
    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    pub(crate) fn limit(&self) -> &Limit {
        &self.limit
    }

    /// Whether we are a Pod of it, with a token that ends with the Pod.
    pub(crate) const fn is_in_it(&self) -> bool {
        self.in_it
    }

    pub(crate) const fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }

    pub(crate) const fn object_cache(&self) -> &ObjectCache {
        &self.object_cache
    }

    /// The objects of a kind that are waited for; `None` for kinds that are only looked at.
    pub(crate) fn awaited(&self, kind: &ObjectKind) -> Option<&Awaited> {
        if *kind == DEPLOYMENT {
            Some(&self.deployments)
        } else if *kind == SERVICE {
            Some(&self.services)
        } else {
            None
        }
    }

    /// What is in the scratch namespace for good.
    pub(crate) const fn taken_in_scratch(&self) -> &TakenNames {
        &self.taken_in_scratch
    }

    /// The routes of the whole cluster.
    pub(crate) const fn routes(&self) -> &Newest<Arc<Vec<Json>>> {
        &self.routes
    }

    /// What time it is there: the times in its objects are by its own clock.
    pub(crate) const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// A connection was lost.
    pub(crate) fn note_lost(&self) {
        *self.lost.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether the API server may have started a moment ago, and not have read its permissions yet: then it forbids everything.
    pub(crate) fn may_be_starting(&self) -> bool {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|lost| lost.elapsed() < STARTING)
    }
}

async fn config(access: &Access) -> Result<Config, ClusterError> {
    let fault = |why: String, help: &str| ClusterError::Kubeconfig {
        why: format!("this kubeconfig can't be used: {why}"),
        help: help.to_owned(),
    };
    match access {
        Access::InCluster => Config::incluster().map_err(|error| ClusterError::Kubeconfig {
            why: format!("the platform does not run in a Pod, so it has no service account: {error}"),
            help: "run it in the cluster (`freehold install`), or give the target a kubeconfig".to_owned(),
        }),
        Access::Kubeconfig(yaml) => {
            let made = "make one with `kubectl config view --minify --flatten`, or with a service account's token";
            // What the parser says quotes the lines around the fault, which may hold a token or a key.
            let kubeconfig = Kubeconfig::from_yaml(yaml.reveal())
                .map_err(|_| fault("it is not a kubeconfig in YAML".to_owned(), made))?;
            self_contained(&kubeconfig).map_err(|why| {
                let help = "let the target use a service account: apply what `freehold target rbac` prints, and give its token";
                fault(why, help)
            })?;
            let options = KubeConfigOptions::default();
            Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|error| fault(error.to_string(), made))
        }
    }
}

/// The platform runs on another machine than the one that the kubeconfig was made for, and runs nobody's programs: whatever
/// the kubeconfig needs has to be in it.
fn self_contained(kubeconfig: &Kubeconfig) -> Result<(), String> {
    for named in &kubeconfig.clusters {
        let Some(cluster) = &named.cluster else { continue };
        if cluster.insecure_skip_tls_verify == Some(true) {
            return Err(format!("cluster {} disables verification of the server's certificate", named.name));
        }
        let plain = cluster.server.as_deref().and_then(|server| server.strip_prefix("http://"));
        if plain.is_some_and(|server| !is_loopback(server)) {
            return Err(format!(
                "cluster {} is reached without TLS, so anybody on the network path could read the token",
                named.name
            ));
        }
        if cluster.certificate_authority.is_some() {
            return Err(format!("cluster {} names a file for its certificate authority", named.name));
        }
    }
    for named in &kubeconfig.auth_infos {
        let Some(user) = &named.auth_info else { continue };
        let AuthInfo { exec, auth_provider, token_file, client_certificate, client_key, .. } = user;
        if let Some(exec) = exec {
            let program = exec.command.clone().unwrap_or_else(|| "a program".to_owned());
            return Err(format!("user {} gets credentials by running {program}", named.name));
        }
        if auth_provider.is_some() {
            return Err(format!("user {} gets credentials from an auth provider", named.name));
        }
        if token_file.is_some() || client_certificate.is_some() || client_key.is_some() {
            return Err(format!("user {} names files instead of the credentials themselves", named.name));
        }
    }
    Ok(())
}

/// Whether a host with an optional port and path is this machine.
fn is_loopback(server: &str) -> bool {
    let Ok(uri) = format!("http://{server}").parse::<http::Uri>() else { return false };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use freehold_problem::Code;

    use super::*;

    #[tokio::test]
    async fn a_kubeconfig_that_cannot_be_read_is_not_quoted() {
        let secret = "c2VjcmV0LXRva2Vu";
        for text in [
            format!("apiVersion: v1\nusers:\n- name: a\n  user:\n    token: {secret}\n   broken: [\n"),
            format!("apiVersion: v1\nusers:\n- name: a\n  user:\n    token: [{secret}]\n"),
            format!("users: {secret}\n"),
            secret.to_owned(),
        ] {
            let error = config(&Access::Kubeconfig(SecretText::new(text))).await.map(|_| ()).unwrap_err();
            assert_eq!(error.code(), Code::KubeconfigUnusable);
            assert!(!format!("{error} {error:?}").contains(secret), "{error}");
        }
    }
}
