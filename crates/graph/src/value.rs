//! Canonical values: the bodies of resources.
//!
//! A **desired** body is JSON whose leaves may also be a secret, or a text with secrets in it ([`Special::Template`]).
//! A **comparable** body has a keyed digest in the place of each of these, so that it can be stored, diffed and
//! shown; providers observe in this form. [`Value::comparable`] makes one from the other.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "JSON's kinds of values are a closed set; most of these ask for one of them"
)]

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{self, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use crate::secret::{Digest, SecretRef, SecretText};

/// A canonical value. Its JSON is plain, except for the leaves `{"$secret": …}`, `{"$template": …}`,
/// `{"$checksum": …}`, `{"$sha1": …}`, `{"$digest": …}`, `{"$fraction": …}` and `{"$unknown": null}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// A secret, `Template`, `Checksum`, `Digest`, `Fraction` or `Unknown`.
    Special(Special),
    /// JSON's `null`: a field that is there without a value.
    #[default]
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number. What Freehold makes has no others: fractions are written in smaller units. Manifests may have them
    /// ([`Special::Fraction`]).
    Integer(i64),
    /// Text as it is, without references.
    Text(String),
    /// Values in an order that counts.
    List(Vec<Value>),
    /// Fields by name.
    Map(BTreeMap<String, Value>),
}

/// The length of a SHA-1 in Base64.
const SHA1_LENGTH: usize = 28;

/// The leaves that plain JSON doesn't have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Special {
    /// A secret (desired bodies only).
    #[serde(rename = "$secret")]
    Secret(SecretRef),
    /// Pieces to join into one secret text: texts and secrets (desired bodies only).
    #[serde(rename = "$template")]
    Template(Vec<Value>),
    /// A text that changes when something secret does and tells nothing of it: the digest of all that is below (desired bodies
    /// only). The outside world gets the digest's text: an annotation that restarts the consumers of a secret.
    #[serde(rename = "$checksum")]
    Checksum(Box<Value>),
    /// Base64 of the SHA-1 of a secret text, which is how a gateway is given passwords that it compares with (desired bodies only).
    #[serde(rename = "$sha1")]
    Sha1(Box<Value>),
    /// In the place of a secret (comparable bodies only).
    #[serde(rename = "$digest")]
    Digest(Digest),
    /// A number that isn't whole, as JSON writes it: `0.5`.
    #[serde(rename = "$fraction")]
    Fraction(String),
    /// Known only after apply (comparable bodies only).
    #[serde(rename = "$unknown")]
    Unknown(()),
}

/// As a derived `untagged` would read it, without trying each variant on a copy: bodies are most of what the store reads.
impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value without fractions")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Integer(number))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Value, E> {
        let integer = i64::try_from(number).map(Value::Integer);
        integer.map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::with_capacity(items.size_hint().unwrap_or_default().min(1024));
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut fields = BTreeMap::new();
        while let Some((name, value)) = entries.next_entry::<String, Value>()? {
            fields.insert(name, value);
        }
        match fields.pop_first() {
            Some((name, value)) if fields.is_empty() && name.starts_with('$') => {
                let special = Special::of(&name, value).map(Value::Special);
                Ok(special.unwrap_or_else(|value| Value::Map(BTreeMap::from([(name, value)]))))
            }
            Some((name, value)) => {
                fields.insert(name, value);
                Ok(Value::Map(fields))
            }
            None => Ok(Value::Map(fields)),
        }
    }
}

impl Special {
    /// The names of the fields that stand for leaves. No map of people's own may have one of these as its only field: it would be read as
    /// the leaf, a secret in clear text perhaps.
    pub const NAMES: [&str; 7] = ["$secret", "$template", "$checksum", "$sha1", "$digest", "$fraction", "$unknown"];

    /// What a map with this one entry stands for; its value again if it stands for nothing. Made from what was read already: reading it
    /// again would take twice as long with each level.
    fn of(name: &str, value: Value) -> Result<Self, Value> {
        match (name, value) {
            ("$secret", value @ Value::Map(_)) => {
                let json = serde_json::to_value(&value).unwrap_or_default();
                serde_json::from_value(json).map(Self::Secret).map_err(|_| value)
            }
            ("$template", Value::List(pieces)) => Ok(Self::Template(pieces)),
            ("$checksum", below) => Ok(Self::Checksum(Box::new(below))),
            ("$sha1", below) => Ok(Self::Sha1(Box::new(below))),
            ("$fraction", Value::Text(number)) => Ok(Self::Fraction(number)),
            ("$digest", Value::Text(digest)) => Ok(Self::Digest(Digest(digest))),
            ("$unknown", Value::Null) => Ok(Self::Unknown(())),
            (_, value) => Err(value),
        }
    }
}

/// What can be said of secrets without telling them.
pub trait Digests {
    /// The digest of a secret's present value; `None` if it has none yet.
    fn of_secret(&self, secret: &SecretRef) -> Option<Digest>;
    /// A digest under the same key of a text that is made from digests and plain texts.
    fn of_text(&self, text: &str) -> Digest;
}

impl Value {
    /// A text that is known now.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A map from pairs.
    pub fn map<K: Into<String>>(fields: impl IntoIterator<Item = (K, Value)>) -> Self {
        Self::Map(fields.into_iter().map(|(key, value)| (key.into(), value)).collect())
    }

    /// A number of JSON. What is whole is an integer, however it is written.
    pub fn number(number: &serde_json::Number) -> Self {
        // Beyond this a double has no fractions, and not every whole number either.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(whole), _, _) => Self::Integer(whole),
            (None, Some(large), _) => Self::from(large),
            #[expect(clippy::cast_possible_truncation, reason = "it is whole, and small enough to be exact")]
            (None, None, Some(number)) if number.fract() == 0.0 && number.abs() <= EXACT => {
                Self::Integer(number as i64)
            }
            (None, None, _) => Self::Special(Special::Fraction(number.to_string())),
        }
    }

    /// A secret's value, known only to its provider's call.
    pub fn secret(secret: SecretRef) -> Self {
        Self::Special(Special::Secret(secret))
    }

    /// A text that changes when something below it does, secrets included.
    pub fn checksum(below: Value) -> Self {
        Self::Special(Special::Checksum(Box::new(below)))
    }

    /// A field of a map; `None` for anything else.
    pub fn get(&self, field: &str) -> Option<&Value> {
        match self {
            Self::Map(fields) => fields.get(field),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The number, if it is one.
    pub fn as_integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// The items, if it is a list.
    pub fn as_list(&self) -> Option<&[Value]> {
        match self {
            Self::List(items) => Some(items),
            _ => None,
        }
    }

    /// The fields, if it is a map.
    pub fn as_map(&self) -> Option<&BTreeMap<String, Value>> {
        match self {
            Self::Map(fields) => Some(fields),
            _ => None,
        }
    }

    /// The secrets whose text it contains, at any depth. A checksum contains none.
    pub fn secrets(&self) -> Vec<&SecretRef> {
        match self {
            Self::Special(Special::Secret(secret)) => vec![secret],
            Self::Special(Special::Template(parts)) | Self::List(parts) => {
                parts.iter().flat_map(Value::secrets).collect()
            }
            Self::Special(Special::Sha1(below)) => below.secrets(),
            Self::Map(fields) => fields.values().flat_map(Value::secrets).collect(),
            _ => Vec::new(),
        }
    }

    /// How many bytes the text has that it comes to; `of` says it of a secret. What isn't text has none.
    pub fn text_length(&self, of: &dyn Fn(&SecretRef) -> usize) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Special(Special::Secret(secret)) => of(secret),
            Self::Special(Special::Template(parts)) => parts.iter().map(|part| part.text_length(of)).sum(),
            Self::Special(Special::Sha1(_)) => SHA1_LENGTH,
            Self::Special(Special::Checksum(_) | Special::Digest(_) | Special::Fraction(_) | Special::Unknown(()))
            | Self::Null
            | Self::Bool(_)
            | Self::Integer(_)
            | Self::List(_)
            | Self::Map(_) => 0,
        }
    }

    /// Whether something in it is known only after apply.
    pub fn has_unknown(&self) -> bool {
        match self {
            Self::Special(Special::Unknown(())) => true,
            Self::Special(Special::Template(items)) | Self::List(items) => items.iter().any(Value::has_unknown),
            Self::Special(Special::Checksum(below) | Special::Sha1(below)) => below.has_unknown(),
            Self::Map(fields) => fields.values().any(Value::has_unknown),
            _ => false,
        }
    }

    /// The same with digests in the place of secrets; [`Special::Unknown`] where a secret has no value yet.
    pub fn comparable(&self, digests: &dyn Digests) -> Self {
        match self {
            Self::Special(Special::Secret(secret)) => {
                Self::Special(digests.of_secret(secret).map_or(Special::Unknown(()), Special::Digest))
            }
            Self::Special(Special::Template(parts)) => comparable_template(parts, digests),
            Self::Special(Special::Checksum(below) | Special::Sha1(below)) => match below.comparable(digests) {
                digest @ Self::Special(_) => digest,
                open if open.has_unknown() => Self::Special(Special::Unknown(())),
                whole => Self::Special(Special::Digest(digests.of_text(&whole.to_string()))),
            },
            Self::List(items) => Self::List(items.iter().map(|item| item.comparable(digests)).collect()),
            Self::Map(fields) => {
                Self::Map(fields.iter().map(|(key, value)| (key.clone(), value.comparable(digests))).collect())
            }
            plain => plain.clone(),
        }
    }

    /// Joins the pieces of a template, or takes a secret or a text as it is.
    ///
    /// # Errors
    /// Whatever `reveal` returns for a secret; [`NotText`] for a value that is no text.
    pub fn reveal<E: From<NotText>>(
        &self,
        reveal: &mut dyn FnMut(&SecretRef) -> Result<SecretText, E>,
    ) -> Result<SecretText, E> {
        match self {
            Self::Text(text) => Ok(SecretText::new(text.clone())),
            Self::Special(Special::Secret(secret)) => reveal(secret),
            Self::Special(Special::Template(parts)) => {
                let mut joined = zeroize::Zeroizing::new(String::new());
                for part in parts {
                    joined.push_str(part.reveal(reveal)?.reveal());
                }
                Ok(SecretText::new(joined.to_string()))
            }
            Self::Special(Special::Sha1(below)) => {
                let digest = Sha1::digest(below.reveal(reveal)?.reveal().as_bytes());
                Ok(SecretText::new(STANDARD.encode(digest)))
            }
            _ => Err(NotText.into()),
        }
    }

    /// SHA-256 of the canonical JSON, in hexadecimal: equal bodies have equal fingerprints.
    pub fn fingerprint(&self) -> String {
        hex::encode(Sha256::digest(self.to_string().as_bytes()))
    }
}

/// A value that should be text is something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a text or a secret")]
pub struct NotText;

fn comparable_template(parts: &[Value], digests: &dyn Digests) -> Value {
    let mut joined = String::new();
    for part in parts {
        match part.comparable(digests) {
            // The length keeps ("ab", "c") and ("a", "bc") apart.
            Value::Text(text) => joined.push_str(&format!("t{}:{text}", text.len())),
            Value::Special(Special::Digest(digest)) => joined.push_str(&format!("d{}", digest.0)),
            _ => return Value::Special(Special::Unknown(())),
        }
    }
    Value::Special(Special::Digest(digests.of_text(&joined)))
}

impl fmt::Display for Value {
    /// The canonical JSON: sorted keys, no white space.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = serde_json::to_string(self).map_err(|_| fmt::Error)?;
        f.write_str(&json)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Integer(number.into())
    }
}

impl From<u64> for Value {
    /// Numbers above `i64::MAX` don't occur in definitions (parsing refuses them); they are clamped.
    fn from(number: u64) -> Self {
        Self::Integer(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(items: Vec<T>) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the hand-written reader stands for.
    #[derive(Debug, Deserialize)]
    #[serde(untagged)]
    enum Derived {
        Special(Special),
        Null,
        Bool(bool),
        Integer(i64),
        Text(String),
        List(Vec<Derived>),
        Map(BTreeMap<String, Derived>),
    }

    impl From<Derived> for Value {
        fn from(derived: Derived) -> Self {
            match derived {
                Derived::Special(special) => Self::Special(special),
                Derived::Null => Self::Null,
                Derived::Bool(value) => Self::Bool(value),
                Derived::Integer(number) => Self::Integer(number),
                Derived::Text(text) => Self::Text(text),
                Derived::List(items) => Self::List(items.into_iter().map(Self::from).collect()),
                Derived::Map(fields) => {
                    Self::Map(fields.into_iter().map(|(name, value)| (name, Self::from(value))).collect())
                }
            }
        }
    }

    #[test]
    fn values_are_read_as_the_variants_of_an_untagged_enumeration() {
        for text in [
            r#"null"#,
            r#"true"#,
            r#"-9223372036854775808"#,
            r#"9223372036854775807"#,
            r#"9223372036854775808"#,
            r#"1.5"#,
            r#"1e3"#,
            r#""""#,
            r#""$unknown""#,
            r#"[]"#,
            r#"[1, "a", [null], {}]"#,
            r#"{"a": {"b": [true, {"c": "ü"}]}, "": 0}"#,
            r#"{"$unknown": null}"#,
            r#"{"$unknown": 1}"#,
            r#"{"$unknown": null, "a": 1}"#,
            r#"{"$digest": "ab12"}"#,
            r#"{"$fraction": "0.5"}"#,
            r#"{"$fraction": 0}"#,
            r#"{"$digest": 12}"#,
            r#"{"$digest": {"$digest": "ab"}}"#,
            r#"{"$secret": {"stored": "session-key"}}"#,
            r#"{"$secret": {"derived": {"purpose": "roles/main", "rotation": 2}}}"#,
            r#"{"$secret": {"unheard-of": "session-key"}}"#,
            r#"{"$template": ["postgres://", {"$secret": {"stored": "password"}}, "@h"]}"#,
            r#"{"$template": "no list"}"#,
            r#"{"$checksum": {"KEY": {"$secret": {"stored": "key"}}, "deep": [{"$checksum": 1}]}}"#,
            r#"{"$other": {"$unknown": null}}"#,
            r#"{"$": 1.5}"#,
            r#"{"$ref": "a", "$digest": "b"}"#,
        ] {
            let derived = serde_json::from_str::<Derived>(text).map(Value::from);
            let read = serde_json::from_str::<Value>(text);
            assert_eq!(read.is_ok(), derived.is_ok(), "{text}: {read:?}");
            if let (Ok(read), Ok(derived)) = (read, derived) {
                assert_eq!(read, derived, "{text}");
                let again: Value = serde_json::from_str(&serde_json::to_string(&read).unwrap()).unwrap();
                assert_eq!(again, read, "{text}");
            }
        }
    }

    #[test]
    fn leaves_in_leaves_are_read_once_however_deep_they_are() {
        let depth = 120;
        for (begin, end) in [(r#"{"$checksum":"#, "}"), (r#"{"$template":["#, "]}"), (r#"{"$secret":{"a":"#, "}}")] {
            let text = format!(
                "{}null{}",
                begin.repeat(depth / begin.matches(['{', '[']).count()),
                end.repeat(depth / end.len())
            );
            let read: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), text);
        }
    }

    #[test]
    fn a_password_is_kept_as_htpasswd_keeps_it() {
        // printf 'ops:{SHA}%s' "$(printf s3cret | openssl sha1 -binary | base64)"
        let hashed = Value::Special(Special::Sha1(Box::new(Value::secret(SecretRef::Stored("door".to_owned())))));
        let line = Value::Special(Special::Template(vec![Value::text("ops:{SHA}"), hashed]));
        let mut reveal = |_: &SecretRef| Ok::<_, NotText>(SecretText::new("s3cret".to_owned()));
        let text = line.reveal(&mut reveal).unwrap();
        assert_eq!(text.reveal(), "ops:{SHA}/vNB+F2HQ559kaLUZbmHHvZrXpg=");
        assert_eq!(line.text_length(&|_| 6), text.reveal().len());
        let stored = serde_json::to_string(&line).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&stored).unwrap(), line);
    }
}
