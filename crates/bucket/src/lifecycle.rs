//! What goes by itself after its time.

use std::sync::Arc;

use uuid::Uuid;

use crate::error::BucketError;
use crate::index::{self, Entry, OBJECTS};
use crate::store::{Condition, Store};
use crate::upload::Listed;

/// Milliseconds of a day.
const DAY: i64 = 24 * 60 * 60 * 1000;
/// When an upload goes that no rule says anything of, in days: nobody sees it, and it counts.
const UPLOADS: u32 = 7;
/// How many versions are looked at in one transaction.
const AT_ONCE: usize = 1000;

/// A rule for the objects below a prefix.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    /// Empty for all.
    pub prefix: String,
    /// Days after which an object goes; with versions it is marked as deleted.
    pub expire_days: Option<u32>,
    /// Days after which a former version goes, counted from when it became one.
    pub noncurrent_days: Option<u32>,
    /// Days after which an unfinished upload goes. Without it, after 7.
    pub uploads_days: Option<u32>,
}

/// How much went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Objects that expired.
    pub objects: usize,
    /// Former versions, and marks with nothing behind them.
    pub versions: usize,
    /// Uploads that nobody completed.
    pub uploads: usize,
}

/// How many uploads are looked at together.
const SWEPT_AT_ONCE: usize = 1000;

/// What goes: an object if it has a time, else a version of it.
struct Due {
    key: String,
    version: Option<String>,
    modified: Option<i64>,
}

impl Due {
    fn version(key: &str, entry: &Entry) -> Self {
        Self { key: key.to_owned(), version: Some(entry.version_text().to_owned()), modified: None }
    }
}

impl Store {
    /// Removes all whose time is over, at a time in milliseconds since 1970. Blocks.
    ///
    /// # Errors
    /// The bucket can't be read or written. What is left goes the next time.
    pub fn sweep(self: &Arc<Self>, rules: &[Rule], now: i64) -> Result<Swept, BucketError> {
        let mut swept = Swept::default();
        let mut from = Vec::new();
        loop {
            let (due, next) = self.due(rules, &from, now)?;
            for Due { key, version, modified } in due {
                // An object that was written meanwhile is another one.
                let condition = Condition { modified, ..Condition::default() };
                match self.delete(&key, version.as_deref(), &condition, now) {
                    Ok(_) => *if modified.is_some() { &mut swept.objects } else { &mut swept.versions } += 1,
                    Err(BucketError::Precondition(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            match next {
                Some(next) => from = next,
                None => break,
            }
        }
        let mut after: Option<(String, Uuid)> = None;
        loop {
            let place = after.as_ref().map(|(key, upload)| (key.as_str(), Some(*upload)));
            let (uploads, more) = self.list_uploads("", place, SWEPT_AT_ONCE)?;
            after = uploads.last().map(|(key, upload, _)| (key.clone(), *upload));
            self.sweep_uploads(rules, uploads, now, &mut swept)?;
            if !more {
                return Ok(swept);
            }
        }
    }

    /// Ends the uploads that have been open for too long.
    fn sweep_uploads(
        &self,
        rules: &[Rule],
        uploads: Vec<Listed>,
        now: i64,
        swept: &mut Swept,
    ) -> Result<(), BucketError> {
        for (key, upload, record) in uploads {
            let days = rules_of(rules, &key).filter_map(|rule| rule.uploads_days).min().unwrap_or(UPLOADS);
            if record.begun.saturating_add(i64::from(days) * DAY) <= now {
                match self.abort(&key, upload) {
                    Ok(()) => swept.uploads += 1,
                    // Completed meanwhile.
                    Err(BucketError::NoSuchUpload) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// What is due from a place on, and where to go on.
    fn due(&self, rules: &[Rule], from: &[u8], now: i64) -> Result<(Vec<Due>, Option<Vec<u8>>), BucketError> {
        let over =
            |since: i64, days: Option<u32>| days.is_some_and(|days| since.saturating_add(i64::from(days) * DAY) <= now);
        self.index.read(|transaction| {
            let table = transaction.open_table(OBJECTS).map_err(BucketError::index)?;
            let mut due = Vec::new();
            // The key, and since when its next older version isn't the newest.
            let mut last: Option<(String, i64)> = None;
            for (number, pair) in table.range(from..).map_err(BucketError::index)?.enumerate() {
                let (place, value) = pair.map_err(BucketError::index)?;
                let Some(key) = index::key_of(place.value()) else { continue };
                let same = last.as_ref().filter(|(former, _)| former == key).map(|(_, since)| *since);
                if same.is_none() && number >= AT_ONCE {
                    return Ok((due, Some(index::first_place(key))));
                }
                let entry: Entry = index::read(value.value())?;
                let rule = |of: fn(&Rule) -> Option<u32>| rules_of(rules, key).filter_map(of).min();
                match same {
                    None if !entry.marker && over(entry.modified, rule(|rule| rule.expire_days)) => {
                        due.push(Due { key: key.to_owned(), version: None, modified: Some(entry.modified) });
                    }
                    Some(since) if over(since, rule(|rule| rule.noncurrent_days)) => {
                        due.push(Due::version(key, &entry));
                    }
                    None if entry.marker && over(entry.modified, rule(|rule| rule.noncurrent_days)) => {
                        // Only a mark with nothing behind it says nothing.
                        if index::versions(&table, key)?.len() == 1 {
                            due.push(Due::version(key, &entry));
                        }
                    }
                    None | Some(_) => {}
                }
                last = Some((key.to_owned(), entry.modified));
            }
            Ok((due, None))
        })
    }
}

fn rules_of<'r>(rules: &'r [Rule], key: &'r str) -> impl Iterator<Item = &'r Rule> {
    rules.iter().filter(move |rule| key.starts_with(&rule.prefix))
}
