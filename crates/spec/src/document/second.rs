//! Definitions of language 2, rewritten to mean the same in the newest one.
//!
//! ```text
//! [route.X]  host = "…"  ──►  hosts = ["…"]        there, and where a stage, a tier or previews override it
//! ```

use std::borrow::Cow;

use toml::Spanned as Node;
use toml::de::{DeArray, DeTable, DeValue};

use super::tree::AsTable as _;
use crate::decode::kind::Value;
use crate::decode::layer::LAYERS;

/// Rewrites a definition.
pub(super) fn rewrite(root: &mut DeTable<'_>) {
    hosts(root);
    for word in LAYERS {
        let Some(layer) = root.get_mut(word).and_then(|layer| layer.table_mut()) else { continue };
        // Previews are one layer, and what stages and tiers are called is a key of theirs.
        if word == "preview" {
            hosts(layer);
            continue;
        }
        layer.iter_mut().filter_map(|(_, layer)| layer.table_mut()).for_each(hosts);
    }
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
