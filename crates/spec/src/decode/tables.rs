//! What may stand in `freehold.toml`: every table, every key, once. The decoder, the JSON Schema and
//! `docs/definition.md` follow from it.

use super::kind::{At, Kind, List, Map, Sequence, Value};
use super::number::{Truth, UserId, Whole};
use super::path::{AbsolutePath, Prefix, RelativePath, UrlPath};
use super::table::table;
use super::text::{
    Amount, Argument, Contract, Cron, Duration, Limits, OneOf, PartName, Plain, Text, Variable, WithReferences,
};
use crate::app::{
    App, Autoscale, Backup, Build, Database, Encoding, Generate, Health, Init, Job, PathRule, Retry, Route, Secret,
    Service, Sidecar, Stage, Tier, Update, Volume,
};
use crate::name::Name;
use crate::quantity::{Cpu, Memory, Storage};
use crate::span::Spanned;

/// The tables of which there are several, each with a name.
pub(crate) const NAMED: [&str; 7] = ["database", "secret", "service", "job", "route", "tier", "stage"];

/// The same, within one of these: its word, and the key.
pub(crate) const NAMED_WITHIN: [(&str, &str); 3] =
    [("service", "sidecar"), ("service", "init"), ("service", "volumes")];

/// Copies of a service; with none it isn't started.
type Replicas = At<Whole<u32, 0, 50>>;
/// Connections of a database.
type Connections = At<Whole<u32, 1, 1000>>;
/// Variables that are set.
type Env = Map<Variable, At<WithReferences>>;
/// Variables that are read.
type Reads = List<At<Text<Contract>>, 0>;
/// Program and arguments.
type Command = Sequence<Text<Argument>, 1>;

table! {
    /// An app, as Freehold deploys it: once for each tenant, preview and stage.
    "definition" Definition -> App {
        /// What the app is called.
        name ["app"]: required AppName;
        /// PostgreSQL databases: one of each, with its roles, for each stack.
        databases ["database"]: default Map<PartName, DatabaseTable> = "{}";
        /// Secrets of each stack.
        secrets ["secret"]: default Map<PartName, SecretTable> = "{}";
        /// Long-running programs.
        services ["service"]: default Map<PartName, ServiceTable> = "{}";
        /// Programs that run to their end: once for each revision, or on a schedule.
        jobs ["job"]: default Map<PartName, JobTable> = "{}";
        /// Host names and paths that lead to services.
        routes ["route"]: default Map<PartName, RouteTable> = "{}";
        /// What tenants get, by tier.
        tiers ["tier"]: default Map<PartName, TierTable> = "{}";
        /// What the developers' own environments get.
        stages ["stage"]: default Map<PartName, StageTable> = "{}";
    }
}

/// The table `[app]`; all that stays of it is the name.
struct AppName;

impl Kind for AppName {
    type Value = Spanned<Name>;

    fn schema(definitions: &mut super::schema::Definitions) -> serde_json::Value {
        HeaderTable::schema(definitions)
    }

    fn decode(context: &mut super::context::Context<'_>, value: &Value<'_>) -> Option<Self::Value> {
        HeaderTable::decode(context, value).map(|header| header.name)
    }
}

pub(crate) struct Header {
    name: Spanned<Name>,
}

table! {
    /// The app itself.
    "app" HeaderTable -> Header {
        /// Its name: a-z, 0-9 and single hyphens, starting with a letter, at most 40 characters.
        name: required At<Text<PartName>>;
    }
}

table! {
    /// One PostgreSQL database and its roles for each stack.
    "database" DatabaseTable -> Database { span:
        /// Extensions to create in it, from the list of trusted ones.
        extensions: default List<At<Text<Plain>>, 0> = "[]";
        /// The most connections that the app's role may have open, all processes together.
        connections: default Connections = "10";
        /// The longest that a statement of the app's role may take. Migrations have no limit.
        statement_timeout: default Text<Duration<1, 1>> = "\"30s\"";
        /// The longest that a statement of a migration may wait for a lock. All who come after it wait behind it.
        lock_timeout: default Text<Duration<1, 1>> = "\"10s\"";
        /// The most that it may take of the disk of Freehold's own server on one machine. A larger one is closed until the next deploy.
        max_size: optional At<Text<Amount<Storage>>>;
        /// Size of its volume where it is a server of its own (a CloudNativePG cluster).
        storage: default At<Text<Amount<Storage>>> = "\"1Gi\"";
    }
}

table! {
    /// A secret of each stack: generated once, or set with `freehold secret set`.
    "secret" SecretTable -> Secret { span:
        /// How to generate it. Without this, it has to be set before the first deploy.
        generate: optional GenerateTable;
    }
}

table! {
    /// How a secret is generated.
    "generate" GenerateTable -> Generate {
        /// Random bytes.
        bytes: default Whole<u32, 16, 1024> = "32";
        /// How they are written: base64url (without padding) or hex.
        encoding ["as"]: default Text<OneOf<Encoding>> = "\"base64url\"";
    }
}

table! {
    /// A long-running program.
    "service" ServiceTable -> Service { span:
        /// Repository of its image, without tag or digest; the digest comes with the deploy (clusters).
        image: optional At<Text<Plain>>;
        /// How its files are made on this machine.
        build: optional BuildTable;
        /// Program and arguments. A program without a slash is looked up in the artifact, then on PATH. No shell, no references.
        command: required At<Command>;
        /// The port that it listens on in a cluster; everywhere it reads PORT. Without one, it takes no requests (a worker).
        port: optional At<Whole<u16, 1, 65535>>;
        /// HTTP paths that tell its health.
        health: default HealthTable = "{}";
        /// Processor time, request..limit: "100m..500m"; a single figure stands for both.
        cpu: default At<Text<Limits<Cpu>>> = "\"100m..500m\"";
        /// Memory, request..limit: "64Mi..256Mi"; a single figure stands for both.
        memory: default At<Text<Limits<Memory>>> = "\"64Mi..256Mi\"";
        /// The environment contract: the variables that the program reads. "NAME?" is one that it does without.
        reads: optional Reads;
        /// The variables that are set for it; texts with `${…}` references.
        env: default Env = "{}";
        /// Copies, unless the tier or the stage says otherwise. With 0 it isn't started.
        replicas: default Replicas = "1";
        /// How long it may take to get ready.
        start_timeout: default At<Text<Duration<1, 1>>> = "\"60s\"";
        /// How long open streams may go on when a new version has taken over.
        drain: default At<Text<Duration<0, 1>>> = "\"30s\"";
        /// How long it may take to end after SIGTERM before it is killed.
        stop_timeout: default At<Text<Duration<1, 1>>> = "\"10s\"";
        /// How long a new version has to stay ready before it is relied on; until then the old one is kept at hand (this machine).
        settle: default At<Text<Duration<0, 1>>> = "\"3s\"";
        /// "rolling": the new version starts beside the old one. "recreate": the old one stops first.
        update: default Text<OneOf<Update>> = "\"rolling\"";
        /// The user id that it runs as in a cluster; never 0, which is root.
        user: default At<UserId> = "65532";
        /// Absolute paths of empty folders that it may write in a cluster, where everything else is read-only.
        writable: default List<At<Text<AbsolutePath>>, 0> = "[]";
        /// Whether it may open HTTPS connections to the internet from a cluster.
        internet: default Truth = "false";
        /// Copies by load in a cluster: from `replicas` up to a most.
        autoscale: optional AutoscaleTable;
        /// Folders that last, by name. In a cluster each is a volume, which one copy can use at a time.
        volumes: default Map<PartName, VolumeTable> = "{}";
        /// Containers that run beside it in a cluster, in each of its pods.
        sidecars ["sidecar"]: default Map<PartName, SidecarTable> = "{}";
        /// Containers that run to their end in a cluster before it starts, in the order of their names.
        init: default Map<PartName, InitTable> = "{}";
    }
}

table! {
    /// Copies by load: from the service's `replicas` up to `max`.
    "autoscale" AutoscaleTable -> Autoscale { span:
        /// The most copies.
        max: required At<Whole<u32, 1, 50>>;
        /// The processor time that the copies should use on average, in per cent of their request.
        cpu: default At<Whole<u32, 1, 1000>> = "70";
    }
}

table! {
    /// A folder that outlives the processes that write it. It holds data, and is never deleted without asking.
    "volume" VolumeTable -> Volume { span:
        /// Where the service finds it: an absolute path.
        path: required At<Text<AbsolutePath>>;
        /// How much it holds: "20Gi".
        size: required At<Text<Amount<Storage>>>;
    }
}

table! {
    /// A container that runs beside a service, in each of its pods. Clusters only.
    "sidecar" SidecarTable -> Sidecar { span:
        /// Its image: the whole reference, with a tag or a digest or neither.
        image: required At<Text<Plain>>;
        /// Program and arguments. Without it, what the image says.
        command: optional At<Command>;
        /// The port that it listens on.
        port: optional At<Whole<u16, 1, 65535>>;
        /// Processor time, request..limit.
        cpu: default At<Text<Limits<Cpu>>> = "\"100m..500m\"";
        /// Memory, request..limit.
        memory: default At<Text<Limits<Memory>>> = "\"64Mi..256Mi\"";
        /// The variables that are set for it; texts with `${…}` references.
        env: default Env = "{}";
    }
}

table! {
    /// A container that runs to its end in each pod of a service before the service starts. Clusters only.
    "init" InitTable -> Init { span:
        /// Its image: the whole reference, with a tag or a digest or neither.
        image: required At<Text<Plain>>;
        /// Program and arguments. Without it, what the image says.
        command: optional At<Command>;
        /// Processor time, request..limit.
        cpu: default At<Text<Limits<Cpu>>> = "\"100m..500m\"";
        /// Memory, request..limit.
        memory: default At<Text<Limits<Memory>>> = "\"64Mi..256Mi\"";
        /// The variables that are set for it; texts with `${…}` references.
        env: default Env = "{}";
    }
}

table! {
    /// How the files of a service are made from the app's folder.
    "build" BuildTable -> Build { span:
        /// The command to run in the app's folder. Without one, the files are taken as they are.
        command: optional Command;
        /// The files and folders that make the artifact, relative to the app's folder. Each keeps the last part of its path as name.
        artifact: required List<At<Text<RelativePath>>, 1>;
    }
}

table! {
    /// HTTP paths that tell a service's health.
    "health" HealthTable -> Health {
        /// Answers 2xx when requests may come. Without it, the service is ready when its port accepts connections, or, without a port, when it has lived for a second.
        ready: optional At<Text<UrlPath>>;
        /// Answers 2xx as long as the process is worth keeping.
        live: optional At<Text<UrlPath>>;
    }
}

table! {
    /// A program that runs to its end.
    "job" JobTable -> Job { span:
        /// The service whose artifact (image) it runs from.
        service: required At<Text<PartName>>;
        /// Program and arguments, as in a service.
        command: required At<Command>;
        /// Processor time, request..limit. Without it, its service's.
        cpu: optional At<Text<Limits<Cpu>>>;
        /// Memory, request..limit. Without it, its service's.
        memory: optional At<Text<Limits<Memory>>>;
        /// When it is ended.
        timeout: default At<Text<Duration<1, 7>>> = "\"10m\"";
        /// Cron expression of five fields, in UTC. Without one, it runs once for each revision, before the services start.
        schedule: optional At<Text<Cron>>;
        /// What to do about a run whose outcome is unknown: "ask" stops the operation, "safe" runs it again.
        retry: default Text<OneOf<Retry>> = "\"ask\"";
        /// The environment contract, as in a service.
        reads: optional Reads;
        /// The variables that are set for it; texts with `${…}` references.
        env: default Env = "{}";
    }
}

table! {
    /// A host name with paths that lead to a service.
    "route" RouteTable -> Route { span:
        /// The service that answers; it needs a port.
        service: required At<Text<PartName>>;
        /// The host name; a text with `${…}` references, none of them secret.
        host: required At<WithReferences>;
        /// Rules; the longest prefix that fits wins.
        paths: default Sequence<PathTable, 1> = "[{ prefix = \"/\" }]";
    }
}

table! {
    /// How requests below a path are treated.
    "path" PathTable -> PathRule {
        /// The path, by whole segments: /events fits /events and /events/1, not /eventsource.
        prefix: required At<Text<Prefix>>;
        /// The longest that a request may take, answer included.
        timeout: default At<Text<Duration<1, 7>>> = "\"30s\"";
        /// How often a request may be tried again, where that is safe.
        retries: default At<Whole<u32, 0, 10>> = "0";
    }
}

table! {
    /// What a tenant of this tier gets.
    "tier" TierTable -> Tier { span:
        /// Processor time, all of the stack together.
        cpu: optional At<Text<Amount<Cpu>>>;
        /// Memory, all of the stack together.
        memory: optional At<Text<Amount<Memory>>>;
        /// Processes (pods), all of the stack together.
        pods: optional At<Whole<u32, 1, 10000>>;
        /// Copies of services, by name.
        replicas: default Map<PartName, Replicas> = "{}";
        /// Connections of databases, by name.
        connections: default Map<PartName, Connections> = "{}";
    }
}

table! {
    /// What a stage (dev, production) gets.
    "stage" StageTable -> Stage { span:
        /// Copies of services, by name.
        replicas: default Map<PartName, Replicas> = "{}";
        /// Backups of the databases on a schedule.
        backup: optional BackupTable;
    }
}

table! {
    /// Backups on a schedule.
    "backup" BackupTable -> Backup { span:
        /// Cron expression of five fields, in UTC.
        schedule: required At<Text<Cron>>;
        /// How long dumps are kept.
        keep: default At<Text<Duration<1, 3650>>> = "\"30d\"";
    }
}
