//! References to container images, resolved to digests in their registry, while a plan is made: what is deployed is then one
//! set of bytes, and an image that doesn't exist, or not for the cluster's machines, is an error of the plan.
//!
//! ```text
//!   "ghcr.io/acme/web:1.4" ─► ImageReference ─► Registry::resolve ─► Resolved: ghcr.io/acme/web@sha256:…
//!                                                  │   ▲
//!                              manifest, config    ▼   │  401: a token, or the password
//!                                               the registry
//! ```
//!
//! hyper and rustls carry the bytes, `http-auth` reads challenges; the protocol (OCI distribution 1.1, and Docker's token
//! authentication) is spoken here. The `oci-client` crate speaks it too, but reads bodies of any size into memory and loses
//! `Retry-After`.
//!
//! What always holds:
//! - A digest is the SHA-256 of bytes that were received, never a registry's word for it.
//! - A password or token goes to the registry that it belongs to, and to the token service which that registry names; over
//!   plain HTTP only where the host was named for that or is loopback. A redirect to another host carries none.
//! - No message and no `Debug` has a password or token in it.
//! - Each exchange ends within [`DEADLINE`], and no body is read beyond [`BODY_LIMIT`].
//!
//! Not kept: anything but tokens. The same tag asked for twice is looked up twice.

mod credentials;
mod error;
mod exchange;
mod limits;
mod manifest;
mod platform;
mod registry;
mod token;

pub use credentials::{Credentials, CredentialsError};
pub use error::{LinkFault, RegistryError};
pub use limits::{BODY_LIMIT, DEADLINE};
pub use platform::Platform;
pub use registry::{Registry, Resolved};
