//! What to deploy, said in Rust.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

use freehold_graph::StackKind;

use freehold_spec::{Document, Language};

use crate::wire::DeployRequest;

/// The source of an app's definition, and the files that it names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Definition {
    /// The text of `freehold.toml`.
    pub source: String,
    /// The files by their paths, relative to its folder.
    pub files: BTreeMap<String, String>,
}

impl Definition {
    /// Reads `freehold.toml` in a folder, and the files that it names.
    ///
    /// # Errors
    /// One of them can't be read, or leads out of the folder.
    pub fn read(directory: impl AsRef<Path>) -> std::io::Result<Self> {
        let directory = directory.as_ref();
        let source = std::fs::read_to_string(directory.join("freehold.toml"))?;
        let files = named_files(directory, &source)?;
        Ok(Self { source, files })
    }
}

impl From<String> for Definition {
    /// One that names no files.
    fn from(source: String) -> Self {
        Self { source, files: BTreeMap::new() }
    }
}

/// The files that a definition names, from its folder. What isn't there is left out: the check says so, with its place.
///
/// # Errors
/// One can't be read, is no text, is larger than all of them may be, or leads out of the folder: a definition from elsewhere could
/// otherwise name any file of this machine.
pub fn named_files(directory: &Path, source: &str) -> std::io::Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    for path in Document::parse(Language::NEWEST, source, &freehold_spec::Files::new()).files() {
        let place = match directory.join(&path).canonicalize() {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            place => place.map_err(|error| unreadable(&path, &error))?,
        };
        if !place.starts_with(directory.canonicalize()?) {
            return Err(unreadable(&path, &"it leads out of the definition's folder"));
        }
        if !place.is_file() {
            return Err(unreadable(&path, &"it is no file"));
        }
        let (mut text, most) = (String::new(), freehold_spec::LARGEST_FILES);
        let file = File::open(&place).map_err(|error| unreadable(&path, &error))?;
        let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
        file.take(limit).read_to_string(&mut text).map_err(|error| unreadable(&path, &error))?;
        if text.len() > most {
            return Err(unreadable(&path, &format!("it has more than {most} bytes")));
        }
        files.insert(path, text);
    }
    Ok(files)
}

fn unreadable(path: &str, why: &dyn std::fmt::Display) -> std::io::Error {
    std::io::Error::other(format!("{path} can't be read: {why}"))
}

/// Anything that can be deployed. Made from a [`Tenant`], a [`Preview`] or a [`Stage`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment(pub DeployRequest);

macro_rules! deployable {
    ($(#[$documentation:meta])* $name:ident, $kind:expr) => {
        $(#[$documentation])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name(DeployRequest);

        impl $name {
            /// By its name.
            pub fn new(name: impl ToString) -> Self {
                Self(DeployRequest {
                    app: None,
                    definition: None,
                    files: BTreeMap::new(),
                    target: None,
                    kind: $kind,
                    name: name.to_string(),
                    tier: None,
                    stage: None,
                    artifacts: BTreeMap::new(),
                    images: BTreeMap::new(),
                    adopt: Default::default(),
                    delete_data: Default::default(),
                    settle: true,
                })
            }

            /// Of this app; needed if the platform knows several and no definition is given.
            #[must_use]
            pub fn app(mut self, app: impl Into<String>) -> Self {
                self.0.app = Some(app.into());
                self
            }

            /// With this definition instead of the one that the app was last deployed with.
            #[must_use]
            pub fn definition(mut self, definition: Definition) -> Self {
                (self.0.definition, self.0.files) = (Some(definition.source), definition.files);
                self
            }

            /// A service's artifact (`sha256:…`) instead of the last one.
            #[must_use]
            pub fn artifact(mut self, service: impl Into<String>, artifact: impl Into<String>) -> Self {
                self.0.artifacts.insert(service.into(), artifact.into());
                self
            }

            /// On this target instead of the only one there is.
            #[must_use]
            pub fn target(mut self, target: impl Into<String>) -> Self {
                self.0.target = Some(target.into());
                self
            }

            /// The image that a service runs in a cluster (`registry/acme/web:1.4`, `:1.4`) instead of the last one.
            #[must_use]
            pub fn image(mut self, service: impl Into<String>, image: impl Into<String>) -> Self {
                self.0.images.insert(service.into(), image.into());
                self
            }

            /// Ends as soon as everything is ready, without waiting whether it stays so.
            #[must_use]
            pub fn without_settling(mut self) -> Self {
                self.0.settle = false;
                self
            }

            /// Takes over an object that isn't ours: `database/acme__guestbook`.
            #[must_use]
            pub fn adopt(mut self, object: impl Into<String>) -> Self {
                self.0.adopt.insert(object.into());
                self
            }
        }

        impl From<$name> for Deployment {
            fn from(request: $name) -> Self {
                Self(request.0)
            }
        }
    };
}

deployable!(
    /// A customer of the product.
    Tenant,
    StackKind::Tenant
);
deployable!(
    /// A pull request's environment.
    Preview,
    StackKind::Preview
);
deployable!(
    /// An environment of the developers: dev, production.
    Stage,
    StackKind::Stage
);

impl Tenant {
    /// In this tier; without, in the one that it has.
    #[must_use]
    pub fn tier(mut self, tier: impl Into<String>) -> Self {
        self.0.tier = Some(tier.into());
        self
    }

    /// Of this stage; without, of the one that it belongs to, at first production.
    #[must_use]
    pub fn stage(mut self, stage: impl Into<String>) -> Self {
        self.0.stage = Some(stage.into());
        self
    }
}
