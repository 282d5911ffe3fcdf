//! The journal, as the engine writes it.
//!
//! An append is one statement: it checks the fence, numbers the records, writes them and brings the table of resources up
//! to date. Either all of it is there, or nothing.
//!
//! **Records and resources.** What a record says of a resource goes into the table of resources and not into the record as well: it is large,
//! nobody reads it there, and the two are written together or not at all. Records of earlier releases have it, and are read all the same.
//!
//! **An answer that was lost.** The connection may break after the server has committed and before it says so. Each append
//! therefore carries a batch's id, and rows are unique by batch and place. The store repeats such an append once by itself,
//! under the same id. If that isn't answered either, it tells the engine [`JournalError::Unavailable`] and remembers the id
//! with the content: an append of the same records to the same operation under the same fence is then the same batch. A
//! batch that meets its own rows is there, and that is a success. A process that dies in between knows nothing of it; the
//! next one reads the journal and finds the batch, or not, as a whole.
//!
//! **Waiting for the disk.** What announces an effect waits until it is on the disk, unless the effect is a commit in this same database,
//! which never gets there before it; what tells of one that has happened doesn't wait. PostgreSQL writes in order, so the next announcement, or the operation's end, brings it to the disk. A crash of the
//! server before that loses the end of the journal, and the step is found started: it is looked at again, as after any crash.
//! A process that survives such a crash must not write on behind the gap: each append names how long the journal was when
//! the store last said so, and is refused if it is shorter now.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use freehold_engine::journal::RECORD_VERSION;
use freehold_engine::{Fence, Journal, JournalError, OperationId, Record, StateChange};
use freehold_graph::{ProviderName, Resource, ResourceId, Value};
use sqlx::Row;
use uuid::Uuid;

use crate::document;
use crate::error::{broken_constraint, is_unavailable};
use crate::memory::Memory;
use crate::record::without_state;
use crate::signal::{Appended, Entry, Signal};
use crate::store::Store;

/// The store as the engine sees it: the journal, the leases, the queue. One for each server process.
#[derive(Clone)]
pub struct EngineStore {
    store: Store,
    holder: Arc<str>,
    memory: Arc<Memory>,
}

impl Store {
    /// The engine's part of the store. `holder` is the identity of this process: another one for each start.
    pub fn engine(&self, holder: impl Into<Arc<str>>) -> EngineStore {
        EngineStore { store: self.clone(), holder: holder.into(), memory: Arc::default() }
    }
}

impl EngineStore {
    /// Who takes leases.
    pub fn holder(&self) -> &str {
        &self.holder
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The length of the journal behind the records, and when they were written; `None` if the lease has passed on, or the journal has
    /// lost its end.
    async fn write(
        &self,
        operation: OperationId,
        fence: Fence,
        batch: Uuid,
        records: &[String],
        resources: &Resources,
        wait: &str,
    ) -> Result<Option<(i64, DateTime<Utc>)>, sqlx::Error> {
        let written = sqlx::query(APPEND)
            .bind(operation.0)
            .bind(fence.0)
            .bind(batch)
            .bind(i16::try_from(RECORD_VERSION).unwrap_or(i16::MAX))
            .bind(records)
            .bind(&resources.ids)
            .bind(&resources.types)
            .bind(&resources.identities)
            .bind(&resources.objects)
            .bind(&resources.bodies)
            .bind(&resources.dependencies)
            .bind(&resources.states)
            .bind(&resources.gone)
            .bind(self.memory.length(operation, fence))
            .bind(wait)
            .bind(document::written::<Value>())
            .bind(document::written::<BTreeSet<ResourceId>>())
            .fetch_optional(self.store.engine_pool())
            .await?;
        written.map(|row| Ok((row.try_get("length")?, row.try_get("at")?))).transpose()
    }
}

const APPEND: &str = "
    WITH held AS (
        UPDATE leases SET seq = seq + cardinality($5::text[])
        WHERE operation = $1 AND fence = $2 AND seq >= $14
        RETURNING tenant_id, stack, seq, seq - cardinality($5::text[]) AS before, clock_timestamp() AS at
    ), written AS (
        INSERT INTO journal (tenant_id, operation, seq, batch, place, version, record, at)
        SELECT held.tenant_id, $1, held.before + new.place, $3, new.place, $4, new.record::json, held.at
        FROM held, unnest($5::text[]) WITH ORDINALITY AS new (record, place)
    ), kept AS (
        INSERT INTO resources (tenant_id, stack, id, type, identity, object, body, body_version, depends_on, depends_on_version,
                               state, operation)
        SELECT held.tenant_id, held.stack, new.id, new.type, new.identity, new.object, new.body::json, $16, new.depends_on::json,
               $17, new.state, $1
        FROM held, unnest($6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[])
                   AS new (id, type, identity, object, body, depends_on, state)
        ON CONFLICT (tenant_id, stack, id) DO UPDATE SET
            type = excluded.type, identity = excluded.identity, body = excluded.body,
            body_version = excluded.body_version, depends_on = excluded.depends_on,
            depends_on_version = excluded.depends_on_version, state = excluded.state, operation = excluded.operation, changed_at = excluded.changed_at,
            -- A change that has begun says nothing of the object: it is still the one that was there.
            object = CASE WHEN excluded.state = 'pending' THEN resources.object ELSE excluded.object END
    ), removed AS (
        DELETE FROM resources USING held
        WHERE resources.tenant_id = held.tenant_id AND resources.stack = held.stack AND resources.id = ANY ($13::text[])
    )
    SELECT seq AS length, at, set_config('synchronous_commit', $15, true) FROM held";

#[async_trait]
impl Journal for EngineStore {
    async fn append(&self, operation: OperationId, fence: Fence, records: &[Record]) -> Result<(), JournalError> {
        if records.is_empty() {
            return Ok(());
        }
        let resources = Resources::last_of(records)?;
        let wait = if records.iter().any(announces_outside) { "on" } else { "off" };
        let lines: Vec<String> = records.iter().map(|record| json(&without_state(record))).collect::<Result<_, _>>()?;
        let batch = self.memory.batch(operation, fence, &lines);
        // Before it is sent: the engine drops an append that takes too long, and comes back with the same records.
        self.memory.doubt(operation, fence, batch, lines.clone());
        let mut written = self.write(operation, fence, batch, &lines, &resources, wait).await;
        if written.as_ref().is_err_and(is_unavailable) {
            written = self.write(operation, fence, batch, &lines, &resources, wait).await;
        }
        let written = match written {
            Ok(Some(written)) => Some(written),
            Ok(None) => return Err(JournalError::Fenced),
            Err(error) if broken_constraint(&error) == Some("journal_batch") => None,
            Err(error) => return Err(unavailable(error)),
        };
        self.memory.settle(operation, fence, batch, written.map(|(length, _)| length));
        self.store.signals().send(match written {
            Some((length, at)) => Signal::Appended(Arc::new(appended(operation, records, length, at))),
            None => Signal::Grown(operation),
        });
        Ok(())
    }

    async fn load(&self, operation: OperationId) -> Result<Vec<Record>, JournalError> {
        let rows = sqlx::query(
            "SELECT version, record::text AS record FROM journal
             WHERE tenant_id = (SELECT tenant_id FROM operations WHERE id = $1) AND operation = $1 ORDER BY seq",
        )
        .bind(operation.0)
        .fetch_all(self.store.engine_pool())
        .await
        .map_err(unavailable)?;
        self.memory.forget(operation);
        rows.iter()
            .map(|row| {
                let version: i16 = row.try_get("version").map_err(unavailable)?;
                let record: String = row.try_get("record").map_err(unavailable)?;
                parse(version, &record)
            })
            .collect()
    }
}

/// Whether a record announces an effect on anything but this database.
fn announces_outside(record: &Record) -> bool {
    match record {
        Record::StepStarted { state: StateChange::Pending(resource), .. } => {
            resource.kind.provider() != ProviderName::Store
        }
        Record::StepStarted {
            state: StateChange::None | StateChange::Applied { .. } | StateChange::Gone(_), ..
        } => true,
        Record::Acquired { .. }
        | Record::StepDone { .. }
        | Record::StepFailed { .. }
        | Record::StepUnknown { .. }
        | Record::Ready
        | Record::Waiting { .. }
        | Record::CancelRequested
        | Record::Finished { .. } => false,
    }
}

/// What a journal of this length ends with.
fn appended(operation: OperationId, records: &[Record], length: i64, at: DateTime<Utc>) -> Appended {
    let before = u64::try_from(length).unwrap_or_default().saturating_sub(records.len() as u64);
    let entries = (before + 1..).zip(records).map(|(sequence, record)| Entry::of(sequence, at, Some(record))).collect();
    Appended { operation, entries }
}

/// Reads a record of this release or an earlier one.
pub(crate) fn parse(version: i16, record: &str) -> Result<Record, JournalError> {
    if u16::try_from(version).map_or(true, |version| version > RECORD_VERSION) {
        return Err(JournalError::Unreadable(format!(
            "a record has version {version}, this release reads up to {RECORD_VERSION}"
        )));
    }
    serde_json::from_str(record).map_err(|error| JournalError::Damaged(error.to_string()))
}

/// The same for those who only watch: `None` for what can't be read, because a newer release wrote it or it is damaged.
pub(crate) fn parse_for_people(record: &str) -> Option<Record> {
    serde_json::from_str(record).ok()
}

fn json<T: serde::Serialize>(value: &T) -> Result<String, JournalError> {
    serde_json::to_string(value).map_err(|error| JournalError::Unreadable(error.to_string()))
}

/// An error of PostgreSQL as the engine's traits know it. What isn't trouble with the connection won't pass by itself.
pub(crate) fn unavailable(error: sqlx::Error) -> JournalError {
    if is_unavailable(&error) {
        JournalError::Unavailable(error.to_string())
    } else {
        JournalError::Unreadable(error.to_string())
    }
}

/// What a batch says of resources, in columns: for each resource the last word.
#[derive(Default)]
struct Resources {
    ids: Vec<String>,
    types: Vec<&'static str>,
    identities: Vec<String>,
    objects: Vec<Option<String>>,
    bodies: Vec<String>,
    dependencies: Vec<String>,
    states: Vec<&'static str>,
    gone: Vec<String>,
}

impl Resources {
    fn last_of(records: &[Record]) -> Result<Self, JournalError> {
        let mut last: BTreeMap<&ResourceId, &StateChange> = BTreeMap::new();
        for record in records {
            let (Record::StepStarted { state, .. } | Record::StepDone { state, .. }) = record else { continue };
            match state {
                StateChange::None => {}
                StateChange::Pending(resource) | StateChange::Applied { resource, .. } => {
                    last.insert(&resource.id, state);
                }
                StateChange::Gone(id) => {
                    last.insert(id, state);
                }
            }
        }
        let mut columns = Self::default();
        for (id, state) in last {
            match state {
                StateChange::None => {}
                StateChange::Pending(resource) => columns.keep(resource, None, "pending")?,
                StateChange::Applied { resource, object } => columns.keep(resource, object.clone(), "applied")?,
                StateChange::Gone(_) => columns.gone.push(id.0.clone()),
            }
        }
        Ok(columns)
    }

    fn keep(&mut self, resource: &Resource, object: Option<String>, state: &'static str) -> Result<(), JournalError> {
        self.ids.push(resource.id.0.clone());
        self.types.push(resource.kind.written());
        self.identities.push(resource.identity.clone());
        self.objects.push(object);
        self.bodies.push(resource.body.to_string());
        self.dependencies.push(json(&resource.depends_on)?);
        self.states.push(state);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use freehold_graph::ResourceKind;

    use super::*;

    #[test]
    fn only_effects_outside_this_database_are_announced_on_the_disk() {
        let resource = |kind| {
            let (id, identity) = (ResourceId("a.b".to_owned()), "b".to_owned());
            Box::new(Resource { id, kind, identity, body: Value::Null, depends_on: BTreeSet::new() })
        };
        let starts = |state| Record::StepStarted { step: "create/a.b".parse().unwrap(), attempt: 1, state };
        assert!(!announces_outside(&starts(StateChange::Pending(resource(ResourceKind::StoreSecret)))));
        for kind in [ResourceKind::PostgresRoles, ResourceKind::LocalService, ResourceKind::Namespace] {
            assert!(announces_outside(&starts(StateChange::Pending(resource(kind)))), "{kind:?}");
        }
        // A deletion, or a run.
        assert!(announces_outside(&starts(StateChange::None)));
        let state = StateChange::Applied { resource: resource(ResourceKind::LocalService), object: None };
        assert!(!announces_outside(&Record::StepDone { step: "create/a.b".parse().unwrap(), state, note: None }));
    }

    #[test]
    fn a_call_without_an_answer_is_read_as_the_release_before_wrote_it() {
        let before = r#"{"record":"step-unknown","step":"create/database.main","message":"no answer"}"#;
        let record = Record::StepUnknown {
            step: "create/database.main".parse().unwrap(),
            message: "no answer".to_owned(),
            retry_after_milliseconds: None,
        };
        assert_eq!(parse(3, before).unwrap(), record);
        assert_eq!(json(&record).unwrap(), before);
    }
}
