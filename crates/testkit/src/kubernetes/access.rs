//! How somebody gets at a cluster: its address, its certificate authority and a token, and the kubeconfig made of them.

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// Credentials for one user of one cluster.
#[derive(Debug, Clone)]
pub struct Access {
    /// `https://127.0.0.1:PORT`
    pub server: String,
    /// The certificate that the server's is to be checked against, as PEM.
    pub authority: String,
    /// The bearer token.
    pub token: String,
}

impl Access {
    /// A kubeconfig with one context, `test`. It is written as JSON, which is YAML too.
    pub fn kubeconfig(&self) -> String {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": {
                "server": self.server,
                "certificate-authority-data": STANDARD.encode(&self.authority),
            }}],
            "users": [{"name": "test", "user": {"token": self.token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        });
        format!("{config:#}\n")
    }

    /// Out of a kubeconfig of one context, as JSON. Without a token, if its user has another kind of credentials.
    pub(super) fn of_kubeconfig(config: &str) -> anyhow::Result<Self> {
        let config: Value = serde_json::from_str(config)?;
        let text = |pointer: &str| config.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let authority = text("/clusters/0/cluster/certificate-authority-data").unwrap_or_default();
        Ok(Self {
            server: text("/clusters/0/cluster/server").context("the kubeconfig names no cluster")?,
            authority: String::from_utf8(STANDARD.decode(authority)?)?,
            token: text("/users/0/user/token").unwrap_or_default(),
        })
    }

    /// The same cluster with another token.
    #[must_use]
    pub fn with_token(&self, token: impl Into<String>) -> Self {
        Self { token: token.into(), ..self.clone() }
    }
}
