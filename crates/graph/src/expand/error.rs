//! Why an app has no graph.

use std::fmt;

use freehold_spec::{Name, PartKind};
use thiserror::Error;

/// What would be an object of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimant {
    /// The part of the definition that it comes from, if it is one's own.
    pub part: Option<(PartKind, Name)>,
    /// Its place, for people: `service.web`, `manifest.metrics (deploy/metrics.yaml:1)`. What the definition doesn't name, by its id.
    pub place: String,
}

impl Claimant {
    pub(crate) fn part(kind: PartKind, name: &Name) -> Self {
        Self { part: Some((kind, name.clone())), place: format!("{}.{name}", kind.word()) }
    }
}

impl fmt::Display for Claimant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place)
    }
}

/// Why there is no graph. A definition that passed the checks gives only what depends on the target: a missing image, and in a cluster
/// [`ExpandError::SameName`], [`ExpandError::KindNotAllowed`] and [`ExpandError::NoDatabaseAddress`]; anywhere [`ExpandError::ServerTooOld`]; on
/// one machine [`ExpandError::NoLoopback`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ExpandError {
    /// A reference to something that isn't defined.
    #[error("{from} refers to {to}, which is not defined")]
    Dangling {
        /// Where the reference stands.
        from: String,
        /// What it refers to.
        to: String,
    },
    /// References in a circle.
    #[error("these refer to each other in a circle: {0}")]
    Cycle(String),
    /// Something that this kind of target can't do without.
    #[error("{from} has no {what}")]
    Missing {
        /// Of what: `service.web`.
        from: String,
        /// The key that is missing: `image`.
        what: String,
    },
    /// Two objects of a cluster that would have one name.
    #[error("{first} and {second} would both be the cluster's {kind}/{namespace}/{name}: rename one of them")]
    SameName {
        /// One of them.
        first: Claimant,
        /// The other one.
        second: Claimant,
        /// The kind of object that both would be, in lower case: `secret`.
        kind: String,
        /// The stack's namespace: `acme--guestbook`.
        namespace: String,
        /// The name of that object: `main-app`.
        name: String,
    },
    /// A kind of objects that the operator of the target doesn't let stacks deliver.
    #[error("{from} is a {kind}, which target {target} does not allow")]
    KindNotAllowed {
        /// The manifest and its place: `manifest.metrics (deploy/metrics.yaml:1)`.
        from: String,
        /// `ServiceMonitor.monitoring.coreos.com`
        kind: String,
        /// The target's name.
        target: String,
    },
    /// A value that only the cluster knows, elsewhere than in a variable.
    #[error("{from} refers to {to}, which only the cluster knows: it can stand in variables alone")]
    OnlyInVariables {
        /// Where the reference stands.
        from: String,
        /// What it refers to.
        to: String,
    },
    /// Two routes, or two host names of one, that lead from the same path of the same host. Only known once the names are resolved.
    #[error("{host}{path} is claimed twice, by route.{first} and by route.{second}")]
    RouteTwice {
        /// One of them.
        first: Name,
        /// The other one; it may be the same.
        second: Name,
        /// In lower case.
        host: String,
        /// The path from which on both claim it: `/api`.
        path: String,
    },
    /// A URL for drivers that know no sockets, to a server that is reached by one and by nothing else.
    #[error("{from} needs port {port} of 127.0.0.1, which another program has: PostgreSQL listens on its sockets only")]
    NoLoopback {
        /// Where the reference stands.
        from: String,
        /// The port that PostgreSQL would have.
        port: u16,
    },
    /// A schedule that a cluster would read differently.
    #[error(
        "the schedule of {from} ({schedule}) restricts both days with a `*` in one of them, which Kubernetes reads as either day: \
         write the days as figures, or leave one of the two fields `*`"
    )]
    Schedule {
        /// The part that refers to it: `job.digest`.
        from: String,
        /// The cron expression as it is written.
        schedule: String,
    },
    /// Network policies name the database server by its address; without one they would open its port to every host.
    #[error("the address of the database server {host} is not known, so no network policy can let Pods reach it alone")]
    NoDatabaseAddress {
        /// The server, as Pods reach it.
        host: String,
    },
    /// What a redirection leads to, which is no URL once its references are resolved.
    #[error("{from} is {text:?}, which is neither a path nor a URL that a redirection can lead to")]
    NotUrl {
        /// Where it stands.
        from: String,
        /// What it is.
        text: String,
    },
    /// Something that the gateway of the target can't do.
    #[error("{route} has {what}, which the gateway {gateway} of target {target} can't do: {needs}")]
    GatewayLacks {
        /// The route: `route.web`.
        route: String,
        /// The key: `rate_limit`.
        what: String,
        /// `infra/public`
        gateway: String,
        /// The target's name.
        target: String,
        /// What would have to be installed.
        needs: &'static str,
    },
    /// A service on this machine that a sidecar answers for, which doesn't run there.
    #[error("service.{service} is answered by its sidecar {sidecar}, and sidecars don't run on one machine")]
    SidecarAnswers {
        /// It has the port.
        service: Name,
        /// The sidecar that has its port.
        sidecar: Name,
    },
    /// A route to a service that this machine's router can't speak to.
    #[error("{route} leads to {service}, which speaks gRPC: the router of one machine speaks HTTP/1.1")]
    GrpcRoute {
        /// The route: `route.web`.
        route: String,
        /// The service: `service.api`.
        service: String,
    },
    /// A cache on a target that has no image of a server for it.
    #[error("{from} can't run on target {target}: the target has no image for caches")]
    NoCacheImage {
        /// `cache.sessions`
        from: String,
        /// The target's name.
        target: String,
    },
    /// A name that none of the target's database servers has.
    #[error("{from} is on the server {server}, and target {target} has {known}")]
    UnknownServer {
        /// `database.main`
        from: String,
        /// The name that it asks for.
        server: Name,
        /// The target's name.
        target: String,
        /// Those that there are, for people.
        known: String,
    },
    /// A bucket on a target that has no server for it.
    #[error("{from} can't be made on target {target}: the target has no server for buckets")]
    NoBucketServer {
        /// `bucket.uploads`
        from: String,
        /// The target's name.
        target: String,
    },
    /// A database server that is older than the definition asks for.
    #[error("{from} needs PostgreSQL {wanted}, and the server {server} of target {target} is PostgreSQL {found}")]
    ServerTooOld {
        /// `database.main`
        from: String,
        /// The major version that is asked for.
        wanted: u32,
        /// That of the server.
        found: u32,
        /// The server's address.
        server: String,
        /// The target's name.
        target: String,
    },
    /// An extension that neither a tenant's role nor the operator of a cluster creates.
    #[error(
        "{from} wants the extension {extension}, which target {target} doesn't create in databases that have a server of their own"
    )]
    ExtensionNotPrepared {
        /// `database.main`
        from: String,
        /// `file_fdw`
        extension: String,
        /// The target's name.
        target: String,
    },
    /// A host name or the like with a secret in it.
    #[error("{from} can't contain {to}: its value would become public")]
    NotPlain {
        /// Where the reference stands.
        from: String,
        /// What it refers to.
        to: String,
    },
}
