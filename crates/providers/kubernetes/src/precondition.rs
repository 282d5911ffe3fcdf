//! What binds a request to an object as it was seen: the API server refuses it when the object is another one, or has changed.

use serde_json::Value as Json;

/// Controllers write to objects all the time: how often an object is read again when one was quicker.
pub(crate) const ATTEMPTS: u32 = 20;

/// A manifest for this very object, in the version that was seen.
pub(crate) fn with_precondition(manifest: &Json, live: &Json) -> Json {
    let mut manifest = manifest.clone();
    if let Some(Json::Object(metadata)) = manifest.get_mut("metadata") {
        for (name, pointer) in [("uid", "/metadata/uid"), ("resourceVersion", "/metadata/resourceVersion")] {
            metadata.insert(name.to_owned(), live.pointer(pointer).cloned().unwrap_or_default());
        }
    }
    manifest
}

/// A manifest for what must not be there. No object has the version 1, which etcd has before anything is written: where one is, the apply
/// is refused as outdated; where none is, the API server makes it, and the version says nothing.
pub(crate) fn if_absent(manifest: &Json) -> Json {
    let mut manifest = manifest.clone();
    if let Some(Json::Object(metadata)) = manifest.get_mut("metadata") {
        metadata.insert("resourceVersion".to_owned(), "1".into());
    }
    manifest
}
