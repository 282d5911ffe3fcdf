//! Which host goes where: the routes, looked up by host and then by the longest prefix of the path.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use crate::endpoint::Endpoint;
use crate::route::{Route, Rule};

/// All routes by host. Replaced as a whole on every change; readers take what they need and let go.
pub(crate) type Table = HashMap<String, Arc<Entry>>;

/// A route that is ready for look-ups.
pub(crate) struct Entry {
    pub(crate) route: Route,
    pub(crate) endpoint: Arc<Endpoint>,
    /// The rules with the longest prefix first, each prefix without its trailing slash.
    rules: Vec<(String, Rule)>,
}

impl Entry {
    pub(crate) fn new(route: Route, endpoint: Arc<Endpoint>) -> Entry {
        let mut rules: Vec<(String, Rule)> =
            route.rules.iter().map(|rule| (rule.prefix.trim_end_matches('/').to_owned(), rule.clone())).collect();
        rules.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        Entry { route, endpoint, rules }
    }

    /// The rule with the longest prefix that covers the path by whole segments: `/events` covers `/events/1`, not `/eventsource`.
    pub(crate) fn rule(&self, path: &str) -> Option<&Rule> {
        self.rules.iter().find(|(prefix, _)| covers(prefix, path)).map(|(_, rule)| rule)
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
