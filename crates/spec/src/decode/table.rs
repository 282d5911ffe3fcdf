//! Tables with fixed keys: the macro that describes one, and the reader that it uses.

use toml::de::{DeTable, DeValue};

use super::context::Context;
use super::error::{DecodeError, DecodeErrorKind};
use super::kind::{Value, ValueKind, wrong_type};
use super::layer::LAYERS;
use crate::nearest::nearest;
use crate::span::Span;

/// Describes a table once: `decode` and `schema` both come from it.
///
/// ```text
/// table! {
///     /// Documentation.
///     "word" TableKind -> Struct { span:            the struct's field for the place, if it has one
///         /// Documentation.
///         field ["key"]: required Kind;             the key only where it differs from the field
///         field: optional Kind;
///         field: default Kind = "toml";             the default as one would write it
///     }
/// }
/// ```
macro_rules! table {
    (@key $field:ident) => { stringify!($field) };
    (@key $field:ident $key:literal) => { $key };
    (
        $(#[doc = $about:literal])+
        $word:literal $name:ident -> $target:ident { $($span:ident:)?
            $($(#[doc = $doc:literal])+ $field:ident $([$key:literal])? : $need:ident $kind:ty $(= $default:literal)?;)+
        }
    ) => {
        $(#[doc = $about])+
        pub(crate) struct $name;

        impl $name {
            /// Its keys, in the order of the documentation.
            pub(crate) const KEYS: &'static [&'static str] = &[$(table!(@key $field $($key)?)),+];
        }

        impl $crate::decode::kind::ValueKind for $name {
            type Value = $target;

            fn schema(definitions: &mut $crate::decode::schema::Definitions) -> serde_json::Value {
                definitions.table($word, concat!($($about),+), |definitions| vec![$(
                    $crate::decode::schema::Entry {
                        key: table!(@key $field $($key)?),
                        required: stringify!($need) == "required",
                        default: concat!("" $(, $default)?),
                        documentation: concat!($($doc),+),
                        schema: <$kind as $crate::decode::kind::ValueKind>::schema(definitions),
                    },
                )+])
            }

            fn decode(
                context: &mut $crate::decode::context::Context<'_>,
                value: &$crate::decode::kind::Value<'_>,
            ) -> Option<$target> {
                let mut table = $crate::decode::table::Reader::open(context, value, Self::KEYS)?;
                $(let $field = table.$need::<$kind>(table!(@key $field $($key)?), concat!("" $(, $default)?));)+
                // Only now, when all have been read, one that is needed and wrong makes the table wrong.
                Some($target { $($span: table.span,)? $($field: $field?),+ })
            }
        }
    };
}
pub(crate) use table;

/// Keys that people bring along from elsewhere, and what to do instead.
const FROM_ELSEWHERE: [(&str, &str); 6] = [
    ("depends_on", "`${…}` references make the order; nothing has to be said"),
    ("environment", "it is called `env`"),
    ("cron", "it is called `schedule`"),
    ("domain", "it is called `hosts`"),
    ("instances", "it is called `replicas`, and `copies` of a database's server"),
    ("volumes", "persistent data goes into a database or a service's `volumes`"),
];

/// A key of a language before.
struct Renamed {
    /// The tables that had it.
    of: &'static [&'static str],
    key: &'static str,
    /// The language that has it no more.
    since: u8,
    /// What says the same now.
    instead: &'static str,
    /// The key of the same table that stands in its place, if one does.
    now: Option<&'static str>,
}

const RENAMED: [Renamed; 7] = [
    Renamed { of: &LAYERS, key: "cpu", since: 2, instead: "`quota.cpu`", now: None },
    Renamed { of: &LAYERS, key: "memory", since: 2, instead: "`quota.memory`", now: None },
    Renamed { of: &LAYERS, key: "pods", since: 2, instead: "`quota.pods`", now: None },
    Renamed { of: &LAYERS, key: "replicas", since: 2, instead: "`service.NAME.replicas`", now: None },
    Renamed { of: &LAYERS, key: "connections", since: 2, instead: "`database.NAME.connections`", now: None },
    Renamed {
        of: &["route"],
        key: "host",
        since: 3,
        instead: "`hosts = [\"…\"]`, all of which serve",
        now: Some("hosts"),
    },
    Renamed { of: &["database"], key: "storage", since: 4, instead: "`server.storage`", now: None },
];

/// Reads one table.
pub(crate) struct Reader<'c, 's, 'v, 'i> {
    context: &'c mut Context<'s>,
    pub(crate) table: &'v DeTable<'i>,
    /// The table's header, or all of it if it is written in one line.
    pub(crate) span: Span,
    keys: &'v [&'static str],
    /// Keys that are missing because they were written wrong, which has been reported.
    misspelt: Vec<&'static str>,
}

impl<'c, 's, 'v, 'i> Reader<'c, 's, 'v, 'i> {
    /// Starts to read; reports the keys that don't belong here.
    pub(crate) fn open(context: &'c mut Context<'s>, value: &'v Value<'i>, keys: &'v [&'static str]) -> Option<Self> {
        let DeValue::Table(table) = value.get_ref() else {
            wrong_type(context, value, "a table");
            return None;
        };
        let span = context.span(value.span());
        let mut reader = Self { context, table, span, keys, misspelt: Vec::new() };
        reader.unknown_keys();
        Some(reader)
    }

    fn unknown_keys(&mut self) {
        for (key, value) in self.table.iter() {
            if !self.keys.contains(&key.get_ref().as_ref()) {
                let span = self.context.span(key.span());
                let error = self.unknown_key(key.get_ref(), value, span);
                self.context.report(error);
            }
        }
    }

    fn unknown_key(&mut self, key: &str, value: &Value<'_>, span: Span) -> DecodeError {
        let path = self.context.path();
        let place = if path.is_empty() { "a definition".to_owned() } else { format!("`{path}`") };
        let message = format!("{place} has no key `{key}`");
        let error = DecodeError::new(DecodeErrorKind::UnknownKey, span, message);
        let table = path.split('.').next().unwrap_or_default();
        if let Some(renamed) = RENAMED.iter().find(|renamed| renamed.of.contains(&table) && renamed.key == key) {
            self.misspelt.extend(renamed.now);
            return error.help(format!("since language {}: {}", renamed.since, renamed.instead));
        }
        if let Some((_, instead)) = FROM_ELSEWHERE.iter().find(|(word, _)| *word == key) {
            return error.help(*instead);
        }
        if let Some(near) = nearest(key, self.keys.iter().copied().filter(|key| !self.table.contains_key(*key))) {
            self.misspelt.push(near);
            self.context.leave_out(near);
            let table = if matches!(value.get_ref(), DeValue::Table(_)) && path.is_empty() { ".…" } else { "" };
            return error.help(format!("did you mean `{near}{table}`?"));
        }
        error.help(format!("it has {}", self.keys.join(", ")))
    }

    /// A key that has to be there.
    pub(crate) fn required<K: ValueKind>(&mut self, key: &str, _: &str) -> Option<K::Value> {
        let Some(value) = self.table.get(key) else {
            if self.misspelt.contains(&key) {
                return None;
            }
            let path = self.context.path();
            let message = match path.as_str() {
                "" => format!("`[{key}]` is missing"),
                path => format!("`{path}` needs `{key}`"),
            };
            self.context.report(DecodeError::new(DecodeErrorKind::MissingKey, self.span, message));
            return None;
        };
        self.context.below(key, |context| K::decode(context, value))
    }

    /// A key that may be missing; it is left out where it is wrong.
    pub(crate) fn optional<K: ValueKind>(&mut self, key: &str, _: &str) -> Option<Option<K::Value>> {
        let Some(value) = self.table.get(key) else { return Some(None) };
        let value = self.context.below(key, |context| K::decode(context, value));
        if value.is_none() {
            self.context.leave_out(key);
        }
        Some(value)
    }

    /// A key that stands for `default` where it is missing or wrong.
    pub(crate) fn default<K: ValueKind>(&mut self, key: &str, default: &str) -> Option<K::Value> {
        if let Some(value) = self.optional::<K>(key, default)? {
            return Some(value);
        }
        let value = DeValue::parse(default).ok()?;
        let span = self.span;
        self.context.unwritten(span, |context| context.below(key, |context| K::decode(context, &value)))
    }
}
