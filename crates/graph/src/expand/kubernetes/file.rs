//! A container's files: plain ones in a ConfigMap, those with secrets in a Secret, both of them its own. Each is mounted at its path by
//! itself, so that what the image has beside it stays.

use std::collections::{BTreeMap, BTreeSet};

use freehold_spec::Name;
use freehold_spec::app::File;
use serde_json::{Value as Json, json};

use super::Cluster;
use super::manifest::{Object, PodPart};
use crate::expand::error::ExpandError;
use crate::expand::names;
use crate::kind::ResourceKind;
use crate::resource_id::ResourceId;
use crate::value::Value;

/// A container's files, and what they need.
#[derive(Default)]
pub(super) struct Files {
    /// `volumes` of the Pod.
    pub(super) volumes: Vec<Json>,
    /// `volumeMounts` of the container.
    pub(super) mounts: Vec<Json>,
    /// What changes with the plain ones; `None` where there are none.
    pub(super) plain: Option<Value>,
    /// What changes with the secret ones; `None` where there are none.
    pub(super) secret: Option<Value>,
    /// What has to be there before the container.
    pub(super) needs: BTreeSet<ResourceId>,
}

/// Files by name, with what is in them.
type Contents<'a> = BTreeMap<Name, (&'a File, Value)>;

impl Files {
    /// Mounts each of some files at its own path, from one volume.
    fn mount(&mut self, called: &str, volume: Json, files: &Contents<'_>) {
        self.volumes.push(volume);
        self.mounts.extend(files.iter().map(|(name, (file, _))| {
            json!({"name": called, "mountPath": file.path.value, "subPath": name, "readOnly": true})
        }));
    }
}

/// The files of a volume, with their modes: another one changes the Pods.
fn items(files: &Contents<'_>) -> Vec<Json> {
    files.iter().map(|(name, (file, _))| json!({"key": name, "path": name, "mode": file.mode})).collect()
}

fn data(files: Contents<'_>) -> Value {
    Value::map(files.into_iter().map(|(name, (_, value))| (name.to_string(), value)))
}

impl Cluster<'_> {
    /// Makes the ConfigMap and the Secret with the files of the container whose variables are in those called `object`.
    pub(super) fn files(
        &mut self,
        from: &str,
        object: &str,
        container: &Name,
        part: PodPart<'_>,
        files: &BTreeMap<Name, File>,
    ) -> Files {
        let mut made = Files::default();
        let (mut plain, mut secret): (Contents<'_>, Contents<'_>) = Default::default();
        for (name, file) in files {
            let from = format!("{from}.files.{name}");
            let content = &file.content.value;
            if self.pieces(&from, content, &mut BTreeSet::new()).is_some() {
                let to = content.references().map(|reference| reference.value.to_string());
                let to = to.collect::<Vec<_>>().join(", ");
                self.expansion.resolver.errors.push(ExpandError::OnlyInVariables { from, to });
                continue;
            }
            let value = self.expansion.resolver.value(&from, content, &mut made.needs);
            let kept = if matches!(value, Value::Text(_)) { &mut plain } else { &mut secret };
            kept.insert(name.clone(), (file, value));
        }
        let object = names::files(object);
        if !plain.is_empty() {
            let volume = format!("files-{container}");
            made.mount(&volume, json!({"name": volume, "configMap": {"name": object, "items": items(&plain)}}), &plain);
            let data = data(plain);
            made.plain = Some(data.clone());
            let fields = Value::map([("data", data)]);
            made.needs.insert(self.put(Object::of(ResourceKind::ConfigMap, &object, part, fields)));
        }
        if !secret.is_empty() {
            let sealed: Vec<ResourceId> = made.needs.iter().filter(|need| need.word() == "secret").cloned().collect();
            let volume = format!("secret-files-{container}");
            made.mount(
                &volume,
                json!({"name": volume, "secret": {"secretName": object, "items": items(&secret)}}),
                &secret,
            );
            let data = data(secret);
            made.secret = Some(data.clone());
            let fields = Value::map([("type", Value::from("Opaque")), ("data", data)]);
            let object = Object::of(ResourceKind::ClusterSecret, &object, part, fields).after(sealed);
            made.needs.insert(self.put(object));
        }
        made
    }
}
