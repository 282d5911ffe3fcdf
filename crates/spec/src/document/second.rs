//! Definitions of language 2, rewritten to mean the same in the newest one.
//!
//! ```text
//! [route.X]  host = "…"  ──►  hosts = ["…"]        there, and where a stage, a tier or previews override it
//! ```

use std::borrow::Cow;

use toml::Spanned as Node;
use toml::de::{DeArray, DeTable, DeValue};

use super::tree::{AsTable as _, of_layers};
use crate::decode::kind::Value;

/// Rewrites a definition.
pub(super) fn rewrite(root: &mut DeTable<'_>) {
    of_layers(root, hosts);
}

fn hosts(parts: &mut DeTable<'_>) {
    let Some(routes) = parts.get_mut("route").and_then(|routes| routes.table_mut()) else { return };
    for route in routes.iter_mut().filter_map(|(_, route)| route.table_mut()) {
        let Some((key, host)) = route.remove_entry("host") else { continue };
        let mut hosts = DeArray::new();
        let span = host.span();
        hosts.push(host);
        route.insert(Node::new(key.span(), Cow::Borrowed("hosts")), Value::new(span, DeValue::Array(hosts)));
    }
}
