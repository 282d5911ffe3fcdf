//! The addresses at which a stack's programs reach its services and caches. They are taken by Freehold, which leads to the right process.

use std::io;
use std::net::SocketAddr;

use freehold_engine::ProviderError;
use freehold_graph::{Resource, StackId};
use freehold_router::{EndpointKey, RouterError};
use freehold_spec::app::Protocol;

use crate::cache;
use crate::forward::Server;
use crate::launch::{Launch, Runs, ServiceBody};
use crate::machine::{Machine, endpoint};
use crate::serving_set::of_port;

/// An address, and what is behind it.
pub(crate) struct Door {
    /// How the router, or what carries connections, knows it.
    pub(crate) key: EndpointKey,
    pub(crate) address: SocketAddr,
    behind: Behind,
}

enum Behind {
    /// A port that speaks HTTP.
    Requests,
    /// Something that connections are carried to.
    Connections(Server),
}

/// The addresses of a service or a cache.
pub(crate) fn doors(machine: &Machine, stack: StackId, launch: &Launch) -> Vec<Door> {
    of_body(machine, stack, &launch.resource, launch.runs, &launch.body)
}

/// The same of a resource that was deployed before.
///
/// # Errors
/// Its body can't be read.
pub(crate) fn doors_of(machine: &Machine, stack: StackId, resource: &Resource) -> Result<Vec<Door>, ProviderError> {
    let Some(runs) = Runs::of(resource.kind) else { return Ok(Vec::new()) };
    let body = ServiceBody::read(runs, &resource.body)?;
    Ok(of_body(machine, stack, resource, runs, &body))
}

fn of_body(machine: &Machine, stack: StackId, resource: &Resource, runs: Runs, body: &ServiceBody) -> Vec<Door> {
    let own = endpoint(stack, &resource.id.0);
    let behind = |key: &EndpointKey, protocol: Protocol| match (runs, protocol) {
        (Runs::CacheServer, _) => Behind::Connections(Server::Cache(cache::socket(machine, stack, resource))),
        (Runs::Program, Protocol::Http) => Behind::Requests,
        (Runs::Program, Protocol::Grpc | Protocol::Tcp) => Behind::Connections(Server::Service(key.clone())),
    };
    let named = body.port_endpoints.iter().map(|(name, (address, protocol))| (Some(name), *address, *protocol));
    let all = body.endpoint.map(|address| (None, address, body.protocol)).into_iter().chain(named);
    let door = |(port, address, protocol)| {
        let key = of_port(&own, port);
        let behind = behind(&key, protocol);
        Door { key, address, behind }
    };
    all.map(door).collect()
}

/// Takes an address. Where it is taken already, nothing changes.
///
/// # Errors
/// The address can't be listened on.
pub(crate) async fn open(machine: &Machine, stack: StackId, door: &Door) -> Result<(), RouterError> {
    let Door { key, address, behind } = door;
    match behind {
        Behind::Requests => {
            machine.forwards.stop(key);
            machine.router.listen(key, *address).await
        }
        Behind::Connections(server) => {
            machine.router.stop_listening(key);
            machine.forwards.listen(key, stack, *address, server.clone()).map_err(|source| match source.kind() {
                io::ErrorKind::AddrInUse => RouterError::PortTaken { addr: *address, source },
                _ => RouterError::Listen { addr: *address, source },
            })
        }
    }
}

/// Gives an address up.
pub(crate) fn close(machine: &Machine, key: &EndpointKey) {
    machine.forwards.stop(key);
    machine.router.stop_listening(key);
}
