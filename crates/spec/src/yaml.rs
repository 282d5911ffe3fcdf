//! Files of YAML, as documents whose values mean the same to everybody who reads YAML.
//!
//! Kubernetes' own tools read YAML 1.1 and most libraries 1.2, and a few plain words differ between the two: `no`, `0755`, `1_000`. Such a
//! word is an error here, with what to write instead, so that no manifest means something else than its author has seen.
//!
//! Values come out as JSON. Anchors and aliases are resolved within a bound; merge keys (`<<`), tags and keys that aren't texts are errors.

use std::collections::BTreeMap;

use granit_parser::{Event, Parser, ScalarStyle, Span, Tag};
use serde_json::{Map, Number, Value as Json};

/// The most levels of maps and lists in one another. What is stored is read again as JSON, which ends at 128.
const DEEPEST: usize = 64;
/// How much all values of a file may come to, in bytes of texts and one for each value: aliases repeat what they stand for.
const LARGEST: usize = 1 << 20;
/// The most documents of one file.
const MOST: usize = 200;

/// A document of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// The line of the file on which its content begins, from 1.
    pub line: usize,
    /// What it says, as JSON says it.
    pub value: Json,
}

impl Eq for Document {}

/// Why a file can't be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct YamlError {
    /// The line of the file, from 1.
    pub line: usize,
    /// What is wrong there.
    pub message: String,
    /// What to write instead, if that can be said.
    pub help: Option<&'static str>,
}

/// Reads the documents of a file; empty ones are left out.
///
/// # Errors
/// The first mistake in it.
pub fn documents(text: &str) -> Result<Vec<Document>, YamlError> {
    let options = granit_parser::options! { emit_comments: false };
    let mut reader =
        Reader { events: Parser::new_from_str_with_options(text, options), anchors: BTreeMap::new(), left: LARGEST };
    let mut documents = Vec::new();
    loop {
        let (event, _) = reader.next()?;
        if matches!(event, Event::StreamEnd) {
            return Ok(documents);
        }
        if matches!(event, Event::DocumentStart(..)) {
            reader.anchors.clear();
            let (event, span) = reader.next()?;
            let line = span.start.line();
            let value = reader.value(event, span, 0)?;
            if value != Json::Null {
                documents.push(Document { line, value });
            }
            if documents.len() > MOST {
                return Err(error(&span, format!("the file has more than {MOST} documents")));
            }
        }
    }
}

fn error(span: &Span, message: impl Into<String>) -> YamlError {
    YamlError { line: span.start.line(), message: message.into(), help: None }
}

struct Reader<'t> {
    events: Parser<'t, granit_parser::StrInput<'t>>,
    anchors: BTreeMap<usize, Json>,
    /// How much more may come.
    left: usize,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Span), YamlError> {
        match self.events.next() {
            Some(Ok(next)) => Ok(next),
            Some(Err(scan)) => {
                Err(YamlError { line: scan.marker().line(), message: scan.kind().to_string(), help: None })
            }
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn spend(&mut self, bytes: usize, span: &Span) -> Result<(), YamlError> {
        match self.left.checked_sub(bytes) {
            Some(left) => self.left = left,
            None => {
                return Err(error(
                    span,
                    format!("with its aliases written out the file has more than {LARGEST} bytes"),
                ));
            }
        }
        Ok(())
    }

    /// The value that begins with an event.
    fn value(&mut self, event: Event<'t>, span: Span, depth: usize) -> Result<Json, YamlError> {
        if depth > DEEPEST {
            return Err(error(&span, format!("more than {DEEPEST} levels in one another")));
        }
        let (value, anchor) = if let Event::Scalar(text, style, anchor, tag) = event {
            self.spend(text.len() + 1, &span)?;
            (scalar(&text, style, tag.as_deref(), &span)?, anchor)
        } else if let Event::SequenceStart(_, anchor, tag) = event {
            untagged(tag.as_deref(), &span)?;
            self.spend(1, &span)?;
            (self.list(depth)?, anchor)
        } else if let Event::MappingStart(_, anchor, tag) = event {
            untagged(tag.as_deref(), &span)?;
            self.spend(1, &span)?;
            (self.map(depth)?, anchor)
        } else if let Event::Alias(anchor) = event {
            let Some(value) = self.anchors.get(&anchor).cloned() else {
                return Err(error(&span, "an alias within what it stands for"));
            };
            self.spend(size(&value), &span)?;
            (value, 0)
        } else {
            return Err(error(&span, "a value is missing"));
        };
        if anchor > 0 {
            self.anchors.insert(anchor, value.clone());
        }
        Ok(value)
    }

    fn list(&mut self, depth: usize) -> Result<Json, YamlError> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                return Ok(Json::Array(items));
            }
            items.push(self.value(event, span, depth + 1)?);
        }
    }

    fn map(&mut self, depth: usize) -> Result<Json, YamlError> {
        let mut fields = Map::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                return Ok(Json::Object(fields));
            }
            if matches!(&event, Event::Scalar(text, ScalarStyle::Plain, ..) if text == "<<") {
                let help = "write the fields out where they are needed";
                return Err(YamlError { help: Some(help), ..error(&span, "merge keys (`<<`) are not part of YAML") });
            }
            let key = match self.value(event, span, depth + 1)? {
                Json::String(key) => key,
                Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => {
                    let help = "put it into quotation marks";
                    return Err(YamlError { help: Some(help), ..error(&span, "a key that is no text") });
                }
            };
            let (event, value_span) = self.next()?;
            let value = self.value(event, value_span, depth + 1)?;
            if fields.contains_key(&key) {
                return Err(error(&span, format!("the key {key:?} is there twice")));
            }
            fields.insert(key, value);
        }
    }
}

/// Bytes of texts, and one for each value.
fn size(value: &Json) -> usize {
    match value {
        Json::Null | Json::Bool(_) | Json::Number(_) => 1,
        Json::String(text) => text.len() + 1,
        Json::Array(items) => items.iter().map(size).fold(1, usize::saturating_add),
        Json::Object(fields) => {
            fields.iter().map(|(key, value)| key.len().saturating_add(size(value))).fold(1, usize::saturating_add)
        }
    }
}

fn untagged(tag: Option<&Tag>, span: &Span) -> Result<(), YamlError> {
    match tag {
        None => Ok(()),
        Some(tag) if tag.is_yaml_core_schema_tag("map") || tag.is_yaml_core_schema_tag("seq") => Ok(()),
        Some(_) => Err(tagged(span)),
    }
}

fn tagged(span: &Span) -> YamlError {
    YamlError { help: Some("write the value as it is"), ..error(span, "a tag that JSON has no value for") }
}

/// What YAML 1.1 takes for true or false, and 1.2 for a text.
const FORMER_BOOLEANS: [&str; 8] = ["y", "n", "yes", "no", "on", "off", "=", "<<"];

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>, span: &Span) -> Result<Json, YamlError> {
    let is_text = match tag {
        None => style != ScalarStyle::Plain,
        Some(tag) if tag.is_yaml_core_schema_tag("str") => true,
        Some(_) => return Err(tagged(span)),
    };
    if is_text {
        return Ok(Json::String(text.to_owned()));
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Json::Null),
        "true" | "True" | "TRUE" => return Ok(Json::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(Json::Bool(false)),
        _ => {}
    }
    let differs = |why: &str| YamlError {
        help: Some("a text stands in quotation marks; true, false and decimal figures stand without them"),
        ..error(span, format!("`{text}` {why}"))
    };
    if FORMER_BOOLEANS.iter().any(|word| word.eq_ignore_ascii_case(text)) {
        return Err(differs("is true or false in YAML 1.1, which Kubernetes' tools read, and a text in YAML 1.2"));
    }
    let figures = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !figures.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return Ok(Json::String(text.to_owned()));
    }
    number(text, figures, span, &differs)
}

/// A number, or a text that begins with a figure: `10Mi`, `1.2.3`.
fn number(text: &str, figures: &str, span: &Span, differs: &dyn Fn(&str) -> YamlError) -> Result<Json, YamlError> {
    let all = |digits: &str| !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit());
    let other_base = ["0x", "0o", "0b"].iter().any(|prefix| {
        figures.get(..2).is_some_and(|begin| begin.eq_ignore_ascii_case(prefix))
            && figures.get(2..).is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_ascii_hexdigit()))
    });
    if other_base || all(figures) && figures.len() > 1 && figures.starts_with('0') {
        return Err(differs("is a number in another base in some versions of YAML"));
    }
    if figures.contains('_') && figures.chars().all(|c| c.is_ascii_digit() || matches!(c, '_' | '.')) {
        return Err(differs("is a number in YAML 1.1 and a text in YAML 1.2"));
    }
    if all(figures) {
        return match text.trim_start_matches('+').parse::<i64>() {
            Ok(number) => Ok(Json::from(number)),
            Err(_) => Err(error(span, format!("the number {text} is beyond what 64 bits hold"))),
        };
    }
    if [".inf", ".nan"].iter().any(|word| word.eq_ignore_ascii_case(figures)) {
        return Err(error(span, format!("JSON has no number {text}")));
    }
    let is_number = figures.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-'))
        && figures.chars().any(|c| c.is_ascii_digit());
    match text.parse::<f64>().ok().filter(|_| is_number).and_then(Number::from_f64) {
        Some(number) => Ok(Json::Number(number)),
        None => Ok(Json::String(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn only(text: &str) -> Json {
        let mut all = documents(text).unwrap();
        assert_eq!(all.len(), 1, "{text}");
        all.remove(0).value
    }

    fn wrong(text: &str) -> (usize, String) {
        let error = documents(text).unwrap_err();
        (error.line, error.message)
    }

    #[test]
    fn documents_are_told_apart_and_empty_ones_are_left_out() {
        let text = "# licence\n---\nkind: A\n---\n---\n# nothing\n---\n\nkind: B\n...\n";
        let found: Vec<(usize, Json)> = documents(text).unwrap().into_iter().map(|one| (one.line, one.value)).collect();
        assert_eq!(found, [(3, json!({"kind": "A"})), (9, json!({"kind": "B"}))]);
        assert_eq!(documents("").unwrap(), []);
        assert_eq!(documents("# nothing\n").unwrap(), []);
    }

    #[test]
    fn plain_words_are_what_they_are_in_every_version_of_yaml() {
        let text = "a: 1\nb: -2\nc: 1.5\nd: true\ne:\nf: ~\ng: 10Mi\nh: v1\ni: 1.2.3\nj: \"no\"\nk: '0755'\nl: |\n  no\nm: 1e3\nr: 12:30\no: 127.0.0.1/8\np: !!str 5\nq: +7\n";
        let expected = json!({
            "a": 1, "b": -2, "c": 1.5, "d": true, "e": null, "f": null, "g": "10Mi", "h": "v1", "i": "1.2.3", "j": "no",
            "k": "0755", "l": "no\n", "m": 1000.0, "r": "12:30", "o": "127.0.0.1/8", "p": "5", "q": 7,
        });
        assert_eq!(only(text), expected);
    }

    #[test]
    fn words_that_two_versions_of_yaml_read_differently_are_errors_at_their_line() {
        for word in ["no", "Yes", "on", "OFF", "y", "0755", "0x1F", "0o17", "1_000", "1_0.5"] {
            let (line, message) = wrong(&format!("a: 1\nb:\n  - {word}\n"));
            assert!(line == 3 && message.starts_with(&format!("`{word}` is")), "{line}: {message}");
        }
        for (text, words) in [
            ("a: .inf", "no number"),
            ("a: 9223372036854775808", "64 bits"),
            ("a: !!binary aGk=", "a tag"),
            ("a: !custom {}", "a tag"),
            ("1: a", "a key that is no text"),
            ("a: {<<: {b: 1}}", "merge keys"),
            ("a: 1\na: 2", "there twice"),
            ("a: [1", ""),
            ("a: b: c", ""),
            ("a: *nothing", ""),
        ] {
            let (_, message) = wrong(text);
            assert!(message.contains(words) && !message.is_empty(), "{text}: {message}");
        }
    }

    #[test]
    fn aliases_are_written_out_as_long_as_that_does_not_blow_up() {
        assert_eq!(only("a: &x {b: [1]}\nc: *x\n"), json!({"a": {"b": [1]}, "c": {"b": [1]}}));
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let items = vec![format!("*a{}", level - 1); 10].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{items}]\n"));
        }
        assert!(wrong(&bomb).1.contains("aliases"), "{:?}", wrong(&bomb));
        assert!(wrong("a: &x [*x]\n").1.contains("within"));
    }

    #[test]
    fn what_is_too_deep_is_an_error_and_no_overflow() {
        let flow = |depth: usize| format!("a: {}1{}", "[".repeat(depth), "]".repeat(depth));
        assert!(documents(&flow(60)).is_ok());
        for depth in [70, 200, 100_000] {
            assert!(documents(&flow(depth)).is_err());
        }
        let block = (0..200).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect::<String>();
        assert!(documents(&block).is_err());
    }
}
