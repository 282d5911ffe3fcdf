//! Volumes: what the plan says of one that nothing will make, and what was never made.

use freehold_engine::{Lookup, Provider as _};
use freehold_graph::{Resource, ResourceKind};
use freehold_problem::Code;
use serde_json::json;

use crate::stage::{Stage, rejected};

fn claim(stage: &Stage, class: Option<&str>) -> Resource {
    let requests = json!({"requests": {"storage": "1Gi"}});
    let spec = json!({"accessModes": ["ReadWriteOnce"], "storageClassName": class, "resources": requests});
    let api = ("v1", "PersistentVolumeClaim");
    stage.resource(ResourceKind::PersistentVolumeClaim, api, "data", &json!({"spec": spec}))
}

#[tokio::test]
async fn a_volume_that_nothing_would_make_is_told_by_the_plan() {
    let Some(stage) = Stage::settled("a_volume_that_nothing_would_make_is_told_by_the_plan").await else { return };
    let refused = stage.try_plan(&claim(&stage, Some("nothing-of-that-name")), false).await.err().unwrap();
    let (code, words) = rejected(&refused);
    assert!(code == Code::ClusterUnfit && words.contains("no storage class nothing-of-that-name"), "{words}");
    assert!(words.contains("--storage-class"), "{words}");
    let plan = stage.plan(&claim(&stage, None)).await;
    let [note] = plan.preview.notes.as_slice() else { panic!("{:?}", plan.preview.notes) };
    assert!(note.contains("no default storage class"), "{note}");
}

#[tokio::test]
async fn a_volume_that_was_never_made_holds_nothing() {
    let Some(stage) = Stage::settled("a_volume_that_was_never_made_holds_nothing").await else { return };
    let claim = claim(&stage, None);
    stage.deploy(&claim).await;
    let may_hold_data = async || {
        let deletion = stage.provider.preview_deletion(stage.stack, &Lookup::from(&claim)).await;
        deletion.unwrap().may_hold_data
    };
    assert!(!may_hold_data().await);
    let bound = json!({"spec": {"volumeName": "by-hand"}}).to_string();
    stage.kubectl(&["patch", "persistentvolumeclaim", "data", "--type=merge", "--patch", &bound]);
    assert!(may_hold_data().await, "nobody knows what is in it");
}
