//! The decoder, from the outside.

#[cfg(test)]
mod definition;
#[cfg(test)]
mod environments;
#[cfg(test)]
mod mistakes;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod schedules;
#[cfg(test)]
mod schema;

/// The definition that the documentation shows.
const GUESTBOOK: &str = include_str!("../fixtures/guestbook.toml");
/// Every key that only a cluster acts upon.
const CLUSTER: &str = include_str!("../fixtures/cluster.toml");
/// As many mistakes as fit into one file.
const BROKEN: &str = include_str!("../fixtures/broken.toml");
/// Mistakes of syntax, and others beside them.
const SYNTAX: &str = include_str!("../fixtures/syntax.toml");
