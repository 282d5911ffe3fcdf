//! The API's contract.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::path::Path;

use serde_json::Value;

/// What the document is to be. Where the API changes on purpose: `UPDATE_OPENAPI=1 cargo test --workspace --test api`.
#[test]
fn the_openapi_document_is_the_one_that_clients_were_made_from() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/openapi.json");
    let now = freehold_api::openapi();
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(&file, format!("{now}\n")).unwrap();
    }
    let expected: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let now: Value = serde_json::from_str(&now).unwrap();
    for part in ["paths", "components"] {
        let names = |document: &Value| format!("{:#?}", flat(&document[part]));
        assert_eq!(names(&now), names(&expected), "{part}");
    }
    assert_eq!(now, expected);
}

/// The names of paths and their methods, of schemas and their kind.
fn flat(value: &Value) -> Vec<String> {
    let inner = |value: &Value| value.as_object().map(|inner| inner.keys().cloned().collect::<Vec<_>>());
    let entries = value.as_object().unwrap().iter();
    entries.map(|(name, value)| format!("{name}: {}", inner(value).unwrap_or_default().join(", "))).collect()
}
