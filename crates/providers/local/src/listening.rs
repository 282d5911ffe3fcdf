//! The addresses at which a stack's programs reach its services and caches. They are taken by Freehold, which leads to the right process.

use std::io;
use std::net::SocketAddr;

use freehold_graph::{Resource, StackId};
use freehold_router::RouterError;

use crate::cache;
use crate::launch::Runs;
use crate::machine::{Machine, endpoint};

/// Takes the address of a service or a cache. Where it has it already, nothing changes.
///
/// # Errors
/// The address can't be listened on.
pub(crate) async fn listen(
    machine: &Machine,
    stack: StackId,
    resource: &Resource,
    address: SocketAddr,
) -> Result<(), RouterError> {
    let key = endpoint(stack, &resource.id.0);
    match Runs::of(resource.kind) {
        Some(Runs::Program) => machine.router.listen(&key, address).await,
        Some(Runs::CacheServer) => {
            let listening = machine.forwards.listen(&key, stack, address, cache::socket(machine, stack, resource));
            listening.map_err(|source| match source.kind() {
                io::ErrorKind::AddrInUse => RouterError::PortTaken { addr: address, source },
                _ => RouterError::Listen { addr: address, source },
            })
        }
        None => Ok(()),
    }
}
