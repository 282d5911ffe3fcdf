//! The control group of the platform's own server.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::hierarchy::{make, remove, usable};

/// The group of the platform's server.
const SERVER: &str = "postgres";
/// How many stacks' worth of processor time the server gets where it is short.
const SERVER_SHARE: u64 = 4;
/// How often is looked whether anything still runs in it.
const LOOK: Duration = Duration::from_millis(20);

/// The group of a server that works for all stacks: the platform's own PostgreSQL. Without it, what tenants' queries take would be
/// weighed session by session against everything else on the machine. It has no limits: a session that had to pause while it holds a
/// lock would hold up all others.
#[derive(Debug)]
pub struct ServerGroup {
    folders: Vec<PathBuf>,
    /// The platform's groups in all hierarchies.
    bases: Vec<PathBuf>,
}

impl ServerGroup {
    /// Makes it where control groups for processor time can be had; it is empty where they can't, and does nothing.
    pub fn open(platform: Uuid) -> Self {
        let usable = usable(platform);
        let weighing = usable.iter().filter(|one| one.controllers.contains("cpu"));
        let made = weighing.filter_map(|one| {
            let folder = one.base.join(SERVER);
            let made = make(&folder).and_then(|()| one.weigh(&folder, SERVER_SHARE));
            made.map_err(|error| tracing::debug!(group = %folder.display(), %error, "the server gets no group"))
                .ok()?;
            Some(folder)
        });
        let folders = made.collect();
        Self { folders, bases: usable.into_iter().map(|one| one.base).collect() }
    }

    /// Puts the server into it, with all that it has started. What it starts from now on is in it, too.
    pub fn enter(&self, server: i32) {
        for folder in &self.folders {
            let file = folder.join("cgroup.procs");
            let enter = |pid: i32| fs::write(&file, pid.to_string());
            if let Err(error) = enter(server) {
                tracing::debug!(group = %folder.display(), %error, "the server can't be put into its group");
                continue;
            }
            let children = fs::read_to_string(format!("/proc/{server}/task/{server}/children")).unwrap_or_default();
            for pid in children.split_whitespace().filter_map(|pid| pid.parse().ok()) {
                // It may have ended meanwhile.
                let _ = enter(pid);
            }
        }
    }

    /// Removes it once nothing runs in it any more, and the platform's groups with it. What a server has started may end after it: that
    /// is waited for, for at most `patience`. What is in use by then stays.
    pub async fn close(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        for group in self.folders.iter().chain(&self.bases) {
            while let Err(error) = remove(group) {
                if Instant::now() >= deadline {
                    tracing::debug!(group = %group.display(), %error, "a control group is still in use");
                    break;
                }
                sleep(LOOK).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, Write as _};
    use std::process::Stdio;

    use rustix::process::Signal;

    use super::super::hierarchy::processes;
    use super::*;

    #[tokio::test]
    async fn the_server_and_all_that_it_starts_have_a_group_of_their_own_which_weighs_as_several_stacks() {
        let platform = Uuid::new_v4();
        let group = ServerGroup::open(platform);
        if group.folders.is_empty() {
            return println!("no control groups for processor time here, or not root: not tried");
        }
        let script = "sleep 600 & echo $!; read again; sleep 600 & echo $!; wait";
        let mut server = std::process::Command::new("sh");
        let mut server = server.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = std::io::BufReader::new(server.stdout.take().unwrap()).lines();
        let mut pids = vec![i32::try_from(server.id()).unwrap(), lines.next().unwrap().unwrap().parse().unwrap()];
        group.enter(pids[0]);
        server.stdin.take().unwrap().write_all(b"\n").unwrap();
        pids.push(lines.next().unwrap().unwrap().parse().unwrap());
        for folder in &group.folders {
            let mut inside = processes(folder).unwrap();
            inside.sort_unstable();
            pids.sort_unstable();
            assert_eq!(inside, pids);
            let read = |file: &str| fs::read_to_string(folder.join(file)).map(|text| text.trim().to_owned()).ok();
            assert!(
                read("cpu.shares").or(read("cpu.weight")).is_some_and(|weight| weight == "4096" || weight == "400")
            );
        }
        for pid in &pids {
            rustix::process::kill_process(rustix::process::Pid::from_raw(*pid).unwrap(), Signal::KILL).unwrap();
        }
        server.wait().unwrap();
        group.close(Duration::from_secs(60)).await;
        assert!(!group.folders.iter().any(|folder| folder.exists()));
        assert!(!group.bases.iter().any(|base| base.exists()));
    }
}
