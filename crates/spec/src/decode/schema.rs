//! The JSON Schema of `freehold.toml`, from the same description as the decoder, so that editors complete and check it.

use serde_json::{Map, Value as Json, json};
use toml::de::{DeArray, DeTable, DeValue};

use super::kind::ValueKind;
use super::layer::{OFF, OPTIONAL};
use crate::part::Definition;

/// A key of a table.
pub(crate) struct Entry {
    pub(crate) key: &'static str,
    pub(crate) required: bool,
    /// As TOML; empty for none.
    pub(crate) default: &'static str,
    pub(crate) documentation: &'static str,
    pub(crate) schema: Json,
}

/// The tables that were described so far, by their word.
#[derive(Default)]
pub(crate) struct Definitions {
    tables: Map<String, Json>,
    /// Tables are described as they are laid over others: nothing has to be in them, and no key has a default.
    partial: bool,
}

impl Definitions {
    /// The schema of a key that there isn't.
    pub(crate) const ABSENT: Json = Json::Bool(false);

    /// Whether tables are described as they are laid over others.
    pub(crate) fn is_partial(&self) -> bool {
        self.partial
    }

    /// Describes something as it is laid over another.
    pub(crate) fn partial(&mut self, schema: impl FnOnce(&mut Self) -> Json) -> Json {
        self.partial = true;
        let schema = schema(self);
        self.partial = false;
        schema
    }

    /// A reference to a table; described on the first time.
    pub(crate) fn table(
        &mut self,
        word: &str,
        documentation: &str,
        entries: impl FnOnce(&mut Self) -> Vec<Entry>,
    ) -> Json {
        let word = if self.partial { format!("{word}-override") } else { word.to_owned() };
        if !self.tables.contains_key(&word) {
            let mut entries = entries(self);
            entries.retain(|entry| entry.schema != Self::ABSENT);
            if self.partial {
                for entry in &mut entries {
                    (entry.required, entry.default) = (false, "");
                    if OPTIONAL.contains(&entry.key) {
                        entry.schema = json!({ "anyOf": [{ "enum": [OFF] }, entry.schema.take()] });
                    }
                }
            }
            let required: Vec<&str> = entries.iter().filter(|entry| entry.required).map(|entry| entry.key).collect();
            let properties: Map<String, Json> =
                entries.iter().map(|entry| (entry.key.to_owned(), property(entry))).collect();
            let table = json!({
                "type": "object",
                "description": documentation.trim(),
                "properties": properties,
                "required": required,
                "additionalProperties": false,
            });
            self.tables.insert(word.clone(), table);
        }
        json!({ "$ref": format!("#/$defs/{word}") })
    }
}

fn property(entry: &Entry) -> Json {
    let mut schema = entry.schema.clone();
    if let Json::Object(fields) = &mut schema {
        fields.insert("description".to_owned(), json!(entry.documentation.trim()));
        if let Ok(default) = DeValue::parse(entry.default) {
            fields.insert("default".to_owned(), to_json(default.get_ref()));
        }
    }
    schema
}

/// JSON Schema (2020-12) of `freehold.toml`.
pub fn schema() -> Json {
    let mut definitions = Definitions::default();
    Definition::schema(&mut definitions);
    let mut root = match definitions.tables.remove("definition") {
        Some(Json::Object(root)) => root,
        _ => Map::new(),
    };
    root.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    root.insert("title".to_owned(), json!("freehold.toml"));
    root.insert("$defs".to_owned(), Json::Object(definitions.tables));
    Json::Object(root)
}

/// Defaults are texts, whole numbers, lists and tables.
fn to_json(value: &DeValue<'_>) -> Json {
    let list = |items: &DeArray<'_>| items.iter().map(|item| to_json(item.get_ref())).collect();
    let table = |table: &DeTable<'_>| {
        table.iter().map(|(key, value)| (key.get_ref().to_string(), to_json(value.get_ref()))).collect()
    };
    match value {
        DeValue::String(text) => json!(text),
        DeValue::Integer(number) => json!(number.as_str().parse::<i64>().ok()),
        DeValue::Boolean(value) => json!(value),
        DeValue::Array(items) => Json::Array(list(items)),
        DeValue::Table(fields) => Json::Object(table(fields)),
        DeValue::Float(_) | DeValue::Datetime(_) => Json::Null,
    }
}
