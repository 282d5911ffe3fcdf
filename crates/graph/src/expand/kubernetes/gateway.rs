//! What a route asks for beyond HTTPRoute's core: filters that the installed one may have, and policies of Envoy Gateway.
//!
//! Policies are applied before their route, so that it is never open without them. They say how they are once it is there.

use std::collections::BTreeSet;

use freehold_spec::app::{Cors, Period, Respond, Route};
use freehold_spec::{Name, Spanned};
use serde_json::{Value as Json, json};

use super::Cluster;
use super::manifest::{Object, PodPart, literal};
use super::route::{GATEWAY_API, http_routes};
use crate::expand::error::ExpandError;
use crate::expand::names;
use crate::kind::ResourceKind;
use crate::resource_id::ResourceId;
use crate::value::{Special, Value};

const ENVOY: &str = "gateway.envoyproxy.io";
/// What has to be installed for its policies.
const NEEDS_ENVOY: &str = "it takes Envoy Gateway, with its SecurityPolicy, BackendTrafficPolicy and HTTPRouteFilter";
/// The largest body of a request that may be limited: Envoy keeps all of it in memory, which is every tenant's.
const LARGEST_BODY: u64 = 64 << 20;
const NEEDS_ROOM: &str = "Envoy keeps the whole body in memory, so \"64Mi\" is the most";
const NEEDS_CORS: &str =
    "it takes an HTTPRoute with the filter CORS, which the Gateway API's definitions have since 1.5";

impl Cluster<'_> {
    /// Whether the gateway has what a key asks for.
    fn can(&mut self, name: &Name, what: &str, it_can: bool, needs: &'static str) -> bool {
        if !it_can {
            let gateway = &self.facts.gateway;
            self.expansion.resolver.errors.push(ExpandError::GatewayLacks {
                route: format!("route.{name}"),
                what: what.to_owned(),
                gateway: format!("{}/{}", gateway.namespace, gateway.name),
                target: self.facts.name.to_string(),
                needs,
            });
        }
        it_can
    }

    /// Cross-origin resource sharing, as a filter.
    pub(super) fn cors(&mut self, name: &Name, cors: &Cors, needs: &mut BTreeSet<ResourceId>) -> Option<Json> {
        if !self.can(name, "cors", self.facts.gateway.cors, NEEDS_CORS) {
            return None;
        }
        let from = format!("route.{name}.cors.origins");
        let mut origins = Vec::new();
        for origin in &cors.origins {
            origins.push(self.expansion.resolver.plain(&from, &origin.value, needs));
        }
        let methods: Vec<&str> = cors.methods.iter().map(|method| method.as_str()).collect();
        let stated = |names: &'_ Vec<String>| (!names.is_empty()).then(|| names.clone());
        Some(json!({"type": "CORS", "cors": {
            "allowOrigins": origins,
            "allowMethods": methods,
            "allowHeaders": stated(&cors.headers),
            "exposeHeaders": stated(&cors.expose),
            "allowCredentials": cors.credentials.value.then_some(true),
            "maxAge": cors.max_age.0,
        }}))
    }

    /// A filter that answers itself.
    pub(super) fn fixed_answer(
        &mut self,
        name: &Name,
        prefix: &Spanned<String>,
        respond: &Respond,
        part: PodPart<'_>,
        needs: &mut BTreeSet<ResourceId>,
    ) -> Option<Json> {
        if !self.can(name, "respond", self.facts.gateway.envoy, NEEDS_ENVOY) {
            return None;
        }
        let from = format!("route.{name}.paths.respond.body");
        let body = self.expansion.resolver.plain(&from, &respond.body.value, needs);
        let body = (!body.is_empty()).then(|| json!({"type": "Inline", "inline": body}));
        let answer = json!({
            "statusCode": respond.status,
            "contentType": body.as_ref().map(|_| &respond.content_type),
            "body": body,
        });
        // By its path, so that it stays the same object as paths come and go.
        let called = names::part(name.as_str(), &names::digest(&prefix.value));
        let fields = json!({"spec": {"directResponse": answer}});
        needs.insert(self.put(Object::new(ResourceKind::HttpRouteFilter, &called, part, fields)));
        Some(json!({
            "type": "ExtensionRef",
            "extensionRef": {"group": ENVOY, "kind": "HTTPRouteFilter", "name": called},
        }))
    }

    /// The policies of a route.
    pub(super) fn gateway_policies(&mut self, name: &Name, route: &Route, part: PodPart<'_>) -> Vec<ResourceId> {
        let asked = [
            ("basic_auth", !route.basic_auth.is_empty()),
            ("allow_from", !route.allow_from.is_empty()),
            ("rate_limit", route.rate_limit.is_some()),
            ("max_body", route.max_body.is_some()),
        ];
        let mut can = true;
        for (what, _) in asked.into_iter().filter(|(_, asked)| *asked) {
            can &= self.can(name, what, self.facts.gateway.envoy, NEEDS_ENVOY);
        }
        if route.max_body.as_ref().is_some_and(|size| size.value.0 > LARGEST_BODY) {
            can &= self.can(name, "a max_body of more than 64Mi", false, NEEDS_ROOM);
        }
        if !can {
            return Vec::new();
        }
        let access = self.security_policy(name, route, part);
        access.into_iter().chain(self.traffic_policy(name, route, part)).collect()
    }

    fn security_policy(&mut self, name: &Name, route: &Route, part: PodPart<'_>) -> Option<ResourceId> {
        if route.basic_auth.is_empty() && route.allow_from.is_empty() {
            return None;
        }
        let mut needs = BTreeSet::new();
        let users = (!route.basic_auth.is_empty()).then(|| self.users(name, route, part, &mut needs));
        let networks: Vec<String> = route.allow_from.iter().map(|network| network.to_string()).collect();
        let authorization = (!networks.is_empty()).then(|| {
            json!({
                "defaultAction": "Deny",
                "rules": [{"action": "Allow", "principal": {"clientCIDRs": networks}}],
            })
        });
        let basic = users.map(|secret| json!({"users": {"group": "", "kind": "Secret", "name": secret}}));
        let targets = self.targets(name, route);
        let spec = json!({"targetRefs": targets, "basicAuth": basic, "authorization": authorization});
        let policy = Object::new(ResourceKind::SecurityPolicy, name.as_str(), part, json!({"spec": spec}));
        Some(self.put(policy.after(needs)))
    }

    /// The Secret with the users, in the form of Apache's `htpasswd`, of which Envoy knows SHA-1 alone.
    fn users(&mut self, name: &Name, route: &Route, part: PodPart<'_>, needs: &mut BTreeSet<ResourceId>) -> String {
        let from = format!("route.{name}.basic_auth");
        let mut lines = Vec::new();
        let mut sealed = BTreeSet::new();
        for (user, password) in &route.basic_auth {
            let password = self.expansion.resolver.value(&from, &password.value, &mut sealed);
            lines.push(Value::text(format!("{user}:{{SHA}}")));
            lines.push(Value::Special(Special::Sha1(Box::new(password))));
            lines.push(Value::text("\n"));
        }
        let users = Value::Special(Special::Template(lines));
        let called = names::part(name.as_str(), "users");
        let data = Value::map([(".htpasswd", users)]);
        let fields = Value::map([("type", Value::from("Opaque")), ("data", data)]);
        needs.insert(self.put(Object::of(ResourceKind::ClusterSecret, &called, part, fields).after(sealed)));
        called
    }

    fn traffic_policy(&mut self, name: &Name, route: &Route, part: PodPart<'_>) -> Option<ResourceId> {
        let rate = route.rate_limit.map(|limit| {
            let unit = match limit.per {
                Period::Second => "Second",
                Period::Minute => "Minute",
                Period::Hour => "Hour",
            };
            let of = |network: &str| {
                json!({
                    "clientSelectors": [{"sourceCIDR": {"type": "Distinct", "value": network}}],
                    "limit": {"requests": limit.requests, "unit": unit},
                })
            };
            json!({"type": "Local", "local": {"rules": [of("0.0.0.0/0"), of("::/0")]}})
        });
        let body = route.max_body.as_ref().map(|size| json!({"limit": size.to_string()}));
        if rate.is_none() && body.is_none() {
            return None;
        }
        let spec = json!({"targetRefs": self.targets(name, route), "rateLimit": rate, "requestBuffer": body});
        let fields = literal(json!({"spec": spec}));
        Some(self.put(Object::of(ResourceKind::BackendTrafficPolicy, name.as_str(), part, fields)))
    }

    /// The HTTPRoutes that a policy holds for.
    fn targets(&self, name: &Name, route: &Route) -> Vec<Json> {
        let routes = http_routes(name, route, self.facts.gateway.retries);
        let target = |called: &String| json!({"group": GATEWAY_API, "kind": "HTTPRoute", "name": called});
        routes.iter().map(target).collect()
    }
}
