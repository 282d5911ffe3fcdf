//! Old logs are removed: of each service and job but for the last ones, and of a whole stack what is beyond its share of the disk.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use freehold_graph::{ResourceId, ResourceKind, StackId};

use super::{instance_of, logs_in, remark, taken};
use crate::directory;
use crate::launch::Runs;
use crate::machine::Machine;

/// How long after its last line the log of a run may still be somebody's who is at work.
const AT_WORK: Duration = Duration::from_secs(24 * 3600);

/// Removes what is too old, or too much, of a stack's logs. `resource` is the one that is about to get another: `service.web`.
pub(crate) fn prune(machine: &Machine, stack: StackId, resource: &str) -> io::Result<()> {
    let (directory, limits) = (&machine.directory, &machine.log_limits);
    let own = logs_in(&directory.logs_of(stack, resource))?;
    let ended: Vec<&PathBuf> = own.iter().filter(|path| !is_live(machine, stack, resource, path)).collect();
    for log in ended.iter().take(ended.len().saturating_sub(limits.ended)) {
        remove(log)?;
    }
    bound_stack(machine, stack)
}

/// Removes the oldest logs of a stack until the rest has room, but none that somebody may still write to.
fn bound_stack(machine: &Machine, stack: StackId) -> io::Result<()> {
    let (directory, limits) = (&machine.directory, &machine.log_limits);
    let mut total = 0;
    let mut ended: Vec<(SystemTime, PathBuf)> = Vec::new();
    for folder in directory::entries(&directory.logs(stack))? {
        let resource = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        for log in logs_in(&folder)? {
            total += taken(&log);
            let Ok(written) = std::fs::metadata(&log).and_then(|found| found.modified()) else { continue };
            let idle = SystemTime::now().duration_since(written).is_ok_and(|age| age > AT_WORK);
            if !is_live(machine, stack, resource, &log) && (kept_running(resource).is_some() || idle) {
                ended.push((written, log));
            }
        }
    }
    ended.sort();
    for (_, log) in ended {
        if total <= limits.stack {
            break;
        }
        total = total.saturating_sub(taken(&log));
        remove(&log)?;
    }
    Ok(())
}

/// What is kept running as instances with records, as the folder of its logs says: `service.web`.
fn kept_running(resource: &str) -> Option<ResourceId> {
    let (word, _) = resource.split_once('.')?;
    ResourceKind::of_id_word(word).and_then(Runs::of)?;
    Some(ResourceId(resource.to_owned()))
}

/// Whether a service's instance is running, or about to. Of runs nothing is known here.
fn is_live(machine: &Machine, stack: StackId, resource: &str, log: &Path) -> bool {
    let Some(id) = kept_running(resource) else { return false };
    // In this order: once it isn't starting any more its record is there.
    machine.starting.has(instance_of(log))
        || machine.directory.instances(stack, &id).join(format!("{}.json", instance_of(log))).exists()
}

fn remove(log: &Path) -> io::Result<()> {
    directory::remove(log)?;
    remark::clear(log)
}
