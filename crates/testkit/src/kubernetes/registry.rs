//! A real image registry (github.com/distribution/distribution), private to the test.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::image::Image;
use super::parts::Parts;
use super::processes::Processes;

/// Any free port.
const LOOPBACK: &str = "127.0.0.1:0";
const START: Duration = Duration::from_secs(120);
/// The one user of a registry that wants to know who asks.
pub const REGISTRY_USER: &str = "puller";
/// Its password. No secret: the registry lives as long as the test.
pub const REGISTRY_PASSWORD: &str = "password-of-a-test";
/// That password as bcrypt hashes it, for htpasswd.
const HASH: &str = "$2b$04$IVnV5qfPXTmUABXL0Y3sEuWiIbap8dKQssJ4i.nnwVCYS/6xHwMgG";

/// A running registry, over plain HTTP.
#[derive(Debug)]
pub struct Registry {
    address: String,
    user: bool,
    /// Of one that runs by itself; it ends when dropped.
    _processes: Option<Processes>,
}

impl Registry {
    /// One of one's own on a free port of 127.0.0.1, for everybody.
    ///
    /// # Errors
    /// It is not built, or doesn't start.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_on_loopback(false)
    }

    /// Likewise, that lets in only [`REGISTRY_USER`].
    ///
    /// # Errors
    /// It is not built, or doesn't start.
    pub fn start_private() -> anyhow::Result<Self> {
        Self::start_on_loopback(true)
    }

    /// Likewise, with its content in a folder of the test, and more in its configuration: at the top, and below `http`.
    ///
    /// # Errors
    /// It is not built, or doesn't start.
    pub fn start_with(content: &Path, top: &str, http: &str) -> anyhow::Result<Self> {
        let processes = Processes::new("freehold-registry-", None)?;
        let address = launch(&processes, &Parts::find()?, "registry", &configuration(content, LOOPBACK, top, http))?;
        Ok(Self { address, user: false, _processes: Some(processes) })
    }

    fn start_on_loopback(user: bool) -> anyhow::Result<Self> {
        let processes = Processes::new("freehold-registry-", None)?;
        let registry = Self::start_among(&processes, &Parts::find()?, "registry", LOOPBACK, user)?;
        Ok(Self { _processes: Some(processes), ..registry })
    }

    /// One among a cluster's other daemons. Port 0: any.
    pub(super) fn start_among(
        processes: &Processes,
        parts: &Parts,
        name: &str,
        listen: &str,
        user: bool,
    ) -> anyhow::Result<Self> {
        let folder = processes.folder().join(name);
        fs::create_dir(&folder)?;
        let mut top = String::new();
        if user {
            let passwords = folder.join("htpasswd");
            fs::write(&passwords, format!("{REGISTRY_USER}:{HASH}\n"))?;
            top += &format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", passwords.display());
        }
        let address = launch(processes, parts, name, &configuration(&folder.join("storage"), listen, &top, ""))?;
        Ok(Self { address, user, _processes: None })
    }

    /// One that another process runs.
    pub(super) fn existing(address: String, user: bool) -> Self {
        Self { address, user, _processes: None }
    }

    /// `HOST:PORT`, as it stands in references.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Puts an image into the registry under `NAME:TAG`, and returns its reference by digest: `HOST:PORT/NAME@sha256:…`.
    ///
    /// # Errors
    /// The registry refuses it.
    pub fn push(&self, name: &str, tag: &str, image: &Image) -> anyhow::Result<String> {
        // Of two that push the same at once, one may find a link that the other is just writing: "unknown blob".
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let parts = image.build()?;
        let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        for blob in [&parts.layer, &parts.config] {
            self.put_blob(name, &blob.digest, &blob.bytes).with_context(|| format!("pushing {name}:{tag}"))?;
        }
        let path = format!("/v2/{name}/manifests/{tag}");
        let answer = self.request("PUT", &path, "application/vnd.oci.image.manifest.v1+json", &parts.manifest.bytes)?;
        ensure!(answer.status == 201, "the registry answers {} to the manifest of {name}:{tag}", answer.status);
        Ok(format!("{}/{name}@{}", self.address, parts.manifest.digest))
    }

    /// Takes an image away again: a manifest by its digest.
    ///
    /// # Errors
    /// There is none.
    pub fn delete(&self, name: &str, digest: &str) -> anyhow::Result<()> {
        let answer = self.request("DELETE", &format!("/v2/{name}/manifests/{digest}"), "", &[])?;
        ensure!(answer.status == 202, "the registry answers {} to deleting {name}@{digest}", answer.status);
        Ok(())
    }

    fn put_blob(&self, name: &str, digest: &str, bytes: &[u8]) -> anyhow::Result<()> {
        if self.request("HEAD", &format!("/v2/{name}/blobs/{digest}"), "", &[])?.status == 200 {
            return Ok(());
        }
        let upload = self.request("POST", &format!("/v2/{name}/blobs/uploads/"), "", &[])?;
        let Some(location) = upload.location.filter(|_| upload.status == 202) else {
            bail!("the registry answers {} to an upload", upload.status)
        };
        let path = location.trim_start_matches(&format!("http://{}", self.address)).to_owned();
        let separator = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{separator}digest={digest}");
        let answer = self.request("PUT", &path, "application/octet-stream", bytes)?;
        ensure!(answer.status == 201, "the registry answers {} to a blob", answer.status);
        Ok(())
    }

    /// One request over a connection of its own: HTTP as far as this registry needs it.
    fn request(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> anyhow::Result<CannedResponse> {
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n",
            self.address,
            body.len()
        );
        if !kind.is_empty() {
            head += &format!("Content-Type: {kind}\r\n");
        }
        if self.user {
            let credentials = STANDARD.encode(format!("{REGISTRY_USER}:{REGISTRY_PASSWORD}"));
            head += &format!("Authorization: Basic {credentials}\r\n");
        }
        stream.write_all(format!("{head}\r\n").as_bytes())?;
        stream.write_all(body)?;
        let mut lines = BufReader::new(stream).take(64 * 1024).lines();
        let first = lines.next().context("no answer")??;
        let status = first.split(' ').nth(1).and_then(|status| status.parse().ok()).context("no status")?;
        let mut location = None;
        for line in lines {
            let line = line?;
            match line.split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("location") => location = Some(value.to_owned()),
                Some(_) => {}
                None => break,
            }
        }
        Ok(CannedResponse { status, location })
    }
}

struct CannedResponse {
    status: u16,
    location: Option<String>,
}

/// A configuration. What is in `http` is indented by two.
fn configuration(content: &Path, listen: &str, top: &str, http: &str) -> String {
    let content = content.display();
    format!(
        "version: 0.1\nlog: {{level: info, accesslog: {{disabled: true}}}}\n\
         storage: {{filesystem: {{rootdirectory: '{content}'}}, delete: {{enabled: true}}}}\n{top}\n\
         http:\n  addr: {listen}\n{http}\n"
    )
}

/// Starts one, and waits until it says where it listens.
fn launch(processes: &Processes, parts: &Parts, name: &str, configuration: &str) -> anyhow::Result<String> {
    let file = processes.folder().join(format!("{name}.yaml"));
    fs::write(&file, configuration)?;
    let arguments = ["serve".to_owned(), file.display().to_string()];
    processes.start(name, &parts.program("registry"), &arguments)?;
    processes.wait("the registry listens", START, || {
        let log = processes.log(name);
        let (_, after) = log.split_once("listening on ").context("it doesn't say so")?;
        let (address, _) = after.split_once(['"', ',']).context("it doesn't say where")?;
        Ok(address.to_owned())
    })
}
