//! Tables among the values of a source.

use toml::de::{DeTable, DeValue};

use crate::decode::kind::Value;

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
