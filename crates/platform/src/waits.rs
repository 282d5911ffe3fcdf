//! What an operation waits for at the moment, read from its journal.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use freehold_engine::{OperationId, Record};
use freehold_graph::{ResourceId, StackId};
use freehold_problem::{Code, Problem};
use freehold_store::{Stack, TenantId};
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use tracing::warn;

use crate::Result;
use crate::records::Records;
use crate::view::Wait;

/// How many journals are read at once.
const AT_ONCE: usize = 8;

impl Records {
    /// What an operation waits for that is under way.
    pub(super) async fn waits(&self, tenant: TenantId, operation: OperationId) -> Result<Vec<Wait>> {
        let mut tx = self.store.begin(tenant).await?;
        let records = tx.journal(operation, 0).await?;
        Ok(of(records.iter().filter_map(|(_, at, record)| Some((*at, record.as_ref()?)))))
    }

    /// The same of each of these stacks that an operation works on. Of one whose journal can't be read nothing is said.
    pub(super) async fn waits_of(&self, stacks: &[&Stack]) -> Result<BTreeMap<StackId, Vec<Wait>>> {
        let busy = stacks.iter().filter_map(|stack| Some((*stack, stack.operation?)));
        let looks = busy.map(|(stack, operation)| async move {
            let tenant = self.tenant_of(stack).await?;
            let waits = match self.waits(tenant, operation).await {
                Err(failure) if failure.code == Code::StoreUnreadable => {
                    warn!(%operation, "what it waits for can't be told: {}", failure.message);
                    Vec::new()
                }
                waits => waits?,
            };
            Ok::<_, Problem>((stack.id, waits))
        });
        let looks: Vec<_> = looks.map(FutureExt::boxed).collect();
        stream::iter(looks).buffer_unordered(AT_ONCE).try_collect().await
    }
}

/// What is waited for behind these records.
fn of<'a>(records: impl Iterator<Item = (DateTime<Utc>, &'a Record)>) -> Vec<Wait> {
    let mut waits: BTreeMap<&ResourceId, (String, DateTime<Utc>)> = BTreeMap::new();
    for (at, record) in records {
        match record {
            // Another process begins to wait anew.
            Record::Acquired { .. } | Record::Finished { .. } => waits.clear(),
            Record::Waiting { subject, reason: Some(reason), milliseconds, .. } => {
                let age = i64::try_from(*milliseconds).ok().and_then(TimeDelta::try_milliseconds).unwrap_or_default();
                waits.insert(subject, (reason.clone(), at - age));
            }
            Record::Waiting { subject, reason: None, .. } => drop(waits.remove(subject)),
            Record::StepUnknown { step, message, .. } => {
                let wait = waits.entry(step.subject()).or_insert_with(|| (String::new(), at));
                let reason = format!("no answer: {message}");
                if wait.0 != reason {
                    *wait = (reason, at);
                }
            }
            Record::StepDone { step, .. } | Record::StepFailed { step, .. } => drop(waits.remove(step.subject())),
            Record::StepStarted { .. } | Record::Ready | Record::CancelRequested => {}
        }
    }
    waits.into_iter().map(|(subject, (reason, since))| Wait { subject: subject.clone(), reason, since }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use freehold_engine::{StateChange, StepId};

    #[test]
    fn a_wait_lasts_until_another_reason_its_end_or_another_process() {
        let at = |seconds: i64| DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds);
        let waiting = |subject: &str, reason: Option<&str>| Record::Waiting {
            subject: ResourceId(subject.to_owned()),
            reason: reason.map(str::to_owned),
            milliseconds: 3000,
            retry_after_milliseconds: None,
        };
        let step: StepId = "update/database.main".parse().unwrap();
        let records = [
            waiting("deployment.web", Some("0 of 2 ready")),
            waiting("deployment.web", Some("1 of 2 ready")),
            waiting("httproute.web", Some("nobody has looked at it")),
            Record::StepUnknown {
                step: step.clone(),
                message: "the server is away".to_owned(),
                retry_after_milliseconds: Some(400),
            },
            waiting("httproute.web", None),
            Record::StepDone { step, state: StateChange::None, note: None },
            Record::Acquired { times: 2 },
        ];
        let seen = |records: &[Record]| {
            let records = records.iter().enumerate();
            let waits = of(records.map(|(number, record)| (at(10 * i64::try_from(number).unwrap()), record)));
            waits.into_iter().map(|wait| (wait.subject.0, wait.reason, wait.since)).collect::<Vec<_>>()
        };
        let web = ("deployment.web".to_owned(), "1 of 2 ready".to_owned(), at(7));
        assert_eq!(seen(&records[..1]), [("deployment.web".to_owned(), "0 of 2 ready".to_owned(), at(-3))]);
        assert_eq!(seen(&records[..4]).len(), 3);
        assert_eq!(seen(&records[..6]), [web]);
        assert_eq!(seen(&records), []);
    }
}
