//! Stored JSON documents and their versions.
//!
//! Each column that holds a document has a column `…_version` beside it. A program writes the newest version that it has, and reads that
//! and all earlier ones: [`Document::upgrade`] takes a document from one version to the next. A newer one is refused (FH0516).
//!
//! Replicas of two releases work on one store while a new release is rolled out, so a document's form changes in two releases: the first
//! one reads the new version and still writes the old one, the second one writes it. A field that is only added, and may be left out,
//! needs no version: it is skipped by who doesn't know it.

use std::collections::{BTreeMap, BTreeSet};

use freehold_graph::{Digest, Graph, Request, ResourceId, Target, Value};
use freehold_plan::Plan;
use freehold_problem::Problem;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sqlx::Postgres;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;

use crate::error::StoreError;
use crate::row;

/// A stored JSON document: written in the newest form, read in any earlier one.
pub trait Document: Serialize + DeserializeOwned {
    /// What messages call it: `a plan`.
    const NAME: &'static str;
    /// The version that is written.
    const VERSION: u16 = 1;

    /// Takes a document from the version `from` to the next one. Called for each version between that of the row and [`Document::VERSION`].
    ///
    /// # Errors
    /// The text is not a document of the given version.
    fn upgrade(from: u16, _document: Json) -> Result<Json, String> {
        Err(format!("version {from} can't be upgraded"))
    }
}

impl Document for Plan {
    const NAME: &'static str = "a plan";
}

impl Document for Graph {
    const NAME: &'static str = "a graph";
}

impl Document for Request {
    const NAME: &'static str = "a request";
}

/// Outputs: what people are told of a stack.
impl Document for BTreeMap<String, String> {
    const NAME: &'static str = "outputs";
}

/// The digests of secrets, by name.
impl Document for BTreeMap<String, Digest> {
    const NAME: &'static str = "secrets' digests";
}

impl Document for Problem {
    const NAME: &'static str = "a failure";
}

/// A resource's body.
impl Document for Value {
    const NAME: &'static str = "a resource's body";
}

/// What a resource depends on.
impl Document for BTreeSet<ResourceId> {
    const NAME: &'static str = "a resource's dependencies";
}

/// A target's facts.
impl Document for Target {
    const NAME: &'static str = "a target's facts";
}

/// What was asked for when a target was added.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct TargetSettings(pub(crate) Json);

impl Document for TargetSettings {
    const NAME: &'static str = "a target's settings";
}

/// The reply to a request with an idempotency key.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Reply(pub(crate) Json);

impl Document for Reply {
    const NAME: &'static str = "a reply";
}

/// The document in a column, with the version beside it; both have to be selected (`plan::text, plan_version`).
pub(crate) fn read<D: Document>(row: &PgRow, column: &str) -> Result<D, StoreError> {
    let json: String = row::read(row, column)?;
    parse(version(row, column)?, &json)
}

/// The same of a column that may be NULL.
pub(crate) fn read_optional<D: Document>(row: &PgRow, column: &str) -> Result<Option<D>, StoreError> {
    let json: Option<String> = row::read(row, column)?;
    json.map(|json| parse(version(row, column)?, &json)).transpose()
}

fn version(row: &PgRow, column: &str) -> Result<i16, StoreError> {
    row::read(row, format!("{column}_version").as_str())
}

/// Reads a document of this version.
///
/// # Errors
/// [`StoreError::Unreadable`]: a newer release has written it, or it was damaged.
pub fn parse<D: Document>(version: i16, json: &str) -> Result<D, StoreError> {
    let unreadable = |message: String| StoreError::Unreadable { what: D::NAME, message };
    let wrong = |error: serde_json::Error| unreadable(error.to_string());
    let found = u16::try_from(version).unwrap_or_default();
    if !(1..=D::VERSION).contains(&found) {
        return Err(unreadable(format!("it has version {version}, and this release reads up to {}", D::VERSION)));
    }
    if found == D::VERSION {
        return serde_json::from_str(json).map_err(wrong);
    }
    let mut document: Json = serde_json::from_str(json).map_err(wrong)?;
    for from in found..D::VERSION {
        document = D::upgrade(from, document).map_err(unreadable)?;
    }
    serde_json::from_value(document).map_err(wrong)
}

/// The JSON of a document.
pub(crate) fn json<D: Document>(document: &D) -> Result<String, StoreError> {
    row::json(D::NAME, document)
}

/// The version that goes with [`json`].
pub(crate) fn written<D: Document>() -> i16 {
    i16::try_from(D::VERSION).unwrap_or(i16::MAX)
}

/// Binds a document and, as the next parameter, its version.
pub(crate) trait BindDocument: Sized {
    fn bind_document<D: Document>(self, document: &D) -> Result<Self, StoreError> {
        self.bind_optional_document(Some(document))
    }

    fn bind_optional_document<D: Document>(self, document: Option<&D>) -> Result<Self, StoreError>;
}

impl BindDocument for Query<'_, Postgres, PgArguments> {
    fn bind_optional_document<D: Document>(self, document: Option<&D>) -> Result<Self, StoreError> {
        Ok(self.bind(document.map(json).transpose()?).bind(written::<D>()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Was `{"name": …}` in version 1 and `{"names": […]}` in version 2.
    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    struct Names {
        names: Vec<String>,
        count: usize,
    }

    impl Document for Names {
        const NAME: &'static str = "a list of names";
        const VERSION: u16 = 3;

        fn upgrade(from: u16, document: Json) -> Result<Json, String> {
            match from {
                1 => Ok(json!({ "names": [document["name"]] })),
                2 => {
                    let count = document["names"].as_array().ok_or("it has no names")?.len();
                    Ok(json!({ "names": document["names"], "count": count }))
                }
                _ => Err(format!("there is no version {from}")),
            }
        }
    }

    #[test]
    fn a_document_of_any_earlier_version_is_read_step_by_step() {
        let names = Names { names: vec!["acme".to_owned()], count: 1 };
        assert_eq!(parse::<Names>(1, r#"{"name":"acme"}"#).unwrap(), names);
        assert_eq!(parse::<Names>(2, r#"{"names":["acme"]}"#).unwrap(), names);
        assert_eq!(parse::<Names>(3, &json(&names).unwrap()).unwrap(), names);
        let wrong = parse::<Names>(2, "{}").unwrap_err();
        assert_eq!(wrong.to_string(), "a list of names in the store can't be read: it has no names");
    }

    #[test]
    fn a_document_of_a_newer_version_is_refused_with_both_numbers() {
        for version in [4, 0, -1] {
            let error = parse::<Names>(version, r#"{"names":[],"count":0}"#).unwrap_err();
            assert_eq!(error.code(), freehold_problem::Code::StoreUnreadable);
            let expected = format!(
                "a list of names in the store can't be read: it has version {version}, and this release reads up to 3"
            );
            assert_eq!(error.to_string(), expected);
        }
    }
}
