//! A container's variables: plain ones in a ConfigMap, secret ones in a Secret, both of them its own. What only the cluster knows, it
//! fills in itself (see [`super::given`]).

use std::collections::{BTreeMap, BTreeSet};

use freehold_spec::app::File;
use freehold_spec::{EnvName, Name, PartKind, Spanned, Template};
use serde_json::{Value as Json, json};

use super::Cluster;
use super::file::Files;
use super::given::{Given, field};
use super::manifest::{Object, PodPart};
use crate::kind::ResourceKind;
use crate::resource_id::ResourceId;
use crate::value::Value;

type Variables = BTreeMap<EnvName, Spanned<Template>>;

/// What a Pod is told of itself, unless the definition has another use for the name.
const OF_ITSELF: [(&str, &str); 4] = [
    ("NODE_NAME", "spec.nodeName"),
    ("POD_IP", "status.podIP"),
    ("POD_NAME", "metadata.name"),
    ("POD_NAMESPACE", "metadata.namespace"),
];

/// The texts of a container.
#[derive(Clone, Copy)]
pub(super) struct Texts<'a> {
    pub(super) variables: &'a Variables,
    pub(super) files: &'a BTreeMap<Name, File>,
}

/// A container's variables and files, and what they need.
pub(super) struct Environment {
    /// `env` of the container.
    pub(super) env: Vec<Json>,
    /// `envFrom` of the container.
    pub(super) env_from: Vec<Json>,
    /// The databases whose servers prove themselves to it by a file.
    pub(super) verified: BTreeSet<Name>,
    /// What changes with the plain ones.
    pub(super) plain: Value,
    /// What changes with the secret ones; `None` where there are none.
    pub(super) secret: Option<Value>,
    pub(super) files: Files,
    /// What has to be there before the container.
    pub(super) needs: BTreeSet<ResourceId>,
}

impl Cluster<'_> {
    /// Makes the ConfigMap and the Secret called `name`, and those of its files. `from` is the container's place in the definition, `given` what the
    /// platform sets unless the definition does.
    pub(super) fn environment(
        &mut self,
        from: &str,
        name: &str,
        container: &Name,
        part: PodPart<'_>,
        Texts { variables, files }: Texts<'_>,
        given: Vec<(String, String)>,
    ) -> Environment {
        let given = given.into_iter().map(|(name, text)| (name, Value::Text(text)));
        let mut plain: BTreeMap<String, Value> = given.collect();
        let mut secret = BTreeMap::new();
        let of_itself = OF_ITSELF.iter().filter(|(name, _)| !variables.contains_key(*name));
        let mut env: Vec<Json> =
            of_itself.map(|(name, path)| json!({"name": name, "valueFrom": field(path)})).collect();
        let mut given = Given::default();
        let (mut needs, mut verified) = (BTreeSet::new(), BTreeSet::new());
        for (variable, template) in variables {
            let outputs = template.references().filter_map(|reference| reference.value.output());
            let databases = outputs.filter(|(_, output)| output.part() == PartKind::Database).map(|(name, _)| name);
            verified.extend(databases.filter(|name| self.authority_of(name).is_some()).cloned());
            let from = format!("{from}.env.{variable}");
            if let Some(pieces) = self.pieces(&from, template, &mut needs) {
                given.add(variable.as_str(), pieces, &mut secret, name);
                continue;
            }
            let value = self.expansion.resolver.value(&from, &template.value, &mut needs);
            let kept = if matches!(value, Value::Text(_)) { &mut plain } else { &mut secret };
            kept.insert(variable.to_string(), value);
        }
        env.extend(given.env());
        let (plain, secret) = (Value::Map(plain), (!secret.is_empty()).then_some(Value::Map(secret)));
        let mut env_from = Vec::new();
        if plain.as_map().is_some_and(|plain| !plain.is_empty()) {
            let fields = Value::map([("data", plain.clone())]);
            needs.insert(self.put(Object::of(ResourceKind::ConfigMap, name, part, fields)));
            env_from.push(json!({"configMapRef": {"name": name}}));
        }
        if let Some(secret) = &secret {
            let fields = Value::map([("type", Value::from("Opaque")), ("data", secret.clone())]);
            let sealed = needs.iter().filter(|need| need.word() == "secret").cloned().collect::<Vec<_>>();
            needs.insert(self.put(Object::of(ResourceKind::ClusterSecret, name, part, fields).after(sealed)));
            env_from.push(json!({"secretRef": {"name": name}}));
        }
        let mut files = self.files(from, name, container, part, files);
        needs.append(&mut files.needs);
        Environment { env, env_from, verified, plain, secret, files, needs }
    }
}
