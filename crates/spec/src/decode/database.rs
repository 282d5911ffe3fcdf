//! What PostgreSQL has words for: parameters of a server, collations of a database.

use serde_json::{Value as Json, json};
use toml::de::DeValue;

use super::context::Context;
use super::error::{DecodeError, DecodeErrorKind};
use super::kind::{Value, ValueKind, wrong_type};
use super::schema::Definitions;
use super::text::{Rejection, TextKind};
use crate::collation::Collation;

/// The longest name that PostgreSQL has for anything.
const LONGEST: usize = 63;
/// The longest value of a parameter.
const LONGEST_VALUE: usize = 1024;

/// The name of a parameter in lower case, `LIBRARY.NAME` for those of a library.
pub(crate) struct ParameterName;

impl TextKind for ParameterName {
    type Value = String;

    fn schema() -> Json {
        json!({ "pattern": "^[a-z_][a-z0-9_]*(\\.[a-z_][a-z0-9_]*)?$", "maxLength": LONGEST })
    }

    fn parse(text: &str) -> Result<String, Rejection> {
        let is_word = |word: &str| {
            word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
                && word.chars().next().is_some_and(|first| !first.is_ascii_digit())
        };
        let words: Vec<&str> = text.split('.').collect();
        if text.len() <= LONGEST && words.len() <= 2 && words.iter().all(|word| is_word(word)) {
            return Ok(text.to_owned());
        }
        let rejection = Rejection::new(DecodeErrorKind::BadName, format!("{text:?} can't be a parameter's name"));
        Err(rejection.help("PostgreSQL's names are written in lower case here: work_mem, pg_stat_statements.track"))
    }
}

/// The value of a parameter as PostgreSQL's configuration has it: a text, a number, true or false.
pub(crate) struct ParameterValue;

impl ValueKind for ParameterValue {
    type Value = String;

    fn schema(_: &mut Definitions) -> Json {
        let types = ["string", "integer", "number", "boolean"].map(|word| json!({ "type": word }));
        json!({ "anyOf": types })
    }

    fn decode(context: &mut Context<'_>, value: &Value<'_>) -> Option<String> {
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map(|number| number.to_string())
                .unwrap_or_default(),
            // What is no finite number is no number to PostgreSQL.
            DeValue::Float(number) => number
                .as_str()
                .parse::<f64>()
                .ok()
                .filter(|number| number.is_finite())
                .map(|number| number.to_string())
                .unwrap_or_default(),
            DeValue::Boolean(truth) => if *truth { "on" } else { "off" }.to_owned(),
            DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
                wrong_type(context, value, "a text, a number, true or false");
                return None;
            }
        };
        let is_text = matches!(value.get_ref(), DeValue::String(_));
        if text.len() > LONGEST_VALUE || text.chars().any(char::is_control) || (text.is_empty() && !is_text) {
            let message =
                format!("`{}` is no value of a parameter: one line of at most {LONGEST_VALUE} bytes", context.path());
            let span = context.span(value.span());
            context.report(DecodeError::new(DecodeErrorKind::BadText, span, message));
            return None;
        }
        Some(text)
    }
}

/// A collation: a locale of the C library, or `icu:` and the tag of a language.
pub(crate) struct CollationName;

impl TextKind for CollationName {
    type Value = Collation;

    fn schema() -> Json {
        json!({ "pattern": "^(icu:[A-Za-z0-9]+(-[A-Za-z0-9]+)*|[A-Za-z0-9][A-Za-z0-9_.@-]*)$", "maxLength": LONGEST })
    }

    fn parse(text: &str) -> Result<Collation, Rejection> {
        let (found, name) = match text.strip_prefix("icu:") {
            Some(tag) => (Collation::Icu(tag.to_owned()), tag),
            None => (Collation::Libc(text.to_owned()), text),
        };
        let fits = match &found {
            Collation::Icu(_) => {
                name.split('-').all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric()))
            }
            Collation::Libc(_) => {
                name.chars().all(|c| c.is_ascii_alphanumeric() || "_.@-".contains(c))
                    && name.chars().next().is_some_and(|first| first.is_ascii_alphanumeric())
            }
        };
        if fits && text.len() <= LONGEST {
            return Ok(found);
        }
        let rejection = Rejection::new(DecodeErrorKind::BadText, format!("{text:?} is no collation"));
        Err(rejection.help("a locale of the C library (\"C\", \"en_US.UTF-8\"), or a language of ICU (\"icu:de-AT\")"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collation_is_a_locale_or_a_language_and_nothing_else() {
        for text in ["C", "POSIX", "en_US.UTF-8", "de_AT@euro", "icu:und-u-ks-level2", "icu:en"] {
            assert_eq!(CollationName::parse(text).ok().map(|found| found.to_string()).as_deref(), Some(text));
        }
        let long = "x".repeat(64);
        for text in ["", "icu:", "icu:de_AT", "icu:de--x", "-x", "../C", "C'; DROP", "C\n", long.as_str()] {
            assert!(CollationName::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_parameter_has_a_name_in_lower_case() {
        for text in ["work_mem", "pg_stat_statements.track", "timezone"] {
            assert!(ParameterName::parse(text).is_ok(), "{text}");
        }
        for text in ["", "Work_Mem", "a.b.c", "a b", "a=b", "1a", ".a", "a."] {
            assert!(ParameterName::parse(text).is_err(), "{text}");
        }
    }
}
