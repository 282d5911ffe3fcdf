//! What can go wrong on the way to a digest, in words for people.

use std::collections::BTreeSet;
use std::time::Duration;

use freehold_graph::image::{Digest, ImageReference};
use freehold_problem::{Code, Problem};

use crate::limits::{BODY_LIMIT, DEADLINE};
use crate::{CredentialsError, Platform};

/// Why an image could not be resolved.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The docker config can't be read.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The certificates that were given for registries can't be read.
    #[error("the certificates for registries can't be read: {0}")]
    Authorities(String),
    /// TLS could not be set up.
    #[error("TLS could not be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// The registry has no such repository.
    #[error("the image {0} doesn't exist: {registry} has no repository {repository}", registry = .0.registry(), repository = .0.repository())]
    NoRepository(Box<ImageReference>),
    /// The repository has no such tag.
    #[error("the image {reference} doesn't exist: {name} has no tag {tag}", name = reference.name(), tag = reference.asked())]
    NoTag {
        /// What was asked for.
        reference: Box<ImageReference>,
        /// The tags nearest to it, the nearest first; none if the registry doesn't list them.
        near: Vec<String>,
    },
    /// The repository has nothing with this digest.
    #[error("the image {0} doesn't exist: {name} has nothing with this digest", name = .0.name())]
    NoDigest(Box<ImageReference>),
    /// The image exists, but not for every platform that was asked for.
    #[error("the image {reference} isn't made for {missing}: it has {has}", missing = list(missing), has = list(has))]
    NotForPlatform {
        /// What was asked for.
        reference: Box<ImageReference>,
        /// What it lacks.
        missing: BTreeSet<Platform>,
        /// What it has.
        has: BTreeSet<Platform>,
    },
    /// The registry doesn't let us have it.
    #[error("{registry} doesn't let us pull {repository}: {}{}", as_whom(user.as_deref()), said(says.as_deref()))]
    Unauthorised {
        /// The registry's host, with its port.
        registry: String,
        /// The repository within the registry.
        repository: String,
        /// The user name that was shown, if there are credentials for the registry.
        user: Option<String>,
        /// What the registry said about it.
        says: Option<String>,
    },
    /// No connection, or not one to be trusted.
    #[error("{host} can't be reached: {why}")]
    Unreachable {
        /// The host: the registry, its token service, or where it keeps its content.
        host: String,
        /// The innermost cause.
        why: String,
        /// What kind of fault it is.
        fault: LinkFault,
    },
    /// No answer within [`DEADLINE`].
    #[error("{host} didn't answer within {} s", DEADLINE.as_secs())]
    TimedOut {
        /// The host, as in [`Self::Unreachable`].
        host: String,
    },
    /// The host limits requests (status 429).
    #[error("{host} lets nothing more through for now{}{}", wait(*retry_after), said(says.as_deref()))]
    TooManyRequests {
        /// The host, as in [`Self::Unreachable`].
        host: String,
        /// How long it asks us to wait, from when it answered.
        retry_after: Option<Duration>,
        /// What it said about it.
        says: Option<String>,
    },
    /// A status that nobody can do anything with.
    #[error("{host} answers with status {status}{}", said(says.as_deref()))]
    Failing {
        /// The host, as in [`Self::Unreachable`].
        host: String,
        /// The HTTP status.
        status: u16,
        /// What it said about it.
        says: Option<String>,
    },
    /// The bytes aren't those that were announced.
    #[error("{registry} sent something else than {what}: its content has the digest {found}, not {announced}")]
    WrongDigest {
        /// The registry's host, with its port.
        registry: String,
        /// What was fetched.
        what: String,
        /// As asked for or announced.
        announced: Digest,
        /// Of the bytes that came.
        found: Digest,
    },
    /// A body beyond [`BODY_LIMIT`].
    #[error("{host} sent more than {} MiB for {what}", BODY_LIMIT >> 20)]
    TooLarge {
        /// The host, as in [`Self::Unreachable`].
        host: String,
        /// What was fetched.
        what: String,
    },
    /// Something is there, but not an image; or the answer can't be read.
    #[error("what {host} has for {what} can't be used: {why}")]
    Unusable {
        /// The host, as in [`Self::Unreachable`].
        host: String,
        /// What was fetched.
        what: String,
        /// What is wrong with it.
        why: String,
    },
}

/// Kinds of faults between us and a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkFault {
    /// No connection could be made, or it broke.
    Connection,
    /// The certificate isn't trusted, or is for another host.
    Certificate,
    /// What answers doesn't speak TLS.
    NoTls,
    /// It would have to go over plain HTTP, which isn't allowed for this host.
    Plain,
}

impl RegistryError {
    /// The diagnostic's code.
    pub fn code(&self) -> Code {
        match self {
            Self::NoRepository(_) | Self::NoTag { .. } | Self::NoDigest(_) => Code::ImageMissing,
            Self::NotForPlatform { .. } => Code::ImageNotForPlatform,
            Self::Unauthorised { .. } => Code::RegistryRefused,
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::Failing { .. } | Self::Tls(_) => {
                Code::RegistryUnreachable
            }
            Self::TooManyRequests { .. } => Code::RegistryBusy,
            Self::WrongDigest { .. } | Self::TooLarge { .. } | Self::Unusable { .. } => Code::RegistryAnswer,
            Self::Credentials(_) | Self::Authorities(_) => Code::PullCredentials,
        }
    }

    /// What to do next.
    pub fn help(&self) -> String {
        match self {
            Self::Credentials(error) => error.help(),
            Self::Authorities(_) => "give them as PEM: -----BEGIN CERTIFICATE----- and so on".to_owned(),
            Self::Tls(_) => "this is a fault of Freehold's own: report it, please".to_owned(),
            Self::NoRepository(reference) => {
                format!("check the name, or push the image first: docker push {}", without_digest(reference))
            }
            Self::NoTag { reference, near } => match near.as_slice() {
                [] => format!("push it first: docker push {}", without_digest(reference)),
                near => format!("the nearest tags there: {}; else push it first", near.join(", ")),
            },
            Self::NoDigest(_) => {
                "it may have been removed from the registry, or pushed to another one: push it again, or deploy a digest \
                 that is there"
                    .to_owned()
            }
            // All at once: a push for one platform alone takes the others away from the tag.
            Self::NotForPlatform { reference, missing, has } => format!(
                "build it for the cluster's machines too: `docker buildx build --platform {} --push -t {} .`",
                missing.union(has).map(ToString::to_string).collect::<Vec<_>>().join(","),
                without_digest(reference)
            ),
            Self::Unauthorised { registry, user: None, .. } => format!(
                "add a login for {registry} to the target's pull credentials, or check the name: registries give this answer \
                 for repositories that don't exist too"
            ),
            Self::Unauthorised { user: Some(user), .. } => format!(
                "check that the password or token of {user} is right, not expired, and may read this repository; also the \
                 name: registries give this answer for repositories that don't exist too"
            ),
            Self::Unreachable { host, fault, .. } => help_for_link(host, *fault),
            Self::TimedOut { host } => format!("check that {host} works and that no firewall is in between; then try again"),
            Self::TooManyRequests { retry_after: Some(wait), .. } => format!("try again in {} s", wait.as_secs().max(1)),
            Self::TooManyRequests { .. } => {
                "try again in some minutes; with a login in the pull credentials most registries let more through".to_owned()
            }
            Self::Failing { host, .. } => format!("the fault is at {host}: try again, and look there if it stays"),
            Self::WrongDigest { registry, .. } => format!(
                "nothing was deployed. A broken cache or proxy in front of {registry} does this, and so does an attacker in \
                 between: find out which before you go on"
            ),
            Self::TooLarge { .. } | Self::Unusable { .. } => {
                "check that the reference names a container image, not a chart or another artifact".to_owned()
            }
        }
    }
}

fn help_for_link(host: &str, fault: LinkFault) -> String {
    match fault {
        LinkFault::Connection => {
            format!("check the name {host}, that it works, and that it can be reached from this machine")
        }
        LinkFault::Certificate => format!(
            "if {host} has a certificate of your own authority, add that to the target's registry certificates; otherwise do not continue"
        ),
        LinkFault::NoTls | LinkFault::Plain => format!(
            "give {host} a certificate; or, in a network that you trust, list it among the target's insecure registries"
        ),
    }
}

/// What to push to get what was asked for.
fn without_digest(reference: &ImageReference) -> String {
    match reference.tag() {
        Some(tag) => format!("{}:{tag}", reference.name()),
        None => reference.name(),
    }
}

fn list(platforms: &BTreeSet<Platform>) -> String {
    match platforms.len() {
        0 => "none".to_owned(),
        _ => platforms.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}

fn as_whom(user: Option<&str>) -> String {
    match user {
        Some(user) => format!("it was asked as {user}"),
        None => "it was asked without a login, as there is none for it".to_owned(),
    }
}

fn said(says: Option<&str>) -> String {
    says.map(|says| format!(" (it says: {says})")).unwrap_or_default()
}

fn wait(retry_after: Option<Duration>) -> String {
    retry_after.map(|wait| format!(", and asks to wait {} s", wait.as_secs())).unwrap_or_default()
}

impl From<RegistryError> for Problem {
    fn from(error: RegistryError) -> Self {
        Self::new(error.code(), error.to_string()).help(error.help())
    }
}
