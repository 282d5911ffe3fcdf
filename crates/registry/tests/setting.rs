//! A real registry on loopback, images pushed to it, and servers that say what a test wants them to.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use freehold_graph::image::{Digest, ImageReference};
use freehold_registry::{Credentials, Platform, Registry, RegistryError, Resolved};
use freehold_testkit::kubernetes;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// What registries of a test keep; several may serve the same.
pub(crate) struct Storage {
    folder: TempDir,
}

/// A running registry. It ends with this value.
pub(crate) struct Server {
    _registry: kubernetes::Registry,
    /// `127.0.0.1:PORT`.
    pub(crate) host: String,
}

/// Storage for a test; or `None`, after the line that counts it as skipped.
pub(crate) fn storage(test: &str) -> Option<Storage> {
    if let Some(reason) = kubernetes::ControlPlane::missing() {
        println!("skipped: {test}: registry: {reason}");
        return None;
    }
    Some(Storage { folder: tempfile::tempdir().unwrap() })
}

impl Storage {
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A registry that anybody may push to and pull from.
    pub(crate) fn open(&self) -> Server {
        self.serve("", "")
    }

    /// A registry with more in its configuration: at the top, and under `http`.
    pub(crate) fn serve(&self, top: &str, http: &str) -> Server {
        let registry = kubernetes::Registry::start_with(&self.folder().join("content"), top, http).unwrap();
        Server { host: registry.address().to_owned(), _registry: registry }
    }

    /// Where the registry keeps the bytes with this digest.
    pub(crate) fn file_of(&self, digest: Digest) -> PathBuf {
        let digits = digest.to_string().replace("sha256:", "");
        self.folder().join("content/docker/registry/v2/blobs/sha256").join(&digits[..2]).join(&digits).join("data")
    }
}

impl Server {
    /// The reference to something in this registry.
    pub(crate) fn reference(&self, rest: &str) -> ImageReference {
        format!("{}/{rest}", self.host).parse().unwrap()
    }

    pub(crate) async fn push_blob(&self, repository: &str, content: &[u8]) -> Digest {
        let digest = Digest::of(content);
        let http = client();
        let begun = http.post(format!("http://{}/v2/{repository}/blobs/uploads/", self.host)).send().await.unwrap();
        let location = begun.headers()["location"].to_str().unwrap().to_owned();
        let done =
            http.put(location).query(&[("digest", digest.to_string())]).body(content.to_vec()).send().await.unwrap();
        assert_eq!(done.status(), 201, "{}", done.text().await.unwrap());
        digest
    }

    pub(crate) async fn push_manifest(
        &self,
        repository: &str,
        tag: Option<&str>,
        kind: &str,
        manifest: &Value,
    ) -> Digest {
        let body = serde_json::to_vec_pretty(manifest).unwrap();
        let digest = Digest::of(&body);
        let name = tag.map_or_else(|| digest.to_string(), str::to_owned);
        let address = format!("http://{}/v2/{repository}/manifests/{name}", self.host);
        let done = client().put(address).header("content-type", kind).body(body).send().await.unwrap();
        assert_eq!(done.status(), 201, "{}", done.text().await.unwrap());
        digest
    }

    /// A tiny image for a platform; with its config's digest.
    pub(crate) async fn push_image(&self, repository: &str, tag: Option<&str>, architecture: &str) -> (Digest, Digest) {
        let config = serde_json::to_vec(&json!({
            "os": "linux", "architecture": architecture, "rootfs": {"type": "layers", "diff_ids": []}
        }));
        let config = config.unwrap();
        let config_digest = self.push_blob(repository, &config).await;
        let layer = self.push_blob(repository, b"a layer").await;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "digest": config_digest.to_string(), "size": config.len()},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer.to_string(), "size": 7}],
        });
        (self.push_manifest(repository, tag, OCI_MANIFEST, &manifest).await, config_digest)
    }

    /// An index of images for these architectures, which may or may not tell them.
    pub(crate) async fn push_index(&self, repository: &str, tag: &str, architectures: &[&str], told: bool) -> Digest {
        let mut manifests = Vec::new();
        for architecture in architectures {
            let (digest, _) = self.push_image(repository, None, architecture).await;
            let mut entry = json!({"mediaType": OCI_MANIFEST, "digest": digest.to_string(), "size": 1});
            if told {
                entry["platform"] = json!({"os": "linux", "architecture": architecture});
            }
            manifests.push(entry);
        }
        let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests});
        self.push_manifest(repository, Some(tag), OCI_INDEX, &index).await
    }
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// `linux/…` for each of these.
pub(crate) fn linux(architectures: &[&str]) -> BTreeSet<Platform> {
    architectures.iter().map(|architecture| Platform::new("linux", *architecture)).collect()
}

/// A registry client with one login.
pub(crate) fn as_user(host: &str, user: &str, password: &str) -> Registry {
    let config = json!({"auths": {host: {"username": user, "password": password}}});
    Registry::new(Credentials::from_docker_config(&config.to_string()).unwrap(), BTreeSet::new()).unwrap()
}

pub(crate) fn as_nobody() -> Registry {
    Registry::new(Credentials::none(), BTreeSet::new()).unwrap()
}

/// Resolved by nobody in particular, for amd64.
pub(crate) async fn resolve(reference: &ImageReference) -> Result<Resolved, RegistryError> {
    as_nobody().resolve(reference, &linux(&["amd64"])).await
}

/// A server on loopback that answers each request, of which it gets the head, with these bytes, and closes the connection. It
/// ends with the test's runtime. What isn't HTTP gets no answer.
pub(crate) async fn answering(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let answer = std::sync::Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read_u8().await {
                        Ok(byte) if head.is_empty() && byte != b'G' => return,
                        Ok(byte) => head.push(byte),
                        Err(_) => return,
                    }
                }
                let _ = stream.write_all(&answer(&String::from_utf8_lossy(&head))).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    host
}

/// An HTTP answer.
pub(crate) fn http(status: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
        .into_bytes()
}
