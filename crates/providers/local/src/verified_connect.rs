//! The proof that who answers on an instance's port is the instance.
//!
//! A port belongs to whoever listens first. Between the moment at which it is chosen and the one at which the service listens, or
//! after the service has died, another tenant's process can take it, and would be given requests, cookies and tokens of the
//! service's users. So each connection is made like this, before a byte is sent on it:
//!
//! ```text
//!   who listens? ours ─► connect ─► who listens? the same socket ─► it was that one which answered
//! ```
//! While a socket listens on the address nobody else can, so the same one before and after means the same one in between.
//!
//! A socket is the instance's if it has the user of its stack. Where all stacks run as one user, one of the instance's processes has
//! to hold it; that is looked up once for each socket.

use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::PoisonError;

use freehold_router::socket::{Socket, listener, listeners};
use freehold_router::{Connect, Connecting};
use tokio::net::TcpStream;

use crate::machine::Machine;
use crate::membership::Members;
use crate::process_id::ProcessId;
use crate::socket::holds;

/// How often is tried to catch a moment in which the listener stays the same.
const ATTEMPTS: u32 = 5;
/// What a connection that isn't proved fails with.
const NOT_OURS: io::ErrorKind = io::ErrorKind::ConnectionRefused;

/// Makes connections to one instance, and to nobody else.
#[derive(Debug)]
pub(crate) struct VerifiedConnect {
    machine: Machine,
    /// The instance's first process.
    process: ProcessId,
    members: Members,
    /// The socket that was proved last, where that has to be looked up.
    proved: Mutex<Option<u64>>,
}

impl VerifiedConnect {
    pub(crate) fn new(machine: Machine, process: ProcessId, members: Members) -> Self {
        Self { machine, process, members, proved: Mutex::default() }
    }

    async fn prove(&self, address: SocketAddr) -> io::Result<TcpStream> {
        for _ in 0..ATTEMPTS {
            let Some(before) = listener(address)? else { return Err(NOT_OURS.into()) };
            if !self.is_ours(before).await? {
                return Err(io::Error::new(NOT_OURS, format!("{}, which is not this service", holder(before))));
            }
            let stream = match TcpStream::connect(address).await {
                // A tenant may hold all ports that the kernel chooses from for who connects.
                Err(error)
                    if error.kind() == io::ErrorKind::AddrNotAvailable && self.machine.free_outgoing().await? =>
                {
                    continue;
                }
                other => other?,
            };
            if listener(address)? == Some(before) {
                return Ok(stream);
            }
        }
        Err(io::Error::new(NOT_OURS, "who listens there changes all the time"))
    }

    async fn is_ours(&self, socket: Socket) -> io::Result<bool> {
        if let Some(user) = self.members.user {
            return Ok(socket.user == user);
        }
        if *self.proved.lock().unwrap_or_else(PoisonError::into_inner) == Some(socket.inode) {
            return Ok(true);
        }
        let (process, members) = (self.process.clone(), self.members.clone());
        let looked = tokio::task::spawn_blocking(move || is_held(&process, &members, socket.inode)).await;
        let ours = looked.map_err(io::Error::other)??;
        if ours {
            *self.proved.lock().unwrap_or_else(PoisonError::into_inner) = Some(socket.inode);
        }
        Ok(ours)
    }

    /// Where the instance listens, in words: `it listens on [::1]:10234`. `None` if it doesn't, or that can't be told.
    pub(crate) fn elsewhere(&self) -> Option<String> {
        let all = listeners().ok()?;
        let members = self.members.find().ok()?;
        let held = all.iter().filter(|(_, socket)| {
            let own = self.members.user.is_none_or(|user| socket.user == user);
            own && members
                .iter()
                .chain([&self.process])
                .any(|process| holds(process.pid, &[socket.inode]).unwrap_or(false))
        });
        let mut addresses: Vec<String> = held.map(|(address, _)| address.to_string()).collect();
        addresses.sort();
        addresses.dedup();
        (!addresses.is_empty()).then(|| format!("it listens on {}", addresses.join(" and ")))
    }
}

impl Connect for VerifiedConnect {
    fn connect(&self, address: SocketAddr) -> Connecting<'_> {
        Box::pin(self.prove(address))
    }
}

fn is_held(process: &ProcessId, members: &Members, inode: u64) -> io::Result<bool> {
    if process.is_alive()? && holds(process.pid, &[inode])? {
        return Ok(true);
    }
    for member in members.find()? {
        if holds(member.pid, &[inode])? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn holder(socket: Socket) -> String {
    format!("the port is held by a process of user {}", socket.user)
}
