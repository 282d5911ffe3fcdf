//! The parts of a definition, a module for each: its values, how it is decoded and described to editors, and what others may refer to.
//!
//! The decoder, the JSON Schema, `docs/definition.md` and the list of references follow from these. A new part is a module and a line of
//! `parts!`; what it becomes on each target is said in `freehold-graph`.

pub mod backup;
pub mod bucket;
pub mod cache;
pub mod database;
pub mod database_server;
pub mod job;
pub mod manifest;
pub mod output;
pub mod quota;
pub mod route;
pub mod secret;
pub mod service;
pub mod stage;
pub mod tier;

use std::collections::BTreeMap;

use crate::decode::context::Context;
use crate::decode::kind::{At, List, Map, Sequence, Value, ValueKind};
use crate::decode::layer::LayerTable;
use crate::decode::number::Whole;
use crate::decode::schema::Definitions;
use crate::decode::table::table;
use crate::decode::text::{Argument, Contract, PartName, Text, Variable, WithReferences};
use crate::environment::PRODUCTION;
use crate::name::{EnvName, Name};
use crate::span::{Span, Spanned};
use crate::template::{Fact, Reference, Template};
pub use backup::Backup;
use backup::BackupTable;
use output::OutputRow;
pub use quota::Quota;
use quota::QuotaTable;

/// Tables with names of their own within a part: its word, and the key.
pub(crate) const NAMED_WITHIN: [(&str, &str); 6] = [
    ("service", "sidecar"),
    ("service", "init"),
    ("service", "volumes"),
    ("service", "ports"),
    ("service", "files"),
    ("job", "files"),
];

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

/// A variable of the environment contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// Without the `?` of an optional one.
    pub name: EnvName,
    /// `NAME?`: the app does without it.
    pub optional: bool,
}

macro_rules! parts {
    ($($(#[doc = $doc:literal])+ $field:ident $word:literal $module:ident $part:ident $table:ident;)+) => {
        $(pub use $module::$part;)+

        /// The parts that a definition consists of.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum PartKind {
            $($(#[doc = $doc])+ $part,)+
        }

        /// What others may refer to, by the part that has it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Output {
            $($(#[doc = $doc])+ $part($module::Output),)+
        }

        /// An app's definition. Maps are sorted, so that everything derived from them is deterministic.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct App {
            /// The table `[app]`, key `name`.
            pub name: Spanned<Name>,
            /// What a whole stack may take.
            pub quota: Quota,
            /// Backups of the databases.
            pub backup: Option<Backup>,
            /// Where it says what previews get, if it does.
            pub preview: Option<Span>,
            $($(#[doc = $doc])+ pub $field: BTreeMap<Name, $module::$part>,)+
        }

        table! {
            /// An app, as Freehold deploys it: once for each tenant, preview and stage.
            "definition" Definition -> App {
                /// What the app is called.
                name ["app"]: required AppName;
                /// What a whole stack may take.
                quota: default QuotaTable = "{}";
                /// Backups of the databases on a schedule.
                backup: optional BackupTable;
                /// What previews get.
                preview: optional LayerTable<Span>;
                $($(#[doc = $doc])+ $field [$word]: default Map<PartName, $module::$table> = "{}";)+
            }
        }

        impl PartKind {
            /// All of them, in the order in which documentation lists them.
            pub const ALL: &'static [Self] = &[$(Self::$part,)+];

            /// The word of its tables: `database` of `[database.main]`.
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$part => $word,)+
                }
            }

            /// The word for several of them, as it is used for the outputs of stacks: `databases`.
            pub const fn plural(self) -> &'static str {
                match self {
                    $(Self::$part => stringify!($field),)+
                }
            }

            /// What others may refer to.
            pub fn outputs(self) -> Vec<Output> {
                match self {
                    $(Self::$part => $module::Output::ALL.iter().copied().map(Output::$part).collect(),)+
                }
            }
        }

        impl Output {
            /// Whose it is.
            pub const fn part(self) -> PartKind {
                match self {
                    $(Self::$part(_) => PartKind::$part,)+
                }
            }

            /// What is said of it.
            pub const fn row(self) -> OutputRow {
                match self {
                    $(Self::$part(output) => output.row(),)+
                }
            }
        }

        impl App {
            /// The names of all parts of a kind.
            pub fn names(&self, part: PartKind) -> Vec<&Name> {
                match part {
                    $(PartKind::$part => self.$field.keys().collect(),)+
                }
            }

            /// Where a part is defined; `None` if it isn't.
            pub fn span(&self, part: PartKind, name: &str) -> Option<Span> {
                match part {
                    $(PartKind::$part => self.$field.get(name).map(|part| part.span),)+
                }
            }
        }
    };
}

parts! {
    /// PostgreSQL databases: one of each, with its roles, for each stack.
    databases "database" database Database DatabaseTable;
    /// Servers of the Redis protocol: one of each for each stack.
    caches "cache" cache Cache CacheTable;
    /// Object storage by the S3 protocol: one of each for each stack.
    buckets "bucket" bucket Bucket BucketTable;
    /// Secrets of each stack.
    secrets "secret" secret Secret SecretTable;
    /// Programs that run until they are stopped, in replicas.
    services "service" service Service ServiceTable;
    /// Programs that run to their end: in deploys, on a schedule, or on demand.
    jobs "job" job Job JobTable;
    /// Host names and paths that lead to services.
    routes "route" route Route RouteTable;
    /// Objects of a cluster that are delivered as they are.
    manifests "manifest" manifest Manifest ManifestTable;
    /// What tenants of a tier get: it overrides the other parts by their keys, after the stage.
    tiers "tier" tier Tier TierTable;
    /// What a stage (dev, production) and its tenants get: it overrides the other parts by their keys.
    stages "stage" stage Stage StageTable;
}

impl App {
    /// Whether stacks may belong to a stage. Where an app defines stages, there are no others but production; where it defines none, any
    /// name will do.
    pub fn may_have_stage(&self, stage: &str) -> bool {
        self.stages.is_empty() || self.stages.contains_key(stage) || stage == PRODUCTION
    }
}

impl App {
    /// All texts with references in them, wherever they stand.
    pub fn templates(&self) -> impl Iterator<Item = &Spanned<Template>> {
        let services = self.services.values().flat_map(|service| {
            service.programs().flat_map(|(env, files)| env.values().chain(files.values().map(|file| &file.content)))
        });
        let env = services.chain(
            self.jobs.values().flat_map(|job| job.env.values().chain(job.files.values().map(|file| &file.content))),
        );
        let routes = self.routes.values().flat_map(|route| route.public_texts().chain(route.basic_auth.values()));
        env.chain(routes)
    }

    /// Whether anything in it refers to a fact.
    pub fn asks_for(&self, fact: Fact) -> bool {
        let mut references = self.templates().flat_map(|template| template.references());
        references.any(|reference| reference.value == Reference::Fact(fact))
    }
}

impl PartKind {
    /// The part whose tables begin with this word.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|part| part.word() == word)
    }
}

/// The table `[app]`; all that stays of it is the name.
pub(crate) struct AppName;

impl ValueKind for AppName {
    type Value = Spanned<Name>;

    fn schema(definitions: &mut Definitions) -> serde_json::Value {
        if definitions.is_partial() { Definitions::ABSENT } else { HeaderTable::schema(definitions) }
    }

    fn decode(context: &mut Context<'_>, value: &Value<'_>) -> Option<Self::Value> {
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
