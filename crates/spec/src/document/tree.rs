//! Tables among the values of a source.

use toml::de::{DeTable, DeValue};

use crate::decode::kind::Value;
use crate::decode::layer::LAYERS;

/// The table of a value, if it is one.
pub(super) trait AsTable<'i> {
    fn table(&self) -> Option<&DeTable<'i>>;
    fn table_mut(&mut self) -> Option<&mut DeTable<'i>>;
}

impl<'i> AsTable<'i> for Value<'i> {
    fn table(&self) -> Option<&DeTable<'i>> {
        self.get_ref().as_table()
    }

    fn table_mut(&mut self) -> Option<&mut DeTable<'i>> {
        match self.get_mut() {
            DeValue::Table(table) => Some(table),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_) => None,
        }
    }
}

/// Does the same to a definition and to what each of its layers overrides in it.
pub(super) fn of_layers(root: &mut DeTable<'_>, rewrite: fn(&mut DeTable<'_>)) {
    rewrite(root);
    for word in LAYERS {
        let Some(layer) = root.get_mut(word).and_then(|layer| layer.table_mut()) else { continue };
        // Previews are one layer, and what stages and tiers are called is a key of theirs.
        if word == "preview" {
            rewrite(layer);
            continue;
        }
        layer.iter_mut().filter_map(|(_, layer)| layer.table_mut()).for_each(rewrite);
    }
}
