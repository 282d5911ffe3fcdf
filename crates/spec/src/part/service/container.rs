//! The containers of a service's Pods beside its own.

use std::collections::BTreeMap;

use super::file::{File, Files};
use crate::decode::kind::At;
use crate::decode::number::Whole;
use crate::decode::table::table;
use crate::decode::text::{Limits, PartName, Plain, Text};
use crate::name::{EnvName, Name};
use crate::part::{Command, Env, Read, Reads};
use crate::quantity::{Cpu, Memory, Range};
use crate::span::{Span, Spanned};
use crate::template::Template;

/// A container that runs beside a service, in each of its pods, for as long as it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sidecar {
    /// The table's header.
    pub span: Span,
    /// The whole reference of its image, with a tag or a digest or neither.
    pub image: Option<Spanned<String>>,
    /// The service whose image it runs, as it is deployed.
    pub service: Option<Spanned<Name>>,
    /// Program and arguments; without, what the image says.
    pub command: Option<Spanned<Vec<String>>>,
    /// The port that it listens on. The service's own: it answers for the service.
    pub port: Option<Spanned<u16>>,
    /// Processor time. Default `"100m..500m"`.
    pub cpu: Spanned<Range<Cpu>>,
    /// Memory. Default `"64Mi..256Mi"`.
    pub memory: Spanned<Range<Memory>>,
    /// The variables that it reads; `None` where the contract isn't stated.
    pub reads: Option<Vec<Spanned<Read>>>,
    /// The variables that are set for it.
    pub env: BTreeMap<EnvName, Spanned<Template>>,
    /// Its files, at paths of its own.
    pub files: BTreeMap<Name, File>,
}

/// A container that runs to its end in each pod of a service before the service starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Init {
    /// The table's header.
    pub span: Span,
    /// The whole reference of its image, with a tag or a digest or neither.
    pub image: Option<Spanned<String>>,
    /// The service whose image it runs, as it is deployed.
    pub service: Option<Spanned<Name>>,
    /// Program and arguments; without, what the image says.
    pub command: Option<Spanned<Vec<String>>>,
    /// Processor time. Default `"100m..500m"`.
    pub cpu: Spanned<Range<Cpu>>,
    /// Memory. Default `"64Mi..256Mi"`.
    pub memory: Spanned<Range<Memory>>,
    /// The variables that it reads; `None` where the contract isn't stated.
    pub reads: Option<Vec<Spanned<Read>>>,
    /// The variables that are set for it.
    pub env: BTreeMap<EnvName, Spanned<Template>>,
    /// Its files, at paths of its own.
    pub files: BTreeMap<Name, File>,
}

table! {
    /// A container that runs beside a service, in each of its pods. Clusters only.
    "sidecar" SidecarTable -> Sidecar { span:
        /// Its image: the whole reference, with a tag or a digest or neither.
        image: optional At<Text<Plain>>;
        /// In the place of `image`: the service whose image it runs, as it is deployed.
        service: optional At<Text<PartName>>;
        /// Program and arguments. Without it, what the image says.
        command: optional At<Command>;
        /// The port that it listens on. With the service's own it answers for the service: it is reached at the service's address, and probed.
        port: optional At<Whole<u16, 1, 65535>>;
        /// Processor time, request..limit.
        cpu: default At<Text<Limits<Cpu>>> = "\"100m..500m\"";
        /// Memory, request..limit, as in Kubernetes.
        memory: default At<Text<Limits<Memory>>> = "\"64Mi..256Mi\"";
        /// The environment contract, as in a service.
        reads: optional Reads;
        /// The variables that are set for it; texts with `${…}` references.
        env: default Env = "{}";
        /// Its files by name, as in a service.
        files: default Files = "{}";
    }
}

table! {
    /// A container that runs to its end in each pod of a service before the service starts. Clusters only.
    "init" InitTable -> Init { span:
        /// Its image: the whole reference, with a tag or a digest or neither.
        image: optional At<Text<Plain>>;
        /// In the place of `image`: the service whose image it runs, as it is deployed.
        service: optional At<Text<PartName>>;
        /// Program and arguments. Without it, what the image says.
        command: optional At<Command>;
        /// Processor time, request..limit.
        cpu: default At<Text<Limits<Cpu>>> = "\"100m..500m\"";
        /// Memory, request..limit, as in Kubernetes.
        memory: default At<Text<Limits<Memory>>> = "\"64Mi..256Mi\"";
        /// The environment contract, as in a service.
        reads: optional Reads;
        /// The variables that are set for it; texts with `${…}` references.
        env: default Env = "{}";
        /// Its files by name, as in a service.
        files: default Files = "{}";
    }
}
