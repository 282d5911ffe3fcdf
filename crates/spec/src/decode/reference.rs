//! Reads texts with `${…}` in them. The references are a closed list. `$${` stands for `${` as it is.

use std::fmt;
use std::ops::Range;

use super::error::{DecodeError, DecodeErrorKind};
use crate::name::Name;
use crate::nearest::nearest;
use crate::part::PartKind;
use crate::part::output::PortOutput;
use crate::span::{Span, Spanned};
use crate::template::{Fact, Reference, Segment, Template};

/// How the references of a word are written.
struct Form {
    word: &'static str,
    /// Whether the name of a part follows.
    named: bool,
    /// What may stand behind; none where the name is the end.
    fields: Vec<&'static str>,
}

/// All words that references begin with.
fn forms() -> Vec<Form> {
    let parts = PartKind::ALL.iter().map(|part| (part.word(), part.outputs()));
    let parts = parts.filter(|(_, outputs)| !outputs.is_empty()).map(|(word, outputs)| {
        let fields = outputs.iter().map(|output| output.row().field).filter(|field| !field.is_empty());
        Form { word, named: true, fields: fields.collect() }
    });
    let mut forms: Vec<Form> = parts.collect();
    for (word, field) in Fact::ALL.map(Fact::written) {
        match forms.iter_mut().find(|form| form.word == word) {
            Some(form) => form.fields.push(field),
            None => forms.push(Form { word, named: false, fields: vec![field] }),
        }
    }
    forms
}

/// Whether there is something in the text that would be a reference where references are resolved.
pub(crate) fn looks_like_one(text: &str) -> bool {
    let inner = text.split("${").skip(1);
    let mut words = inner.filter_map(|rest| rest.split_once('.').map(|(word, _)| word));
    words.any(|word| forms().iter().any(|form| form.word == word))
}

/// Reads a text; `locate` tells the place in the source of a range of the text.
///
/// # Errors
/// Every reference that is wrong.
pub(crate) fn parse(text: &str, locate: impl Fn(Range<usize>) -> Span) -> Result<Template, Vec<DecodeError>> {
    let mut pieces = Pieces::default();
    let mut errors = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let start = text.len() - rest.len() + before.len();
        if let Some(before) = before.strip_suffix('$') {
            pieces.text(before);
            pieces.text("${");
            rest = after;
            continue;
        }
        pieces.text(before);
        let Some((inner, after)) = after.split_once('}') else {
            let error =
                DecodeError::new(DecodeErrorKind::BadReference, locate(start..text.len()), "this `${` is never closed");
            errors.push(error.help("close it with `}`, or write `$${` for the two characters themselves"));
            rest = "";
            break;
        };
        let span = locate(start..start + inner.len() + 3);
        match reference(inner) {
            Ok(reference) => pieces.0.push(Segment::Reference(Spanned::new(reference, span))),
            Err((kind, message, help)) => {
                let mut error = DecodeError::new(kind, span, message);
                error.help = help;
                errors.push(error);
            }
        }
        rest = after;
    }
    pieces.text(rest);
    if errors.is_empty() { Ok(Template { segments: pieces.0 }) } else { Err(errors) }
}

/// The pieces of a template; two texts never stand side by side.
#[derive(Default)]
struct Pieces(Vec<Segment>);

impl Pieces {
    fn text(&mut self, text: &str) {
        match self.0.last_mut() {
            _ if text.is_empty() => {}
            Some(Segment::Text(last)) => last.push_str(text),
            _ => self.0.push(Segment::Text(text.to_owned())),
        }
    }
}

type Rejection = (DecodeErrorKind, String, Option<String>);

/// Reads what stands between `${` and `}`.
fn reference(inner: &str) -> Result<Reference, Rejection> {
    let pieces: Vec<&str> = inner.split('.').collect();
    let output = |word: &str, field: &str| {
        let outputs = PartKind::of_word(word).map(PartKind::outputs).unwrap_or_default();
        outputs.into_iter().find(|output| output.row().field == field)
    };
    let found = match pieces.as_slice() {
        [word, name] => output(word, "").map(|output| (name, output)),
        [word, name, field] if !field.is_empty() => output(word, field).map(|output| (name, output)),
        _ => None,
    };
    if let Some((name, output)) = found {
        return Ok(Reference::Output(part_name(name)?, output));
    }
    if let ["service", service, port, field] = pieces.as_slice()
        && let Some(output) = PortOutput::ALL.into_iter().find(|output| output.as_str() == *field)
    {
        return Ok(Reference::Port { service: part_name(service)?, port: part_name(port)?, output });
    }
    let fact = Fact::ALL
        .into_iter()
        .find(|fact| matches!(pieces.as_slice(), [word, field] if (*word, *field) == fact.written()));
    fact.map(Reference::Fact).ok_or_else(|| unknown(inner, &pieces))
}

fn part_name(text: &str) -> Result<Name, Rejection> {
    text.parse().map_err(|error: crate::NameError| (DecodeErrorKind::BadName, format!("{text:?}: {error}"), None))
}

/// What is wrong with a reference that is none of the list.
fn unknown(inner: &str, parts: &[&str]) -> Rejection {
    let trimmed: String = inner.chars().filter(|c| !c.is_whitespace()).collect();
    if trimmed != inner && !trimmed.is_empty() {
        let message = format!("`${{{inner}}}` has spaces in it");
        return (DecodeErrorKind::BadReference, message, Some(format!("write `${{{trimmed}}}`")));
    }
    let word = parts.first().copied().unwrap_or_default();
    let forms = forms();
    let Some(form) = forms.iter().find(|form| form.word == word) else {
        let words: Vec<&str> = forms.iter().map(|form| form.word).collect();
        let near = nearest(word, words.iter().copied());
        let help = match near.and_then(|near| forms.iter().find(|form| form.word == near)) {
            Some(near) => format!("did you mean `{near}`?"),
            None if parts.len() == 1 => {
                format!("a reference is one of {}; `$${{` stands for `${{` as it is", words.join(", "))
            }
            None => format!("a reference is one of {}", words.join(", ")),
        };
        return (DecodeErrorKind::UnknownReference, format!("there is no reference `${{{inner}}}`"), Some(help));
    };
    let Form { named, fields, .. } = form;
    let name = if *named { parts.get(1).copied().unwrap_or("NAME") } else { "" };
    let last = parts.get(1 + usize::from(*named)).copied();
    let near = last.and_then(|last| nearest(last, fields.iter().copied()));
    let help = match near.or(fields.first().copied().filter(|_| fields.len() == 1)) {
        Some(field) if *named => format!("did you mean `${{{word}.{name}.{field}}}`?"),
        Some(field) => format!("did you mean `${{{word}.{field}}}`?"),
        None => format!("write `{form}`"),
    };
    (DecodeErrorKind::UnknownReference, format!("there is no reference `${{{inner}}}`"), Some(help))
}

impl fmt::Display for Form {
    /// `${database.NAME.url|migration_url|name}`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.named { ".NAME" } else { "" };
        let fields = if self.fields.is_empty() { String::new() } else { format!(".{}", self.fields.join("|")) };
        write!(f, "${{{}{name}{fields}}}", self.word)
    }
}
