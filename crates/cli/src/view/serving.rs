//! What serves after a deploy that failed: only what was looked at.

use freehold::wire::{ResourceState, ResourceStatus, Serving, Stack};
use freehold_graph::ResourceKind;

use super::outputs;

/// In a sentence: whether the verified revision takes requests. `None` where nobody could tell.
pub(crate) fn told(stack: &Stack, revision: u64) -> Option<String> {
    let url = outputs::first_url(&stack.outputs).map(|url| format!(" {url}")).unwrap_or_default();
    let still = format!("revision {revision} is still serving{url}");
    if stack.serving.is_empty() {
        let serves = |resource: &&ResourceStatus| {
            let kind = ResourceKind::of_written(&resource.kind);
            kind.is_some_and(|kind| kind.row().serves_while_ready())
        };
        let services: Vec<&ResourceStatus> = stack.resources.iter().filter(serves).collect();
        let serves = !services.is_empty() && services.iter().all(|service| service.state == ResourceState::Ready);
        return serves.then_some(still);
    }
    let of = |wanted: fn(&Serving) -> bool| -> Vec<&Serving> {
        stack.serving.iter().filter(|serving| wanted(serving)).collect()
    };
    let names =
        |serving: &[&Serving]| serving.iter().map(|serving| serving.service.as_str()).collect::<Vec<_>>().join(", ");
    let silent = of(|serving| serving.verified == 0 && serving.newer == 0);
    if !silent.is_empty() {
        return Some(format!("nothing answers for {}: no replica is ready", names(&silent)));
    }
    let newer = of(|serving| serving.newer > 0);
    let copies: Vec<String> = newer
        .iter()
        .map(|serving| match serving.newer {
            1 => format!("1 new replica of {}", serving.service),
            number => format!("{number} new replicas of {}", serving.service),
        })
        .collect();
    let replaced = of(|serving| serving.verified == 0);
    Some(match (newer.is_empty(), replaced.is_empty()) {
        (true, _) => still,
        (false, true) => format!("{still}, and so is what was not verified: {}", copies.join(", ")),
        (false, false) => {
            let copies = copies.join(", ");
            format!("revision {revision} no longer serves {}; what was not verified does: {copies}", names(&replaced))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told_of(serving: &[(&str, u32, u32)]) -> String {
        let serving: Vec<serde_json::Value> = serving
            .iter()
            .map(|(service, verified, newer)| serde_json::json!({"service": service, "verified": verified, "newer": newer}))
            .collect();
        let stack = serde_json::json!({
            "id": uuid::Uuid::nil(), "target": "prod", "app": "guestbook", "kind": "tenant", "name": "acme", "state": "failed",
            "generation": 1, "revision": 1, "tier": null, "artifacts": {}, "created_at": "2026-03-01T10:00:00Z",
            "outputs": {"routes": {"web": {"url": "http://acme.test"}}}, "updated_at": "2026-03-01T10:00:00Z", "serving": serving,
        });
        told(&serde_json::from_value(stack).unwrap(), 1).unwrap_or_default()
    }

    #[test]
    fn only_what_was_seen_to_serve_is_said_to() {
        assert_eq!(told_of(&[]), "", "nobody could tell");
        assert_eq!(told_of(&[("web", 2, 0)]), "revision 1 is still serving http://acme.test");
        assert_eq!(told_of(&[("web", 0, 0), ("api", 1, 0)]), "nothing answers for web: no replica is ready");
        let both =
            "revision 1 is still serving http://acme.test, and so is what was not verified: 1 new replica of web";
        assert_eq!(told_of(&[("web", 1, 1)]), both);
        let replaced = "revision 1 no longer serves web; what was not verified does: 2 new replicas of web";
        assert_eq!(told_of(&[("web", 0, 2)]), replaced);
    }
}
