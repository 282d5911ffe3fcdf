//! Container images made from scratch: files in one layer, without an engine.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use serde_json::json;
use sha2::{Digest, Sha256};

/// What goes into an image.
#[derive(Debug, Clone)]
pub struct Image {
    files: Vec<(String, Content)>,
    entrypoint: Vec<String>,
    environment: Vec<String>,
    user: String,
    architecture: String,
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Clone)]
enum Content {
    File(PathBuf),
    Bytes(Vec<u8>),
    Folder,
}

impl Image {
    /// A program at `/NAME`, which the image starts, as user 65532; with the shared libraries that it needs, if it needs any.
    ///
    /// # Errors
    /// It can't be read.
    pub fn of_program(program: &Path) -> anyhow::Result<Self> {
        let name = program.file_name().with_context(|| format!("{} is no file", program.display()))?;
        let entry = format!("/{}", name.to_string_lossy());
        let mut image = Self {
            files: vec![("tmp".to_owned(), Content::Folder)],
            entrypoint: vec![entry.clone()],
            environment: vec!["PATH=/".to_owned()],
            user: "65532:65532".to_owned(),
            architecture: "amd64".to_owned(),
            labels: BTreeMap::new(),
        };
        image = image.file(&entry, program);
        for library in libraries(program)? {
            let at = library.display().to_string();
            image = image.file(&at, &library);
        }
        Ok(image)
    }

    /// Adds a file of this machine, executable.
    #[must_use]
    pub fn file(mut self, at: &str, from: &Path) -> Self {
        self.files.push((at.trim_start_matches('/').to_owned(), Content::File(from.to_owned())));
        self
    }

    /// Adds a file by its content.
    #[must_use]
    pub fn bytes(mut self, at: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.push((at.trim_start_matches('/').to_owned(), Content::Bytes(content.into())));
        self
    }

    /// What is started, instead of the program alone.
    #[must_use]
    pub fn entrypoint(mut self, words: &[&str]) -> Self {
        self.entrypoint = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Adds a variable, `NAME=VALUE`.
    #[must_use]
    pub fn environment(mut self, variable: &str) -> Self {
        self.environment.push(variable.to_owned());
        self
    }

    /// `USER:GROUP`, by number.
    #[must_use]
    pub fn user(mut self, user: &str) -> Self {
        user.clone_into(&mut self.user);
        self
    }

    /// Another architecture than amd64: a claim, for tests of refusing it.
    #[must_use]
    pub fn architecture(mut self, architecture: &str) -> Self {
        architecture.clone_into(&mut self.architecture);
        self
    }

    /// A label: also the way to make two images different.
    #[must_use]
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.labels.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The parts as a registry keeps them.
    pub(super) fn build(&self) -> anyhow::Result<Built> {
        let layer = Blob::new(self.layer()?);
        let config = json!({
            "architecture": self.architecture,
            "os": "linux",
            "config": {
                "Entrypoint": self.entrypoint, "Env": self.environment, "User": self.user, "WorkingDir": "/",
                "Labels": self.labels,
            },
            "rootfs": {"type": "layers", "diff_ids": [layer.digest]},
        });
        let config = Blob::new(serde_json::to_vec(&config)?);
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": config.digest, "size": config.bytes.len(),
            },
            "layers": [{
                "mediaType": "application/vnd.oci.image.layer.v1.tar",
                "digest": layer.digest, "size": layer.bytes.len(),
            }],
        });
        Ok(Built { manifest: Blob::new(serde_json::to_vec(&manifest)?), layer, config })
    }

    fn layer(&self) -> anyhow::Result<Vec<u8>> {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, content) in &self.files {
            let mut header = tar::Header::new_gnu();
            let bytes = match content {
                Content::File(file) => fs::read(file).with_context(|| format!("reading {}", file.display()))?,
                Content::Bytes(bytes) => bytes.clone(),
                Content::Folder => Vec::new(),
            };
            let folder = matches!(content, Content::Folder);
            header.set_entry_type(if folder { tar::EntryType::Directory } else { tar::EntryType::Regular });
            // /tmp is for everybody.
            header.set_mode(if folder { 0o1777 } else { 0o755 });
            header.set_size(bytes.len() as u64);
            archive.append_data(&mut header, path, bytes.as_slice())?;
        }
        Ok(archive.into_inner()?)
    }
}

pub(super) struct Built {
    pub(super) manifest: Blob,
    pub(super) config: Blob,
    pub(super) layer: Blob,
}

pub(super) struct Blob {
    pub(super) digest: String,
    pub(super) bytes: Vec<u8>,
}

impl Blob {
    fn new(bytes: Vec<u8>) -> Self {
        Self { digest: format!("sha256:{}", hex::encode(Sha256::digest(&bytes))), bytes }
    }
}

/// What `ldd` names; nothing for a static program.
fn libraries(program: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().context("running ldd")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let path = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
    Ok(text.lines().filter(|line| !line.contains("vdso")).filter_map(path).filter(|path| path != program).collect())
}
