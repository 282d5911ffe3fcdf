//! A long-running program, with the containers, files, folders and volumes of its pods.

pub mod container;
pub mod file;
pub mod port;
pub mod probe;

use std::collections::BTreeMap;

pub use container::{Init, Sidecar};
use container::{InitTable, SidecarTable};
pub use file::File;
use file::Files;
pub use port::{Port, Protocol};
use port::{PortName, PortTable};
use probe::HealthTable;
pub use probe::{Health, Probe, Question};

use crate::decode::kind::{At, Few, List, Map};
use crate::decode::number::{Truth, UserId, Whole};
use crate::decode::path::{AbsolutePath, RelativePath, UrlPath};
use crate::decode::table::table;
use crate::decode::text::{Amount, Duration, Limits, OneOf, PartName, Plain, Text, Word};
use crate::decode::way::WayOf;
use crate::name::{EnvName, Name};
use crate::network::{Egress, Ingress};
use crate::part::output::{OutputRow, PortOutput, Reach, Readers, Secrecy};
use crate::part::{Command, Env, Read, Reads, Replicas};
use crate::quantity::{Cpu, Memory, Range, Seconds, Storage};
use crate::span::{Span, Spanned};
use crate::template::Template;

/// The most ports of a service beside its own.
const PORTS: usize = 16;

/// A long-running program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The table's header.
    pub span: Span,
    /// Repository of its image, without tag or digest. Run in clusters, and on one machine where there is no `build`.
    pub image: Option<Spanned<String>>,
    /// How its files are made on this machine.
    pub build: Option<Build>,
    /// Program and arguments. A program without a slash is looked up in the artifact, then on `PATH`. Without, what the image says.
    pub command: Option<Spanned<Vec<String>>>,
    /// The port that it listens on in a cluster; everywhere it reads `PORT`. A service without one takes no requests (a worker).
    pub port: Option<Spanned<u16>>,
    /// What is spoken at `port`.
    pub protocol: Spanned<Protocol>,
    /// `[service.X.ports]`: its other ports.
    pub ports: BTreeMap<Name, Port>,
    /// What tells its health.
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
    /// Where it may connect to besides, from a cluster.
    pub egress: Vec<Spanned<Egress>>,
    /// From where it may be reached besides, in a cluster.
    pub ingress: Vec<Spanned<Ingress>>,
    /// Copies by load, in a cluster.
    pub autoscale: Option<Autoscale>,
    /// Folders that last, in a cluster; its sidecars and init containers share them.
    pub volumes: BTreeMap<Name, Volume>,
    /// `[service.X.files]`: what it finds at a path of its own choice.
    pub files: BTreeMap<Name, File>,
    /// Where its figures are asked for, in a cluster.
    pub prometheus: Option<Prometheus>,
    /// `[service.X.sidecar.NAME]`: containers that run beside it in each of its pods.
    pub sidecars: BTreeMap<Name, Sidecar>,
    /// `[service.X.init.NAME]`: containers that run to their end in each of its pods before it starts, one after
    /// another in the order of their names.
    pub init: BTreeMap<Name, Init>,
}

impl Service {
    /// The variables and files of each of its containers: its own, sidecars', init containers'.
    pub fn programs(&self) -> impl Iterator<Item = (&BTreeMap<EnvName, Spanned<Template>>, &BTreeMap<Name, File>)> {
        let sidecars = self.sidecars.values().map(|one| (&one.env, &one.files));
        let init = self.init.values().map(|one| (&one.env, &one.files));
        std::iter::once((&self.env, &self.files)).chain(sidecars).chain(init)
    }

    /// The sidecar that answers for it: the one that listens on its port.
    pub fn answered_by(&self) -> Option<&Name> {
        let port = self.port.as_ref()?.value;
        let own = self.sidecars.iter().find(|(_, one)| one.port.as_ref().is_some_and(|own| own.value == port));
        own.map(|(name, _)| name)
    }
}

/// Copies by load: from the service's `replicas` up to `max`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Autoscale {
    /// Where its table stands.
    pub span: Span,
    /// The most copies.
    pub max: Spanned<u32>,
    /// The processor time that the copies should use on average, in per cent of their request. Default 70.
    pub cpu: Spanned<u32>,
    /// The memory that they should use on average, in per cent of their request; `None`: it doesn't count.
    pub memory: Option<Spanned<u32>>,
}

/// Where Prometheus asks for a service's figures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prometheus {
    /// Where its table stands.
    pub span: Span,
    /// The number of the port; without, the service's own.
    pub port: Option<Spanned<u16>>,
    /// It answers with them, in Prometheus' text format.
    pub path: Spanned<String>,
    /// The namespace that it asks from. Default `monitoring`.
    pub namespace: Spanned<Name>,
}

/// A folder that outlives the processes that write it. It holds data: it is never deleted without asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Where its table stands.
    pub span: Span,
    /// Where the service finds it: an absolute path.
    pub path: Spanned<String>,
    /// How much it holds.
    pub size: Spanned<Storage>,
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
    /// Where its table stands.
    pub span: Span,
    /// The command to run in the app's folder; none where the files are taken as they are.
    pub command: Option<Vec<String>>,
    /// The files and folders, relative to the app's folder, that make the artifact. Each keeps its last path component's name.
    pub artifact: Vec<Spanned<String>>,
}

/// What others may refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Where the other services of the stack reach it.
    Url,
    /// The host of that URL.
    Host,
    /// The port of that URL.
    Port,
    /// What is deployed of it: its image with the digest, or the digest of what was built for one machine.
    Image,
    /// The digest alone: `sha256:…`.
    ImageDigest,
}

impl crate::part::Output {
    /// The output of a service's own port that is the same as one of a named port.
    pub const fn of_port(output: PortOutput) -> Self {
        Self::Service(match output {
            PortOutput::Url => Output::Url,
            PortOutput::Host => Output::Host,
            PortOutput::Port => Output::Port,
        })
    }
}

impl Output {
    pub(super) const ALL: &'static [Self] = &[Self::Url, Self::Host, Self::Port, Self::Image, Self::ImageDigest];

    pub(super) const fn row(self) -> OutputRow {
        let url = OutputRow {
            field: "url",
            what: "a URL",
            secrecy: Secrecy::Public,
            reach: Reach::Part,
            readers: Readers::All,
            follows_references: false,
        };
        match self {
            Self::Url => url,
            Self::Host => OutputRow { field: "host", what: "a host", ..url },
            Self::Port => OutputRow { field: "port", what: "a port", ..url },
            Self::Image => OutputRow { field: "image", what: "an image", reach: Reach::Nothing, ..url },
            Self::ImageDigest => {
                OutputRow { field: "image_digest", what: "the digest of an image", reach: Reach::Nothing, ..url }
            }
        }
    }
}

impl Word for Update {
    const WORDS: &'static [(&'static str, Self)] = &[("rolling", Self::Rolling), ("recreate", Self::Recreate)];
}

table! {
    /// A long-running program.
    "service" ServiceTable -> Service { span:
        /// Repository of its image, without tag or digest; the digest comes with the deploy. Clusters run it, and one machine runs it as a container where there is no `build`.
        image: optional At<Text<Plain>>;
        /// How its files are made on this machine.
        build: optional BuildTable;
        /// Program and arguments. A program without a slash is looked up in the artifact, then on PATH. No shell, no references. Without it, what the image says.
        command: optional At<Command>;
        /// The port that it listens on in a cluster; everywhere it reads PORT. Without one, it takes no requests (a worker).
        port: optional At<Whole<u16, 1, 65535>>;
        /// What is spoken at `port`: "http", "grpc" (HTTP/2 without TLS), "tcp" (anything else).
        protocol: default At<Text<OneOf<Protocol>>> = "\"http\"";
        /// Other ports by name, at most 15 characters. The program reads the number of each from PORT_NAME.
        ports: default Few<Map<PortName, PortTable>, PORTS> = "{}";
        /// What tells its health: paths, or tables.
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
        /// Where it may connect to from a cluster besides what references say: "smtp.example.net:587", "otel.monitoring:4317", "10.0.0.0/8:5432".
        egress: default List<At<Text<WayOf<Egress>>>, 0> = "[]";
        /// From where its Pods may be reached in a cluster besides what routes and references say: "monitoring:9464" (a namespace), "10.0.0.0/8:8080".
        ingress: default List<At<Text<WayOf<Ingress>>>, 0> = "[]";
        /// Copies by load in a cluster: from `replicas` up to a most.
        autoscale: optional AutoscaleTable;
        /// Folders that last, by name. In a cluster each is a volume, which one copy can use at a time.
        volumes: default Map<PartName, VolumeTable> = "{}";
        /// Files by name, which the program finds at their paths: configuration, scripts, certificates. A change restarts the program.
        files: default Files = "{}";
        /// Where Prometheus asks for its figures, in a cluster.
        prometheus: optional PrometheusTable;
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
        /// The memory that they should use on average, in per cent of their request. Without it, memory doesn't count.
        memory: optional At<Whole<u32, 1, 1000>>;
    }
}

table! {
    /// Where Prometheus asks for a service's figures. Clusters only.
    "prometheus" PrometheusTable -> Prometheus { span:
        /// The number of the port. Without it, the service's `port`.
        port: optional At<Whole<u16, 1, 65535>>;
        /// A path that answers with them, in Prometheus' text format.
        path: default At<Text<UrlPath>> = "\"/metrics\"";
        /// The namespace that it asks from, which is let in.
        namespace: default At<Text<PartName>> = "\"monitoring\"";
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
    /// How the files of a service are made from the app's folder.
    "build" BuildTable -> Build { span:
        /// The command to run in the app's folder. Without one, the files are taken as they are.
        command: optional Command;
        /// The files and folders that make the artifact, relative to the app's folder. Each keeps the last part of its path as name.
        artifact: required List<At<Text<RelativePath>>, 1>;
    }
}
