//! The objects of a cluster as its API server has them. Asked for by requests of the test's own: none goes through the provider.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use freehold_testkit::kubernetes::ControlPlane;
use futures::future::try_join_all;
use http::{Method, Request};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::Value as Json;

/// A kind of object, and where those of a namespace are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) api: &'static str,
    pub(super) plural: &'static str,
}

const fn kind(name: &'static str, api: &'static str, plural: &'static str) -> Kind {
    Kind { name, api, plural }
}

/// All that there can be in a namespace of these tests, but for what controllers make of it.
pub(super) const KINDS: [Kind; 11] = [
    kind("ConfigMap", "api/v1", "configmaps"),
    kind("Deployment", "apis/apps/v1", "deployments"),
    kind("HTTPRoute", "apis/gateway.networking.k8s.io/v1", "httproutes"),
    kind("Job", "apis/batch/v1", "jobs"),
    kind("LimitRange", "api/v1", "limitranges"),
    kind("NetworkPolicy", "apis/networking.k8s.io/v1", "networkpolicies"),
    kind("Pod", "api/v1", "pods"),
    kind("ResourceQuota", "api/v1", "resourcequotas"),
    kind("Secret", "api/v1", "secrets"),
    kind("Service", "api/v1", "services"),
    kind("ServiceAccount", "api/v1", "serviceaccounts"),
];
pub(super) const NAMESPACE: Kind = kind("Namespace", "api/v1", "namespaces");

/// Kind and name.
pub(super) type Name = (String, String);

/// The objects of a namespace, with the namespace itself.
pub(super) type Objects = BTreeMap<Name, Json>;

/// An API server.
#[derive(Clone)]
pub(super) struct Api(Client);

impl Api {
    pub(super) async fn connect(control: &ControlPlane) -> Result<Self> {
        let config = Kubeconfig::from_yaml(&control.kubeconfig()?)?;
        let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
        Ok(Self(Client::try_from(config)?))
    }

    pub(super) fn client(&self) -> &Client {
        &self.0
    }

    /// `None` if there is none.
    pub(super) async fn get(&self, path: &str) -> Result<Option<Json>> {
        match self.0.request(Request::get(path).body(Vec::new())?).await {
            Ok(object) => Ok(Some(object)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(error).context(path.to_owned()),
        }
    }

    /// Makes or changes an object, as somebody called `somebody`.
    pub(super) async fn put(&self, method: Method, path: &str, body: &Json) -> Result<Json> {
        let kind = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        let request = Request::builder().method(method).uri(format!("{path}?fieldManager=somebody"));
        let request = request.header("content-type", kind).body(body.to_string().into_bytes())?;
        self.0.request(request).await.context(path.to_owned())
    }

    /// Deletes an object if it is there.
    pub(super) async fn delete(&self, path: &str) -> Result<()> {
        match self.0.request::<Json>(Request::delete(path).body(Vec::new())?).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error).context(path.to_owned()),
        }
    }

    pub(super) async fn objects(&self, namespace: &str) -> Result<Objects> {
        let lists = KINDS.iter().map(|kind| async move {
            let list = self.get(&collection(*kind, namespace)).await?.unwrap_or_default();
            let items = list["items"].as_array().cloned().unwrap_or_default();
            anyhow::Ok(items.into_iter().map(|item| ((kind.name.to_owned(), name(&item)), item)).collect::<Vec<_>>())
        });
        let mut objects: Objects = try_join_all(lists).await?.into_iter().flatten().collect();
        if let Some(found) = self.get(&format!("/api/v1/namespaces/{namespace}")).await? {
            objects.insert((NAMESPACE.name.to_owned(), namespace.to_owned()), found);
        }
        Ok(objects)
    }
}

/// Where the objects of a kind in a namespace are; a namespace itself is in none.
pub(super) fn collection(kind: Kind, namespace: &str) -> String {
    match kind.name {
        "Namespace" => "/api/v1/namespaces".to_owned(),
        _ => format!("/{}/namespaces/{namespace}/{}", kind.api, kind.plural),
    }
}

/// Where an object is.
pub(super) fn path((kind, name): &Name, namespace: &str) -> String {
    let kind = KINDS.into_iter().chain([NAMESPACE]).find(|known| known.name == kind).expect("a known kind");
    format!("{}/{name}", collection(kind, namespace))
}

fn text(object: &Json, pointer: &str) -> String {
    object.pointer(pointer).and_then(Json::as_str).unwrap_or_default().to_owned()
}

pub(super) fn name(object: &Json) -> String {
    text(object, "/metadata/name")
}

pub(super) fn uid(object: &Json) -> String {
    text(object, "/metadata/uid")
}

/// The stack whose mark it bears.
pub(super) fn mark(object: &Json) -> String {
    text(object, "/metadata/labels/freehold.dev~1stack")
}

/// Makes sure that an object has everything that is wanted of it; what else it has doesn't matter. Secrets are left out.
pub(super) fn has(live: &Json, wanted: &Json, at: &str) -> Result<()> {
    match (live, wanted) {
        (_, Json::Object(special)) if special.keys().any(|key| key.starts_with('$')) => Ok(()),
        (Json::Object(live), Json::Object(wanted)) => wanted.iter().try_for_each(|(field, wanted)| {
            has(live.get(field).unwrap_or(&Json::Null), wanted, &format!("{at}.{field}"))
        }),
        (Json::Array(live), Json::Array(wanted)) if live.len() == wanted.len() => {
            live.iter().zip(wanted).try_for_each(|(live, wanted)| has(live, wanted, &format!("{at}[]")))
        }
        _ => {
            ensure!(live == wanted, "{at} is {live} instead of {wanted}");
            Ok(())
        }
    }
}
