//! Jobs: run by deploys or on demand (a run), or on a schedule (a CronJob). Both run from their service's image, as its user.

use std::collections::BTreeSet;

use freehold_spec::Name;
use freehold_spec::app::{Job, Service};
use serde_json::{Value as Json, json};

use super::Cluster;
use super::environment::Texts;
use super::manifest::{Object, PodPart, is_of_service, literal};
use super::pod::{Container, Folders, pod};
use super::schedule::cron;
use crate::expand::error::ExpandError;
use crate::expand::expansion::{due, retry};
use crate::kind::ResourceKind;
use crate::provider_name::ProviderName;
use crate::resource::{Due, Run};
use crate::resource_id::ResourceId;
use crate::value::Value;

/// Seconds that a Job that has ended is kept, for its logs. That it is gone then is no drift.
const KEPT: u64 = 86_400;

impl Cluster<'_> {
    pub(crate) fn job(&mut self, name: &Name, job: &Job) {
        let id = ResourceId::new("job", name);
        let Some(service) = self.expansion.resolver.app.services.get(&job.service.value) else {
            let to = format!("service.{}", job.service.value);
            return self.expansion.resolver.errors.push(ExpandError::Dangling { from: id.0, to });
        };
        let Some(image) = self.image(&id.0, &job.service.value) else { return };
        let (spec, mut needs) = self.job_spec(name, job, service, &image);
        needs.extend(self.prerequisites.iter().cloned());
        needs.extend(self.policy_of(PodPart::Job(name)));
        match due(job) {
            None => {
                let schedule = job.schedule.as_ref().map(|schedule| schedule.value.as_str()).unwrap_or_default();
                self.cron_job(name, schedule, spec, needs);
            }
            Some(due) => {
                needs.extend(self.expansion.earlier_jobs(job));
                self.run(id, name, job, (spec, due), needs);
            }
        }
    }

    /// The `spec` of the Job, and what it needs.
    fn job_spec(&mut self, name: &Name, job: &Job, service: &Service, image: &str) -> (Json, BTreeSet<ResourceId>) {
        let part = PodPart::Job(name);
        let environment = {
            let texts = Texts { variables: &job.env, files: &job.files };
            self.environment(&format!("job.{name}"), &part.object(), name, part, texts, Vec::new())
        };
        // A volume is its service's alone.
        let mut folders = Folders::writable(service);
        folders.of_containers(self, &[&environment]);
        let container = Container {
            name,
            image,
            command: Some(&job.command.value),
            cpu: job.cpu.as_ref().unwrap_or(&service.cpu).value,
            memory: job.memory.as_ref().unwrap_or(&service.memory).value,
            environment: &environment,
            mounts: &folders.mounts,
            more: json!({}),
        };
        let more = json!({
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": service.stop_timeout.value.0,
        });
        let spec = json!({
            // Whether it may run again is not the cluster's to say.
            "backoffLimit": 0,
            "activeDeadlineSeconds": job.timeout.value.0,
            "ttlSecondsAfterFinished": KEPT,
            "template": {
                "metadata": {"labels": self.labels(part)},
                "spec": pod(service.user.value, folders.volumes, vec![container.manifest()], more),
            },
        });
        (spec, environment.needs)
    }

    fn cron_job(&mut self, name: &Name, schedule: &str, job: Json, needs: BTreeSet<ResourceId>) {
        let part = PodPart::Job(name);
        let Some(cron) = cron(schedule) else {
            let (from, schedule) = (format!("job.{name}"), schedule.to_owned());
            return self.expansion.resolver.errors.push(ExpandError::Schedule { from, schedule });
        };
        let spec = json!({
            "schedule": cron,
            "timeZone": "Etc/UTC",
            "concurrencyPolicy": "Forbid",
            "successfulJobsHistoryLimit": 1,
            "failedJobsHistoryLimit": 3,
            "jobTemplate": {"metadata": {"labels": self.labels(part)}, "spec": job},
        });
        let object = Object::new(ResourceKind::CronJob, name.as_str(), part, json!({"spec": spec}));
        self.put(object.after(needs));
    }

    fn run(
        &mut self,
        id: ResourceId,
        name: &Name,
        job: &Job,
        (spec, due): (Json, Due),
        mut needs: BTreeSet<ResourceId>,
    ) {
        let key = self.expansion.resolver.request.key.to_string();
        let manifest = json!({
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"labels": self.labels(PodPart::Job(name)), "annotations": {"freehold.dev/key": key}},
            "spec": spec,
        });
        let body = Value::map([
            ("namespace", Value::from(self.namespace.as_str())),
            ("manifest", literal(manifest)),
            ("timeout_seconds", Value::from(job.timeout.value.0)),
            ("retry", retry(job.retry)),
        ]);
        needs.insert(ResourceId::new("namespace", "main"));
        // Their variables as well, sidecars' included: the Pods that serve until then read them again whenever one restarts.
        let waits = [ResourceKind::ConfigMap, ResourceKind::ClusterSecret, ResourceKind::Deployment];
        let resources = self.expansion.graph.resources.values();
        let of_services = resources.filter(|resource| waits.contains(&resource.kind) && is_of_service(&resource.body));
        let before = of_services.map(|resource| resource.id.clone()).collect();
        let run = Run { id: id.clone(), provider: ProviderName::Kubernetes, body, due, depends_on: needs, before };
        self.expansion.graph.runs.insert(id, run);
    }
}
