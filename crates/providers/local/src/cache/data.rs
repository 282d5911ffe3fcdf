//! The folders with the data of caches that persist: a record that the stack can't write, and beside it the files, which are its user's.

use std::path::PathBuf;

use freehold_engine::{Lookup, Performed, ProviderError, Readiness};
use freehold_graph::{ResourceId, StackId, Value};
use freehold_plan::Observation;
use freehold_plan::observation::Ownership;
use freehold_problem::Code;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::directory::{self, CACHE_DATA, Directory, Durability};
use crate::failure;
use crate::machine::Machine;

#[derive(Serialize, Deserialize)]
struct DataRecord {
    /// Made when the folder is made, and never used again.
    object: String,
}

fn folder(directory: &Directory, stack: StackId, name: &str) -> PathBuf {
    directory.stack(stack).join(CACHE_DATA).join(directory::component(name))
}

/// Where the files of a cache are.
pub(super) fn files(directory: &Directory, stack: StackId, name: &str) -> PathBuf {
    folder(directory, stack, name).join("files")
}

fn record(directory: &Directory, stack: StackId, id: &ResourceId) -> Result<Option<DataRecord>, ProviderError> {
    let path = folder(directory, stack, id.name()).join("data.json");
    directory::read_json(&path).map_err(|error| failure::file("read", &path, &error))
}

pub(crate) fn apply(machine: &Machine, stack: StackId, id: &ResourceId) -> Result<Performed, ProviderError> {
    let user = machine.prepare(stack, &Value::Null)?;
    let files = files(&machine.directory, stack, id.name());
    machine.own_folder(&files, user).map_err(|error| failure::file("prepare", &files, &error))?;
    let former = record(&machine.directory, stack, id)?;
    let object = former.map_or_else(|| Uuid::new_v4().to_string(), |record| record.object);
    let path = folder(&machine.directory, stack, id.name()).join("data.json");
    let written = directory::write_json(&path, &DataRecord { object: object.clone() }, Durability::Power);
    written.map_err(|error| failure::file("write", &path, &error))?;
    Ok(Performed { object: Some(object), ..Performed::default() })
}

pub(crate) fn observe(
    machine: &Machine,
    stack: StackId,
    lookup: &Lookup,
) -> Result<Option<Observation>, ProviderError> {
    let found = record(&machine.directory, stack, &lookup.id)?;
    Ok(found.map(|DataRecord { object }| Observation {
        object,
        ownership: Ownership::Ours,
        body: Value::map::<&str>([]),
        foreign_fields: Vec::new(),
    }))
}

pub(crate) async fn delete(
    machine: &Machine,
    stack: StackId,
    lookup: &Lookup,
    object: Option<&str>,
) -> Result<Performed, ProviderError> {
    let Some(found) = record(&machine.directory, stack, &lookup.id)? else { return Ok(Performed::default()) };
    if object.is_some_and(|object| object != found.object) {
        let message = format!("the data of the cache {} is not what was deployed", lookup.id.name());
        return Err(ProviderError::rejected(Code::ChangedExternally, message));
    }
    let folder = folder(&machine.directory, stack, lookup.id.name());
    let gone = folder.clone();
    let removed = tokio::task::spawn_blocking(move || directory::remove(&gone)).await;
    let removed = removed.map_err(|_| failure::stopped("removing a folder"))?;
    removed.map_err(|error| failure::file("remove", &folder, &error))?;
    Ok(Performed::default())
}

pub(crate) fn readiness(machine: &Machine, stack: StackId, lookup: &Lookup) -> Result<Readiness, ProviderError> {
    Ok(match record(&machine.directory, stack, &lookup.id)? {
        Some(_) => Readiness::Ready,
        None => Readiness::failed("its folder does not exist"),
    })
}
