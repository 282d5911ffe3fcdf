//! What each part of a definition becomes: its resources on each kind of target, the values of its outputs, and what people are told of it.
//!
//! A module for each part, and a line of `parts!`. The expansions themselves keep to their targets: [`crate::expand::local`] and
//! [`crate::expand::kubernetes`].

mod bucket;
mod cache;
mod database;
mod job;
mod manifest;
mod route;
mod secret;
mod service;
mod stage;
mod tier;

use std::collections::BTreeSet;

use freehold_spec::{Name, Output, PartKind};
use serde_json::Value as Json;

use crate::expand::expansion::Expansion;
use crate::expand::kubernetes::Cluster;
use crate::expand::local::LocalExpansion;
use crate::expand::references::Resolver;
use crate::resource_id::ResourceId;
use crate::value::Value;
pub(crate) use bucket::REGION as BUCKET_REGION;

/// Where a reference to an output stands, and what is made of it.
pub(crate) struct Site<'s, 'a> {
    /// The reference's place in the definition: `service.web.env.DATABASE_URL`.
    pub(crate) from: &'s str,
    /// What has to exist before whoever refers to it.
    pub(crate) needs: &'s mut BTreeSet<ResourceId>,
    pub(crate) resolver: &'s mut Resolver<'a>,
}

/// What a part becomes.
pub(crate) trait Expand {
    /// What others may refer to.
    type Output;

    /// Whether it is a program, so that what it prints is kept as its log.
    const WRITES_LOG: bool;

    /// Its resources on this machine.
    fn local(&self, name: &Name, stack: &mut LocalExpansion<'_>);

    /// Its resources in a cluster.
    fn kubernetes(&self, name: &Name, stack: &mut Cluster<'_>);

    /// What people are told of it when all is done.
    fn outputs(&self, name: &Name, stack: &mut Expansion<'_>);

    /// The purposes of the credentials that are derived for it: what its users log in with. They are rotated together.
    fn credentials(name: &Name) -> Vec<String>;

    /// The rules of a network policy that lead to the parts of these names in a cluster: for whoever uses an output with
    /// [`Reach::Part`](freehold_spec::part::output::Reach::Part).
    fn egress(names: &BTreeSet<&Name>, cluster: &Cluster<'_>) -> Vec<Json>;

    /// The value of an output, in pieces. The part may be undefined, which has been reported.
    fn value(name: &Name, output: Self::Output, site: &mut Site<'_, '_>) -> Vec<Value>;
}

macro_rules! parts {
    ($($part:ident $field:ident;)+) => {
        /// The order in which parts are expanded: what jobs wait for before the jobs.
        const ORDER: &[PartKind] = &[$(PartKind::$part,)+];

        /// Expands all parts for this machine.
        pub(crate) fn local(stack: &mut LocalExpansion<'_>) {
            let app = stack.expansion.resolver.app;
            for part in ORDER {
                match part {
                    $(PartKind::$part => app.$field.iter().for_each(|(name, part)| part.local(name, stack)),)+
                }
            }
        }

        /// Expands all parts for a cluster.
        pub(crate) fn kubernetes(stack: &mut Cluster<'_>) {
            let app = stack.expansion.resolver.app;
            for part in ORDER {
                match part {
                    $(PartKind::$part => app.$field.iter().for_each(|(name, part)| part.kubernetes(name, stack)),)+
                }
            }
        }

        /// Adds what people are told of all parts.
        pub(crate) fn outputs(stack: &mut Expansion<'_>) {
            let app = stack.resolver.app;
            for part in ORDER {
                match part {
                    $(PartKind::$part => app.$field.iter().for_each(|(name, part)| part.outputs(name, stack)),)+
                }
            }
        }

        /// Whether a part is a program, so that what it prints is kept as its log.
        pub const fn writes_log(part: PartKind) -> bool {
            match part {
                $(PartKind::$part => <freehold_spec::part::$part as Expand>::WRITES_LOG,)+
            }
        }

        /// The purposes of the credentials that are derived for a part, as [`Request::rotations`](crate::Request::rotations) counts them.
        /// None for a part that nobody logs in to.
        pub fn credentials(part: PartKind, name: &Name) -> Vec<String> {
            match part {
                $(PartKind::$part => <freehold_spec::part::$part as Expand>::credentials(name),)+
            }
        }

        /// The rules of a network policy that lead to parts of one kind.
        pub(crate) fn egress(part: PartKind, names: &BTreeSet<&Name>, cluster: &Cluster<'_>) -> Vec<Json> {
            match part {
                $(PartKind::$part => <freehold_spec::part::$part as Expand>::egress(names, cluster),)+
            }
        }

        /// The value of an output, in pieces; what it needs is added to `needs`.
        pub(crate) fn value(
            name: &Name,
            output: Output,
            resolver: &mut Resolver<'_>,
            from: &str,
            needs: &mut BTreeSet<ResourceId>,
        ) -> Vec<Value> {
            let mut site = Site { from, needs, resolver };
            match output {
                $(Output::$part(output) => <freehold_spec::part::$part as Expand>::value(name, output, &mut site),)+
            }
        }
    };
}

parts! {
    Secret secrets;
    Database databases;
    Cache caches;
    Bucket buckets;
    Manifest manifests;
    Service services;
    Job jobs;
    Route routes;
    Tier tiers;
    Stage stages;
}
