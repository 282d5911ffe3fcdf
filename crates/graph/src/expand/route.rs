//! Routes of this machine's router: all that a route's table says, with its references resolved.

use std::collections::{BTreeMap, BTreeSet};

use freehold_spec::app::{Cors, Headers, PathRule, Protocol, RateLimit, Redirect, Respond, Route};
use freehold_spec::{Name, Spanned, Template};

use super::error::ExpandError;
use super::expansion::Expansion;
use super::local::LocalExpansion;
use super::redirect::Destination;
use crate::kind::ResourceKind;
use crate::resource_id::ResourceId;
use crate::value::Value;

impl LocalExpansion<'_> {
    pub(crate) fn route(&mut self, name: &Name, route: &Route) {
        let mut texts = Texts { expansion: &mut self.expansion, from: format!("route.{name}"), needs: BTreeSet::new() };
        let mut body = texts.policies(route);
        let paths = route.paths.iter().map(|rule| texts.path(route, rule)).collect();
        let mut needs = texts.needs;
        needs.extend(route.services().map(|service| ResourceId::new("service", &service.value)));
        let hosts = self.expansion.hosts(name, route, &mut needs);
        body.insert("hosts".to_owned(), Value::from(hosts.serving));
        if !hosts.redirected.is_empty() {
            body.insert("redirect_from".to_owned(), Value::from(hosts.redirected));
        }
        body.insert("paths".to_owned(), Value::List(paths));
        let identity = format!("{}/{name}", self.expansion.resolver.request.key.name);
        self.expansion.add(ResourceId::new("route", name), ResourceKind::LocalRoute, identity, Value::Map(body), needs);
    }
}

/// The texts of one route.
struct Texts<'e, 'a> {
    expansion: &'e mut Expansion<'a>,
    from: String,
    needs: BTreeSet<ResourceId>,
}

impl Texts<'_, '_> {
    /// One that everybody may read.
    fn plain(&mut self, key: &str, template: &Template) -> String {
        let from = format!("{}.{key}", self.from);
        self.expansion.resolver.plain(&from, template, &mut self.needs)
    }

    fn path(&mut self, route: &Route, rule: &PathRule) -> Value {
        let mut fields = vec![
            ("prefix", Value::text(rule.prefix.value.clone())),
            ("timeout_seconds", Value::from(rule.timeout.0)),
            ("retries", Value::from(rule.retries.value)),
        ];
        fields.extend(rule.attempt_timeout.as_ref().map(|limit| ("attempt_timeout_seconds", Value::from(limit.0))));
        fields.extend(rule.redirect.as_ref().map(|redirect| ("redirect", self.redirect(redirect))));
        fields.extend(rule.respond.as_ref().map(|respond| ("respond", self.respond(respond))));
        if let Some(service) = route.service_of(rule)
            && let Some(to) = self.expansion.resolver.app.services.get(&service.value)
            && to.protocol.value == Protocol::Grpc
        {
            let (route, service) = (self.from.clone(), format!("service.{}", service.value));
            self.expansion.resolver.errors.push(ExpandError::GrpcRoute { route, service });
        }
        let service = route.service_of(rule).map(|service| ResourceId::new("service", &service.value));
        if service.is_none() && !rule.is_answered() {
            let missing = ExpandError::Missing { from: self.from.clone(), what: "service".to_owned() };
            self.expansion.resolver.errors.push(missing);
        }
        fields.extend(service.map(|service| ("service", Value::text(service.0))));
        Value::map(fields)
    }

    fn redirect(&mut self, redirect: &Redirect) -> Value {
        let to = self.plain("paths.redirect.to", &redirect.to);
        if Destination::parse(&to).is_none() {
            let from = format!("{}.paths.redirect.to", self.from);
            self.expansion.resolver.errors.push(ExpandError::NotUrl { from, text: to.clone() });
        }
        Value::map([
            ("to", Value::text(to)),
            ("keep_path", Value::Bool(redirect.keep_path)),
            ("status", Value::from(u32::from(redirect.status))),
        ])
    }

    fn respond(&mut self, respond: &Respond) -> Value {
        Value::map([
            ("status", Value::from(u32::from(respond.status))),
            ("body", Value::text(self.plain("paths.respond.body", &respond.body))),
            ("content_type", Value::text(respond.content_type.clone())),
        ])
    }

    /// What holds for all paths, as far as it is said.
    fn policies(&mut self, route: &Route) -> BTreeMap<String, Value> {
        let mut fields = Vec::new();
        let headers = [("request_headers", &route.request_headers), ("response_headers", &route.response_headers)];
        for (key, headers) in headers.into_iter().filter(|(_, headers)| !headers.is_empty()) {
            fields.push((key, self.headers(key, headers)));
        }
        fields.extend(route.cors.as_ref().map(|cors| ("cors", self.cors(cors))));
        fields.extend(route.max_body.as_ref().map(|size| ("max_body_bytes", Value::from(size.0))));
        if !route.basic_auth.is_empty() {
            fields.push(("basic_auth", self.passwords(&route.basic_auth)));
        }
        if !route.allow_from.is_empty() {
            let networks: Vec<String> = route.allow_from.iter().map(|network| network.to_string()).collect();
            fields.push(("allow_from", Value::from(networks)));
        }
        fields.extend(route.rate_limit.map(|limit| ("rate_limit", rate_limit(limit))));
        fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    fn headers(&mut self, key: &str, headers: &Headers) -> Value {
        let mut fields = |fields: &BTreeMap<String, Spanned<Template>>| {
            let resolved = fields.iter().map(|(name, value)| (name.clone(), self.plain(key, value)));
            // The tier of a stack that has none is no value of a field.
            let stated = resolved.filter(|(_, value)| !value.is_empty());
            Value::map(stated.map(|(name, value)| (name, Value::text(value))))
        };
        let (set, add) = (fields(&headers.set), fields(&headers.add));
        Value::map([("set", set), ("add", add), ("remove", Value::from(headers.remove.clone()))])
    }

    fn cors(&mut self, cors: &Cors) -> Value {
        let origins: Vec<String> = cors.origins.iter().map(|origin| self.plain("cors.origins", origin)).collect();
        let methods: Vec<&str> = cors.methods.iter().map(|method| method.as_str()).collect();
        Value::map([
            ("origins", Value::from(origins)),
            ("methods", Value::from(methods)),
            ("headers", Value::from(cors.headers.clone())),
            ("expose", Value::from(cors.expose.clone())),
            ("credentials", Value::Bool(cors.credentials.value)),
            ("max_age_seconds", Value::from(cors.max_age.0)),
        ])
    }

    fn passwords(&mut self, passwords: &BTreeMap<String, Spanned<Template>>) -> Value {
        let from = format!("{}.basic_auth", self.from);
        let password = |(user, password): (&String, &Spanned<Template>)| {
            (user.clone(), self.expansion.resolver.value(&from, &password.value, &mut self.needs))
        };
        Value::map(passwords.iter().map(password).collect::<Vec<_>>())
    }
}

fn rate_limit(limit: RateLimit) -> Value {
    Value::map([("requests", Value::from(limit.requests)), ("seconds", Value::from(limit.per.seconds()))])
}
