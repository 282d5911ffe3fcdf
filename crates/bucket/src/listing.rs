//! Listings: keys in the order of their bytes, those with a common prefix as one.

use crate::error::BucketError;
use crate::index::{self, Entry, OBJECTS};
use crate::store::Store;

/// What is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Query<'a> {
    pub(crate) prefix: &'a str,
    /// Keys are one as far as the first of these after the prefix. Empty for none.
    pub(crate) delimiter: &'a str,
    /// Only what follows this key or common prefix.
    pub(crate) after: Option<&'a str>,
    /// Within that key, only what follows this version.
    pub(crate) after_version: Option<&'a str>,
    pub(crate) most: usize,
    /// All versions and marks, not only the newest objects.
    pub(crate) all_versions: bool,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// A version, and whether it is the newest of its key.
    Version(String, Box<Entry>, bool),
    /// A common prefix.
    Prefix(String),
}

impl Found {
    /// What to go on after.
    pub(crate) fn marker(&self) -> (&str, Option<&str>) {
        match self {
            Self::Version(key, entry, _) => (key, Some(entry.version_text())),
            Self::Prefix(prefix) => (prefix, None),
        }
    }
}

impl Store {
    /// What there is, and whether there is more. Blocks.
    pub(crate) fn list(&self, query: &Query<'_>) -> Result<(Vec<Found>, bool), BucketError> {
        self.index.read(|transaction| {
            let table = transaction.open_table(OBJECTS).map_err(BucketError::index)?;
            let mut from = beginning(query);
            let mut skipping = query.after_version;
            let mut found = Vec::new();
            // Whose newest version has been seen.
            let mut current: Option<String> = None;
            'seek: loop {
                for pair in table.range(from.as_slice()..).map_err(BucketError::index)? {
                    let (place, value) = pair.map_err(BucketError::index)?;
                    let Some(key) = index::key_of(place.value()) else { continue };
                    let Some(rest) = key.strip_prefix(query.prefix) else { return Ok((found, false)) };
                    let entry: Entry = index::read(value.value())?;
                    let newest = current.as_deref() != Some(key);
                    if newest {
                        current = Some(key.to_owned());
                    }
                    if query.after == Some(key)
                        && let Some(version) = skipping
                    {
                        if version == entry.version_text() {
                            skipping = None;
                        }
                        continue;
                    }
                    if !query.all_versions && entry.marker {
                        from = index::after_place(key);
                        continue 'seek;
                    }
                    if found.len() == query.most {
                        return Ok((found, true));
                    }
                    if let Some(common) = common(query.delimiter, key, rest) {
                        from = beyond(&common);
                        found.push(Found::Prefix(common));
                        continue 'seek;
                    }
                    let next = index::after_place(key);
                    found.push(Found::Version(key.to_owned(), Box::new(entry), newest));
                    if !query.all_versions {
                        from = next;
                        continue 'seek;
                    }
                }
                return Ok((found, false));
            }
        })
    }
}

/// The least place that can be part of the answer.
fn beginning(query: &Query<'_>) -> Vec<u8> {
    let prefix = query.prefix.as_bytes().to_vec();
    let Some(after) = query.after else { return prefix };
    let follows = match (query.after_version, after.strip_prefix(query.prefix)) {
        (Some(_), _) => index::first_place(after),
        // Whatever is below a common prefix has been listed with it.
        (None, Some(rest)) if common(query.delimiter, after, rest).as_deref() == Some(after) => beyond(after),
        (None, _) => index::after_place(after),
    };
    prefix.max(follows)
}

fn common(delimiter: &str, key: &str, rest: &str) -> Option<String> {
    if delimiter.is_empty() {
        return None;
    }
    let end = key.len() - rest.len() + rest.find(delimiter)? + delimiter.len();
    key.get(..end).map(str::to_owned)
}

/// After all that begins with a text. UTF-8 has no byte 255.
fn beyond(text: &str) -> Vec<u8> {
    let mut place = text.as_bytes().to_vec();
    place.push(u8::MAX);
    place
}
