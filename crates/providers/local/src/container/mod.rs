//! Services that are images: containers of podman or docker, whichever is there.
//!
//! A container is supervised as a process is. Its launcher ([`shim`]) stays: it makes the container, waits for its end, ends it when it is
//! told to end, removes it, and ends as it did. So records, adoption, readiness, logs and destroys know launchers only.
//!
//! ```text
//!   freehold ──order──► launcher ─► podman create, podman start
//!                          │ ▲
//!                          │ └─────── conmon ─► the program, in the instance's control group, as the stack's user
//!                          └─ SIGTERM: podman stop; at its end: podman rm
//! ```
//!
//! A program in a container has no more rights than one without: the stack's user, no capabilities, a read-only file system of the image
//! ([`arguments`]). It is on the machine's network, so ports, addresses, sockets and the proof of who listens are as ever.
//!
//! The variables come through a pipe: they are in no argument, and in no environment but the program's.

pub(crate) mod arguments;
pub(crate) mod engine;
pub(crate) mod leftovers;
pub(crate) mod shim;

use std::collections::BTreeMap;

use std::path::Path;
use std::time::Duration;

use freehold_engine::ProviderError;
use freehold_graph::Value;
use serde::{Deserialize, Serialize};

use crate::failure;
use engine::Engine;

/// How long an engine may take to stop and remove a container, beyond the program's own time.
pub(crate) const ENGINE: Duration = Duration::from_secs(20);

/// A container that a launcher is to look after.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct ContainerOrder {
    pub(crate) engine: Engine,
    /// What it is called: nobody else's is.
    pub(crate) name: String,
    /// The image with its digest.
    pub(crate) image: String,
    /// The engine's arguments that make it, but for the variables.
    pub(crate) arguments: Vec<String>,
    /// How long it may take to end after its signal, in seconds.
    pub(crate) patience: u64,
}

impl ContainerOrder {
    /// Whether its processes are in the control group of their instance.
    pub(crate) fn is_in_group(&self) -> bool {
        self.arguments.iter().any(|argument| argument.starts_with("--cgroup-parent="))
    }
}

/// What the engine calls the container of an instance.
pub(crate) fn name(instance: &str) -> String {
    format!("freehold-{instance}")
}

/// Why a variable can't be given to a container; `None` if all can.
pub(crate) fn unsuitable(environment: &BTreeMap<String, String>) -> Option<String> {
    environment.iter().find_map(|(name, value)| {
        if value.contains(['\n', '\r']) {
            Some(format!("{name} has several lines, and a variable of a container is one line"))
        } else if value.len() > LONGEST_LINE {
            Some(format!("{name} is {} KiB long, and a variable of a container ends at 60 KiB", value.len() >> 10))
        } else {
            None
        }
    })
}

/// Refuses what no container can be given, as far as a body shows it: for plans.
///
/// # Errors
/// What it is.
pub(crate) fn refuse(body: &Value) -> Result<(), ProviderError> {
    let texts = body.get("env").and_then(Value::as_map).into_iter().flatten();
    let texts = texts.filter_map(|(name, value)| Some((name.clone(), value.as_text()?.to_owned()))).collect();
    let folders = body.get("writable").and_then(Value::as_list).unwrap_or_default().iter().filter_map(Value::as_text);
    let files = body.get("files").and_then(Value::as_map).into_iter().flatten().map(|(path, _)| path.as_str());
    let unusual = |folder: &str| arguments::plain(Path::new(folder)).err().or_else(|| arguments::unsafe_place(folder));
    let unusual = folders.chain(files).find_map(unusual);
    unsuitable(&texts).or(unusual).map_or(Ok(()), |why| Err(failure::not_for_containers(&why)))
}

/// Engines read lines of up to 64 KiB.
const LONGEST_LINE: usize = 60 << 10;

/// The variables as engines read them.
pub(crate) fn lines(environment: &BTreeMap<String, String>) -> zeroize::Zeroizing<String> {
    let mut lines = zeroize::Zeroizing::new(String::with_capacity(
        environment.iter().map(|(name, value)| name.len() + value.len() + 2).sum(),
    ));
    for (name, value) in environment {
        lines.push_str(name);
        lines.push('=');
        lines.push_str(value);
        lines.push('\n');
    }
    lines
}
