//! Objects of a cluster. Applying only writes an object; whether it gets ready is for the verification to see. What the API server refuses
//! to change beside what stands here is found by the dry run. The logins that are shut are the fence.

use std::time::Duration;

use crate::kind::ResourceKind;
use crate::kind::describe::{self, New};
use crate::kind::row::{Api, Called, Cause, Data, Effect, Fence, Fold, Limit, Program, Row, Texts, Times};
use crate::resource_id::ResourceId;
use crate::value::Value;

/// How long a rollout may take that doesn't say: what the API server gives it.
const PROGRESS: u64 = 600;
/// What is added to a rollout's own time, to be told of its failure.
const SLACK: Duration = Duration::from_secs(30);
/// The annotation of Pods that changes with the plain variables of their containers, which are read once: a checksum.
pub const CONFIG_CHECKSUM: &str = "freehold.dev/config";
/// The same for their secret variables.
pub const CREDENTIALS_CHECKSUM: &str = "freehold.dev/credentials";

/// Everything in it has to end, and volumes have to be given back, until it is gone.
pub(super) static NAMESPACE: Row = Row {
    word: "namespace",
    id_word: "namespace",
    label: "namespace",
    api: Some(Api { group: "", version: "v1", kind: "Namespace", plural: "namespaces", namespaced: false }),
    data: Data::None,
    effects: &[],
    keyed_lists: &[],
    times: Times { apply: Limit::SERVER, start: Limit::NONE, delete: Limit::LONG },
    fence: Fence::None,
    behind: None,
    status: true,
    rank: 0,
    plumbing: true,
    encloses: true,
    program: Program::None,
    logins: None,
    cause: None,
    scales: None,
    after_verification: false,
    texts: Texts::None,
    called: Called::Object,
    fold: Fold::Own,
    describe: describe::namespace,
};

/// What all of a namespace may use together.
pub(super) static RESOURCE_QUOTA: Row = Row {
    word: "resourcequota",
    id_word: "resourcequota",
    label: "quota",
    api: Some(Api { group: "", version: "v1", kind: "ResourceQuota", plural: "resourcequotas", namespaced: true }),
    data: Data::None,
    effects: &[],
    keyed_lists: &[],
    times: Times { apply: Limit::SERVER, start: Limit::NONE, delete: Limit::SERVER },
    fence: Fence::None,
    behind: None,
    status: false,
    rank: 1,
    plumbing: true,
    encloses: false,
    program: Program::None,
    logins: None,
    cause: None,
    scales: None,
    after_verification: false,
    texts: Texts::None,
    called: Called::Object,
    fold: Fold::Into {
        lines: describe::in_namespace,
        place: 0,
        words: |new, _| format!("quota {}", describe::quota(new)),
    },
    describe: describe::quota,
};

/// What a container gets that doesn't say.
pub(super) static LIMIT_RANGE: Row = Row {
    word: "limitrange",
    id_word: "limitrange",
    label: "limits",
    api: Some(Api { group: "", version: "v1", kind: "LimitRange", plural: "limitranges", namespaced: true }),
    data: Data::None,
    effects: &[],
    keyed_lists: &[],
    times: Times { apply: Limit::SERVER, start: Limit::NONE, delete: Limit::SERVER },
    fence: Fence::None,
    behind: None,
    status: false,
    rank: 2,
    plumbing: true,
    encloses: false,
    program: Program::None,
    logins: None,
    cause: None,
    scales: None,
    after_verification: false,
    texts: Texts::None,
    called: Called::Object,
    fold: Fold::Into { lines: describe::in_namespace, place: 1, words: |_, _| "limits".to_owned() },
    describe: describe::limits,
};

/// Who may talk to whom.
pub(super) static NETWORK_POLICY: Row = Row {
    word: "networkpolicy",
    id_word: "networkpolicy",
    label: "netpolicy",
    api: Some(Api {
        group: "networking.k8s.io",
        version: "v1",
        kind: "NetworkPolicy",
        plural: "networkpolicies",
        namespaced: true,
    }),
    data: Data::None,
    effects: &[],
    keyed_lists: &[],
    times: Times { apply: Limit::SERVER, start: Limit::NONE, delete: Limit::SERVER },
    fence: Fence::None,
    behind: None,
    status: false,
    rank: 4,
    plumbing: true,
    encloses: false,
    program: Program::None,
    logins: None,
    cause: None,
    scales: None,
    after_verification: false,
    texts: Texts::None,
    called: Called::Object,
    fold: Fold::Into { lines: describe::in_namespace, place: 2, words: policies },
    describe: describe::policy,
};

/// Who Pods are for the API server.
pub(super) static SERVICE_ACCOUNT: Row = Row {
    word: "serviceaccount",
    id_word: "serviceaccount",
    label: "account",
    api: Some(Api { group: "", version: "v1", kind: "ServiceAccount", plural: "serviceaccounts", namespaced: true }),
    data: Data::None,
    effects: &[],
    keyed_lists: &[("imagePullSecrets", "name")],
    times: Times { apply: Limit::SERVER, start: Limit::NONE, delete: Limit::SERVER },
    fence: Fence::None,
    behind: None,
    status: false,
    rank: 3,
    plumbing: true,
    encloses: false,
    program: Program::None,
    logins: None,
    cause: None,
    scales: None,
    after_verification: false,
    texts: Texts::None,
    called: Called::Object,
    fold: Fold::Into { lines: describe::in_namespace, place: 3, words: |_, _| "account".to_owned() },
    describe: describe::account,
};

/// Secret variables, or registry credentials. `secret.NAME` is what is sealed in the store.
pub(super) static SECRET: Row = Row {
    word: "secret",
    id_word: "credentials",
    label: "secret env",
    api: Some(Api { group: "", version: "v1", kind: "Secret", plural: "secrets", namespaced: true }),
    data: Data::None,
    effects: &[("type", Effect::Replace)],
    keyed_lists: &[],
    times: Times { apply: Limit::SERVER, start: Limit::NONE, delete: Limit::SERVER },
    fence: Fence::None,
    behind: None,
    status: false,
    rank: 11,
    plumbing: true,
    encloses: false,
    program: Program::None,
    logins: None,
    cause: None,
    scales: None,
    after_verification: false,
    texts: Texts::Data("Secret"),
    called: Called::Object,
    fold: Fold::Into { lines: describe::of_credentials, place: 5, words: |new, _| describe::credentials(new) },
    describe: describe::credentials,
};

pub(super) static CONFIG_MAP: Row = Row {
    word: "configmap",
    id_word: "configmap",
    label: "config",
    api: Some(Api { group: "", version: "v1", kind: "ConfigMap", plural: "configmaps", namespaced: true }),
    data: Data::None,
    effects: &[],
    keyed_lists: &[],
    times: Times { apply: Limit::SERVER, start: Limit::NONE, delete: Limit::SERVER },
    fence: Fence::None,
    behind: None,
    status: false,
    rank: 10,
    plumbing: true,
    encloses: false,
    program: Program::None,
    logins: None,
    cause: None,
    scales: None,
    after_verification: false,
    texts: Texts::Data("ConfigMap"),
    called: Called::Object,
    fold: Fold::Into { lines: describe::in_program, place: 4, words: |new, _| describe::config(new) },
    describe: describe::config,
};

/// A volume that outlives its Pods.
pub(super) static PERSISTENT_VOLUME_CLAIM: Row = Row {
    word: "persistentvolumeclaim",
    id_word: "persistentvolumeclaim",
    label: "volume",
    api: Some(Api {
        group: "",
        version: "v1",
        kind: "PersistentVolumeClaim",
        plural: "persistentvolumeclaims",
        namespaced: true,
    }),
    data: Data::Kept,
    effects: &[("spec.resources", Effect::InPlace), ("spec", Effect::Replace)],
    keyed_lists: &[],
    times: Times { apply: Limit::SERVER, start: Limit::NONE, delete: Limit::SERVER },
    fence: Fence::None,
    behind: None,
    status: true,
    rank: 9,
    plumbing: false,
    encloses: false,
    program: Program::None,
    logins: None,
    cause: None,
    scales: None,
    after_verification: false,
    texts: Texts::None,
    called: Called::Object,
    fold: Fold::Own,
    describe: describe::volume,
};

/// A service's Pods. Its lists have the keys that the API server merges them by.
pub(super) static DEPLOYMENT: Row = Row {
    word: "deployment",
    id_word: "deployment",
    label: "deployment",
    api: Some(Api { group: "apps", version: "v1", kind: "Deployment", plural: "deployments", namespaced: true }),
    data: Data::None,
    effects: &[("spec.selector", Effect::Replace), ("spec.template", Effect::Restart)],
    keyed_lists: &[
        ("spec.template.spec.containers", "name"),
        ("spec.template.spec.containers.env", "name"),
        ("spec.template.spec.containers.ports", "containerPort"),
        ("spec.template.spec.containers.volumeMounts", "mountPath"),
        ("spec.template.spec.initContainers", "name"),
        ("spec.template.spec.initContainers.env", "name"),
        ("spec.template.spec.initContainers.ports", "containerPort"),
        ("spec.template.spec.initContainers.volumeMounts", "mountPath"),
        ("spec.template.spec.topologySpreadConstraints", "topologyKey"),
        ("spec.template.spec.volumes", "name"),
    ],
    times: Times { apply: Limit::SERVER, start: Limit::Of(rolled_out), delete: Limit::LONG },
    fence: Fence::None,
    behind: None,
    status: true,
    rank: 13,
    plumbing: false,
    encloses: false,
    program: Program::Service,
    logins: None,
    cause: Some(cause),
    scales: None,
    after_verification: false,
    texts: Texts::None,
    called: Called::Object,
    fold: Fold::Own,
    describe: describe::deployment,
};

/// A job that runs on a schedule. Its Pods have neither sidecars nor ports.
pub(super) static CRON_JOB: Row = Row {
    word: "cronjob",
    id_word: "cronjob",
    label: "cronjob",
    api: Some(Api { group: "batch", version: "v1", kind: "CronJob", plural: "cronjobs", namespaced: true }),
    data: Data::None,
    effects: &[],
    keyed_lists: &[
        ("spec.jobTemplate.spec.template.spec.containers", "name"),
        ("spec.jobTemplate.spec.template.spec.containers.env", "name"),
        ("spec.jobTemplate.spec.template.spec.containers.volumeMounts", "mountPath"),
        ("spec.jobTemplate.spec.template.spec.volumes", "name"),
    ],
    times: Times { apply: Limit::SERVER, start: Limit::NONE, delete: Limit::SERVER },
    fence: Fence::None,
    behind: None,
    status: false,
    rank: 18,
    plumbing: false,
    encloses: false,
    program: Program::Schedule,
    logins: None,
    cause: Some(cause),
    scales: None,
    after_verification: false,
    texts: Texts::None,
    called: Called::Object,
    fold: Fold::Own,
    describe: describe::cron_job,
};

/// A stable address in front of Pods.
pub(super) static SERVICE: Row = Row {
    word: "service",
    id_word: "service",
    label: "service",
    api: Some(Api { group: "", version: "v1", kind: "Service", plural: "services", namespaced: true }),
    data: Data::None,
    effects: &[("spec.clusterIP", Effect::Replace)],
    keyed_lists: &[("spec.ports", "port")],
    times: Times { apply: Limit::SERVER, start: Limit::NONE, delete: Limit::SERVER },
    fence: Fence::None,
    behind: Some(ResourceKind::Deployment),
    status: true,
    rank: 14,
    plumbing: false,
    encloses: false,
    program: Program::None,
    logins: None,
    cause: None,
    scales: None,
    after_verification: false,
    texts: Texts::None,
    called: Called::Object,
    fold: Fold::Into { lines: describe::in_program, place: 6, words: |_, _| "service".to_owned() },
    describe: describe::service,
};

/// How many Pods have to stay when nodes are drained.
pub(super) static POD_DISRUPTION_BUDGET: Row = Row {
    word: "poddisruptionbudget",
    id_word: "poddisruptionbudget",
    label: "budget",
    api: Some(Api {
        group: "policy",
        version: "v1",
        kind: "PodDisruptionBudget",
        plural: "poddisruptionbudgets",
        namespaced: true,
    }),
    data: Data::None,
    effects: &[],
    keyed_lists: &[],
    times: Times { apply: Limit::SERVER, start: Limit::NONE, delete: Limit::SERVER },
    fence: Fence::None,
    behind: None,
    status: true,
    rank: 15,
    plumbing: true,
    encloses: false,
    program: Program::None,
    logins: None,
    cause: None,
    scales: None,
    after_verification: false,
    texts: Texts::None,
    called: Called::Object,
    fold: Fold::Into { lines: describe::in_program, place: 7, words: |_, _| "disruption budget".to_owned() },
    describe: describe::budget,
};

/// More and fewer Pods by load.
pub(super) static HORIZONTAL_POD_AUTOSCALER: Row = Row {
    word: "horizontalpodautoscaler",
    id_word: "horizontalpodautoscaler",
    label: "autoscaler",
    api: Some(Api {
        group: "autoscaling",
        version: "v2",
        kind: "HorizontalPodAutoscaler",
        plural: "horizontalpodautoscalers",
        namespaced: true,
    }),
    data: Data::None,
    effects: &[],
    keyed_lists: &[],
    times: Times { apply: Limit::SERVER, start: Limit::NONE, delete: Limit::SERVER },
    fence: Fence::None,
    behind: None,
    status: true,
    rank: 16,
    plumbing: true,
    encloses: false,
    program: Program::None,
    logins: None,
    cause: None,
    scales: Some(ResourceKind::Deployment),
    after_verification: false,
    texts: Texts::None,
    called: Called::Object,
    fold: Fold::Into { lines: describe::in_program, place: 8, words: |new, _| describe::autoscaler(new) },
    describe: describe::autoscaler,
};

/// A host name of the gateway.
pub(super) static HTTP_ROUTE: Row = Row {
    word: "httproute",
    id_word: "httproute",
    label: "route",
    api: Some(Api {
        group: "gateway.networking.k8s.io",
        version: "v1",
        kind: "HTTPRoute",
        plural: "httproutes",
        namespaced: true,
    }),
    data: Data::None,
    effects: &[],
    keyed_lists: &[],
    times: Times { apply: Limit::SERVER, start: Limit::NONE, delete: Limit::SERVER },
    fence: Fence::None,
    behind: None,
    status: true,
    rank: 23,
    plumbing: false,
    encloses: false,
    program: Program::None,
    logins: None,
    cause: None,
    scales: None,
    after_verification: false,
    texts: Texts::None,
    called: Called::Hosts,
    fold: Fold::Own,
    describe: describe::http_route,
};

/// A listener with a certificate of its own on the gateway.
pub(super) static LISTENER_SET: Row = Row {
    word: "listenerset",
    id_word: "listenerset",
    label: "listener",
    api: Some(Api {
        group: "gateway.networking.k8s.io",
        version: "v1",
        kind: "ListenerSet",
        plural: "listenersets",
        namespaced: true,
    }),
    data: Data::None,
    effects: &[],
    keyed_lists: &[("spec.listeners", "name")],
    times: Times { apply: Limit::SERVER, start: Limit::NONE, delete: Limit::SERVER },
    fence: Fence::None,
    behind: None,
    status: true,
    rank: 21,
    plumbing: true,
    encloses: false,
    program: Program::None,
    logins: None,
    cause: None,
    scales: None,
    after_verification: false,
    texts: Texts::None,
    called: Called::Object,
    fold: Fold::Into { lines: describe::in_route, place: 9, words: |_, _| "listener".to_owned() },
    describe: describe::listener,
};

/// The group of Envoy Gateway's own objects.
const ENVOY: &str = "gateway.envoyproxy.io";

/// Who is let in by a route, by Envoy Gateway.
pub(super) static SECURITY_POLICY: Row = Row {
    word: "securitypolicy",
    id_word: "securitypolicy",
    label: "access",
    api: Some(Api {
        group: ENVOY,
        version: "v1alpha1",
        kind: "SecurityPolicy",
        plural: "securitypolicies",
        namespaced: true,
    }),
    data: Data::None,
    effects: &[],
    keyed_lists: &[],
    times: Times { apply: Limit::SERVER, start: Limit::NONE, delete: Limit::SERVER },
    fence: Fence::None,
    behind: None,
    status: true,
    rank: 21,
    plumbing: true,
    encloses: false,
    program: Program::None,
    logins: None,
    cause: None,
    scales: None,
    after_verification: false,
    texts: Texts::None,
    called: Called::Object,
    fold: Fold::Into { lines: describe::in_route, place: 11, words: |new, _| describe::security_policy(new) },
    describe: describe::security_policy,
};

/// How much is let in by a route, by Envoy Gateway.
pub(super) static BACKEND_TRAFFIC_POLICY: Row = Row {
    word: "backendtrafficpolicy",
    id_word: "backendtrafficpolicy",
    label: "limits",
    api: Some(Api {
        group: ENVOY,
        version: "v1alpha1",
        kind: "BackendTrafficPolicy",
        plural: "backendtrafficpolicies",
        namespaced: true,
    }),
    data: Data::None,
    effects: &[],
    keyed_lists: &[],
    times: Times { apply: Limit::SERVER, start: Limit::NONE, delete: Limit::SERVER },
    fence: Fence::None,
    behind: None,
    status: true,
    rank: 21,
    plumbing: true,
    encloses: false,
    program: Program::None,
    logins: None,
    cause: None,
    scales: None,
    after_verification: false,
    texts: Texts::None,
    called: Called::Object,
    fold: Fold::Into { lines: describe::in_route, place: 12, words: |new, _| describe::traffic_policy(new) },
    describe: describe::traffic_policy,
};

/// A fixed answer, by Envoy Gateway.
pub(super) static HTTP_ROUTE_FILTER: Row = Row {
    word: "httproutefilter",
    id_word: "httproutefilter",
    label: "answer",
    api: Some(Api {
        group: ENVOY,
        version: "v1alpha1",
        kind: "HTTPRouteFilter",
        plural: "httproutefilters",
        namespaced: true,
    }),
    data: Data::None,
    effects: &[],
    keyed_lists: &[],
    times: Times { apply: Limit::SERVER, start: Limit::NONE, delete: Limit::SERVER },
    fence: Fence::None,
    behind: None,
    status: false,
    rank: 21,
    plumbing: true,
    encloses: false,
    program: Program::None,
    logins: None,
    cause: None,
    scales: None,
    after_verification: false,
    texts: Texts::None,
    called: Called::Object,
    fold: Fold::Into { lines: describe::in_route, place: 13, words: |new, _| describe::route_filter(new) },
    describe: describe::route_filter,
};

/// An object of a manifest. Where the API server has it, its body and its identity say: `acme--guestbook/widgets.example.org/main`.
/// Whether data goes with it nobody can tell but whoever allows its kind on the target.
pub(super) static OBJECT: Row = Row {
    word: "object",
    id_word: "object",
    label: "object",
    api: None,
    data: Data::None,
    effects: &[],
    keyed_lists: &[],
    times: Times { apply: Limit::SERVER, start: Limit::LONG, delete: Limit::LONG },
    fence: Fence::None,
    behind: None,
    status: true,
    rank: 12,
    plumbing: false,
    encloses: false,
    program: Program::None,
    logins: None,
    cause: None,
    scales: None,
    after_verification: false,
    texts: Texts::None,
    called: Called::Id,
    fold: Fold::Own,
    describe: describe::object,
};

/// A certificate from cert-manager.
pub(super) static CERTIFICATE: Row = Row {
    word: "certificate",
    id_word: "certificate",
    label: "cert",
    api: Some(Api {
        group: "cert-manager.io",
        version: "v1",
        kind: "Certificate",
        plural: "certificates",
        namespaced: true,
    }),
    data: Data::None,
    effects: &[],
    keyed_lists: &[],
    times: Times { apply: Limit::SERVER, start: Limit::LONG, delete: Limit::SERVER },
    fence: Fence::None,
    behind: None,
    status: true,
    rank: 20,
    plumbing: true,
    encloses: false,
    program: Program::None,
    logins: None,
    cause: None,
    scales: None,
    after_verification: false,
    texts: Texts::None,
    called: Called::Object,
    fold: Fold::Into { lines: describe::in_route, place: 10, words: |_, _| "certificate".to_owned() },
    describe: describe::certificate,
};

/// A PostgreSQL cluster of CloudNativePG. What its operator reads once, when it makes the database, would be accepted and do nothing.
pub(super) static CLOUDNATIVE_PG: Row = Row {
    word: "cluster",
    id_word: "cluster",
    label: "postgres",
    api: Some(Api {
        group: "postgresql.cnpg.io",
        version: "v1",
        kind: "Cluster",
        plural: "clusters",
        namespaced: true,
    }),
    data: Data::Kept,
    effects: &[
        ("spec.bootstrap.initdb.postInitApplicationSQL", Effect::Replace),
        ("spec.bootstrap.initdb.encoding", Effect::Replace),
        ("spec.bootstrap.initdb.localeCollate", Effect::Replace),
        ("spec.bootstrap.initdb.localeCType", Effect::Replace),
        ("spec.bootstrap.initdb.localeProvider", Effect::Replace),
        ("spec.bootstrap.initdb.icuLocale", Effect::Replace),
    ],
    keyed_lists: &[],
    times: Times { apply: Limit::SERVER, start: Limit::Of(copied), delete: Limit::SERVER },
    fence: Fence::None,
    behind: None,
    status: true,
    rank: 5,
    plumbing: false,
    encloses: false,
    program: Program::None,
    logins: None,
    cause: None,
    scales: None,
    after_verification: false,
    texts: Texts::None,
    called: Called::Object,
    fold: Fold::Own,
    describe: describe::cloudnative_pg,
};

/// Poolers before such a cluster.
pub(super) static CLOUDNATIVE_PG_POOLER: Row = Row {
    word: "pooler",
    id_word: "pooler",
    label: "pooler",
    api: Some(Api { group: "postgresql.cnpg.io", version: "v1", kind: "Pooler", plural: "poolers", namespaced: true }),
    data: Data::None,
    effects: &[("spec.cluster.name", Effect::Replace)],
    keyed_lists: &[],
    times: Times { apply: Limit::SERVER, start: Limit::LONG, delete: Limit::SERVER },
    fence: Fence::None,
    behind: None,
    status: true,
    rank: 6,
    plumbing: false,
    encloses: false,
    program: Program::None,
    logins: None,
    cause: None,
    scales: None,
    after_verification: false,
    texts: Texts::None,
    called: Called::Object,
    fold: Fold::Into { lines: describe::in_database, place: 2, words: |new, _| describe::pooler(new) },
    describe: describe::pooler,
};

/// Each copy is made from the one before it.
fn copied(body: &Value) -> Duration {
    let copies = body.get("spec").and_then(|spec| spec.get("instances")).and_then(Value::as_integer).unwrap_or(1);
    Duration::from_secs(300).saturating_mul(u32::try_from(copies).unwrap_or(1))
}

fn policies(_: &New<'_>, number: usize) -> String {
    match number {
        1 => "1 network policy".to_owned(),
        _ => format!("{number} network policies"),
    }
}

/// The same time that the cluster itself gives a rollout, and a little more to be told of its failure.
fn rolled_out(body: &Value) -> Duration {
    let given = body.get("spec").and_then(|spec| spec.get("progressDeadlineSeconds")).and_then(Value::as_integer);
    Duration::from_secs(given.map_or(PROGRESS, i64::unsigned_abs)).saturating_add(SLACK)
}

/// What the change of a field of a Deployment or a CronJob comes from.
fn cause(name: &str, path: &str) -> Cause {
    // A service's variables are in objects of its own name, a job's in those of `job-NAME`.
    let of = |word: &str| vec![ResourceId::new(word, name), ResourceId::new(word, format!("job-{name}"))];
    let annotation = path.rsplit_once("annotations.").map(|(_, annotation)| annotation);
    match annotation {
        Some(CONFIG_CHECKSUM) => Cause::Variables { of: of(CONFIG_MAP.id_word), words: "variables changed" },
        Some(CREDENTIALS_CHECKSUM) => Cause::Variables { of: of(SECRET.id_word), words: "secret variables changed" },
        Some(_) | None => Cause::Field(match path.strip_prefix("spec.template.spec.").unwrap_or(path) {
            path if path.starts_with("containers[") && path.ends_with(".image") => "new image".to_owned(),
            path => format!("{path} changed"),
        }),
    }
}
