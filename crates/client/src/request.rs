//! What to deploy, said in Rust.

use std::collections::BTreeMap;
use std::path::Path;

use freehold_graph::StackKind;

use crate::wire::DeployRequest;

/// The source of an app's definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition(pub String);

impl Definition {
    /// Reads `freehold.toml` in a folder.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn read(directory: impl AsRef<Path>) -> std::io::Result<Self> {
        std::fs::read_to_string(directory.as_ref().join("freehold.toml")).map(Self)
    }
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
                    target: None,
                    kind: $kind,
                    name: name.to_string(),
                    tier: None,
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
                self.0.definition = Some(definition.0);
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
}
