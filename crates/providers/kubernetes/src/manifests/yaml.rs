//! JSON as YAML: blocks for what has parts, and each text quoted as JSON does unless nothing but itself can be meant.

use serde_json::Value as Json;

/// A field with this name is a comment above the fields of its object.
pub(super) const COMMENT: &str = "#";

pub(super) fn document(value: &Json) -> String {
    let mut text = String::new();
    write(value, 0, &mut text);
    text
}

/// Writes lines, each indented by `depth` and ended.
fn write(value: &Json, depth: usize, text: &mut String) {
    let indent = " ".repeat(depth);
    match value {
        Json::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                match value {
                    Json::String(comment) if name == COMMENT => text.push_str(&format!("{indent}# {comment}\n")),
                    _ if is_block(value) => {
                        text.push_str(&format!("{indent}{}:\n", scalar(name)));
                        write(value, depth + 2, text);
                    }
                    _ => text.push_str(&format!("{indent}{}: {}\n", scalar(name), inline(value))),
                }
            }
        }
        Json::Array(items) if !items.is_empty() => {
            for item in items {
                if is_block(item) {
                    // The first line of the item goes behind its dash.
                    let mut lines = String::new();
                    write(item, depth + 2, &mut lines);
                    text.push_str(&format!("{indent}- {}", lines.get(depth + 2..).unwrap_or_default()));
                } else {
                    text.push_str(&format!("{indent}- {}\n", inline(item)));
                }
            }
        }
        _ => text.push_str(&format!("{indent}{}\n", inline(value))),
    }
}

/// Whether it takes lines of its own: not what is empty, nor a list of a few texts and numbers.
fn is_block(value: &Json) -> bool {
    match value {
        Json::Object(fields) => !fields.is_empty(),
        Json::Array(items) => items.iter().any(|item| item.is_object() || item.is_array()) || inline(value).len() > 80,
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => false,
    }
}

fn inline(value: &Json) -> String {
    match value {
        Json::String(text) => scalar(text),
        Json::Array(items) => format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Json::Object(_) | Json::Null | Json::Bool(_) | Json::Number(_) => value.to_string(),
    }
}

/// A text. Unquoted it begins with a letter and has nothing in it that means something to YAML, and it is no word for a boolean or null.
fn scalar(text: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || "-_./".contains(character);
    let is_word = matches!(
        text.to_ascii_lowercase().as_str(),
        "y" | "n" | "yes" | "no" | "on" | "off" | "true" | "false" | "null"
    );
    if text.starts_with(|first: char| first.is_ascii_alphabetic()) && text.chars().all(plain) && !is_word {
        text.to_owned()
    } else {
        Json::from(text).to_string()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_written_in_blocks_and_short_lists_in_a_line() {
        let value = json!({
            "kind": "Role",
            "metadata": { "name": "freehold", "labels": {} },
            "rules": [
                { "#": "what stacks consist of", "verbs": ["get", "list"], "apiGroups": [""] },
                { "apiGroups": ["*"], "nested": [["a"], []] },
            ],
            "replicas": 3,
        });
        let expected = "\
kind: Role
metadata:
  labels: {}
  name: freehold
replicas: 3
rules:
  - # what stacks consist of
    apiGroups: [\"\"]
    verbs: [get, list]
  - apiGroups: [\"*\"]
    nested:
      - [a]
      - []
";
        assert_eq!(document(&value), expected);
    }

    #[test]
    fn a_text_that_could_be_read_as_something_else_is_quoted() {
        for text in [
            "no", "True", "null", "1", "0s", "1.5", "", "a: b", "a #b", "- a", "*", "&a", "{a}", "x\ny", "~", "é",
            "10Mi",
        ] {
            assert_eq!(scalar(text), Json::from(text).to_string());
        }
        for text in ["freehold", "v1", "rbac.authorization.k8s.io/v1", "RollingUpdate", "nope"] {
            assert_eq!(scalar(text), text);
        }
    }
}
