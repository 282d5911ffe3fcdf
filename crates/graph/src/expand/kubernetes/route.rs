//! Routes: a host of the gateway, and where there is an issuer a listener with a certificate of its own.

use std::collections::BTreeSet;

use freehold_spec::app::{PathRule, Route};
use freehold_spec::{Name, PartKind};
use serde_json::{Value as Json, json};

use super::Cluster;
use super::manifest::{Object, PodPart};
use super::quantity::duration;
use super::service::SERVICE_PORT;
use crate::expand::error::{Claimant, ExpandError};
use crate::expand::names;
use crate::kind::ResourceKind;
use crate::resource_id::ResourceId;

const GATEWAY_API: &str = "gateway.networking.k8s.io";
/// The most rules of one HTTPRoute (`maxItems` in its definition). A path has two at the most, so that its matches stay below 128,
/// which is the most of these.
const RULES: usize = 16;
/// Answers after which a request is sent again: those of a service that isn't there.
const RETRIED: [u16; 3] = [502, 503, 504];
/// Methods that may be sent again without harm.
const SAFE: [&str; 3] = ["GET", "HEAD", "OPTIONS"];

impl Cluster<'_> {
    pub(crate) fn route(&mut self, name: &Name, route: &Route) {
        let service = &route.service.value;
        let part = PodPart::Service(service);
        let id = format!("route.{name}");
        match self.expansion.resolver.app.services.get(service).map(|service| service.port.is_some()) {
            Some(true) => {}
            Some(false) => {
                let missing = ExpandError::Missing { from: format!("service.{service}"), what: "port".to_owned() };
                return self.expansion.resolver.errors.push(missing);
            }
            None => {
                let dangling = ExpandError::Dangling { from: id, to: format!("service.{service}") };
                return self.expansion.resolver.errors.push(dangling);
            }
        }
        let mut needs = BTreeSet::from([ResourceId::new("service", service), ResourceId::new("deployment", service)]);
        let host = self.expansion.host(name, route, &mut needs);
        let parent = match self.facts.own_certificates() {
            Some(issuer) => {
                let listener = self.listener(name, part, &host, issuer);
                needs.insert(listener);
                json!({"group": GATEWAY_API, "kind": "ListenerSet", "name": name})
            }
            None => self.gateway(self.facts.gateway.listener.as_deref()),
        };
        let rules: Vec<Json> = route.paths.iter().flat_map(|rule| self.rules(service, rule)).collect();
        // Which rule a request follows doesn't depend on the HTTPRoute that it stands in: the longest path wins among all of a host,
        // then the one with a method. The last comes first, so that a rule that moves on, as the route grows, is there before it is taken
        // away; one that moves up as it shrinks is away for a moment.
        for (before, rules) in rules.chunks(RULES).enumerate().rev() {
            let number = before + 1;
            let called = if before == 0 { name.to_string() } else { names::part(name.as_str(), &number.to_string()) };
            let fields = json!({"spec": {"parentRefs": [parent], "hostnames": [host], "rules": rules}});
            let mut object = Object::new(ResourceKind::HttpRoute, &called, part, fields).after(needs.clone());
            if self.facts.external_dns {
                object.annotations.push(("external-dns.alpha.kubernetes.io/hostname", host.clone()));
            }
            needs.insert(self.put(object));
        }
    }

    fn gateway(&self, listener: Option<&str>) -> Json {
        let gateway = &self.facts.gateway;
        json!({
            "group": GATEWAY_API,
            "kind": "Gateway",
            "namespace": gateway.namespace,
            "name": gateway.name,
            "sectionName": listener,
        })
    }

    /// The rule of a path; two where it is tried again, for only some methods may be.
    fn rules(&self, service: &Name, rule: &PathRule) -> Vec<Json> {
        let path = json!({"type": "PathPrefix", "value": rule.prefix.value});
        let backends = json!([{"group": "", "kind": "Service", "name": service, "port": SERVICE_PORT, "weight": 1}]);
        let timeouts = json!({"request": duration(rule.timeout.value)});
        let plain = json!({"matches": [{"path": path}], "backendRefs": backends, "timeouts": timeouts});
        if rule.retries.value == 0 || !self.facts.gateway.retries {
            return vec![plain];
        }
        let safe: Vec<Json> = SAFE.iter().map(|method| json!({"path": path, "method": method})).collect();
        let retry = json!({"attempts": rule.retries.value, "codes": RETRIED});
        let retried = json!({"matches": safe, "backendRefs": backends, "timeouts": timeouts, "retry": retry});
        vec![retried, plain]
    }

    /// A listener for the host on the gateway, with a certificate of its own.
    fn listener(&mut self, name: &Name, part: PodPart<'_>, host: &str, issuer: &str) -> ResourceId {
        let secret = names::part(name.as_str(), "tls");
        let spec = json!({
            "secretName": secret,
            "dnsNames": [host],
            "issuerRef": {"group": "cert-manager.io", "kind": "ClusterIssuer", "name": issuer},
            "privateKey": {"rotationPolicy": "Always"},
        });
        let certificate = Object::new(ResourceKind::Certificate, name.as_str(), part, json!({"spec": spec}));
        let certificate = self.put(certificate);
        // cert-manager makes it.
        self.take(ResourceKind::ClusterSecret, &secret, Claimant::part(PartKind::Route, name));
        let listener = json!({
            "name": "https",
            "hostname": host,
            "port": self.facts.own_listeners_port(),
            "protocol": "HTTPS",
            "tls": {"mode": "Terminate", "certificateRefs": [{"group": "", "kind": "Secret", "name": secret}]},
            "allowedRoutes": {"namespaces": {"from": "Same"}},
        });
        let fields = json!({"spec": {"parentRef": self.gateway(None), "listeners": [listener]}});
        self.put(Object::new(ResourceKind::ListenerSet, name.as_str(), part, fields).after([certificate]))
    }
}
