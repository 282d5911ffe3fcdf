//! Whether the app fits into its quota, as a cluster would count it, in every phase of its life.
//!
//! ```text
//! a pod        = the larger of  Σ its containers  and  its largest init container
//! running      = Σ copies × pod   +  one pod of each cache  +  every scheduled job, for each may run at any time
//! an update    = running          +  the larger of  Σ jobs of the deploy that may meet (before the services, beside the old ones)
//!                                              and  Σ one pod of each rolling service (all of them may roll at once)
//! scaled up    = the same with the autoscaler's most copies
//! ```
//!
//! What counts are limits: the quota has its figures for requests and for limits alike, and no request is
//! greater than its limit. Pods that have ended don't count. Those that are ending do, until they are gone: an update
//! of several copies then goes on as the old ones go, and needs no more room for that. Databases that run as pods
//! of their own are counted where the target is known, for only it says whether they do: a pod for each copy, which takes over from
//! the job that makes the copy, and is ended before it is started anew, and one for each of its poolers. Jobs on demand don't count: whoever runs one sees whether
//! there is room.

use freehold_graph::expand::kubernetes::{CPU_DEFAULT, MEMORY_DEFAULT};
use freehold_problem::Code;
use freehold_spec::app::{Database, Job, Quota, Service, Update, When};
use freehold_spec::quantity::Range;
use freehold_spec::{App, Cpu, JobOrder, Memory, Name, Spanned};

use crate::diagnostic::Diagnostic;
use crate::scope::Scope;

pub(super) fn check(scope: &mut Scope<'_>) {
    if !scope.knows_all() {
        return;
    }
    let app = scope.app;
    for (resource, limit) in limits(&app.quota) {
        if let Some(diagnostic) = Demand::new(app, resource).beyond(app, &limit) {
            scope.report(diagnostic);
        }
    }
}

/// What doesn't fit into the quota where each database is a pod of CloudNativePG.
pub(crate) fn with_databases(app: &App) -> Vec<Diagnostic> {
    let beyond = |(resource, limit): (Resource, Spanned<u64>)| {
        let mut demand = Demand::new(app, resource);
        let pooler = (resource.of_container)(CPU_DEFAULT, MEMORY_DEFAULT);
        let of = |database: &Database| {
            let server = &database.server;
            let one = (resource.of_container)(server.cpu.value, server.memory.value);
            let poolers = server.pooler.as_ref().map_or(0, |pooler| pooler.copies.value);
            one.saturating_mul(server.copies.value.into()).saturating_add(pooler.saturating_mul(poolers.into()))
        };
        demand.databases = app.databases.iter().map(|(name, database)| (name, of(database))).collect();
        let found = demand.beyond(app, &limit)?;
        Some(found.note(
            "on this target each copy of a database is a pod of its own (CloudNativePG), and each of its poolers",
        ))
    };
    limits(&app.quota).into_iter().filter_map(beyond).collect()
}

/// A figure, and of what it is.
type Figure = Option<(Resource, Spanned<u64>)>;

/// The limit and the request of a range. Where one figure stands for both, the limit says it all: no request is above its limit.
fn figures<T: Copy + PartialEq>(
    range: &Option<Spanned<Range<T>>>,
    (limits, requests): (Resource, Resource),
    amount: fn(T) -> u64,
) -> (Figure, Figure) {
    let Some(Spanned { value: Range { request, limit }, span }) = range else { return (None, None) };
    let of = |resource, figure| Some((resource, Spanned::new(amount(figure), *span)));
    if request == limit {
        return (of(limits, *limit), None);
    }
    (of(Resource { side: "'s limit", ..limits }, *limit), of(requests, *request))
}

/// The figures that a quota has.
fn limits(quota: &Quota) -> Vec<(Resource, Spanned<u64>)> {
    let (cpu, cpu_requests) = figures(&quota.cpu, (CPU, CPU_REQUESTS), |cpu| cpu.0);
    let (memory, memory_requests) = figures(&quota.memory, (MEMORY, MEMORY_REQUESTS), |memory| memory.0);
    let pods = quota.pods.as_ref().map(|limit| (PODS, Spanned::new(u64::from(limit.value), limit.span)));
    [cpu, memory, cpu_requests, memory_requests, pods].into_iter().flatten().collect()
}

/// What a quota counts.
#[derive(Clone, Copy)]
struct Resource {
    key: &'static str,
    /// Which of its two figures, where they differ: `'s request`.
    side: &'static str,
    /// "the quota allows less …".
    less: &'static str,
    show: fn(u64) -> String,
    of_container: fn(Range<Cpu>, Range<Memory>) -> u64,
}

const CPU: Resource = Resource {
    key: "cpu",
    side: "",
    less: "less processor time",
    show: |amount| Cpu(amount).to_string(),
    of_container: |cpu, _| cpu.limit.0,
};
/// What is reserved of it.
const CPU_REQUESTS: Resource = Resource {
    side: "'s request",
    less: "fewer requests of processor time",
    of_container: |cpu, _| cpu.request.0,
    ..CPU
};
const MEMORY: Resource = Resource {
    key: "memory",
    side: "",
    less: "less memory",
    show: |amount| Memory(amount).to_string(),
    of_container: |_, memory| memory.limit.0,
};
/// What is reserved of it.
const MEMORY_REQUESTS: Resource = Resource {
    side: "'s request",
    less: "fewer requests of memory",
    of_container: |_, memory| memory.request.0,
    ..MEMORY
};
/// A pod is one, whatever is in it.
const PODS: Resource = Resource {
    key: "pods",
    side: "",
    less: "fewer processes",
    show: |amount| amount.to_string(),
    of_container: |_, _| 1,
};

impl Resource {
    fn counts_pods(&self) -> bool {
        self.key == PODS.key
    }

    /// A figure as it is written in the definition.
    fn written(&self, amount: u64) -> String {
        let figure = (self.show)(amount);
        if self.counts_pods() { figure } else { format!("{figure:?}") }
    }

    /// `web of 500m`; of pods only the name, for each is one.
    fn named(&self, name: &Name, amount: u64) -> String {
        if self.counts_pods() { name.to_string() } else { format!("{name} of {}", (self.show)(amount)) }
    }

    fn job(&self, app: &App, job: &Job) -> u64 {
        let service = app.services.get(&job.service.value);
        let nothing = (Range { request: Cpu(0), limit: Cpu(0) }, Range { request: Memory(0), limit: Memory(0) });
        let cpu = job.cpu.as_ref().or(service.map(|service| &service.cpu)).map_or(nothing.0, |cpu| cpu.value);
        let memory = job.memory.as_ref().or(service.map(|service| &service.memory));
        let memory = memory.map_or(nothing.1, |memory| memory.value);
        (self.of_container)(cpu, memory)
    }
}

/// What one pod of a service takes, and of what.
struct Pod {
    own: u64,
    sidecars: Vec<(Name, u64)>,
    /// The largest init container.
    init: Option<(Name, u64)>,
}

impl Pod {
    fn new(service: &Service, resource: Resource) -> Self {
        let of = |cpu: Range<Cpu>, memory: Range<Memory>| (resource.of_container)(cpu, memory);
        let own = of(service.cpu.value, service.memory.value);
        if resource.counts_pods() {
            return Self { own, sidecars: Vec::new(), init: None };
        }
        let sidecars = service.sidecars.iter().map(|(name, one)| (name.clone(), of(one.cpu.value, one.memory.value)));
        let init = service.init.iter().map(|(name, one)| (name.clone(), of(one.cpu.value, one.memory.value)));
        Self { own, sidecars: sidecars.collect(), init: init.max_by_key(|(_, amount)| *amount) }
    }

    fn containers(&self) -> u64 {
        self.sidecars.iter().fold(self.own, |sum, (_, amount)| sum.saturating_add(*amount))
    }

    /// Init containers run before the others, so the larger of both counts.
    fn total(&self) -> u64 {
        self.init.as_ref().map_or(0, |(_, amount)| *amount).max(self.containers())
    }

    /// Why a pod takes what it takes, where that can't be seen from the service's own figure.
    fn explained(&self, service: &Name, show: fn(u64) -> String) -> Option<String> {
        let total = show(self.total());
        if let Some((name, _)) = self.init.as_ref().filter(|(_, amount)| *amount > self.containers()) {
            let containers = show(self.containers());
            return Some(format!(
                "a pod of {service} takes {total}, as its init container {name} does: more than the {containers} of what runs later"
            ));
        }
        let sidecars: Vec<String> =
            self.sidecars.iter().map(|(name, amount)| format!("{} of {name}", show(*amount))).collect();
        let own = show(self.own);
        (!sidecars.is_empty()).then(|| format!("a pod of {service} takes {own} + {} = {total}", sidecars.join(" + ")))
    }
}

/// The pods of a service.
struct Pods<'a> {
    service: &'a Name,
    pod: Pod,
    copies: u32,
    /// With the autoscaler at its most.
    most: u32,
    rolling: bool,
}

/// What an app takes of a resource.
struct Demand<'a> {
    resource: Resource,
    services: Vec<Pods<'a>>,
    /// Databases that are pods.
    databases: Vec<(&'a Name, u64)>,
    /// Caches, which are replaced and so never two pods.
    caches: Vec<(&'a Name, u64)>,
    /// Jobs on a schedule.
    scheduled: Vec<(&'a Name, u64)>,
    /// Jobs that a deploy runs, as many of them as may run at once.
    deployed: Vec<(&'a Name, u64)>,
}

/// How many jobs are compared with each other.
const CROWD: usize = 100;

/// The jobs that may run at once with the one whose company takes most. Those of its company that have an order among themselves count
/// all the same, and of a crowd of jobs all do: a little too much, never too little.
fn at_once<'a>(app: &App, jobs: Vec<(&'a Name, u64)>) -> Vec<(&'a Name, u64)> {
    if jobs.len() > CROWD || app.jobs.values().all(|job| job.after.is_empty()) {
        return jobs;
    }
    let Ok(order) = JobOrder::of(&app.jobs) else { return jobs };
    let company = |one: &Name| -> Vec<(&'a Name, u64)> {
        jobs.iter().filter(|(other, _)| *other == one || order.may_meet(one, other)).copied().collect()
    };
    let companies = jobs.iter().map(|(one, _)| company(one));
    companies.max_by_key(|company| sum(company.iter().map(|(_, amount)| *amount))).unwrap_or_default()
}

/// Sums without an overflow: figures are bounded, their number isn't.
fn sum(amounts: impl IntoIterator<Item = u64>) -> u64 {
    amounts.into_iter().fold(0, u64::saturating_add)
}

impl<'a> Demand<'a> {
    fn new(app: &'a App, resource: Resource) -> Self {
        let services = app.services.iter().map(|(name, service)| {
            let copies = service.replicas.value;
            let most = service.autoscale.as_ref().map_or(copies, |autoscale| autoscale.max.value.max(copies));
            let rolling = service.update == Update::Rolling;
            Pods { service: name, pod: Pod::new(service, resource), copies, most, rolling }
        });
        let jobs = |when: fn(When) -> bool| -> Vec<(&Name, u64)> {
            let jobs = app.jobs.iter().filter(|(_, job)| when(job.runs()));
            jobs.map(|(name, job)| (name, resource.job(app, job))).collect()
        };
        let caches = app.caches.iter();
        let caches = caches.map(|(name, cache)| {
            (name, (resource.of_container)(cache.cpu.value, Range { request: cache.limit(), limit: cache.limit() }))
        });
        let scheduled = jobs(|when| match when {
            When::Schedule => true,
            When::Revision | When::Once | When::Demand => false,
        });
        let (services, databases, caches) = (services.collect(), Vec::new(), caches.collect());
        let deployed = at_once(app, jobs(When::is_deployed));
        Self { resource, services, databases, caches, scheduled, deployed }
    }

    fn running(&self, copies: fn(&Pods<'a>) -> u32) -> u64 {
        let services = self.services.iter().map(|pods| pods.pod.total().saturating_mul(copies(pods).into()));
        sum(services.chain(self.databases.iter().chain(&self.caches).chain(&self.scheduled).map(|(_, amount)| *amount)))
    }

    /// One pod of each rolling service.
    fn surge(&self) -> u64 {
        sum(self.rolling().iter().map(|pods| pods.pod.total()))
    }

    fn jobs(&self) -> u64 {
        sum(self.deployed.iter().map(|(_, amount)| *amount))
    }

    /// What an update takes on top.
    fn update(&self) -> u64 {
        self.surge().max(self.jobs())
    }

    /// The services that are updated by a surge, the largest first.
    fn rolling(&self) -> Vec<&Pods<'a>> {
        let mut rolling: Vec<_> = self.services.iter().filter(|pods| pods.rolling && pods.most > 0).collect();
        rolling.sort_by_key(|pods| std::cmp::Reverse(pods.pod.total()));
        rolling
    }

    /// What is wrong with the quota, if anything is. The first phase that doesn't fit is told, and a figure that does for all.
    fn beyond(&self, app: &App, quota: &Spanned<u64>) -> Option<Diagnostic> {
        let show = self.resource.show;
        let name = &app.name.value;
        let running = self.running(|pods| pods.copies);
        let peak = running.saturating_add(self.update());
        let most = self.running(|pods| pods.most);
        let enough = most.saturating_add(self.update());
        let raise = format!("raise {}{} to {}", self.resource.key, self.resource.side, self.resource.written(enough));
        let mut found = if running > quota.value {
            let message = format!("the quota allows {} than the app needs", self.resource.less);
            let mut found = Diagnostic::error(Code::QuotaTooSmall, message)
                .at(quota.span, format!("{name} needs {} while running", show(running)))
                .note(self.arithmetic(|pods| pods.copies, running))
                .help(format!("{raise}, or give the services less"));
            found.notes.extend(self.also(running, peak, enough));
            found
        } else if peak > quota.value {
            let rolling = if self.surge() >= self.jobs() { "rolling " } else { "" };
            let label = format!("{name} needs {} while running, {} during an update", show(running), show(peak));
            Diagnostic::error(Code::NoRoomForUpdate, format!("this quota lets no {rolling}update through"))
                .at(quota.span, label)
                .note(format!("{}, and {}", self.arithmetic(|pods| pods.copies, running), self.on_top()))
                .note("with this quota an update waits until its deadline and then fails")
                .help(format!("{raise}, or {}", self.instead(quota.value.saturating_sub(running))))
        } else if enough > quota.value {
            let label = format!("{name} needs {} when scaled up, {} during an update", show(most), show(enough));
            let on_top = if self.update() > 0 { format!(", and {}", self.on_top()) } else { String::new() };
            Diagnostic::error(Code::NoRoomToScale, "this quota leaves the autoscaler no room")
                .at(quota.span, label)
                .note(format!("{}{on_top}", self.arithmetic(|pods| pods.most, most)))
                .note("with this quota copies are refused under load, when they are needed")
                .help(format!("{raise}, or lower `max` of {}", self.scaled()))
        } else {
            return None;
        };
        // Right behind the arithmetic.
        found.notes.splice(1..1, self.services.iter().filter_map(|pods| pods.pod.explained(pods.service, show)));
        Some(found)
    }

    /// What it needs at other times, up to the figure that the help names.
    fn also(&self, running: u64, peak: u64, enough: u64) -> Option<String> {
        let show = self.resource.show;
        let update = (peak > running).then(|| format!("{} during an update", show(peak)));
        let scaled = (enough > peak).then(|| format!("{} with the autoscaler at its most", show(enough)));
        let times: Vec<String> = update.into_iter().chain(scaled).collect();
        (!times.is_empty()).then(|| format!("it needs {}", times.join(", ")))
    }

    /// `2 × 500m + 350m of digest = 1350m`.
    fn arithmetic(&self, copies: fn(&Pods<'a>) -> u32, total: u64) -> String {
        let show = self.resource.show;
        let services = self.services.iter().map(|pods| match self.resource.counts_pods() {
            true => copies(pods).to_string(),
            false => format!("{} × {}", copies(pods), show(pods.pod.total())),
        });
        let databases = self.databases.iter().map(|(name, amount)| format!("{} of database {name}", show(*amount)));
        let caches = self.caches.iter().map(|(name, amount)| format!("{} of cache {name}", show(*amount)));
        let jobs = self.scheduled.iter().map(|(name, amount)| format!("{} of {name}", show(*amount)));
        format!(
            "{} = {}",
            services.chain(databases).chain(caches).chain(jobs).collect::<Vec<_>>().join(" + "),
            show(total)
        )
    }

    /// What comes on top during an update.
    fn on_top(&self) -> String {
        let (surge, jobs) = (self.surge(), self.jobs());
        if surge >= jobs {
            let more: Vec<String> = self
                .rolling()
                .iter()
                .map(|pods| format!("one more {}", self.resource.named(pods.service, pods.pod.total())))
                .collect();
            return format!("{} for the surge", more.join(", "));
        }
        let jobs: Vec<String> = self.deployed.iter().map(|(name, amount)| self.resource.named(name, *amount)).collect();
        format!("{} beside the old version", jobs.join(", "))
    }

    /// What to do about an update that doesn't fit, other than raising the quota. `room` is what is left while running.
    fn instead(&self, room: u64) -> String {
        if self.jobs() > room {
            return "give the jobs or the services less".to_owned();
        }
        let mut surge = self.surge();
        let mut recreated = Vec::new();
        for pods in self.rolling() {
            if surge > room {
                surge = surge.saturating_sub(pods.pod.total());
                recreated.push(pods.service.as_str());
            }
        }
        format!("set `update = \"recreate\"` for {}", recreated.join(" and "))
    }

    /// The services that may be scaled beyond their copies.
    fn scaled(&self) -> String {
        let scaled = self.services.iter().filter(|pods| pods.most > pods.copies);
        scaled.map(|pods| pods.service.as_str()).collect::<Vec<_>>().join(" and ")
    }
}
