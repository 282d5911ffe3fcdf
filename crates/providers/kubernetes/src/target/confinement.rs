//! Whether our account is kept out of the namespaces that aren't stacks': tried, since only trying shows what admission does.

use serde_json::json;

use freehold_engine::capability::Finding;

use super::finding;
use crate::error::{ClusterError, Reason};
use crate::manifests::admission::OURS;
use crate::mark::MARK;
use crate::object::{self, NAMESPACE, Place};
use crate::reader::Reader;
use crate::request::Request;
use freehold_graph::ResourceKind;

/// The namespace that no stack ever has, and from which a cluster is taken over.
const ELSEWHERE: &str = "kube-system";

/// Tries, as dry runs, what has to be refused: an object in a namespace that isn't a stack's, and the mark on such a namespace.
pub(super) async fn check(reader: &Reader<'_>) -> Finding {
    let subject = "confinement";
    let space = Place::named(NAMESPACE, None, ELSEWHERE);
    let mark = json!({"metadata": {"labels": {MARK: "00000000-0000-0000-0000-000000000000"}}});
    let mut tries = vec![("marking the namespace", Request::merge(&space, &mark))];
    if let Some(kind) = object::of(ResourceKind::ConfigMap) {
        let name = "freehold-confinement";
        let manifest = json!({
            "apiVersion": kind.api_version(),
            "kind": kind.name,
            "metadata": {"name": name, "namespace": ELSEWHERE},
        });
        tries.push(("making a ConfigMap in", Request::create(&Place::named(kind, Some(ELSEWHERE), name), &manifest)));
    }
    for (what, request) in tries {
        match reader.cluster.send(&request.dry_run(), reader.deadline).await {
            Ok(_) => {
                let message = format!(
                    "the platform may write in every namespace of the cluster ({what} {ELSEWHERE} was tried and not refused): whoever \
                     has its credentials has the cluster"
                );
                return Finding::warning(subject, message, FIX);
            }
            Err(error) if is_by_us(&error) => {}
            Err(error) => return finding::of_error(subject, &error),
        }
    }
    Finding::ok(subject, "writes outside of stacks' namespaces are refused; what may be read may be read everywhere")
}

const FIX: &str = "apply what `freehold target rbac` prints as an administrator (a ValidatingAdmissionPolicy is in it), and give the \
                   target the token of that service account";

/// By the policy, or since there is no such permission. Anything else is no answer.
fn is_by_us(error: &ClusterError) -> bool {
    match error.reason() {
        Some(Reason::NotPermitted(_)) => true,
        _ => error.to_string().contains(OURS),
    }
}
