//! The JSON Schema says the same as the decoder.

use freehold_spec::schema;
use serde_json::{Value as Json, json};
use toml::de::{DeTable, DeValue};

use super::{CLUSTER, GUESTBOOK};

/// Whether a value is what the schema says; as much of JSON Schema as the schema uses, except patterns.
fn accepts(root: &Json, schema: &Json, value: &Json) -> Result<(), String> {
    if let Some(reference) = schema.get("$ref").and_then(Json::as_str) {
        let pointer = reference.trim_start_matches('#');
        accepts(root, root.pointer(pointer).ok_or(format!("{reference} is missing"))?, value)?;
    }
    if let Some(any) = schema.get("anyOf").and_then(Json::as_array) {
        any.iter().map(|one| accepts(root, one, value)).reduce(Result::or).unwrap_or(Ok(()))?;
    }
    let kind = match value {
        Json::Object(_) => "object",
        Json::Array(_) => "array",
        Json::String(_) => "string",
        Json::Number(_) => "integer",
        Json::Bool(_) => "boolean",
        _ => "other",
    };
    if schema.get("type").is_some_and(|expected| expected != kind) {
        return Err(format!("{value} is not a {}", schema.get("type").unwrap_or(&Json::Null)));
    }
    if schema.get("enum").and_then(Json::as_array).is_some_and(|words| !words.contains(value)) {
        return Err(format!("{value} is none of the words"));
    }
    for item in value.as_array().into_iter().flatten() {
        accepts(root, schema.get("items").unwrap_or(&Json::Null), item)?;
    }
    for (key, item) in value.as_object().into_iter().flatten() {
        let known = schema.get("properties").and_then(|properties| properties.get(key));
        match known.or(schema.get("additionalProperties")) {
            Some(Json::Bool(false)) => return Err(format!("{key} is not known")),
            Some(schema) => accepts(root, schema, item).map_err(|error| format!("{key}: {error}"))?,
            None => {}
        }
    }
    for key in schema.get("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str) {
        if value.get(key).is_none() {
            return Err(format!("{key} is missing"));
        }
    }
    Ok(())
}

/// TOML as JSON; whatever JSON hasn't got becomes null.
fn as_json(value: &DeValue<'_>) -> Json {
    match value {
        DeValue::String(text) => json!(text),
        DeValue::Integer(number) => json!(number.as_str().parse::<i64>().ok()),
        DeValue::Float(number) => json!(number.as_str().parse::<f64>().ok()),
        DeValue::Boolean(truth) => json!(truth),
        DeValue::Array(items) => items.iter().map(|item| as_json(item.get_ref())).collect(),
        DeValue::Table(fields) => Json::Object(
            fields.iter().map(|(key, value)| (key.get_ref().to_string(), as_json(value.get_ref()))).collect(),
        ),
        _ => Json::Null,
    }
}

fn document(source: &str) -> Json {
    as_json(&DeValue::Table(DeTable::parse(source).map(toml::Spanned::into_inner).unwrap_or_default()))
}

/// The tables by their word, the outermost one among them.
fn tables(schema: &Json) -> Vec<(&str, &Json)> {
    let inner = schema["$defs"].as_object().into_iter().flatten().map(|(word, table)| (word.as_str(), table));
    inner.chain([("definition", schema)]).collect()
}

#[test]
fn good_definitions_fit_the_schema() {
    let schema = schema();
    accepts(&schema, &schema, &document(GUESTBOOK)).unwrap();
    accepts(&schema, &schema, &document(CLUSTER)).unwrap();
}

#[test]
fn what_the_decoder_refuses_the_schema_refuses_too() {
    let schema = schema();
    for wrong in [
        "",
        "[app]\nname = 1",
        "[app]\nname = \"a\"\n[bucket.a]\nmax_size = 1",
        "[app]\nname = \"a\"\n[bucket.a]\nlifecycle = [{ expire_days = \"a\" }]",
        "[app]\nname = \"a\"\n[job.a]",
        "[app]\nname = \"a\"\n[service.a]\ncommand = \"a\"",
        "[app]\nname = \"a\"\n[service.a]\ncommand = [\"a\"]\nupdate = \"later\"",
        "[app]\nname = \"a\"\n[service.a]\ncommand = [\"a\"]\nport = \"a\"",
        "[app]\nname = \"a\"\n[service.a]\ncommand = [\"a\"]\ninternet = \"yes\"",
        "[app]\nname = \"a\"\n[service.a]\ncommand = [\"a\"]\nautoscale = { cpu = 70 }",
        "[app]\nname = \"a\"\n[service.a]\ncommand = [\"a\"]\nvolumes = { data = { path = \"/a\" } }",
        "[app]\nname = \"a\"\n[service.a]\ncommand = [\"a\"]\n[service.a.init.b]\nimage = \"b\"\nport = 1",
    ] {
        assert!(freehold_spec::decode(wrong).is_err(), "{wrong}");
        assert!(accepts(&schema, &schema, &document(wrong)).is_err(), "{wrong}");
    }
}

#[test]
fn a_layer_takes_away_the_tables_that_need_not_be_there_and_no_others() {
    let (schema, whole) = (schema(), format!("{GUESTBOOK}\n[preview]\n"));
    for line in ["service.web.autoscale", "service.web.build", "backup", "quota"] {
        let off = document(&format!("{whole}{line} = \"off\""));
        accepts(&schema, &schema, &off).unwrap();
        assert!(accepts(&schema, &schema, &document(&format!("{whole}{line} = \"on\""))).is_err(), "{line}");
    }
    assert!(accepts(&schema, &schema, &document(&format!("{whole}service.web.health = \"off\""))).is_err());
    assert!(accepts(&schema, &schema, &document(&format!("quota = \"off\"\n{GUESTBOOK}"))).is_err());
}

#[test]
fn every_key_is_documented_and_every_table_is_closed() {
    let schema = schema();
    for (word, table) in tables(&schema) {
        assert_eq!(table["additionalProperties"], json!(false), "{word}");
        for (key, property) in table["properties"].as_object().unwrap() {
            assert!(property["description"].as_str().is_some_and(|text| text.len() > 10), "{word}.{key}");
        }
    }
}

#[test]
fn the_definitions_page_names_every_key() {
    let page = include_str!("../../../../docs/definition.md");
    let schema = schema();
    for (word, table) in tables(&schema) {
        for key in table["properties"].as_object().unwrap().keys() {
            assert!(page.contains(&format!("`{key}`")) || page.contains(&format!("`[{key}")), "{word}.{key}");
        }
    }
}

#[test]
fn the_schema_is_stable() {
    insta::assert_json_snapshot!(schema());
}
