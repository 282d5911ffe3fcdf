//! Routes: hosts of the gateway, and where there is an issuer listeners with a certificate of their own.
//!
//! What HTTPRoute says itself is said there. All else is a policy object of the gateway that is installed; what it has none for is an
//! error that names route and gateway.

use std::collections::{BTreeMap, BTreeSet};

use freehold_spec::app::{Headers, PathRule, Redirect, Route};
use freehold_spec::{Name, PartKind, Spanned, Template};
use serde_json::{Value as Json, json};

use super::Cluster;
use super::manifest::{Object, PodPart};
use super::quantity::duration;
use crate::expand::error::{Claimant, ExpandError};
use crate::expand::names;
use crate::expand::redirect::Destination;
use crate::kind::ResourceKind;
use crate::resource_id::ResourceId;

pub(super) const GATEWAY_API: &str = "gateway.networking.k8s.io";
/// The most rules of one HTTPRoute (`maxItems` in its definition). A path has two at the most, so that its matches stay below 128,
/// which is the most of these.
const RULES: usize = 16;
/// Answers after which a request is sent again: those of a service that isn't there.
const RETRIED: [u16; 3] = [502, 503, 504];
/// Methods that may be sent again without harm.
const SAFE: [&str; 3] = ["GET", "HEAD", "OPTIONS"];
/// How a host name says that it has moved to the first one.
const MOVED: u16 = 301;

/// How the HTTPRoutes are called that a route consists of.
fn nth(name: &Name, before: usize) -> String {
    if before == 0 { name.to_string() } else { names::part(name.as_str(), &(before + 1).to_string()) }
}

/// All HTTPRoutes that lead to a route's services.
pub(super) fn http_routes(name: &Name, route: &Route, retries: bool) -> Vec<String> {
    let rules = route.paths.iter().map(|rule| match (rule.is_answered(), rule.retries.value) {
        (false, 1..) if retries => 2,
        (true | false, _) => 1,
    });
    let count: usize = rules.sum();
    (0..count.div_ceil(RULES)).map(|before| nth(name, before)).collect()
}

impl Cluster<'_> {
    pub(crate) fn route(&mut self, name: &Name, route: &Route) {
        let mut needs = BTreeSet::new();
        for service in route.services() {
            if !self.takes_requests(name, &service.value) {
                return;
            }
            needs.extend(["service", "deployment"].map(|word| ResourceId::new(word, &service.value)));
        }
        // Whose labels its objects have.
        let part = route.services().next().map_or(PodPart::Whole, |service| PodPart::Service(&service.value));
        let hosts = self.expansion.hosts(name, route, &mut needs);
        let Some(first) = hosts.serving.first().cloned() else { return };
        let parents = match self.facts.own_certificates() {
            Some(issuer) => {
                let all: Vec<&String> = hosts.serving.iter().chain(&hosts.redirected).collect();
                self.listeners(name, part, &all, issuer, &mut needs)
            }
            None => vec![self.gateway(self.facts.gateway.listener.as_deref())],
        };
        let filters = self.filters(name, route, &mut needs);
        // What keeps requests out is there before the route that lets them in.
        needs.extend(self.gateway_policies(name, route, part));
        let mut rules = Vec::new();
        for rule in &route.paths {
            rules.extend(self.rules(name, route, rule, part, &filters, &mut needs));
        }
        // Which rule a request follows doesn't depend on the HTTPRoute that it stands in: the longest path wins among all of a host,
        // then the one with a method. The last comes first, so that a rule that moves on, as the route grows, is there before it is taken
        // away; one that moves up as it shrinks is away for a moment.
        for (before, rules) in rules.chunks(RULES).enumerate().rev() {
            let called = nth(name, before);
            let id = self.http_route(&called, part, &parents, &hosts.serving, rules, &needs);
            needs.insert(id);
        }
        if !hosts.redirected.is_empty() {
            let to = self.entrance(json!({"hostname": first, "statusCode": MOVED}));
            let rule = json!({"filters": [{"type": "RequestRedirect", "requestRedirect": to}]});
            let called = names::part(name.as_str(), "redirect");
            self.http_route(&called, part, &parents, &hosts.redirected, &[rule], &needs);
        }
    }

    /// Lets routes wait for those that keep requests out of the hosts that they share.
    pub(super) fn guards_first(&mut self) {
        let app = self.expansion.resolver.app;
        let retries = self.facts.gateway.retries;
        let ids = |name: &Name| -> Vec<ResourceId> {
            let names = app.routes.get(name).map(|route| http_routes(name, route, retries)).unwrap_or_default();
            names.into_iter().map(|called| ResourceId::new(ResourceKind::HttpRoute.row().id_word, called)).collect()
        };
        for (open, guard) in self.expansion.guards() {
            for id in ids(&open) {
                if let Some(open) = self.expansion.graph.resources.get_mut(&id) {
                    open.depends_on.extend(ids(&guard));
                }
            }
        }
    }

    fn http_route(
        &mut self,
        called: &str,
        part: PodPart<'_>,
        parents: &[Json],
        hosts: &[String],
        rules: &[Json],
        needs: &BTreeSet<ResourceId>,
    ) -> ResourceId {
        let fields = json!({"spec": {"parentRefs": parents, "hostnames": hosts, "rules": rules}});
        let mut object = Object::new(ResourceKind::HttpRoute, called, part, fields).after(needs.clone());
        if self.facts.external_dns {
            object.annotations.push(("external-dns.alpha.kubernetes.io/hostname", hosts.join(",")));
        }
        self.put(object)
    }

    /// Whether a service is there and has a port.
    fn takes_requests(&mut self, route: &Name, service: &Name) -> bool {
        let fault = match self.expansion.resolver.app.services.get(service).map(|service| service.port.is_some()) {
            Some(true) => return true,
            Some(false) => ExpandError::Missing { from: format!("service.{service}"), what: "port".to_owned() },
            None => ExpandError::Dangling { from: format!("route.{route}"), to: format!("service.{service}") },
        };
        self.expansion.resolver.errors.push(fault);
        false
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

    /// A redirection with the scheme and the port at which browsers reach the gateway, which the gateway itself doesn't know.
    fn entrance(&self, mut redirect: Json) -> Json {
        let (https, port) = self.facts.entrance();
        let scheme = if https { "https" } else { "http" };
        if let Json::Object(fields) = &mut redirect {
            fields.insert("scheme".to_owned(), scheme.into());
            fields.insert("port".to_owned(), port.into());
        }
        redirect
    }

    /// What is done to all requests that go to a service.
    fn filters(&mut self, name: &Name, route: &Route, needs: &mut BTreeSet<ResourceId>) -> Vec<Json> {
        let kinds = [
            ("request_headers", &route.request_headers, "RequestHeaderModifier", "requestHeaderModifier"),
            ("response_headers", &route.response_headers, "ResponseHeaderModifier", "responseHeaderModifier"),
        ];
        // The password is the gateway's, and none of the service's business; Envoy would hand it on.
        let taken_out = (!route.basic_auth.is_empty()).then_some("authorization");
        let changed = kinds
            .into_iter()
            .filter(|(key, headers, ..)| !headers.is_empty() || (*key == "request_headers" && taken_out.is_some()));
        let filter = |(key, headers, kind, field): (&str, _, &str, &str)| {
            let taken_out = taken_out.filter(|_| key == "request_headers");
            let mut filter = json!({"type": kind});
            if let Json::Object(fields) = &mut filter {
                let changes = self.header(&format!("route.{name}.{key}"), headers, taken_out, needs);
                fields.insert(field.to_owned(), changes);
            }
            filter
        };
        let mut filters: Vec<Json> = changed.map(filter).collect();
        filters.extend(route.cors.as_ref().and_then(|cors| self.cors(name, cors, needs)));
        filters
    }

    fn header(
        &mut self,
        from: &str,
        headers: &Headers,
        taken_out: Option<&str>,
        needs: &mut BTreeSet<ResourceId>,
    ) -> Json {
        let mut fields = |fields: &BTreeMap<String, Spanned<Template>>| -> Vec<Json> {
            let field = |(name, value): (&String, &Spanned<Template>)| {
                let value = self.expansion.resolver.plain(from, &value.value, needs);
                // The tier of a stack that has none is no value of a field.
                (!value.is_empty()).then(|| json!({"name": name, "value": value}))
            };
            fields.iter().filter_map(field).collect()
        };
        let stated = |list: Vec<Json>| (!list.is_empty()).then_some(list);
        let (set, add) = (stated(fields(&headers.set)), stated(fields(&headers.add)));
        let remove: BTreeSet<&str> = headers.remove.iter().map(String::as_str).chain(taken_out).collect();
        json!({"set": set, "add": add, "remove": (!remove.is_empty()).then_some(remove)})
    }

    /// The rule of a path; two where it is tried again, for only some methods may be.
    fn rules(
        &mut self,
        name: &Name,
        route: &Route,
        rule: &PathRule,
        part: PodPart<'_>,
        filters: &[Json],
        needs: &mut BTreeSet<ResourceId>,
    ) -> Vec<Json> {
        let path = json!({"type": "PathPrefix", "value": rule.prefix.value});
        if let Some(redirect) = &rule.redirect {
            let Some(filter) = self.redirection(name, redirect, needs) else { return Vec::new() };
            return vec![json!({"matches": [{"path": path}], "filters": [filter]})];
        }
        if let Some(respond) = &rule.respond {
            let Some(filter) = self.fixed_answer(name, &rule.prefix, respond, part, needs) else { return Vec::new() };
            return vec![json!({"matches": [{"path": path}], "filters": [filter]})];
        }
        let Some(service) = route.service_of(rule) else {
            let from = format!("route.{name}");
            self.expansion.resolver.errors.push(ExpandError::Missing { from, what: "service".to_owned() });
            return Vec::new();
        };
        let port = self.expansion.resolver.service_port(&service.value);
        let backends = json!([{"group": "", "kind": "Service", "name": service.value, "port": port, "weight": 1}]);
        let attempt = rule.attempt_timeout.as_ref().map(|limit| duration(limit.value));
        let timeouts = json!({"request": duration(rule.timeout.value), "backendRequest": attempt});
        let filters = (!filters.is_empty()).then_some(filters);
        let matched = |matches: Json, retry: Option<Json>| json!({"matches": matches, "filters": filters, "backendRefs": backends, "timeouts": timeouts, "retry": retry});
        let plain = matched(json!([{"path": path}]), None);
        if rule.retries.value == 0 || !self.facts.gateway.retries {
            return vec![plain];
        }
        let safe = SAFE.iter().map(|method| json!({"path": path, "method": method})).collect();
        vec![matched(safe, Some(json!({"attempts": rule.retries.value, "codes": RETRIED}))), plain]
    }

    fn redirection(&mut self, name: &Name, redirect: &Redirect, needs: &mut BTreeSet<ResourceId>) -> Option<Json> {
        let from = format!("route.{name}.paths.redirect.to");
        let to = self.expansion.resolver.plain(&from, &redirect.to.value, needs);
        let Some(destination) = Destination::parse(&to) else {
            self.expansion.resolver.errors.push(ExpandError::NotUrl { from, text: to });
            return None;
        };
        let path = match redirect.keep_path {
            true => json!({"type": "ReplacePrefixMatch", "replacePrefixMatch": destination.path}),
            false => json!({"type": "ReplaceFullPath", "replaceFullPath": destination.path}),
        };
        let to = match &destination.origin {
            None => self.entrance(json!({"path": path, "statusCode": redirect.status})),
            Some(origin) => json!({
                "scheme": origin.scheme,
                "hostname": origin.host,
                "port": origin.port,
                "path": path,
                "statusCode": redirect.status,
            }),
        };
        Some(json!({"type": "RequestRedirect", "requestRedirect": to}))
    }

    /// The parents of a route whose hosts have listeners of their own on the gateway, with a certificate. A host that several routes have
    /// has the listener of the first of them, by its name: two for one host would be in each other's way.
    fn listeners(
        &mut self,
        name: &Name,
        part: PodPart<'_>,
        hosts: &[&String],
        issuer: &str,
        needs: &mut BTreeSet<ResourceId>,
    ) -> Vec<Json> {
        let own: Vec<&String> = hosts.iter().copied().filter(|host| !self.listeners.contains_key(*host)).collect();
        if !own.is_empty() {
            self.listener_set(name, part, &own, issuer);
            self.listeners.extend(own.iter().map(|host| ((*host).clone(), name.clone())));
        }
        let sets: BTreeSet<Name> = hosts.iter().filter_map(|host| self.listeners.get(*host).cloned()).collect();
        needs.extend(sets.iter().map(|set| ResourceId::new(ResourceKind::ListenerSet.row().id_word, set)));
        let parent = |set: &Name| json!({"group": GATEWAY_API, "kind": "ListenerSet", "name": set});
        sets.iter().map(parent).collect()
    }

    /// Listeners for hosts on the gateway, with one certificate.
    fn listener_set(&mut self, name: &Name, part: PodPart<'_>, hosts: &[&String], issuer: &str) {
        let secret = names::part(name.as_str(), "tls");
        let spec = json!({
            "secretName": secret,
            "dnsNames": hosts,
            "issuerRef": {"group": "cert-manager.io", "kind": "ClusterIssuer", "name": issuer},
            "privateKey": {"rotationPolicy": "Always"},
        });
        let certificate = Object::new(ResourceKind::Certificate, name.as_str(), part, json!({"spec": spec}));
        let certificate = self.put(certificate);
        // cert-manager makes it.
        self.take(ResourceKind::ClusterSecret, &secret, Claimant::part(PartKind::Route, name));
        let port = self.facts.own_listeners_port();
        let listener = |(before, host): (usize, &&String)| {
            let called = if before == 0 { "https".to_owned() } else { format!("https-{}", before + 1) };
            json!({
                "name": called,
                "hostname": host,
                "port": port,
                "protocol": "HTTPS",
                "tls": {"mode": "Terminate", "certificateRefs": [{"group": "", "kind": "Secret", "name": secret}]},
                "allowedRoutes": {"namespaces": {"from": "Same"}},
            })
        };
        let listeners: Vec<Json> = hosts.iter().enumerate().map(listener).collect();
        let fields = json!({"spec": {"parentRef": self.gateway(None), "listeners": listeners}});
        self.put(Object::new(ResourceKind::ListenerSet, name.as_str(), part, fields).after([certificate]));
    }
}
