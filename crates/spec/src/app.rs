//! The app: what `freehold.toml` says, after decoding.

use std::collections::BTreeMap;

use crate::name::{EnvName, Name};
use crate::quantity::{Cpu, Memory, Range, Seconds, Storage};
use crate::span::{Span, Spanned};
use crate::template::Template;

/// An app's definition. Maps are sorted, so that everything derived from them is deterministic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// `[app] name`.
    pub name: Spanned<Name>,
    /// `[database.NAME]`.
    pub databases: BTreeMap<Name, Database>,
    /// `[secret.NAME]`.
    pub secrets: BTreeMap<Name, Secret>,
    /// `[service.NAME]`.
    pub services: BTreeMap<Name, Service>,
    /// `[job.NAME]`.
    pub jobs: BTreeMap<Name, Job>,
    /// `[route.NAME]`.
    pub routes: BTreeMap<Name, Route>,
    /// `[tier.NAME]`.
    pub tiers: BTreeMap<Name, Tier>,
    /// `[stage.NAME]`.
    pub stages: BTreeMap<Name, Stage>,
}

/// One PostgreSQL database and its roles for each stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// The table's header.
    pub span: Span,
    /// Extensions, from the platform's allow-list.
    pub extensions: Vec<Spanned<String>>,
    /// The most connections of the app's role. Default 10.
    pub connections: Spanned<u32>,
    /// `statement_timeout` of the app's role. Default 30 s.
    pub statement_timeout: Seconds,
    /// `lock_timeout` of the migrator's role. Default 10 s.
    pub lock_timeout: Seconds,
    /// What it may take of the disk of Freehold's own server before it is closed. Default: no limit.
    pub max_size: Option<Spanned<Storage>>,
    /// Size of its volume where it is a server of its own (CloudNativePG). Default `"1Gi"`.
    pub storage: Spanned<Storage>,
}

/// A secret of each stack: generated once, or set by `freehold secret set`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// The table's header.
    pub span: Span,
    /// How to generate it; without, it has to be set before the first deploy.
    pub generate: Option<Generate>,
}

/// How a secret is generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generate {
    /// Random bytes, 16 to 1024. Default 32.
    pub bytes: u32,
    /// How they are written.
    pub encoding: Encoding,
}

/// How random bytes are written as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// RFC 4648 section 5, without padding.
    Base64Url,
    /// Lower-case hexadecimal.
    Hex,
}

/// A long-running program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The table's header.
    pub span: Span,
    /// Repository of its image, without tag or digest (cluster).
    pub image: Option<Spanned<String>>,
    /// How its files are made on this machine.
    pub build: Option<Build>,
    /// Program and arguments. A program without a slash is looked up in the artifact, then on `PATH`.
    pub command: Spanned<Vec<String>>,
    /// The port that it listens on in a cluster; everywhere it reads `PORT`. A service without one takes no requests (a worker).
    pub port: Option<Spanned<u16>>,
    /// HTTP paths that tell its health.
    pub health: Health,
    /// Processor time. Default `"100m..500m"`.
    pub cpu: Spanned<Range<Cpu>>,
    /// Memory. Default `"64Mi..256Mi"`.
    pub memory: Spanned<Range<Memory>>,
    /// The variables that it reads; `None` where the contract isn't stated.
    pub reads: Option<Vec<Spanned<Read>>>,
    /// The variables that are set for it.
    pub env: BTreeMap<EnvName, Spanned<Template>>,
    /// Copies, unless the tier or the stage says otherwise; with 0 it isn't started. Default 1.
    pub replicas: Spanned<u32>,
    /// How long it may take to get ready. Default 60 s.
    pub start_timeout: Spanned<Seconds>,
    /// How long open streams may go on when a new version has taken over. Default 30 s.
    pub drain: Spanned<Seconds>,
    /// How long it may take to end after SIGTERM before it is killed. Default 10 s.
    pub stop_timeout: Spanned<Seconds>,
    /// How long a new version has to stay ready before it counts as verified. Default 3 s.
    pub settle: Spanned<Seconds>,
    /// How a new version replaces the old one.
    pub update: Update,
    /// The user id that its pods run as in a cluster, sidecars and init containers included; never 0. Default 65532.
    pub user: Spanned<u32>,
    /// Absolute paths of empty folders that it may write in a cluster, where everything else is read-only. Each copy has
    /// its own; its sidecars and init containers share them.
    pub writable: Vec<Spanned<String>>,
    /// It may open HTTPS connections to the internet from a cluster. Default false.
    pub internet: bool,
    /// Copies by load, in a cluster.
    pub autoscale: Option<Autoscale>,
    /// Folders that last, in a cluster; its sidecars and init containers share them.
    pub volumes: BTreeMap<Name, Volume>,
    /// `[service.X.sidecar.NAME]`: containers that run beside it in each of its pods.
    pub sidecars: BTreeMap<Name, Sidecar>,
    /// `[service.X.init.NAME]`: containers that run to their end in each of its pods before it starts, one after
    /// another in the order of their names.
    pub init: BTreeMap<Name, Init>,
}

/// Copies by load: from the service's `replicas` up to `max`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Autoscale {
    /// The table.
    pub span: Span,
    /// The most copies.
    pub max: Spanned<u32>,
    /// The processor time that the copies should use on average, in per cent of their request. Default 70.
    pub cpu: Spanned<u32>,
}

/// A folder that outlives the processes that write it. It holds data: it is never deleted without asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// The table.
    pub span: Span,
    /// Where the service finds it: an absolute path.
    pub path: Spanned<String>,
    /// How much it holds.
    pub size: Spanned<Storage>,
}

/// A container that runs beside a service, in each of its pods, for as long as it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sidecar {
    /// The table's header.
    pub span: Span,
    /// The whole reference of its image, with a tag or a digest or neither.
    pub image: Spanned<String>,
    /// Program and arguments; without, what the image says.
    pub command: Option<Spanned<Vec<String>>>,
    /// The port that it listens on.
    pub port: Option<Spanned<u16>>,
    /// Processor time. Default `"100m..500m"`.
    pub cpu: Spanned<Range<Cpu>>,
    /// Memory. Default `"64Mi..256Mi"`.
    pub memory: Spanned<Range<Memory>>,
    /// The variables that are set for it.
    pub env: BTreeMap<EnvName, Spanned<Template>>,
}

/// A container that runs to its end in each pod of a service before the service starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Init {
    /// The table's header.
    pub span: Span,
    /// The whole reference of its image, with a tag or a digest or neither.
    pub image: Spanned<String>,
    /// Program and arguments; without, what the image says.
    pub command: Option<Spanned<Vec<String>>>,
    /// Processor time. Default `"100m..500m"`.
    pub cpu: Spanned<Range<Cpu>>,
    /// Memory. Default `"64Mi..256Mi"`.
    pub memory: Spanned<Range<Memory>>,
    /// The variables that are set for it.
    pub env: BTreeMap<EnvName, Spanned<Template>>,
}

/// How a new version replaces the old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Update {
    /// The new one is started beside the old one. No request is lost.
    #[default]
    Rolling,
    /// The old one is stopped first.
    Recreate,
}

/// How the files of a service are made from the app's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// The table.
    pub span: Span,
    /// The command to run in the app's folder; none where the files are taken as they are.
    pub command: Option<Vec<String>>,
    /// The files and folders, relative to the app's folder, that make the artifact. Each keeps its last path component's name.
    pub artifact: Vec<Spanned<String>>,
}

/// HTTP paths that tell a service's health.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Health {
    /// Answers 2xx when requests may come. Without, the service is ready when its port accepts connections
    /// (or, without a port, when it has lived for a second).
    pub ready: Option<Spanned<String>>,
    /// Answers 2xx as long as the process is worth keeping.
    pub live: Option<Spanned<String>>,
}

/// A variable of the environment contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// Its name.
    pub name: EnvName,
    /// `NAME?`: the app does without it.
    pub optional: bool,
}

/// A program that runs to its end: once for each revision, or on a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The table's header.
    pub span: Span,
    /// The service whose artifact (image) it runs from.
    pub service: Spanned<Name>,
    /// Program and arguments.
    pub command: Spanned<Vec<String>>,
    /// Processor time. Default: its service's.
    pub cpu: Option<Spanned<Range<Cpu>>>,
    /// Memory. Default: its service's.
    pub memory: Option<Spanned<Range<Memory>>>,
    /// When it is ended. Default 10 min.
    pub timeout: Spanned<Seconds>,
    /// Cron expression (five fields, UTC); without one it runs once for each revision, before the services.
    pub schedule: Option<Spanned<String>>,
    /// What to do about a run whose outcome is unknown.
    pub retry: Retry,
    /// The variables that it reads; `None` where the contract isn't stated.
    pub reads: Option<Vec<Spanned<Read>>>,
    /// The variables that are set for it.
    pub env: BTreeMap<EnvName, Spanned<Template>>,
}

/// What to do about a run whose outcome is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Retry {
    /// Stop and ask.
    #[default]
    Ask,
    /// The job may run twice: run it again.
    Safe,
}

/// A host name with paths that lead to a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The table's header.
    pub span: Span,
    /// The service that answers.
    pub service: Spanned<Name>,
    /// The host name.
    pub host: Spanned<Template>,
    /// Rules; the longest prefix that fits wins. Default: `/`, 30 s, 0 retries.
    pub paths: Vec<PathRule>,
}

/// How requests below a path are treated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathRule {
    /// Path prefix, by whole segments: `/events` fits `/events` and `/events/1`, not `/eventsource`.
    pub prefix: Spanned<String>,
    /// The longest a request may take, answer included.
    pub timeout: Spanned<Seconds>,
    /// How often a request may be tried again, if that is safe.
    pub retries: Spanned<u32>,
}

/// What a tenant of this tier gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tier {
    /// The table's header.
    pub span: Span,
    /// Processor time, all of the stack together. In a cluster the namespace's quota, of requests and limits alike.
    pub cpu: Option<Spanned<Cpu>>,
    /// Memory, all of the stack together. In a cluster the namespace's quota, of requests and limits alike.
    pub memory: Option<Spanned<Memory>>,
    /// Processes (pods), all of the stack together.
    pub pods: Option<Spanned<u32>>,
    /// Copies of services.
    pub replicas: BTreeMap<Name, Spanned<u32>>,
    /// Connections of databases.
    pub connections: BTreeMap<Name, Spanned<u32>>,
}

/// What a stage (dev, production) gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// The table's header.
    pub span: Span,
    /// Copies of services.
    pub replicas: BTreeMap<Name, Spanned<u32>>,
    /// Backups of the databases.
    pub backup: Option<Backup>,
}

/// Backups on a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// The table.
    pub span: Span,
    /// Cron expression (five fields, UTC).
    pub schedule: Spanned<String>,
    /// How long dumps are kept.
    pub keep: Spanned<Seconds>,
}
