//! Containers that nobody looks after any more: their launcher was killed, or the machine went down.
//!
//! A stack that ever had containers has a file that says so, written before the first one is made: where there is none no engine is asked.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use freehold_engine::ProviderError;
use freehold_graph::StackId;

use super::arguments::{INSTANCE, PLATFORM, STACK};
use super::engine::no_answer;
use crate::directory::{self, Durability};
use crate::failure;
use crate::machine::Machine;
use crate::mark;

/// What the file is called, in a stack's folder.
const FILE: &str = "containers.json";

fn note(machine: &Machine, stack: StackId) -> PathBuf {
    machine.directory.stack(stack).join(FILE)
}

/// Notes that a stack has containers.
pub(crate) fn expect(machine: &Machine, stack: StackId) -> Result<(), ProviderError> {
    let path = note(machine, stack);
    if path.exists() {
        return Ok(());
    }
    directory::write_json(&path, &true, Durability::Power).map_err(|error| failure::file("write", &path, &error))
}

/// Removes all containers of a stack of which nothing is to be left.
pub(crate) async fn remove_all(machine: &Machine, stack: StackId) -> Result<(), ProviderError> {
    if !note(machine, stack).exists() {
        return Ok(());
    }
    let engine = machine.engines.find(&machine.search).await?;
    let named = engine.containers(STACK, &stack.to_string(), PLATFORM).await;
    for (name, platform) in named.map_err(|failure| no_answer(&engine, &failure))? {
        if platform == machine.platform.to_string() {
            engine.remove(&name).await.map_err(|failure| no_answer(&engine, &failure))?;
        }
    }
    Ok(())
}

/// Removes the containers of all stacks whose launcher is gone.
pub(crate) async fn sweep(machine: &Machine) -> Result<(), ProviderError> {
    let stacks = machine.directory.stacks();
    let unreadable = |error: io::Error| failure::file("read", &stacks, &error);
    let folders = directory::entries(&stacks).map_err(unreadable)?;
    if !folders.iter().any(|folder| folder.join(FILE).exists()) {
        return Ok(());
    }
    let engine = machine.engines.find(&machine.search).await?;
    let named = engine.containers(PLATFORM, &machine.platform.to_string(), INSTANCE).await;
    let named = named.map_err(|failure| no_answer(&engine, &failure))?;
    // After the engine: a launcher is there before its container.
    let own = rustix::process::geteuid().as_raw();
    let launchers = machine.marked().map_err(unreadable)?.into_iter().filter(|mark| mark.user == own);
    let launchers = launchers.filter(|mark| mark.resource.as_deref().is_some_and(|it| it.starts_with(mark::LAUNCHER)));
    let looked_after: BTreeSet<String> = launchers.filter_map(|mark| mark.instance).collect();
    for (name, instance) in named.iter().filter(|(_, instance)| !looked_after.contains(instance)) {
        tracing::warn!(container = name, instance, "a container that nobody looks after is removed");
        engine.remove(name).await.map_err(|failure| no_answer(&engine, &failure))?;
    }
    Ok(())
}
