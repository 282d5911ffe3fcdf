//! Whether objects of any stacks do what they are for now, of many at once.
//!
//! Readiness, and what hinders no deploy but is wrong all the same: a schedule whose last run failed. Many stacks' objects are listed kind by
//! kind, so that a list of a hundred stacks asks the API server some dozens of times and not thousands; what isn't ready, or not found by
//! its mark, is looked into one by one, with the same words as everywhere.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use freehold_engine::{Lookup, ProviderError, Readiness};
use freehold_graph::{ResourceKind, StackId};
use futures::future::join_all;
use serde_json::Value as Json;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::document::{Condition, Fields, is_owned_by};
use crate::error::ClusterError;
use crate::mark;
use crate::neighbour::ENDPOINT_SLICE;
use crate::object::{self, JOB, Kind, Place};
use crate::reader::Reader;
use crate::readiness;
use crate::request::Request;

/// How many objects are looked at at once.
const AT_ONCE: usize = 16;

/// What was listed of one kind: by identity.
type Listed = Result<BTreeMap<String, Json>, ClusterError>;

/// The health of objects, in their order.
pub(crate) async fn of(
    cluster: &Cluster,
    objects: &[(StackId, Lookup)],
    deadline: Instant,
) -> Vec<Result<Readiness, ProviderError>> {
    let look = Look::new(cluster, objects, deadline).await;
    let mut health = Vec::with_capacity(objects.len());
    for some in objects.chunks(AT_ONCE) {
        health.extend(join_all(some.iter().map(|(stack, lookup)| look.at(*stack, lookup))).await);
    }
    health
}

struct Look<'a> {
    reader: Reader<'a>,
    /// Empty where only one stack is looked at: then each object is asked for.
    listed: BTreeMap<ResourceKind, Listed>,
    /// The Services, by identity, behind which a Pod answers for certain, or none is meant to.
    well: BTreeSet<String>,
    /// All runs of all stacks' jobs; `None` where they are to be asked for schedule by schedule.
    jobs: Option<Vec<Json>>,
}

impl<'a> Look<'a> {
    async fn new(cluster: &'a Cluster, objects: &[(StackId, Lookup)], deadline: Instant) -> Self {
        let reader = Reader::new(cluster, deadline);
        let stacks: BTreeSet<StackId> = objects.iter().map(|(stack, _)| *stack).collect();
        if stacks.len() < 2 {
            return Self { reader, listed: BTreeMap::new(), well: BTreeSet::new(), jobs: None };
        }
        let kinds: BTreeSet<ResourceKind> = objects.iter().map(|(_, lookup)| lookup.kind).collect();
        let has = |kind: ResourceKind| kinds.contains(&kind);
        let lists = join_all(kinds.iter().map(|kind| async move { (*kind, list(reader, *kind).await) }));
        let slices = marked(reader, ENDPOINT_SLICE, has(ResourceKind::ClusterService));
        let jobs = marked(reader, JOB, has(ResourceKind::CronJob));
        let (listed, slices, jobs) = futures::join!(lists, slices, jobs);
        let listed: BTreeMap<ResourceKind, Listed> = listed.into_iter().collect();
        let mut well: BTreeSet<String> = slices.iter().flatten().filter_map(answers).collect();
        let of = |kind: ResourceKind| listed.get(&kind)?.as_ref().ok();
        if let Some((services, deployments)) = of(ResourceKind::ClusterService).zip(of(ResourceKind::Deployment)) {
            well.extend(idle(services, deployments));
        }
        Self { reader, listed, well, jobs }
    }

    async fn at(&self, stack: StackId, lookup: &Lookup) -> Result<Readiness, ProviderError> {
        let found = self.listed.get(&lookup.kind).and_then(|listed| listed.as_ref().ok()?.get(&lookup.identity));
        let is_well = |found: &Json| mark::stack(found) == Some(stack) && mark::deletion(found).is_none();
        if self.well.contains(&lookup.identity)
            && lookup.kind == ResourceKind::ClusterService
            && found.is_some_and(is_well)
        {
            return Ok(Readiness::Ready);
        }
        let readiness = match self.listed.get(&lookup.kind) {
            Some(Err(error)) => return Err(error.clone().into()),
            Some(Ok(listed)) => match listed.get(&lookup.identity) {
                Some(found) => {
                    let place = Place::of_resource(lookup.kind, &lookup.identity, &lookup.body);
                    match place {
                        Some(place) => {
                            readiness::judge(&self.reader, stack, (lookup.kind, &place), found, None).await?
                        }
                        None => readiness::of(self.reader.cluster, stack, lookup, None).await?,
                    }
                }
                None => readiness::of(self.reader.cluster, stack, lookup, None).await?,
            },
            None => readiness::of(self.reader.cluster, stack, lookup, None).await?,
        };
        match readiness {
            Readiness::Ready if lookup.kind == ResourceKind::CronJob => {
                Ok(match self.schedule(lookup, found).await? {
                    Some(why) => Readiness::failed(why),
                    None => Readiness::Ready,
                })
            }
            other => Ok(other),
        }
    }

    /// What is wrong with the last run of a schedule that is over.
    async fn schedule(&self, lookup: &Lookup, found: Option<&Json>) -> Result<Option<String>, ClusterError> {
        if let (Some(schedule), Some(jobs)) = (found, &self.jobs) {
            return Ok(last_failure(schedule, jobs, self.reader.cluster.clock().now()));
        }
        let Some(kind) = object::of(lookup.kind) else { return Ok(None) };
        let place = Place::of(kind, &lookup.identity);
        let Some(schedule) = self.reader.get(&place).await? else { return Ok(None) };
        let jobs = self.reader.list(JOB, place.namespace.as_deref(), "").await?;
        Ok(last_failure(&schedule, &jobs, self.reader.cluster.clock().now()))
    }
}

/// All objects of a kind that bear a mark; of those that are what they are once they are stored, no more than the metadata.
async fn list(reader: Reader<'_>, kind: ResourceKind) -> Listed {
    let Some(object) = object::of(kind) else { return Ok(BTreeMap::new()) };
    let request = Request::list(&Place::all(object, None), &mark::selector(None));
    let request = if kind.row().status { request } else { request.metadata() };
    let found = reader.cluster.list(&request, reader.deadline).await?;
    let identity = |one: &Json| match one.text("/metadata/namespace") {
        "" => one.text("/metadata/name").to_owned(),
        namespace => format!("{namespace}/{}", one.text("/metadata/name")),
    };
    Ok(found.into_iter().map(|one| (identity(&one), one)).collect())
}

/// All objects of a kind that bear a mark, if they are wanted and can be had.
async fn marked(reader: Reader<'_>, kind: Kind, wanted: bool) -> Option<Vec<Json>> {
    if !wanted {
        return None;
    }
    reader.list(kind, None, &mark::selector(None)).await.ok()
}

/// The Service whose endpoints these are, if one of them takes requests.
fn answers(slice: &Json) -> Option<String> {
    let name = slice.pointer("/metadata/labels")?.get("kubernetes.io/service-name")?.as_str()?;
    let ready = |endpoint: &Json| endpoint.pointer("/conditions/ready").and_then(Json::as_bool).unwrap_or(true);
    let any = slice.items("/endpoints").iter().any(ready);
    any.then(|| format!("{}/{name}", slice.text("/metadata/namespace")))
}

/// The Services behind which no Pod is meant to be: no Deployment that they choose has copies. They have to choose by the mark, or one that
/// isn't listed could be meant.
fn idle(services: &BTreeMap<String, Json>, deployments: &BTreeMap<String, Json>) -> Vec<String> {
    let mut meant: BTreeMap<&str, Vec<&Json>> = BTreeMap::new();
    for deployment in deployments.values().filter(|deployment| deployment.number("/spec/replicas") != 0) {
        meant.entry(deployment.text("/metadata/namespace")).or_default().push(deployment);
    }
    let is_idle = |service: &Json| {
        let labels = service.entries("/spec/selector");
        let chooses = |deployment: &&Json| {
            let own = deployment.pointer("/metadata/labels");
            labels.iter().all(|(key, value)| own.and_then(|own| own.get(key)) == Some(value))
        };
        let mut here = meant.get(service.text("/metadata/namespace")).into_iter().flatten();
        labels.iter().any(|(key, _)| *key == mark::MARK) && !here.any(chooses)
    };
    services.iter().filter(|(_, service)| is_idle(service)).map(|(identity, _)| identity.clone()).collect()
}

/// Why the last of a schedule's runs that have ended failed, if it did.
fn last_failure(schedule: &Json, jobs: &[Json], now: DateTime<Utc>) -> Option<String> {
    let own = jobs.iter().filter(|job| is_owned_by(job, schedule.text("/metadata/uid")));
    let mut ended: Vec<(&Json, Condition<'_>)> = own
        .filter_map(|job| {
            let ends = ["Complete", "Failed"].into_iter().filter_map(|kind| job.condition(kind));
            Some((job, ends.into_iter().find(|end| end.is_true())?))
        })
        .collect();
    ended.sort_by_key(|(job, _)| job.time("/metadata/creationTimestamp"));
    let failed = |job: &Json| job.condition("Failed").is_some_and(|end| end.is_true());
    let in_a_row = ended.iter().rev().take_while(|(job, _)| failed(job)).count();
    let (job, end) = ended.last().filter(|_| in_a_row > 0)?;
    let runs = if in_a_row == 1 { "its last run".to_owned() } else { format!("its last {in_a_row} runs") };
    let ago = job.time("/status/startTime").map(|at| now.signed_duration_since(at).num_minutes().max(0));
    let ago = ago.map(|minutes| format!(", begun {minutes} min ago")).unwrap_or_default();
    Some(format!("{runs} failed; {}{ago}: {}", job.text("/metadata/name"), end.words()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn job(number: u32, owner: &str, end: &str) -> Json {
        json!({
            "metadata": {"name": format!("digest-{number}"), "creationTimestamp": format!("2026-03-02T10:0{number}:00Z"),
                "ownerReferences": [{"uid": owner}]},
            "status": {"conditions": [{"type": end, "status": "True", "reason": "BackoffLimitExceeded", "message": "exit code 3"}]},
        })
    }

    #[test]
    fn a_service_is_idle_where_all_that_it_chooses_by_the_mark_has_no_copies() {
        let service = |selector: Json| json!({"metadata": {"namespace": "acme"}, "spec": {"selector": selector}});
        let web = json!({mark::MARK: "s", "app.kubernetes.io/name": "web"});
        let services = BTreeMap::from([
            ("acme/any".to_owned(), service(json!({"app.kubernetes.io/name": "web"}))),
            ("acme/none".to_owned(), service(json!({}))),
            ("acme/web".to_owned(), service(web.clone())),
        ]);
        let with_copies = |namespace: &str, labels: &Json, copies: u32| {
            let deployment =
                json!({"metadata": {"namespace": namespace, "labels": labels}, "spec": {"replicas": copies}});
            idle(&services, &BTreeMap::from([(format!("{namespace}/web"), deployment)]))
        };
        assert_eq!(with_copies("acme", &web, 0), ["acme/web"]);
        assert!(with_copies("acme", &web, 1).is_empty());
        assert_eq!(with_copies("other", &web, 1), ["acme/web"]);
        assert_eq!(with_copies("acme", &json!({mark::MARK: "s", "app.kubernetes.io/name": "api"}), 1), ["acme/web"]);
    }

    #[test]
    fn a_schedule_is_in_trouble_from_its_last_failed_run_until_one_succeeds() {
        let schedule = json!({"metadata": {"uid": "u"}});
        let mut jobs = vec![job(1, "u", "Complete"), job(2, "u", "Failed"), job(3, "other", "Complete")];
        let told = last_failure(&schedule, &jobs, DateTime::UNIX_EPOCH).unwrap();
        assert!(told.starts_with("its last run failed; digest-2") && told.contains("exit code 3"), "{told}");
        jobs.push(job(4, "u", "Failed"));
        assert!(
            last_failure(&schedule, &jobs, DateTime::UNIX_EPOCH)
                .unwrap()
                .starts_with("its last 2 runs failed; digest-4")
        );
        jobs.push(job(5, "u", "Running"));
        assert!(last_failure(&schedule, &jobs, DateTime::UNIX_EPOCH).is_some(), "one that goes on proves nothing yet");
        jobs.push(job(6, "u", "Complete"));
        assert_eq!(last_failure(&schedule, &jobs, DateTime::UNIX_EPOCH), None);
    }
}
