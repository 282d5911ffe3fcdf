//! Definitions of language 3, rewritten to mean the same in the newest one.
//!
//! ```text
//! [database.X]  storage = "…"  ──►  server = { storage = "…" }      there, and where a stage, a tier or previews override it
//! ```

use std::borrow::Cow;

use toml::Spanned as Node;
use toml::de::{DeTable, DeValue};

use super::tree::{AsTable as _, of_layers};
use crate::decode::kind::Value;

/// Rewrites a definition.
pub(super) fn rewrite(root: &mut DeTable<'_>) {
    of_layers(root, storage);
}

fn storage(parts: &mut DeTable<'_>) {
    let Some(databases) = parts.get_mut("database").and_then(|databases| databases.table_mut()) else { return };
    for database in databases.iter_mut().filter_map(|(_, database)| database.table_mut()) {
        let Some((key, size)) = database.remove_entry("storage") else { continue };
        let span = key.span();
        let mut server = DeTable::new();
        server.insert(key, size);
        database.insert(Node::new(span.clone(), Cow::Borrowed("server")), Value::new(span, DeValue::Table(server)));
    }
}
