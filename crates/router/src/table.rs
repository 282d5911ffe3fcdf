//! Which host goes where: the routes, looked up by host and then by the longest prefix of the path.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::endpoint::Endpoint;
use crate::path;
use crate::rate_limit::RateLimiter;
use crate::route::{Action, EndpointKey, Route, RouteKey, Rule};

/// All routes, and what they make of each host. Replaced as a whole on every change; readers take what they need and let go.
#[derive(Clone, Default)]
pub(crate) struct Table {
    routes: BTreeMap<RouteKey, Arc<Entry>>,
    hosts: HashMap<String, Arc<Host>>,
}

/// A route that is ready for look-ups.
pub(crate) struct Entry {
    pub(crate) route: Route,
    pub(crate) limiter: Option<Arc<RateLimiter>>,
    /// By rule: the service that answers, if one does.
    endpoints: Vec<Option<Arc<Endpoint>>>,
}

/// The rules of all routes that have a host.
#[derive(Default)]
pub(crate) struct Host {
    /// The longest prefix first, each without its trailing slash.
    rules: Vec<(String, Chosen)>,
}

/// What becomes of a request.
#[derive(Clone)]
pub(crate) struct Chosen {
    pub(crate) entry: Arc<Entry>,
    /// `None`: it is redirected to the route's first host.
    rule: Option<usize>,
}

/// What answers a request.
pub(crate) enum Answerer<'a> {
    /// The first host of the route does.
    FirstHost(&'a str),
    /// This rule does, with the service of its own if it has one.
    Rule(&'a Rule, Option<&'a Arc<Endpoint>>),
}

impl Entry {
    /// A route, with the endpoints of its rules.
    pub(crate) fn new(
        route: Route,
        mut endpoint: impl FnMut(&EndpointKey) -> Arc<Endpoint>,
        former: Option<&Entry>,
    ) -> Entry {
        let endpoints = route.rules.iter().map(|rule| match &rule.action {
            Action::Forward { endpoint: key, .. } => Some(endpoint(key)),
            Action::Redirect { .. } | Action::Respond { .. } => None,
        });
        let endpoints = endpoints.collect();
        // What clients have sent isn't forgotten because something else of the route changes.
        let former = former.and_then(|former| former.limiter.as_ref());
        let limiter = route.policies.rate_limit.map(|limit| match former {
            Some(former) if former.limit() == limit => Arc::clone(former),
            Some(_) | None => Arc::new(RateLimiter::new(limit)),
        });
        Entry { route, limiter, endpoints }
    }
}

impl Chosen {
    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.entry, &other.entry) && self.rule == other.rule
    }

    pub(crate) fn answerer(&self) -> Option<Answerer<'_>> {
        let route = &self.entry.route;
        let Some(rule) = self.rule else { return route.hosts.first().map(|host| Answerer::FirstHost(host)) };
        let endpoint = self.entry.endpoints.get(rule).and_then(Option::as_ref);
        route.rules.get(rule).map(|rule| Answerer::Rule(rule, endpoint))
    }
}

impl Host {
    /// What the longest prefix says that covers the path by whole segments: `/events` covers `/events/1`, not `/eventsource`.
    ///
    /// # Errors
    /// A service could read the path as another one, of which another rule says something else: a rule that keeps requests out must not be
    /// avoided by writing its path in another way.
    pub(crate) fn choose(&self, path: &str) -> Result<Option<&Chosen>, &'static str> {
        let Some(chosen) = self.covering(path) else { return Ok(None) };
        let other = path::as_read(path).and_then(|read| self.covering(&read));
        match other.is_some_and(|other| !other.is(chosen)) {
            true => Err("its path can be read in two ways, and the stack has a rule for each"),
            false => Ok(Some(chosen)),
        }
    }

    fn covering(&self, path: &str) -> Option<&Chosen> {
        self.rules.iter().find(|(prefix, _)| covers(prefix, path)).map(|(_, chosen)| chosen)
    }

    /// The stack that has the host.
    pub(crate) fn label(&self) -> Option<&str> {
        self.rules.first().map(|(_, chosen)| chosen.entry.route.label.as_str())
    }
}

impl Table {
    pub(crate) fn host(&self, host: &str) -> Option<&Arc<Host>> {
        self.hosts.get(host)
    }

    pub(crate) fn host_count(&self) -> usize {
        self.hosts.len()
    }

    pub(crate) fn routes(&self) -> &BTreeMap<RouteKey, Arc<Entry>> {
        &self.routes
    }

    pub(crate) fn set(&mut self, key: &RouteKey, entry: Option<Arc<Entry>>) {
        let former = match &entry {
            Some(entry) => self.routes.insert(key.clone(), Arc::clone(entry)),
            None => self.routes.remove(key),
        };
        let hosts = |entry: &Arc<Entry>| [entry.route.hosts.clone(), entry.route.redirect_from.clone()].concat();
        let touched: BTreeSet<String> = former.iter().chain(&entry).flat_map(hosts).collect();
        for host in touched {
            let rules = self.rules(&host);
            if rules.is_empty() {
                self.hosts.remove(&host);
            } else {
                self.hosts.insert(host, Arc::new(Host { rules }));
            }
        }
    }

    fn rules(&self, host: &str) -> Vec<(String, Chosen)> {
        let mut rules = Vec::new();
        for entry in self.routes.values() {
            let chosen = |rule| Chosen { entry: Arc::clone(entry), rule };
            if entry.route.hosts.iter().any(|one| one == host) {
                let all = entry.route.rules.iter().enumerate();
                rules.extend(all.map(|(at, rule)| (rule.prefix.trim_end_matches('/').to_owned(), chosen(Some(at)))));
            }
            if entry.route.redirect_from.iter().any(|one| one == host) {
                rules.push((String::new(), chosen(None)));
            }
        }
        rules.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        rules
    }
}

fn covers(prefix: &str, path: &str) -> bool {
    match path.strip_prefix(prefix) {
        Some(rest) => prefix.is_empty() || rest.is_empty() || rest.starts_with('/'),
        None => false,
    }
}

/// The name in a `Host` value: without the port, without the trailing dot, in lower case. `None` if the port is not a number,
/// so that nothing odd reaches the `Forwarded` header.
pub(crate) fn host_name(value: &str) -> Option<Cow<'_, str>> {
    let end = match value.find(']') {
        Some(bracket) if value.starts_with('[') => bracket + 1,
        _ => value.find(':').unwrap_or(value.len()),
    };
    let (name, port) = value.split_at_checked(end)?;
    let digits = port.strip_prefix(':').unwrap_or(port);
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) || (port == digits && !port.is_empty()) {
        return None;
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Some(Cow::Owned(name.to_ascii_lowercase()))
    } else {
        Some(Cow::Borrowed(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_compared_without_port_dot_and_case() {
        for value in
            ["acme.localhost", "ACME.localhost:7080", "acme.localhost.", "acme.localhost.:80", "acme.localhost:"]
        {
            assert_eq!(host_name(value).as_deref(), Some("acme.localhost"), "{value}");
        }
        assert_eq!(host_name("[::1]:7080").as_deref(), Some("[::1]"));
        assert_eq!(host_name("acme.localhost:80\";for=\"8.8.8.8"), None);
        assert_eq!(host_name("[::1]x"), None);
    }

    #[test]
    fn a_prefix_covers_whole_segments_only() {
        assert!(covers("/events", "/events"));
        assert!(covers("/events", "/events/1"));
        assert!(!covers("/events", "/eventsource"));
        assert!(covers("", "/anything"));
        assert!(covers("", "*"));
    }
}
