//! Prints the definitions, as one List.
//!
//! They are as close to CloudNativePG's own as its types tell: names, kinds, enums, required fields. Lists that are merged
//! by key, patterns and rules in CEL are not in the types, and so not here either.

use k8s_crds_cloud_native_pg as cloudnative_pg;
use kube::CustomResourceExt;
use serde_json::Value;

fn main() -> Result<(), serde_json::Error> {
    let items = [
        cloudnative_pg::Backup::crd(),
        cloudnative_pg::Cluster::crd(),
        cloudnative_pg::Database::crd(),
        cloudnative_pg::DatabaseRole::crd(),
        cloudnative_pg::ImageCatalog::crd(),
        cloudnative_pg::Pooler::crd(),
        cloudnative_pg::ScheduledBackup::crd(),
    ];
    let mut list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items});
    without_null(&mut list);
    serde_json::to_writer(std::io::stdout(), &list)
}

/// An `Option` of Rust becomes a value that may be null; in CloudNativePG's own schemas it may only be absent.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.get("nullable") == Some(&Value::Bool(true)) {
                fields.remove("nullable");
            }
            if let Some(Value::Array(values)) = fields.get_mut("enum") {
                values.retain(|value| !value.is_null());
            }
            fields.values_mut().for_each(without_null);
        }
        Value::Array(values) => values.iter_mut().for_each(without_null),
        _ => {}
    }
}
