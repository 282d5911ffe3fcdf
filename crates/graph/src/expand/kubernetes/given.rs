//! Variables with values in them that only the cluster knows: credentials that an operator keeps, facts of a Pod.
//!
//! A variable that is nothing but one of these is filled in as it is. Of one that has a text around it, the value becomes a variable of
//! its own, whose name begins with `FREEHOLD_`, and the text names that one as `$(NAME)`. A variable can only name those before it, and
//! none that a ConfigMap or a Secret brings along as a whole.

use std::collections::{BTreeMap, BTreeSet};

use freehold_spec::template::PodFact;
use freehold_spec::{Fact, Output, Reference, Segment, Template};
use serde_json::{Value as Json, json};

use super::Cluster;
use crate::resource_id::ResourceId;
use crate::value::Value;

/// A piece of a variable's value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Piece {
    Text(String),
    /// A secret of the store.
    Secret(Value),
    /// Known to the cluster alone; where it has it from, and the variable that it becomes if something stands around it.
    Given {
        called: String,
        source: Json,
    },
}

impl From<Value> for Piece {
    fn from(value: Value) -> Self {
        match value {
            Value::Text(text) => Self::Text(text),
            other @ (Value::Special(_)
            | Value::Null
            | Value::Bool(_)
            | Value::Integer(_)
            | Value::List(_)
            | Value::Map(_)) => Self::Secret(other),
        }
    }
}

/// A field of the Pod as the source of a variable.
pub(super) fn field(path: &str) -> Json {
    json!({"fieldRef": {"apiVersion": "v1", "fieldPath": path}})
}

/// A fact of a Pod.
fn of_pod(fact: PodFact) -> Piece {
    let (called, path) = match fact {
        PodFact::Name => ("FREEHOLD_POD_NAME", "metadata.name"),
        PodFact::Namespace => ("FREEHOLD_POD_NAMESPACE", "metadata.namespace"),
        PodFact::Node => ("FREEHOLD_POD_NODE", "spec.nodeName"),
        PodFact::Ip => ("FREEHOLD_POD_IP", "status.podIP"),
    };
    Piece::Given { called: called.to_owned(), source: field(path) }
}

impl Cluster<'_> {
    /// The pieces of a variable, if there is one that only the cluster knows.
    pub(super) fn pieces(
        &mut self,
        from: &str,
        template: &Template,
        needs: &mut BTreeSet<ResourceId>,
    ) -> Option<Vec<Piece>> {
        template.references().any(|reference| self.given(&reference.value).is_some()).then(|| {
            let mut pieces = Vec::new();
            for segment in &template.segments {
                match segment {
                    Segment::Text(text) => pieces.push(Piece::Text(text.clone())),
                    Segment::Reference(reference) => match self.given(&reference.value) {
                        Some(given) => {
                            if let Some((database, _)) = reference.value.output() {
                                needs.extend(self.expansion.resolver.way_to(database));
                            }
                            pieces.extend(given);
                        }
                        None => {
                            let values = self.expansion.resolver.reference(from, &reference.value, needs);
                            pieces.extend(values.into_iter().map(Piece::from));
                        }
                    },
                }
            }
            pieces
        })
    }

    /// What a reference stands for, if only the cluster knows it.
    fn given(&self, reference: &Reference) -> Option<Vec<Piece>> {
        match reference {
            Reference::Output(name, output) => {
                let Output::Database(output) = output else { return None };
                self.kept_by_operator(name, *output)
            }
            Reference::Port { .. } => None,
            Reference::Fact(fact) => {
                let Fact::Pod(fact) = fact else { return None };
                Some(vec![of_pod(*fact)])
            }
        }
    }
}

/// The variables of one container that have something in them that only the cluster knows.
#[derive(Default)]
pub(super) struct Given {
    /// What others name, by its name.
    named: BTreeMap<String, Json>,
    variables: Vec<Json>,
}

impl Given {
    /// Adds a variable. Its pieces of the store's secrets go into `secret`, which becomes the Secret called `object`.
    pub(super) fn add(
        &mut self,
        variable: &str,
        pieces: Vec<Piece>,
        secret: &mut BTreeMap<String, Value>,
        object: &str,
    ) {
        let mut pieces: Vec<Piece> = pieces.into_iter().filter(|piece| *piece != Piece::Text(String::new())).collect();
        if let [Piece::Given { source, .. }] = pieces.as_slice() {
            self.variables.push(json!({"name": variable, "valueFrom": source}));
            return;
        }
        let mut value = String::new();
        for (number, piece) in (1..).zip(pieces.drain(..)) {
            match piece {
                // Kubernetes makes `$` of `$$`.
                Piece::Text(text) => value.push_str(&text.replace('$', "$$")),
                Piece::Given { called, source } => {
                    value.push_str(&format!("$({called})"));
                    self.named.insert(called, source);
                }
                Piece::Secret(piece) => {
                    let called = format!("FREEHOLD_{variable}_{number}");
                    let source = json!({"secretKeyRef": {"name": object, "key": called}});
                    value.push_str(&format!("$({called})"));
                    self.named.insert(called.clone(), source);
                    secret.insert(called, piece);
                }
            }
        }
        self.variables.push(json!({"name": variable, "value": value}));
    }

    /// What is named, then those that name it.
    pub(super) fn env(self) -> Vec<Json> {
        let named = self.named.into_iter().map(|(name, source)| json!({"name": name, "valueFrom": source}));
        named.chain(self.variables).collect()
    }
}
