//! Definitions of language 1, rewritten to mean the same in the newest one.
//!
//! ```text
//! [tier.X]   cpu, memory, pods     ──►  quota.cpu, quota.memory, quota.pods
//!            replicas.web          ──►  service.web.replicas
//!            connections.main      ──►  database.main.connections
//! [stage.X]  replicas.web          ──►  service.web.replicas
//! ```

use std::borrow::Cow;
use std::ops::Range;

use toml::Spanned as Node;
use toml::de::{DeTable, DeValue};

use super::tree::AsTable as _;
use crate::decode::kind::Value;

/// The figures of a tier that became its quota.
const QUOTA: [&str; 3] = ["cpu", "memory", "pods"];

/// Rewrites a definition.
pub(super) fn rewrite(root: &mut DeTable<'_>) {
    for word in ["tier", "stage"] {
        let Some(layers) = root.get_mut(word).and_then(|layers| layers.table_mut()) else { continue };
        for (_, layer) in layers.iter_mut() {
            let span = layer.span();
            let Some(layer) = layer.table_mut() else { continue };
            figures(layer, "replicas", ("service", "replicas"));
            if word == "tier" {
                figures(layer, "connections", ("database", "connections"));
                quota(layer, &span);
            }
        }
    }
}

fn quota(tier: &mut DeTable<'_>, span: &Range<usize>) {
    let figures: DeTable<'_> = QUOTA.iter().filter_map(|key| tier.remove_entry(*key)).collect();
    put(tier, "quota", span, figures);
}

/// `replicas.web = 2` as `service.web.replicas = 2`.
fn figures(layer: &mut DeTable<'_>, key: &'static str, (word, field): (&'static str, &'static str)) {
    if layer.get(key).is_none_or(|figures| figures.table().is_none()) {
        return;
    }
    let Some(figures) = layer.remove(key) else { return };
    let span = figures.span();
    let DeValue::Table(figures) = figures.into_inner() else { return };
    let part = |name: &Range<usize>, figure| {
        let key = Node::new(name.clone(), Cow::Borrowed(field));
        Value::new(name.clone(), DeValue::Table(DeTable::from_iter([(key, figure)])))
    };
    let parts = figures.into_iter().map(|(name, figure)| (name.clone(), part(&name.span(), figure))).collect();
    put(layer, word, &span, parts);
}

/// Puts a table that isn't empty below a key, which the language before didn't have.
fn put<'i>(table: &mut DeTable<'i>, key: &'static str, span: &Range<usize>, inner: DeTable<'i>) {
    if !inner.is_empty() {
        table.insert(Node::new(span.clone(), Cow::Borrowed(key)), Value::new(span.clone(), DeValue::Table(inner)));
    }
}
