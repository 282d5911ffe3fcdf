//! What the fields of a resource type mean. The diff, the checks and the engine read the same table.

use crate::resource::ResourceType;

/// What a change of a field does to the resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Changed where it stands; nobody notices.
    InPlace,
    /// New processes take over from the old ones.
    Restart,
    /// The resource has to be deleted and made anew.
    Replace,
}

/// What one type of resources is like.
#[derive(Debug, Clone, Copy)]
pub struct Descriptor {
    /// It holds data that can't be made again: never deleted or replaced without being named.
    pub data_bearing: bool,
    /// Fields whose change isn't [`Effect::InPlace`]. A name stands for all that is below it.
    pub effects: &'static [(&'static str, Effect)],
    /// Lists whose items are told apart by a field instead of by their place: `(list, field)`. A list within such a list is named
    /// without the item: `containers.env`.
    pub keyed_lists: &'static [(&'static str, &'static str)],
}

/// The lists of a Deployment, by the keys that the API server merges them by.
const OF_DEPLOYMENT: &[(&str, &str)] = &[
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
];

/// The same of a CronJob, whose Pods have neither sidecars nor ports.
const OF_CRON_JOB: &[(&str, &str)] = &[
    ("spec.jobTemplate.spec.template.spec.containers", "name"),
    ("spec.jobTemplate.spec.template.spec.containers.env", "name"),
    ("spec.jobTemplate.spec.template.spec.containers.volumeMounts", "mountPath"),
    ("spec.jobTemplate.spec.template.spec.volumes", "name"),
];

/// The descriptor of a type.
pub const fn of(kind: ResourceType) -> Descriptor {
    match kind {
        // A stored secret that nobody has a copy of can't be made again.
        ResourceType::StoreSecret => Descriptor { data_bearing: false, effects: &[], keyed_lists: &[] },
        ResourceType::PostgresRoles => Descriptor {
            data_bearing: false,
            effects: &[("owner", Effect::Replace), ("migrator", Effect::Replace), ("app", Effect::Replace)],
            keyed_lists: &[],
        },
        ResourceType::PostgresLogins => Descriptor { data_bearing: false, effects: &[], keyed_lists: &[] },
        ResourceType::PostgresDatabase => Descriptor {
            data_bearing: true,
            effects: &[("name", Effect::Replace), ("owner", Effect::Replace)],
            keyed_lists: &[],
        },
        ResourceType::LocalService => Descriptor {
            data_bearing: false,
            effects: &[
                ("artifact", Effect::Restart),
                ("command", Effect::Restart),
                ("env", Effect::Restart),
                ("health", Effect::Restart),
                ("serves", Effect::Restart),
                ("memory_bytes", Effect::Restart),
                ("cpu_millis", Effect::Restart),
                ("update", Effect::InPlace),
            ],
            keyed_lists: &[],
        },
        ResourceType::LocalSchedule => Descriptor { data_bearing: false, effects: &[], keyed_lists: &[] },
        ResourceType::LocalRoute => Descriptor {
            data_bearing: false,
            effects: &[("host", Effect::Replace)],
            keyed_lists: &[("paths", "prefix")],
        },
        ResourceType::Deployment => Descriptor {
            data_bearing: false,
            effects: &[("spec.selector", Effect::Replace), ("spec.template", Effect::Restart)],
            keyed_lists: OF_DEPLOYMENT,
        },
        ResourceType::PersistentVolumeClaim => Descriptor {
            data_bearing: true,
            effects: &[("spec.resources", Effect::InPlace), ("spec", Effect::Replace)],
            keyed_lists: &[],
        },
        // What its operator reads once, when it makes the database: a change would be accepted and do nothing.
        ResourceType::CloudNativePg => Descriptor {
            data_bearing: true,
            effects: &[("spec.bootstrap.initdb.postInitApplicationSQL", Effect::Replace)],
            keyed_lists: &[],
        },
        ResourceType::ClusterService => Descriptor {
            data_bearing: false,
            effects: &[("spec.clusterIP", Effect::Replace)],
            keyed_lists: &[("spec.ports", "port")],
        },
        ResourceType::ClusterSecret => {
            Descriptor { data_bearing: false, effects: &[("type", Effect::Replace)], keyed_lists: &[] }
        }
        ResourceType::CronJob => Descriptor { data_bearing: false, effects: &[], keyed_lists: OF_CRON_JOB },
        ResourceType::ServiceAccount => {
            Descriptor { data_bearing: false, effects: &[], keyed_lists: &[("imagePullSecrets", "name")] }
        }
        ResourceType::ListenerSet => {
            Descriptor { data_bearing: false, effects: &[], keyed_lists: &[("spec.listeners", "name")] }
        }
        // Whatever else the API server refuses to change is found by the dry run.
        ResourceType::Namespace
        | ResourceType::ResourceQuota
        | ResourceType::LimitRange
        | ResourceType::NetworkPolicy
        | ResourceType::ConfigMap
        | ResourceType::PodDisruptionBudget
        | ResourceType::HorizontalPodAutoscaler
        | ResourceType::HttpRoute
        | ResourceType::Certificate => Descriptor { data_bearing: false, effects: &[], keyed_lists: &[] },
    }
}

impl Descriptor {
    /// What a change of the field at `path` (dotted) does.
    pub fn effect(&self, path: &str) -> Effect {
        self.effects
            .iter()
            .find(|(field, _)| {
                path.strip_prefix(field).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
            })
            .map_or(Effect::InPlace, |(_, effect)| *effect)
    }

    /// The field that tells the items of the list at `path` apart, if one does. Items on the way are written as the diff writes
    /// them: `containers[web].env`.
    pub fn list_key(&self, path: &str) -> Option<&'static str> {
        let mut list = String::new();
        for (index, piece) in path.split('[').enumerate() {
            let behind = if index == 0 { Some(piece) } else { piece.rsplit_once(']').map(|(_, behind)| behind) };
            list.push_str(behind.unwrap_or_default());
        }
        self.keyed_lists.iter().find(|(keyed, _)| *keyed == list).map(|(_, key)| *key)
    }
}
