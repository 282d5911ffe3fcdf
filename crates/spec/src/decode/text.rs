//! Texts: names, quantities, words, schedules, texts with references. Paths are in `path`.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::str::FromStr;

use serde_json::{Value as Json, json};
use toml::de::DeValue;

use super::context::Context;
use super::error::{DecodeError, DecodeErrorKind};
use super::kind::{Value, ValueKind, wrong_type};
use super::reference;
use super::schema::Definitions;
use crate::name::{EnvName, LONGEST_NAME, Name};
use crate::nearest::nearest;
use crate::part::Read;
use crate::quantity::{self, Cpu, Memory, QuantityError, Seconds, Storage};
use crate::schedule::Schedule;
use crate::template::Template;

/// Why a text is wrong.
pub(crate) struct Rejection {
    kind: DecodeErrorKind,
    message: String,
    help: Option<String>,
}

impl Rejection {
    pub(crate) fn new(kind: DecodeErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), help: None }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// A way to read a text.
pub(crate) trait TextKind {
    /// What comes out.
    type Value;

    /// How the JSON Schema describes it.
    fn schema() -> Json;

    /// The value of a text, or why it has none.
    fn parse(text: &str) -> Result<Self::Value, Rejection>;

    /// Reads it, and reports what is wrong.
    fn read(context: &mut Context<'_>, place: Range<usize>, text: &str) -> Option<Self::Value> {
        let rejection = match Self::parse(text) {
            Ok(value) => return Some(value),
            Err(rejection) => rejection,
        };
        let path = context.path();
        let prefix = if path.is_empty() { String::new() } else { format!("`{path}`: ") };
        let mut error = DecodeError::new(rejection.kind, context.span(place), format!("{prefix}{}", rejection.message));
        error.help = rejection.help;
        context.report(error);
        None
    }
}

/// A text of some kind, as a value.
pub(crate) struct Text<T>(PhantomData<T>);

impl<T: TextKind> ValueKind for Text<T> {
    type Value = T::Value;

    fn schema(_: &mut Definitions) -> Json {
        let mut schema = T::schema();
        if let Json::Object(fields) = &mut schema {
            fields.insert("type".to_owned(), json!("string"));
        }
        schema
    }

    fn decode(context: &mut Context<'_>, value: &Value<'_>) -> Option<T::Value> {
        let DeValue::String(text) = value.get_ref() else {
            wrong_type(context, value, "a text");
            return None;
        };
        T::read(context, value.span(), text)
    }
}

/// Nothing that is passed to another program may contain a NUL.
pub(super) fn without_nul(text: &str) -> Result<&str, Rejection> {
    if text.contains('\0') {
        return Err(Rejection::new(DecodeErrorKind::BadText, "the character NUL can't be used here"));
    }
    Ok(text)
}

/// The name of a part of the app.
pub(crate) struct PartName;

impl TextKind for PartName {
    type Value = Name;

    fn schema() -> Json {
        json!({ "pattern": "^[a-z][a-z0-9]*(-[a-z0-9]+)*$", "maxLength": LONGEST_NAME })
    }

    fn parse(text: &str) -> Result<Name, Rejection> {
        text.parse().map_err(|error: crate::NameError| {
            let rejection = Rejection::new(DecodeErrorKind::BadName, format!("{text:?} can't be a name: {error}"));
            match corrected(text) {
                Some(name) => rejection.help(format!("{:?} would do", name.as_str())),
                None => rejection,
            }
        })
    }
}

/// The nearest text that is a name.
fn corrected(text: &str) -> Option<Name> {
    let letters =
        text.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect::<String>();
    let words: Vec<&str> = letters.split('-').filter(|word| !word.is_empty()).collect();
    words.join("-").parse().ok()
}

/// The name of an environment variable.
pub(crate) struct Variable;

impl TextKind for Variable {
    type Value = EnvName;

    fn schema() -> Json {
        json!({ "pattern": "^[A-Za-z_][A-Za-z0-9_]*$" })
    }

    fn parse(text: &str) -> Result<EnvName, Rejection> {
        text.parse().map_err(|error: crate::NameError| Rejection::new(DecodeErrorKind::BadName, error.to_string()))
    }
}

/// A variable of the contract: `NAME`, or `NAME?` if the app does without it.
pub(crate) struct Contract;

impl TextKind for Contract {
    type Value = Read;

    fn schema() -> Json {
        json!({ "pattern": "^[A-Za-z_][A-Za-z0-9_]*\\??$" })
    }

    fn parse(text: &str) -> Result<Read, Rejection> {
        let (name, optional) = text.strip_suffix('?').map_or((text, false), |name| (name, true));
        Variable::parse(name).map(|name| Read { name, optional })
    }
}

/// A quantity with a unit.
pub(crate) trait Quantity: FromStr<Err = QuantityError> {
    /// Regular expression of a single one.
    const PATTERN: &'static str;
    /// The amount in the smallest unit.
    fn amount(&self) -> u64;
}

impl Quantity for Cpu {
    const PATTERN: &'static str = "[0-9]+m?";
    fn amount(&self) -> u64 {
        self.0
    }
}

impl Quantity for Memory {
    const PATTERN: &'static str = "[0-9]+(Ki|Mi|Gi|Ti)";
    fn amount(&self) -> u64 {
        self.0
    }
}

impl Quantity for Storage {
    const PATTERN: &'static str = Memory::PATTERN;
    fn amount(&self) -> u64 {
        self.0
    }
}

impl Quantity for Seconds {
    const PATTERN: &'static str = "[0-9]+[smhd]";
    fn amount(&self) -> u64 {
        self.0
    }
}

/// More than any machine has, and small enough that sums of a few hundred don't overflow.
const MOST: u64 = 1 << 52;

fn amount<T: Quantity>(text: &str, least: u64, most: u64) -> Result<T, Rejection> {
    let quantity: T =
        text.parse().map_err(|error: QuantityError| Rejection::new(DecodeErrorKind::BadQuantity, error.to_string()))?;
    match quantity.amount() {
        amount if amount < least => Err(Rejection::new(DecodeErrorKind::OutOfRange, format!("{text:?} is too little"))),
        amount if amount > most => Err(Rejection::new(DecodeErrorKind::OutOfRange, format!("{text:?} is too much"))),
        _ => Ok(quantity),
    }
}

/// A single quantity above zero.
pub(crate) struct Amount<T>(PhantomData<T>);

impl<T: Quantity> TextKind for Amount<T> {
    type Value = T;

    fn schema() -> Json {
        json!({ "pattern": format!("^{}$", T::PATTERN) })
    }

    fn parse(text: &str) -> Result<T, Rejection> {
        amount(text, 1, MOST)
    }
}

/// A single quantity from `LEAST` to `MOST`, both in the smallest unit.
pub(crate) struct Bounded<T, const LEAST: u64, const MOST: u64>(PhantomData<T>);

impl<T: Quantity + fmt::Display + From<u64>, const LEAST: u64, const MOST: u64> TextKind for Bounded<T, LEAST, MOST> {
    type Value = T;

    fn schema() -> Json {
        json!({ "pattern": format!("^{}$", T::PATTERN) })
    }

    fn parse(text: &str) -> Result<T, Rejection> {
        amount(text, LEAST, MOST).map_err(|rejection| {
            if rejection.kind != DecodeErrorKind::OutOfRange {
                return rejection;
            }
            rejection.help(format!("it goes from {} to {}", T::from(LEAST), T::from(MOST)))
        })
    }
}

/// A request and a limit: `"100m..500m"`.
pub(crate) struct Limits<T>(PhantomData<T>);

impl<T: Quantity + Copy + PartialOrd> TextKind for Limits<T> {
    type Value = quantity::Range<T>;

    fn schema() -> Json {
        json!({ "pattern": format!("^{0}(\\.\\.{0})?$", T::PATTERN) })
    }

    fn parse(text: &str) -> Result<quantity::Range<T>, Rejection> {
        let range: quantity::Range<T> = text
            .parse()
            .map_err(|error: QuantityError| Rejection::new(DecodeErrorKind::BadQuantity, error.to_string()))?;
        let parts = text.split_once("..").map_or((text, text), |parts| parts);
        amount::<T>(parts.0, 1, MOST)?;
        amount::<T>(parts.1, 1, MOST)?;
        Ok(range)
    }
}

/// A duration from `LEAST` seconds to `MOST` days.
pub(crate) struct Duration<const LEAST: u64, const MOST: u64>;

impl<const LEAST: u64, const MOST: u64> TextKind for Duration<LEAST, MOST> {
    type Value = Seconds;

    fn schema() -> Json {
        json!({ "pattern": format!("^{}$", Seconds::PATTERN) })
    }

    fn parse(text: &str) -> Result<Seconds, Rejection> {
        amount(text, LEAST, MOST * 86_400).map_err(|rejection| {
            if rejection.kind != DecodeErrorKind::OutOfRange {
                return rejection;
            }
            rejection.help(format!("it goes from {} to {}", Seconds(LEAST), Seconds(MOST * 86_400)))
        })
    }
}

/// One of a few words.
pub(crate) trait Word: Copy + 'static {
    /// The words, their values, and what they mean.
    const WORDS: &'static [(&'static str, Self)];
}

/// One of a few words, as a text.
pub(crate) struct OneOf<T>(PhantomData<T>);

impl<T: Word> TextKind for OneOf<T> {
    type Value = T;

    fn schema() -> Json {
        json!({ "enum": T::WORDS.iter().map(|(word, _)| *word).collect::<Vec<_>>() })
    }

    fn parse(text: &str) -> Result<T, Rejection> {
        if let Some((_, value)) = T::WORDS.iter().find(|(word, _)| *word == text) {
            return Ok(*value);
        }
        let words: Vec<_> = T::WORDS.iter().map(|(word, _)| format!("{word:?}")).collect();
        let message = format!("{text:?} is not one of {}", words.join(", "));
        let rejection = Rejection::new(DecodeErrorKind::UnknownWord, message);
        Err(match nearest(text, T::WORDS.iter().map(|(word, _)| *word)) {
            Some(word) => rejection.help(format!("did you mean {word:?}?")),
            None => rejection,
        })
    }
}

/// A cron expression.
pub(crate) struct Cron;

impl TextKind for Cron {
    type Value = String;

    fn schema() -> Json {
        json!({ "pattern": "^\\s*\\S+(\\s+\\S+){4}\\s*$" })
    }

    fn parse(text: &str) -> Result<String, Rejection> {
        match Schedule::parse(text) {
            Ok(_) => Ok(text.to_owned()),
            Err(error) => {
                Err(Rejection::new(DecodeErrorKind::BadSchedule, format!("{text:?} is no schedule: {error}"))
                    .help("\"0 6 * * *\" is every day at 6:00 UTC; \"*/15 * * * *\" is every 15 minutes"))
            }
        }
    }
}

/// Any text that isn't empty.
pub(crate) struct Plain;

impl TextKind for Plain {
    type Value = String;

    fn schema() -> Json {
        json!({ "minLength": 1 })
    }

    fn parse(text: &str) -> Result<String, Rejection> {
        if text.is_empty() || text.trim() != text {
            return Err(Rejection::new(DecodeErrorKind::BadText, "a text without spaces around it is needed here"));
        }
        Ok(without_nul(text)?.to_owned())
    }
}

/// What keys of objects begin with: any text, as long as a key may be.
pub(crate) struct KeyPrefix;

/// The longest key of an object, in bytes, as in S3.
const LONGEST_KEY: usize = 1024;

impl TextKind for KeyPrefix {
    type Value = String;

    fn schema() -> Json {
        json!({ "maxLength": LONGEST_KEY })
    }

    fn parse(text: &str) -> Result<String, Rejection> {
        if text.len() > LONGEST_KEY {
            let message = format!("keys of objects have at most {LONGEST_KEY} bytes");
            return Err(Rejection::new(DecodeErrorKind::BadText, message));
        }
        Ok(without_nul(text)?.to_owned())
    }
}

/// A program or one of its arguments. References aren't resolved in it: a command line can be read by everybody on the
/// machine, so nothing secret may get into one.
pub(crate) struct Argument;

impl TextKind for Argument {
    type Value = String;

    fn schema() -> Json {
        json!({})
    }

    fn parse(text: &str) -> Result<String, Rejection> {
        if reference::looks_like_one(text) {
            return Err(Rejection::new(DecodeErrorKind::BadText, "references aren't resolved in a command")
                .help("set a variable in `env` and let the program read it"));
        }
        Ok(without_nul(text)?.to_owned())
    }
}

/// The name of a field of a message's header that a definition may change. In lower case, as names differ in nothing else.
pub(crate) struct HttpHeader;

/// Fields that say how a message is framed or where it goes, which only the entrance can know; and those by which services know who asks.
const NOT_OURS: [&str; 15] = [
    "connection",
    "content-encoding",
    "content-length",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-real-ip",
];

impl TextKind for HttpHeader {
    type Value = String;

    fn schema() -> Json {
        json!({ "pattern": "^[A-Za-z0-9-]+$", "maxLength": 256 })
    }

    fn parse(text: &str) -> Result<String, Rejection> {
        let rejection = |why: String| Rejection::new(DecodeErrorKind::BadText, format!("{text:?} {why}"));
        // HTTP has more letters (RFC 9110, 5.6.2), of which servers make the same variable as of a hyphen.
        let odd = text.chars().find(|c| !c.is_ascii_alphanumeric() && *c != '-');
        match odd {
            Some(odd) => Err(rejection(format!("is no name of a header field: it has {odd:?} in it"))),
            None if text.is_empty() || text.len() > 256 => {
                Err(rejection("is no name of a header field: 1 to 256 characters are".to_owned()))
            }
            None => {
                let name = text.to_ascii_lowercase();
                if NOT_OURS.contains(&name.as_str()) || name.starts_with("x-forwarded-") || name == "x-request-id" {
                    return Err(rejection("is set by the entrance alone".to_owned()));
                }
                Ok(name)
            }
        }
    }
}

/// The name of a user in HTTP's basic authentication.
pub(crate) struct UserName;

impl TextKind for UserName {
    type Value = String;

    fn schema() -> Json {
        json!({ "pattern": "^[A-Za-z0-9._@-]{1,64}$" })
    }

    fn parse(text: &str) -> Result<String, Rejection> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '@' | '-');
        if (1..=64).contains(&text.len()) && text.chars().all(fits) {
            return Ok(text.to_owned());
        }
        let message = format!("{text:?} can't be a user name: 1 to 64 letters, digits, `.`, `_`, `@` and `-` are");
        Err(Rejection::new(DecodeErrorKind::BadName, message))
    }
}

/// A text with references in it.
pub(crate) struct WithReferences;

impl ValueKind for WithReferences {
    type Value = Template;

    fn schema(_: &mut Definitions) -> Json {
        json!({ "type": "string" })
    }

    fn decode(context: &mut Context<'_>, value: &Value<'_>) -> Option<Template> {
        let DeValue::String(text) = value.get_ref() else {
            wrong_type(context, value, "a text");
            return None;
        };
        if let Err(rejection) = without_nul(text) {
            let span = context.span(value.span());
            context.report_here(rejection.kind, span, rejection.message);
            return None;
        }
        let locate = context.places_in_text(value.span(), text);
        match reference::parse(text, locate) {
            Ok(template) => Some(template),
            Err(errors) => {
                errors.into_iter().for_each(|error| context.report(error));
                None
            }
        }
    }
}
