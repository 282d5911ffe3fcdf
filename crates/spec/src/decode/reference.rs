//! Reads texts with `${…}` in them. The references are a closed list. `$${` stands for `${` as it is.

use std::ops::Range;

use super::error::{DecodeError, DecodeErrorKind};
use crate::name::Name;
use crate::nearest::nearest;
use crate::span::{Span, Spanned};
use crate::template::{DatabaseField, Part, Reference, Template};

/// The kinds of references: the word, whether a name follows, the fields.
const KINDS: [(&str, bool, &[&str]); 7] = [
    ("database", true, &["url", "migration_url", "name"]),
    ("service", true, &["url"]),
    ("route", true, &["url"]),
    ("secret", true, &[]),
    ("stack", false, &["name", "kind", "id"]),
    ("tier", false, &["name"]),
    ("target", false, &["domain"]),
];

/// Whether there is something in the text that would be a reference where references are resolved.
pub(crate) fn looks_like_one(text: &str) -> bool {
    let inner = text.split("${").skip(1);
    let mut words = inner.filter_map(|rest| rest.split_once('.').map(|(word, _)| word));
    words.any(|word| KINDS.iter().any(|(kind, ..)| *kind == word))
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
            Ok(reference) => pieces.0.push(Part::Reference(Spanned::new(reference, span))),
            Err((kind, message, help)) => {
                let mut error = DecodeError::new(kind, span, message);
                error.help = help;
                errors.push(error);
            }
        }
        rest = after;
    }
    pieces.text(rest);
    if errors.is_empty() { Ok(Template { parts: pieces.0 }) } else { Err(errors) }
}

/// The pieces of a template; two texts never stand side by side.
#[derive(Default)]
struct Pieces(Vec<Part>);

impl Pieces {
    fn text(&mut self, text: &str) {
        match self.0.last_mut() {
            _ if text.is_empty() => {}
            Some(Part::Text(last)) => last.push_str(text),
            _ => self.0.push(Part::Text(text.to_owned())),
        }
    }
}

type Fault = (DecodeErrorKind, String, Option<String>);

/// Reads what stands between `${` and `}`.
fn reference(inner: &str) -> Result<Reference, Fault> {
    let parts: Vec<&str> = inner.split('.').collect();
    match parts.as_slice() {
        ["database", name, "url"] => Ok(Reference::Database(part_name(name)?, DatabaseField::Url)),
        ["database", name, "migration_url"] => Ok(Reference::Database(part_name(name)?, DatabaseField::MigrationUrl)),
        ["database", name, "name"] => Ok(Reference::Database(part_name(name)?, DatabaseField::Name)),
        ["service", name, "url"] => Ok(Reference::ServiceUrl(part_name(name)?)),
        ["route", name, "url"] => Ok(Reference::RouteUrl(part_name(name)?)),
        ["secret", name] => Ok(Reference::Secret(part_name(name)?)),
        ["stack", "name"] => Ok(Reference::StackName),
        ["stack", "kind"] => Ok(Reference::StackKind),
        ["stack", "id"] => Ok(Reference::StackId),
        ["tier", "name"] => Ok(Reference::TierName),
        ["target", "domain"] => Ok(Reference::TargetDomain),
        ["cache" | "bucket", ..] => {
            let message = format!("`${{{inner}}}`: this version provides no caches and no buckets yet");
            Err((DecodeErrorKind::NotProvidedYet, message, None))
        }
        _ => Err(unknown(inner, &parts)),
    }
}

fn part_name(text: &str) -> Result<Name, Fault> {
    text.parse().map_err(|error: crate::NameError| (DecodeErrorKind::BadName, format!("{text:?}: {error}"), None))
}

/// What is wrong with a reference that is none of the list.
fn unknown(inner: &str, parts: &[&str]) -> Fault {
    let trimmed: String = inner.chars().filter(|c| !c.is_whitespace()).collect();
    if trimmed != inner && !trimmed.is_empty() {
        let message = format!("`${{{inner}}}` has spaces in it");
        return (DecodeErrorKind::BadReference, message, Some(format!("write `${{{trimmed}}}`")));
    }
    let word = parts.first().copied().unwrap_or_default();
    let Some((_, named, fields)) = KINDS.iter().find(|(kind, ..)| *kind == word) else {
        let words = KINDS.map(|(kind, ..)| kind);
        let help = match nearest(word, words) {
            Some(near) => format!("did you mean `{}`?", form(near)),
            None if parts.len() == 1 => {
                format!("a reference is one of {}; `$${{` stands for `${{` as it is", words.join(", "))
            }
            None => format!("a reference is one of {}", words.join(", ")),
        };
        return (DecodeErrorKind::UnknownReference, format!("there is no reference `${{{inner}}}`"), Some(help));
    };
    let name = if *named { parts.get(1).copied().unwrap_or("NAME") } else { "" };
    let last = parts.get(1 + usize::from(*named)).copied();
    let near = last.and_then(|last| nearest(last, fields.iter().copied()));
    let help = match near.or(fields.first().copied().filter(|_| fields.len() == 1)) {
        Some(field) if *named => format!("did you mean `${{{word}.{name}.{field}}}`?"),
        Some(field) => format!("did you mean `${{{word}.{field}}}`?"),
        None => format!("write `{}`", form(word)),
    };
    (DecodeErrorKind::UnknownReference, format!("there is no reference `${{{inner}}}`"), Some(help))
}

/// How references of a kind are written: `${database.NAME.url|migration_url|name}`.
fn form(word: &str) -> String {
    let (named, fields) = KINDS.iter().find(|(kind, ..)| *kind == word).map_or((false, &[][..]), |(_, n, f)| (*n, *f));
    let name = if named { ".NAME" } else { "" };
    let fields = if fields.is_empty() { String::new() } else { format!(".{}", fields.join("|")) };
    format!("${{{word}{name}{fields}}}")
}
