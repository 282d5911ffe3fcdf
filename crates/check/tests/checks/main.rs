//! The rules and their rendering, from the outside.

#[cfg(test)]
mod codes;
mod crowds;
#[cfg(test)]
mod environments;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod manifests;
#[cfg(test)]
mod network;
#[cfg(test)]
mod pods;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod quota;
#[cfg(test)]
mod rendering;
#[cfg(test)]
mod requests;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod services;
#[cfg(test)]
mod silences;
#[cfg(test)]
mod sizes;

/// The definition that the documentation shows.
const GUESTBOOK: &str = include_str!("../../../spec/tests/fixtures/guestbook.toml");
/// A definition with every key that only a cluster acts upon.
const CLUSTER: &str = include_str!("../../../spec/tests/fixtures/cluster.toml");
/// A definition that can be read, with every mistake that the rules know.
const FAULTY: &str = include_str!("../fixtures/faulty.toml");
/// An app with the mistakes that only a cluster would show.
const CROWDED: &str = include_str!("../fixtures/crowded.toml");
