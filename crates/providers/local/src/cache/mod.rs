//! Caches: a server of the Redis protocol for each, from the system, kept running like an instance of a service.
//!
//! ```text
//!   a program of the stack ──TCP──► 127.a.b.c:port ──► server.sock ──► valkey-server or redis-server
//!                                   Freehold's own      in a folder of     the stack's user,
//!                                   (forward)           the stack's user   its control group
//! ```
//!
//! - The server listens on a Unix socket in a folder that no other stack's user can enter. Its address is taken by Freehold ([`crate::forward`]), which
//!   lets in the stack's own user and nobody else: a neighbour can neither connect nor listen there while the server is down.
//! - Its configuration is a file that the stack's user reads and can't write; passwords are in it as digests only.
//! - What it keeps on disk, if it does, is a resource of its own ([`data`]).

pub(crate) mod data;
mod server;
pub(crate) mod socket;

use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::{fs, io};

use freehold_engine::{Context, ProviderError, Revealed};
use freehold_graph::cache::{CacheServer, users};
use freehold_graph::{Resource, ResourceId, StackId, Value};
use freehold_problem::Code;
use freehold_spec::app::Eviction;
use sha2::{Digest as _, Sha256};

use crate::directory;
use crate::failure;
use crate::machine::Machine;
use crate::program::{Executable, Holding, Mark, Program};
use socket::{CacheSocket, SOCKET};

pub(crate) use server::find;

/// The file that the server reads, in the folder of its record.
const CONFIG: &str = "server.conf";

/// What a body says of the server itself.
struct Settings {
    server: CacheServer,
}

impl Settings {
    fn read(resource: &Resource) -> Result<Self, ProviderError> {
        let body = &resource.body;
        let field = |name: &str| body.get(name).ok_or_else(|| unreadable(&resource.id, name));
        let figure = field("max_memory_bytes")?.as_integer().and_then(|figure| u64::try_from(figure).ok());
        let eviction = field("eviction")?.as_text().and_then(Eviction::of);
        Ok(Self {
            server: CacheServer {
                max_memory: figure.ok_or_else(|| unreadable(&resource.id, "max_memory_bytes"))?,
                eviction: eviction.ok_or_else(|| unreadable(&resource.id, "eviction"))?,
                persist: persists(body),
            },
        })
    }
}

fn unreadable(id: &ResourceId, field: &str) -> ProviderError {
    ProviderError::rejected(Code::StepFailed, format!("{id} has no {field} that this version can read"))
}

fn persists(body: &Value) -> bool {
    body.get("persist") == Some(&Value::Bool(true))
}

/// The folder that the server works in: with its data if it keeps any.
fn folder(machine: &Machine, stack: StackId, resource: &Resource) -> PathBuf {
    if persists(&resource.body) {
        data::files(&machine.directory, stack, resource.id.name())
    } else {
        machine.directory.service(stack, &resource.id).join("run")
    }
}

/// Where the server of a cache listens.
pub(crate) fn socket(machine: &Machine, stack: StackId, resource: &Resource) -> CacheSocket {
    CacheSocket::new(folder(machine, stack, resource), stack, machine.accounts.clone())
}

/// A server that is ready to be started.
pub(crate) async fn prepare(
    machine: &Machine,
    context: &Context,
    mark: &Mark<'_>,
    resource: &Resource,
    holding: Holding,
) -> Result<Program, ProviderError> {
    let settings = Settings::read(resource)?;
    let found = server::find(&machine.search).await?;
    let user = machine.prepare(context.stack, &resource.body)?;
    let folder = folder(machine, context.stack, resource);
    machine.own_folder(&folder, user).map_err(|error| failure::file("prepare", &folder, &error))?;
    let revealed = Revealed::all(context, &resource.body).await?;
    let password = resource.body.get("password").ok_or_else(|| unreadable(&resource.id, "password"))?;
    let digest = hex::encode(Sha256::digest(revealed.text(password)?.reveal().as_bytes()));
    let (before, after) = users('#', found.version);
    let own = settings.server.settings(found.version);
    // The folder is the one that it is started in: an absolute path may be longer than that of a socket can be.
    let text = format!("port 0\nunixsocket {SOCKET}\nunixsocketperm 700\ndir .\n{own}{before}{digest}{after}");
    let config = machine.directory.service(context.stack, &resource.id).join(CONFIG);
    write_config(&config, &text, user).map_err(|error| failure::file("write", &config, &error))?;
    let executable = Executable {
        program: found.program,
        arguments: vec![config.display().to_string()],
        folder: folder.clone(),
        readable: vec![config],
        own: vec![folder],
    };
    Program::assemble(machine, context, mark, (&resource.body, user), executable, holding).await
}

/// Replaces the file as a whole. Its reader can't write it where that is another user than this one.
fn write_config(path: &Path, text: &str, user: Option<u32>) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    directory::make(folder, 0o711)?;
    let draft = path.with_extension("draft");
    let _ = fs::remove_file(&draft);
    let mut file = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&draft)?;
    file.write_all(text.as_bytes())?;
    if let Some(group) = user {
        chown(&draft, None, Some(group))?;
        file.set_permissions(fs::Permissions::from_mode(0o640))?;
    }
    fs::rename(&draft, path)
}
