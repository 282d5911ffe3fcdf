//! The end of an operation: what exists, where it answers, and how long each part took.

use freehold_spec::PartKind;
use serde_json::Value as Json;

use crate::layout::{BOLD, GREEN, WIDTH, columns, pad, paint, seconds};

/// `Ready in 0.8 s · revision 1 · http://acme.localhost:7080`, and what there is to know besides.
pub(crate) fn ready(headline: &str, revision: u64, outputs: &Json, phases: &[(&str, u64)]) -> String {
    let mut head = vec![headline.to_owned(), format!("revision {revision}")];
    let mut rows: Vec<(String, String)> = Vec::new();
    let routes = pairs(outputs, "routes", "url");
    match routes.as_slice() {
        [(_, url)] if columns(&head.join(" · ")) + columns(url) + 3 <= WIDTH => head.push(url.clone()),
        routes => rows.extend(routes.iter().map(|(name, url)| (label("route", name, routes.len()), url.clone()))),
    }
    rows.extend(others(outputs));
    if phases.len() > 1 {
        let times: Vec<String> = phases.iter().map(|(phase, time)| format!("{phase} {}", seconds(*time))).collect();
        rows.push(("time".to_owned(), times.join(" · ")));
    }
    let mut head = head.into_iter();
    let first = head.next().unwrap_or_default();
    let mut lines =
        vec![format!("{}{}", paint(GREEN.bold(), first), head.map(|part| format!(" · {part}")).collect::<String>())];
    let width = rows.iter().map(|(name, _)| columns(name)).max().unwrap_or(0);
    for (name, value) in rows {
        lines.push(format!("  {}   {}", pad(&name, width), value));
    }
    lines.join("\n")
}

/// What exists and what doesn't, after a failure or a cancel.
pub(crate) fn left(exists: &[String], missing: &[String]) -> Vec<String> {
    let mut lines = Vec::new();
    if !exists.is_empty() {
        lines.push(format!("done: {}", exists.join(", ")));
    }
    if !missing.is_empty() {
        lines.push(format!("not done: {}", missing.join(", ")));
    }
    lines
}

/// The URL to show for a stack: that of its only or first route.
pub(crate) fn first_url(outputs: &Json) -> Option<String> {
    pairs(outputs, "routes", "url").into_iter().next().map(|(_, url)| url)
}

/// All URLs of a stack.
pub(crate) fn urls(outputs: &Json) -> Vec<String> {
    pairs(outputs, "routes", "url").into_iter().map(|(_, url)| paint(BOLD, url)).collect()
}

fn pairs(outputs: &Json, group: &str, field: &str) -> Vec<(String, String)> {
    let Some(group) = outputs.get(group).and_then(Json::as_object) else { return Vec::new() };
    let pair = |(name, values): (&String, &Json)| Some((name.clone(), values.get(field)?.as_str()?.to_owned()));
    group.iter().filter_map(pair).collect()
}

/// All outputs that aren't those of routes, as words and value.
fn others(outputs: &Json) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    let groups = outputs.as_object().into_iter().flatten().filter(|(group, _)| *group != PartKind::Route.plural());
    for (group, parts) in groups {
        let part = PartKind::ALL.iter().find(|part| part.plural() == group);
        let word = part.map_or(group.as_str(), |part| part.word());
        let parts = parts.as_object();
        let number = parts.map_or(0, |parts| parts.len());
        for (name, values) in parts.into_iter().flatten() {
            let values = values.as_object().into_iter().flat_map(|values| values.values());
            let values: Vec<&str> = values.filter_map(Json::as_str).collect();
            rows.push((label(word, name, number), values.join(" · ")));
        }
    }
    rows
}

fn label(word: &str, name: &str, of: usize) -> String {
    if of == 1 { word.to_owned() } else { format!("{word} {name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn one_route_stands_in_the_first_line() {
        let outputs = serde_json::json!({
            "routes": { "web": { "url": "http://acme.localhost:7080" } },
            "databases": { "main": { "name": "acme__guestbook" } },
        });
        let text = ready("Ready in 0.8 s", 1, &outputs, &[("build", 120), ("plan", 31), ("apply", 812)]);
        insta::assert_snapshot!(plain(&text), @r"
        Ready in 0.8 s · revision 1 · http://acme.localhost:7080
          database   acme__guestbook
          time       build 0.12 s · plan 0.03 s · apply 0.81 s
        ");
    }

    #[test]
    fn outputs_of_whatever_part_have_a_line() {
        let outputs = serde_json::json!({
            "databases": { "audit": { "name": "acme__guestbook__audit" }, "main": { "name": "acme__guestbook" } },
            "ledgers": { "main": { "name": "acme", "place": "here" } },
        });
        insta::assert_snapshot!(plain(&ready("Ready in 0.8 s", 1, &outputs, &[])), @r"
        Ready in 0.8 s · revision 1
          database audit   acme__guestbook__audit
          database main    acme__guestbook
          ledgers          acme · here
        ");
    }

    #[test]
    fn several_routes_have_a_line_each() {
        let outputs = serde_json::json!({
            "routes": { "web": { "url": "http://acme.localhost:7080" }, "admin": { "url": "http://admin.acme.localhost:7080" } },
        });
        insta::assert_snapshot!(plain(&ready("Ready in 0.8 s", 7, &outputs, &[])), @r"
        Ready in 0.8 s · revision 7
          route admin   http://admin.acme.localhost:7080
          route web     http://acme.localhost:7080
        ");
    }
}
