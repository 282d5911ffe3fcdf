//! From a body to the manifest that the API server gets.
//!
//! A Secret's texts become base64, and the keyed digests of what they are made of are written beside them
//! (`freehold.dev/digests`), so that a later look can compare without knowing. A checksum becomes its digest's text.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use freehold_engine::{ProviderError, Revealed};
use freehold_graph::value::Special;
use freehold_graph::{ResourceKind, Value};
use freehold_problem::Code;
use serde_json::{Map, Value as Json, json};

/// On a Secret: key → keyed digest of what was written.
pub(crate) const DIGESTS: &str = "freehold.dev/digests";

/// In the place of a text that a plan doesn't know.
const PLACEHOLDER: &str = "(a plan does not know this)";
/// The same where the API server looks into it.
const DOCKER_CONFIG: (&str, &str) = (".dockerconfigjson", r#"{"auths":{}}"#);

/// Where the texts of secrets come from.
pub(crate) enum Texts<'a> {
    /// Revealed for one call that writes them.
    Revealed(&'a Revealed),
    /// For a plan: what is there already (a Secret's `data`, base64) under the keys that don't change, and placeholders.
    Kept(&'a Map<String, Json>),
}

/// The manifest of a body. `comparable` is the same body with digests.
pub(crate) fn manifest(
    kind: ResourceKind,
    body: &Value,
    comparable: &Value,
    texts: &Texts<'_>,
) -> Result<Json, ProviderError> {
    let mut manifest = json(body, Some(comparable), texts)?;
    if kind == ResourceKind::ClusterSecret {
        let data = match body.get("data") {
            Some(Value::Map(data)) => encoded(data, texts)?,
            _ => Map::new(),
        };
        let Some(object) = manifest.as_object_mut() else { return Err(no_manifest()) };
        object.insert("data".to_owned(), Json::Object(data));
        annotate(object, DIGESTS, digests(comparable).to_string())?;
    }
    if manifest.is_object() { Ok(manifest) } else { Err(no_manifest()) }
}

fn no_manifest() -> ProviderError {
    ProviderError::rejected(Code::StepFailed, "a resource's body is no manifest")
}

/// Sets an annotation.
fn annotate(object: &mut Map<String, Json>, name: &str, text: String) -> Result<(), ProviderError> {
    let metadata = object.entry("metadata").or_insert_with(|| json!({}));
    let annotations =
        metadata.as_object_mut().map(|metadata| metadata.entry("annotations").or_insert_with(|| json!({})));
    let annotations = annotations.and_then(Json::as_object_mut).ok_or_else(no_manifest)?;
    annotations.insert(name.to_owned(), text.into());
    Ok(())
}

/// The digests of a Secret's keys, of those that have one.
fn digests(comparable: &Value) -> Json {
    let data = comparable.get("data").and_then(Value::as_map).into_iter().flatten();
    let digests = data.filter_map(|(key, value)| match value {
        Value::Special(Special::Digest(digest)) => Some((key.clone(), Json::String(digest.0.clone()))),
        _ => None,
    });
    Json::Object(digests.collect())
}

fn encoded(
    data: &std::collections::BTreeMap<String, Value>,
    texts: &Texts<'_>,
) -> Result<Map<String, Json>, ProviderError> {
    let mut encoded = Map::new();
    for (key, value) in data {
        let text = match (texts, value) {
            (Texts::Revealed(revealed), _) => STANDARD.encode(revealed.text(value)?.reveal()),
            (Texts::Kept(_), Value::Text(text)) => STANDARD.encode(text),
            (Texts::Kept(kept), _) => match kept.get(key).and_then(Json::as_str) {
                Some(kept) => kept.to_owned(),
                None if key == DOCKER_CONFIG.0 => STANDARD.encode(DOCKER_CONFIG.1),
                None => STANDARD.encode(PLACEHOLDER),
            },
        };
        encoded.insert(key.clone(), text.into());
    }
    Ok(encoded)
}

fn json(body: &Value, comparable: Option<&Value>, texts: &Texts<'_>) -> Result<Json, ProviderError> {
    Ok(match body {
        Value::Null => Json::Null,
        Value::Bool(value) => (*value).into(),
        Value::Integer(number) => (*number).into(),
        Value::Text(text) => text.clone().into(),
        Value::Map(fields) => {
            let mut map = Map::new();
            for (name, value) in fields {
                let value = json(value, comparable.and_then(|comparable| comparable.get(name)), texts)?;
                // Absent and null are the same to us, but not to server-side apply.
                if !value.is_null() {
                    map.insert(name.clone(), value);
                }
            }
            Json::Object(map)
        }
        Value::List(items) => {
            let others = comparable.and_then(Value::as_list).unwrap_or_default();
            let item = |(at, item)| json(item, others.get(at), texts);
            Json::Array(items.iter().enumerate().map(item).collect::<Result<_, _>>()?)
        }
        Value::Special(Special::Checksum(_)) => match (comparable, texts) {
            (Some(Value::Special(Special::Digest(digest))), _) => digest.0.clone().into(),
            (_, Texts::Kept(_)) => PLACEHOLDER.into(),
            _ => {
                return Err(ProviderError::rejected(
                    Code::StepFailed,
                    "a checksum without a digest: a secret has no value",
                ));
            }
        },
        Value::Special(Special::Secret(_) | Special::Template(_) | Special::Sha1(_)) => match texts {
            Texts::Revealed(revealed) => revealed.text(body)?.reveal().into(),
            Texts::Kept(_) => PLACEHOLDER.into(),
        },
        Value::Special(Special::Fraction(number)) => {
            let fault = || ProviderError::rejected(Code::StepFailed, format!("{number} is no number"));
            Json::Number(number.parse().map_err(|_| fault())?)
        }
        Value::Special(Special::Digest(_) | Special::Unknown(())) => {
            return Err(ProviderError::rejected(
                Code::StepFailed,
                "a body to apply has a digest in the place of a secret",
            ));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use freehold_graph::{Digest, SecretRef};

    fn secret() -> Value {
        Value::map([
            ("metadata", Value::map([("name", "web".into())])),
            (
                "data",
                Value::map([("KEY", Value::secret(SecretRef::Stored("key".to_owned()))), ("LEVEL", "info".into())]),
            ),
        ])
    }

    #[test]
    fn a_plan_writes_placeholders_and_what_is_there_and_the_digests_beside_it() {
        let digest = Value::Special(Special::Digest(Digest("d1".to_owned())));
        let comparable = Value::map([("data", Value::map([("KEY", digest), ("LEVEL", "info".into())]))]);
        let kind = ResourceKind::ClusterSecret;
        let made = manifest(kind, &secret(), &comparable, &Texts::Kept(&Map::new())).unwrap();
        assert_eq!(made["metadata"]["annotations"][DIGESTS], r#"{"KEY":"d1"}"#);
        assert_eq!(made["data"]["LEVEL"], STANDARD.encode("info"));
        assert_eq!(made["data"]["KEY"], STANDARD.encode(PLACEHOLDER));
        let kept = Map::from_iter([("KEY".to_owned(), json!("c2VjcmV0"))]);
        let made = manifest(kind, &secret(), &comparable, &Texts::Kept(&kept)).unwrap();
        assert_eq!(made["data"]["KEY"], "c2VjcmV0");
    }

    #[test]
    fn a_checksum_is_written_as_its_digest() {
        let place = |leaf| Value::map([("spec", Value::List(vec![Value::map([("a", leaf)])]))]);
        let body = place(Value::checksum(Value::Null));
        let comparable = place(Value::Special(Special::Digest(Digest("abc".to_owned()))));
        let made = manifest(ResourceKind::Deployment, &body, &comparable, &Texts::Kept(&Map::new())).unwrap();
        assert_eq!(made, json!({"spec": [{"a": "abc"}]}));
    }
}
