//! A container's variables: plain ones in a ConfigMap, secret ones in a Secret, both of them its own.

use std::collections::{BTreeMap, BTreeSet};

use freehold_spec::part::output::Secrecy;
use freehold_spec::{EnvName, Name, PartKind, Segment, Spanned, Template};
use serde_json::{Value as Json, json};

use super::manifest::{Object, PodPart};
use super::{Cluster, database};
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

/// A container's variables, and what they need.
pub(super) struct Environment {
    /// `env` of the container.
    pub(super) env: Vec<Json>,
    /// `envFrom` of the container.
    pub(super) env_from: Vec<Json>,
    /// What changes with the plain ones.
    pub(super) plain: Value,
    /// What changes with the secret ones; `None` where there are none.
    pub(super) secret: Option<Value>,
    /// What has to be there before the container.
    pub(super) needs: BTreeSet<ResourceId>,
}

impl Cluster<'_> {
    /// Makes the ConfigMap and the Secret called `name`. `from` is the container's place in the definition, `given` what the
    /// platform sets unless the definition does.
    pub(super) fn environment(
        &mut self,
        from: &str,
        name: &str,
        part: PodPart<'_>,
        variables: &Variables,
        given: Vec<(&str, String)>,
    ) -> Environment {
        let given = given.into_iter().map(|(name, text)| (name.to_owned(), Value::Text(text)));
        let mut plain: BTreeMap<String, Value> = given.collect();
        let mut secret = BTreeMap::new();
        let of_itself = OF_ITSELF.iter().filter(|(name, _)| !variables.contains_key(*name));
        let of_itself =
            of_itself.map(|(name, field)| (*name, json!({"fieldRef": {"apiVersion": "v1", "fieldPath": field}})));
        let mut alone: Vec<Json> = of_itself.map(|(name, source)| json!({"name": name, "valueFrom": source})).collect();
        let mut needs = BTreeSet::new();
        for (variable, template) in variables {
            if let Some(database) = self.operators_url(&template.value) {
                needs.insert(ResourceId::new("cluster", database));
                alone.push(json!({"name": variable, "valueFrom": {"secretKeyRef": database::url(database)}}));
                continue;
            }
            let from = format!("{from}.env.{variable}");
            let value = self.expansion.resolver.value(&from, &template.value, &mut needs);
            let kept = if matches!(value, Value::Text(_)) { &mut plain } else { &mut secret };
            kept.insert(variable.to_string(), value);
        }
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
        Environment { env: alone, env_from, plain, secret, needs }
    }

    /// The database whose URL the template is and nothing else, where only its operator knows the URL.
    fn operators_url<'t>(&self, template: &'t Template) -> Option<&'t Name> {
        let resolver = &self.expansion.resolver;
        let [Segment::Reference(reference)] = template.segments.as_slice() else { return None };
        let (name, output) = reference.value.output()?;
        let is_url = output.part() == PartKind::Database && output.row().secrecy != Secrecy::Public;
        let by_operator = resolver.target.postgres().is_none() && resolver.app.databases.contains_key(name);
        (is_url && by_operator).then_some(name)
    }
}
