//! Looks at everything that a target needs of its cluster, and writes down what is so and what is wrong.

use std::collections::BTreeSet;

use freehold_graph::AllowedKind;
use freehold_graph::delivered;
use freehold_graph::expand::KubernetesTarget;
use freehold_graph::expand::{ClusterDatabases, Gateway};
use serde_json::Value as Json;

use freehold_engine::capability::{Finding, Level};

use super::finding;
use super::gateway::{self, Listener, OURS};
use super::requirements::Requirements;
use crate::document::{Condition, Fields};
use crate::error::ClusterError;
use crate::kinds::{Group, METRICS};
use crate::neighbour::{DEFINITION, GATEWAY, ISSUER, NODE, STORAGE_CLASS};
use crate::object::{NAMESPACE, POD, Place};
use crate::reader::Reader;
use crate::volume::DEFAULT_CLASS;

/// The oldest minor version of Kubernetes 1: `preStop.sleep` and sidecars are there since.
const OLDEST: u32 = 30;
const GATEWAY_API: &str =
    "install the Gateway API's definitions (standard channel) and a gateway: https://gateway-api.sigs.k8s.io/guides/";

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) findings: Vec<Finding>,
    identity: String,
    version: String,
    listener: Option<Listener>,
    data_plane_namespace: Option<String>,
    retries: bool,
    listener_sets: bool,
    cors: bool,
    envoy: bool,
    architectures: BTreeSet<String>,
    allowed_kinds: BTreeSet<AllowedKind>,
}

impl Survey {
    pub(super) async fn of(reader: &Reader<'_>, wanted: &Requirements) -> Self {
        let cluster = reader.cluster;
        let mut survey =
            Self { identity: cluster.identity().to_owned(), version: cluster.version().to_owned(), ..Self::default() };
        survey.findings.push(version(cluster.version()));
        survey.definitions(reader, wanted).await;
        survey.gateway(reader, wanted).await;
        survey.data_plane(reader, wanted).await;
        survey.nodes(reader).await;
        survey.storage(reader, wanted).await;
        survey.issuer(reader, wanted).await;
        survey.databases(reader, wanted).await;
        survey.metrics(reader).await;
        survey.allowed_kinds(reader, wanted).await;
        survey
    }

    /// The facts, if nothing is wrong that a target can't do without.
    pub(super) fn facts(&self, wanted: &Requirements) -> Result<KubernetesTarget, ClusterError> {
        let faults: Vec<&Finding> = self.findings.iter().filter(|finding| finding.level == Level::Error).collect();
        let listener = self.listener.as_ref().filter(|_| faults.is_empty());
        let Some(listener) = listener else {
            let lines = |text: fn(&Finding) -> Option<String>| {
                let mut lines: Vec<String> = Vec::new();
                // In one order, so that the fixes stand as what they are for.
                for line in faults.iter().filter_map(|finding| text(finding)) {
                    if !lines.contains(&line) {
                        lines.push(line);
                    }
                }
                lines.join("\n")
            };
            let why = lines(|finding| Some(format!("{}: {}", finding.subject, finding.message)));
            return Err(ClusterError::Unfit { why, help: lines(|finding| finding.help.clone()) });
        };
        let (namespace, name) = wanted.gateway.clone();
        let data_plane_namespace = self.data_plane_namespace.clone().unwrap_or_else(|| namespace.clone());
        Ok(KubernetesTarget {
            name: wanted.name.clone(),
            domain: wanted.domain.clone(),
            cluster: self.identity.clone(),
            version: self.version.clone(),
            gateway: Gateway {
                namespace,
                name,
                listener: Some(listener.name.clone()),
                https: listener.https,
                port: wanted.port.unwrap_or(listener.port),
                listener_port: Some(listener.port),
                data_plane_namespace,
                retries: self.retries,
                listener_sets: self.listener_sets,
                cors: self.cors,
                envoy: self.envoy,
            },
            databases: wanted.databases.clone(),
            issuer: wanted.issuer.clone(),
            external_dns: wanted.external_dns,
            registry_credentials: wanted.registry_credentials,
            storage_class: wanted.storage_class.clone(),
            scratch_namespace: None,
            architectures: self.architectures.clone(),
            allowed_kinds: self.allowed_kinds.clone(),
            cache_image: wanted.cache_image.clone(),
            platform: None,
        })
    }

    /// What was answered; a question that got no good answer is a finding.
    fn answered<T>(&mut self, subject: &str, answer: Result<T, ClusterError>) -> Option<T> {
        answer.inspect_err(|error| self.findings.push(finding::of_error(subject, error))).ok()
    }

    async fn definition(&mut self, reader: &Reader<'_>, name: &str) -> Option<Option<Json>> {
        let found = reader.get(&Place::named(DEFINITION, None, name)).await;
        self.answered(name, found)
    }

    async fn definitions(&mut self, reader: &Reader<'_>, wanted: &Requirements) {
        let subject = "gateway api";
        let Some(routes) = self.definition(reader, "httproutes.gateway.networking.k8s.io").await else { return };
        let Some(routes) = routes else {
            self.findings.push(Finding::error(subject, "the Gateway API is not installed", GATEWAY_API));
            return;
        };
        let Some(schema) = served(&routes) else {
            let message = "its HTTPRoute is older than v1";
            self.findings.push(Finding::error(subject, message, GATEWAY_API));
            return;
        };
        let rule = "/schema/openAPIV3Schema/properties/spec/properties/rules/items/properties";
        self.retries = schema.pointer(&format!("{rule}/retry")).is_some();
        self.cors = schema.pointer(&format!("{rule}/filters/items/properties/cors")).is_some();
        let sets = self.definition(reader, "listenersets.gateway.networking.k8s.io").await.flatten();
        self.listener_sets = sets.as_ref().is_some_and(|definition| served(definition).is_some());
        let version = routes.text("/metadata/annotations/gateway.networking.k8s.io~1bundle-version");
        let message = format!(
            "{version}, HTTPRoute {} retries, {} ListenerSet",
            if self.retries { "with" } else { "without" },
            if self.listener_sets { "with" } else { "without" },
        );
        self.findings.push(if self.retries {
            Finding::ok(subject, message)
        } else {
            let fix = "routes with retries are applied without them; the definitions of 1.7 have them in the standard channel";
            Finding::warning(subject, message, fix)
        });
        if wanted.issuer.is_some() && !self.listener_sets {
            let message = "certificates of each host need ListenerSet, which the installed definitions don't have";
            let fix = "install the Gateway API's definitions of 1.6 or newer, or let the gateway's own certificate cover the hosts";
            self.findings.push(Finding::error(subject, message, fix));
        }
    }

    /// What manifests may hold has to be there, and in namespaces: a stack has no others.
    async fn allowed_kinds(&mut self, reader: &Reader<'_>, wanted: &Requirements) {
        let subject = "allowed kinds";
        if wanted.allowed_kinds.is_empty() {
            return;
        }
        let Some(kinds) = self.answered(subject, reader.cluster.kinds(reader.deadline).await) else { return };
        for name in &wanted.allowed_kinds {
            let (plural, group) = name.split_once('.').unwrap_or((name, ""));
            if let Some(why) = delivered::refused(group, plural) {
                let fix = format!("leave --allow-kind {name} out: {why}");
                self.findings.push(Finding::error(subject, format!("no stack may deliver {name}"), fix));
                continue;
            }
            match kinds.collection(group, plural) {
                Some(found) if found.namespaced => {
                    let [group, plural, kind] = [group, plural, &found.kind].map(str::to_owned);
                    self.allowed_kinds.insert(AllowedKind { group, plural, kind });
                }
                Some(_) => {
                    let fix = format!("leave --allow-kind {name} out: an administrator makes such objects");
                    let message = format!("{name} are in no namespace, so they would be no single stack's");
                    self.findings.push(Finding::error(subject, message, fix));
                }
                None => {
                    let fix = "install what defines it; `kubectl api-resources` has the names as widgets.example.org";
                    self.findings.push(Finding::error(subject, format!("the cluster has no {name}"), fix));
                }
            }
        }
        if self.allowed_kinds.len() == wanted.allowed_kinds.len() {
            let names: Vec<&str> = wanted.allowed_kinds.iter().map(String::as_str).collect();
            self.findings.push(Finding::ok(subject, names.join(", ")));
        }
    }

    async fn gateway(&mut self, reader: &Reader<'_>, wanted: &Requirements) {
        let (namespace, name) = &wanted.gateway;
        let found = reader.get(&Place::named(GATEWAY, Some(namespace), name)).await;
        let subject = format!("gateway {namespace}/{name}");
        let Some(found) = self.answered(&subject, found) else { return };
        let Some(found) = found else {
            let fix = "make it, or give the name of one that is there: `kubectl get gateways --all-namespaces`";
            self.findings.push(Finding::error(&subject, "it does not exist", fix));
            return;
        };
        for kind in ["Accepted", "Programmed"] {
            let condition = found.condition(kind);
            if !condition.is_some_and(Condition::is_true) {
                let words =
                    condition.map_or_else(|| "not yet reconciled by its controller".to_owned(), Condition::words);
                let message = format!("it is not {}: {words}", kind.to_lowercase());
                let fix = format!("check its controller: `kubectl describe gateway {name} --namespace {namespace}`");
                self.findings.push(Finding::warning(&subject, message, fix));
            }
        }
        match gateway::choose(&found, &wanted.domain, wanted.listener.as_deref(), namespace) {
            Ok(listener) => {
                self.findings.push(told(&subject, &listener, wanted));
                self.findings.extend(of_listener(&subject, &found, &listener.name));
                self.listener = Some(listener);
            }
            Err(faults) => {
                let (message, fix) = match wanted.listener {
                    Some(_) => (faults.join("; "), "name one that fits with --listener, or none".to_owned()),
                    None => (
                        format!("no listener fits the hosts of {}: {}", wanted.domain, faults.join("; ")),
                        format!("give it a listener for *.{} that lets the stacks' namespaces in", wanted.domain),
                    ),
                };
                self.findings.push(Finding::error(&subject, message, fix));
            }
        }
        let allowed = found.pointer("/spec/allowedListeners/namespaces").unwrap_or(&Json::Null);
        if let (Some(_), Err(why)) = (&wanted.issuer, gateway::lets_in(allowed, "None", namespace)) {
            let message =
                format!("certificates of each host come with listeners in the stacks' namespaces, but it {why}");
            let fix = format!("set spec.allowedListeners.namespaces.from: All on it, or a selector for {OURS}");
            self.findings.push(Finding::error(&subject, message, fix));
        }
    }

    /// Where requests come from: what was given is taken as it is, and compared with what the gateway's Pods say.
    async fn data_plane(&mut self, reader: &Reader<'_>, wanted: &Requirements) {
        let subject = "data plane";
        let given = wanted.data_plane_namespace.as_deref();
        self.data_plane_namespace = given.map(str::to_owned);
        let places = match self.gateway_pods(reader, wanted).await {
            Ok(places) => places,
            Err(error) => return self.findings.push(finding::of_error(subject, &error)),
        };
        self.policies(reader).await;
        // A label may not say whose Gateway: of several places, the namespace of the Gateway itself.
        let same = places.iter().find(|place| **place == wanted.gateway.0);
        self.findings.push(match (given, same.or(places.first())) {
            (Some(given), Some(_)) if places.contains(given) => {
                Finding::ok(subject, format!("its pods are in namespace {given}, as was said"))
            }
            (Some(given), Some(found)) => {
                let message = format!(
                    "network policies let requests in from namespace {given}, as was said, but its pods are in {found}"
                );
                let fix = format!("`freehold target add {} --data-plane-namespace {found}`", wanted.name);
                Finding::warning(subject, message, fix)
            }
            (Some(given), None) => match reader.get(&Place::named(NAMESPACE, None, given)).await {
                Ok(Some(_)) => Finding::ok(subject, format!("in namespace {given}, as was said")),
                Ok(None) => {
                    let message = format!("network policies let requests in from namespace {given}, which is not there");
                    Finding::warning(subject, message, "say where the gateway's pods are with --data-plane-namespace")
                }
                Err(error) => finding::of_error(subject, &error),
            },
            (None, Some(found)) => {
                self.data_plane_namespace = Some(found.clone());
                Finding::ok(subject, format!("its pods are in namespace {found}"))
            }
            (None, None) => {
                let own = &wanted.gateway.0;
                let message = format!("no pods have the gateway's labels; assumed to be in its own namespace {own}");
                let fix = "if requests come from pods elsewhere, say so with --data-plane-namespace: network policies let only these in";
                Finding::warning(subject, message, fix)
            }
        });
    }

    /// Whether Envoy Gateway has all the policies that routes may ask for.
    async fn policies(&mut self, reader: &Reader<'_>) {
        let kinds = ["securitypolicies", "backendtrafficpolicies", "httproutefilters"];
        for kind in kinds {
            if !self.envoy {
                return;
            }
            let found = self.definition(reader, &format!("{kind}.gateway.envoyproxy.io")).await.flatten();
            self.envoy = found.is_some_and(|definition| served_as(&definition, "v1alpha1").is_some());
        }
        if self.envoy {
            let message = "Envoy Gateway's: users, allowed addresses, rate limits, limits of bodies, fixed answers";
            self.findings.push(Finding::ok("gateway policies", message));
        }
    }

    /// The namespaces with Pods that bear the gateway's labels.
    async fn gateway_pods(
        &mut self,
        reader: &Reader<'_>,
        wanted: &Requirements,
    ) -> Result<BTreeSet<String>, ClusterError> {
        let (namespace, name) = &wanted.gateway;
        let labels = [
            // Envoy Gateway; then the label of GEP-1762, which Istio, NGINX Gateway Fabric and others set.
            format!(
                "gateway.envoyproxy.io/owning-gateway-name={name},gateway.envoyproxy.io/owning-gateway-namespace={namespace}"
            ),
            format!("gateway.networking.k8s.io/gateway-name={name}"),
        ];
        for (label, envoy) in labels.into_iter().zip([true, false]) {
            let pods = reader.list(POD, None, &label).await?;
            if !pods.is_empty() {
                self.envoy = envoy;
                return Ok(pods.iter().map(|pod| pod.text("/metadata/namespace").to_owned()).collect());
            }
        }
        Ok(BTreeSet::new())
    }

    async fn nodes(&mut self, reader: &Reader<'_>) {
        let nodes = reader.list(NODE, None, "").await;
        let Some(nodes) = self.answered("nodes", nodes) else { return };
        let linux = nodes.iter().filter(|node| matches!(node.text("/status/nodeInfo/operatingSystem"), "linux" | ""));
        let architectures =
            linux.map(|node| node.text("/status/nodeInfo/architecture")).filter(|name| !name.is_empty());
        self.architectures = architectures.map(str::to_owned).collect();
        let names: Vec<&str> = self.architectures.iter().map(String::as_str).collect();
        let message = format!("{} nodes, {}", nodes.len(), names.join(" and "));
        self.findings.push(if self.architectures.is_empty() {
            let fix = "images are not checked for the nodes' architecture as long as no Linux node reports it";
            Finding::warning("nodes", "no Linux node reports its architecture", fix)
        } else {
            Finding::ok("nodes", message)
        });
    }

    async fn storage(&mut self, reader: &Reader<'_>, wanted: &Requirements) {
        let subject = "storage class";
        if let Some(name) = &wanted.storage_class {
            let found = reader.get(&Place::named(STORAGE_CLASS, None, name)).await;
            let Some(found) = self.answered(subject, found) else { return };
            self.findings.push(match found {
                Some(_) => Finding::ok(subject, name.clone()),
                None => Finding::error(
                    subject,
                    format!("there is no storage class {name}"),
                    "give the name of one that is there: `kubectl get storageclasses`",
                ),
            });
            return;
        }
        let classes = reader.list(STORAGE_CLASS, None, "").await;
        let Some(classes) = self.answered(subject, classes) else { return };
        let default = classes.iter().find(|class| class.text(DEFAULT_CLASS) == "true");
        self.findings.push(match default {
            Some(class) => Finding::ok(subject, format!("the cluster's default, {}", class.text("/metadata/name"))),
            None => Finding::warning(
                subject,
                "the cluster has no default storage class, so services with volumes can't run",
                "name one with --storage-class, if any app has volumes",
            ),
        });
    }

    async fn issuer(&mut self, reader: &Reader<'_>, wanted: &Requirements) {
        let Some(name) = &wanted.issuer else { return };
        let subject = format!("issuer {name}");
        let found = reader.get(&Place::named(ISSUER, None, name)).await;
        let Some(found) = self.answered(&subject, found) else { return };
        let Some(found) = found else {
            let fix = "install cert-manager and make the ClusterIssuer: https://cert-manager.io/docs/configuration/";
            self.findings.push(Finding::error(&subject, "there is no such ClusterIssuer", fix));
            return;
        };
        let ready = found.condition("Ready");
        self.findings.push(if ready.is_some_and(Condition::is_true) {
            Finding::ok(&subject, "ready")
        } else {
            let words = ready.map_or_else(|| "not yet reconciled by cert-manager".to_owned(), Condition::words);
            let fix = format!("check it: `kubectl describe clusterissuer {name}`");
            Finding::error(&subject, format!("it is not ready: {words}"), fix)
        });
    }

    async fn databases(&mut self, reader: &Reader<'_>, wanted: &Requirements) {
        if !matches!(wanted.databases, ClusterDatabases::CloudNativePg { .. }) {
            return;
        }
        let subject = "cloudnative-pg";
        let Some(found) = self.definition(reader, "clusters.postgresql.cnpg.io").await else { return };
        self.findings.push(match found {
            Some(_) => Finding::ok(subject, "installed"),
            None => Finding::error(
                subject,
                "CloudNativePG is not installed",
                "install it (https://cloudnative-pg.io), or give the target a server with --database-url-stdin",
            ),
        });
    }
}

impl Survey {
    /// Where autoscalers get their figures from.
    async fn metrics(&mut self, reader: &Reader<'_>) {
        let subject = "metrics api";
        let kinds = reader.cluster.kinds(reader.deadline).await;
        let Some(kinds) = self.answered(subject, kinds) else { return };
        self.findings.push(match kinds.group(METRICS) {
            Group::There => Finding::ok(subject, "there, for `autoscale`"),
            Group::Hidden => {
                let fix = "without one, services with `autoscale` keep their number of replicas";
                Finding::warning(subject, "not permitted to read it: API discovery is restricted", fix)
            }
            Group::Silent => {
                let fix = "check metrics-server: `kubectl describe apiservice v1beta1.metrics.k8s.io`";
                Finding::warning(subject, "its own server doesn't answer, so nothing with `autoscale` scales", fix)
            }
            Group::None => {
                let fix = "install metrics-server (https://github.com/kubernetes-sigs/metrics-server), if any app has `autoscale`";
                Finding::warning(subject, "the cluster has none, so services with `autoscale` can't scale", fix)
            }
        });
    }
}

fn told(subject: &str, listener: &Listener, wanted: &Requirements) -> Finding {
    let protocol = if listener.https { "HTTPS" } else { "HTTP" };
    let Listener { name, port, others, .. } = listener;
    let reached = wanted.port.filter(|given| given != port).map(|given| format!(", reached at {given}"));
    let also =
        if others.is_empty() { String::new() } else { format!("; --listener chooses another: {}", others.join(", ")) };
    let message = format!("listener {name}: {protocol} at port {port}{}{also}", reached.unwrap_or_default());
    Finding::ok(subject, message)
}

/// What the gateway's controller says about a listener.
fn of_listener(subject: &str, gateway: &Json, name: &str) -> Option<Finding> {
    let status = gateway.items("/status/listeners").iter().find(|listener| listener.text("/name") == name)?;
    let conditions = status.items("/conditions");
    let bad = ["Accepted", "ResolvedRefs", "Programmed"]
        .into_iter()
        .find_map(|kind| Condition::among(conditions, kind).filter(|condition| condition.is_false()))?;
    let message = format!("listener {name} does not work: {}", bad.words());
    Some(Finding::warning(subject, message, "check its certificate and its route kinds"))
}

/// The version `v1` of a definition, if it is served.
fn served(definition: &Json) -> Option<&Json> {
    served_as(definition, "v1")
}

fn served_as<'a>(definition: &'a Json, version: &str) -> Option<&'a Json> {
    definition.items("/spec/versions").iter().find(|one| one.text("/name") == version && one.flag("/served"))
}

fn version(version: &str) -> Finding {
    match minor(version) {
        Some(minor) if minor >= OLDEST => Finding::ok("kubernetes", version),
        Some(_) => Finding::error(
            "kubernetes",
            format!("{version} is too old"),
            format!(
                "Freehold needs 1.{OLDEST} or newer: sidecars, and Pods that keep serving while they are removed from Services"
            ),
        ),
        None => Finding::warning(
            "kubernetes",
            format!("{version:?} is not a version that is known here"),
            "proceed with care",
        ),
    }
}

/// The minor version of `v1.36.3` or `v1.33.5-gke.100`.
fn minor(version: &str) -> Option<u32> {
    let rest = version.trim_start_matches('v').strip_prefix("1.")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_all_makers_are_read() {
        assert_eq!(minor("v1.36.3"), Some(36));
        assert_eq!(minor("v1.33.5-gke.100"), Some(33));
        assert_eq!(minor("v1.30+"), Some(30));
        assert_eq!(minor("dev"), None);
        assert_eq!(version("v1.29.9").level, Level::Error);
        assert_eq!(version("v1.30.0").level, Level::Ok);
    }
}
