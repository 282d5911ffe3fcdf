//! What a request with an idempotency key was answered with, as the store keeps it: the same JSON that the API has always given, so that
//! replicas of an earlier release read it, too.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use freehold_engine::OperationId;
use freehold_graph::StackId;
use freehold_plan::Purpose;
use freehold_problem::{Code, Problem};
use freehold_store::OperationState;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use uuid::Uuid;

use crate::Result;
use crate::view::OperationView;

#[derive(Serialize, Deserialize)]
struct Kept {
    id: Uuid,
    stack: Uuid,
    key: String,
    purpose: String,
    state: OperationState,
    revision: u64,
    taken: u32,
    created_at: DateTime<Utc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    finished_at: Option<DateTime<Utc>>,
    outputs: Json,
}

/// As the store keeps it.
pub(crate) fn write(operation: &OperationView) -> Json {
    let kept = Kept {
        id: operation.id.0,
        stack: operation.stack.0,
        key: operation.key.clone(),
        purpose: match operation.purpose {
            Purpose::Deploy => "deploy".to_owned(),
            Purpose::Rollback { to } => format!("rollback to {to}"),
            Purpose::Destroy { .. } => "destroy".to_owned(),
        },
        state: operation.state,
        revision: operation.revision,
        taken: operation.taken,
        created_at: operation.created_at,
        finished_at: operation.finished_at,
        outputs: nested(&operation.outputs),
    };
    serde_json::to_value(kept).unwrap_or_default()
}

/// # Errors
/// A later release stored the response in a form that this one can't read.
pub(crate) fn read(kept: Json) -> Result<OperationView> {
    let unreadable =
        || Problem::new(Code::StoreUnreadable, "the response to the earlier request can't be read any more");
    let kept: Kept = serde_json::from_value(kept).map_err(|_| unreadable())?;
    let purpose = match (kept.purpose.as_str(), kept.purpose.strip_prefix("rollback to ")) {
        (_, Some(to)) => Purpose::Rollback { to: to.parse().map_err(|_| unreadable())? },
        ("deploy", None) => Purpose::Deploy,
        ("destroy", None) => Purpose::Destroy { dump: true },
        (_, None) => return Err(unreadable()),
    };
    let mut outputs = BTreeMap::new();
    flatten("", &kept.outputs, &mut outputs);
    Ok(OperationView {
        id: OperationId(kept.id),
        stack: StackId(kept.stack),
        key: kept.key,
        purpose,
        state: kept.state,
        revision: kept.revision,
        taken: kept.taken,
        created_at: kept.created_at,
        finished_at: kept.finished_at,
        failure: None,
        outputs,
        waits: Vec::new(),
    })
}

/// `{"routes.web.url": x}` becomes `{"routes": {"web": {"url": x}}}`.
fn nested(outputs: &BTreeMap<String, String>) -> Json {
    let mut root = Map::new();
    outputs.iter().for_each(|(name, value)| insert(&mut root, name, value));
    Json::Object(root)
}

fn insert(at: &mut Map<String, Json>, name: &str, value: &str) {
    match name.split_once('.') {
        None => drop(at.insert(name.to_owned(), Json::String(value.to_owned()))),
        Some((part, rest)) => {
            let entry = at.entry(part).or_insert_with(|| Json::Object(Map::new()));
            if let Json::Object(inner) = entry {
                insert(inner, rest, value);
            }
        }
    }
}

fn flatten(prefix: &str, value: &Json, outputs: &mut BTreeMap<String, String>) {
    match value {
        Json::Object(inner) => {
            for (name, value) in inner {
                let name = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                flatten(&name, value, outputs);
            }
        }
        Json::String(text) => drop(outputs.insert(prefix.to_owned(), text.clone())),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_an_earlier_release_has_kept_is_read_and_written_the_same() {
        let kept = json!({
            "id": "01936ef0-0000-7000-8000-000000000001", "stack": "01936ef0-0000-7000-8000-000000000002",
            "key": "guestbook/tenant/acme", "purpose": "rollback to 3", "state": "queued", "revision": 4, "taken": 0,
            "created_at": "2026-11-29T10:00:00Z",
            "outputs": {"routes": {"web": {"url": "http://acme.localhost:7080"}}, "note": "x"},
        });
        let read = read(kept.clone()).unwrap();
        assert_eq!((read.purpose, read.state), (Purpose::Rollback { to: 3 }, OperationState::Queued));
        assert_eq!(read.outputs["routes.web.url"], "http://acme.localhost:7080");
        assert_eq!(write(&read), kept);
    }

    #[test]
    fn a_purpose_of_a_later_release_is_taken_for_no_other() {
        let kept = |purpose: &str| {
            json!({
                "id": "01936ef0-0000-7000-8000-000000000001", "stack": "01936ef0-0000-7000-8000-000000000002",
                "key": "guestbook/tenant/acme", "purpose": purpose, "state": "queued", "revision": 4, "taken": 0,
                "created_at": "2026-11-29T10:00:00Z", "outputs": {},
            })
        };
        assert_eq!(read(kept("deploy")).unwrap().purpose, Purpose::Deploy);
        assert_eq!(read(kept("restore")).unwrap_err().code, Code::StoreUnreadable);
    }
}
