//! What a container is made with.
//!
//! The image is a stranger's, and so is what its program is told: what a container may is said here and nowhere in the image. Its user,
//! volumes and health checks don't count; its entry point, command, working folder, variables and stop signal do.

use std::path::PathBuf;

use super::engine::Kind;

/// The label that says whose a container is.
pub(crate) const PLATFORM: &str = "dev.freehold.platform";
/// The label of the stack.
pub(crate) const STACK: &str = "dev.freehold.stack";
/// The label of the instance of a service, or the run of a job.
pub(crate) const INSTANCE: &str = "dev.freehold.instance";

/// How much of the machine's memory each of the folders that a service may write to takes at most; it counts as the service's own.
const FOLDER: &str = "size=256m";
/// What the kernel adds to its share of memory where it looks for a process to end, in thousandths: as for every program.
const KILLED_FIRST: &str = "500";

/// A folder or file of this machine that a container sees; read-only, unless its stack owns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) source: PathBuf,
    pub(crate) place: PathBuf,
    pub(crate) read_only: bool,
}

/// A container, as it is to be.
#[derive(Debug, Clone)]
pub(crate) struct Container {
    pub(crate) name: String,
    pub(crate) platform: String,
    pub(crate) stack: String,
    pub(crate) instance: String,
    /// With its digest.
    pub(crate) image: String,
    /// Program and arguments; without, what the image says.
    pub(crate) command: Option<Vec<String>>,
    /// The user and group that it runs as.
    pub(crate) user: (u32, u32),
    /// We aren't root, so the engine isn't either.
    pub(crate) rootless: bool,
    pub(crate) mounts: Vec<Mount>,
    /// Folders of its own that it may write to, and that end with it.
    pub(crate) writable: Vec<PathBuf>,
    /// The control group in which the engine is to make one.
    pub(crate) parent: Option<String>,
    /// Descriptors: the soft and the hard limit.
    pub(crate) descriptors: (u64, u64),
    /// Processes of the user: the soft and the hard limit.
    pub(crate) processes: (u64, u64),
    /// Where no group of ours limits it: processes and threads, bytes of memory, thousandths of a processor.
    pub(crate) tasks: Option<u64>,
    pub(crate) memory: Option<u64>,
    pub(crate) cpu: Option<u64>,
}

impl Container {
    /// The arguments of `create`. The variables come from standard input.
    ///
    /// # Errors
    /// A folder that no engine can be told of, in words.
    pub(crate) fn create(&self, kind: Kind) -> Result<Vec<String>, String> {
        let mut all: Vec<String> = Vec::new();
        let mut add = |argument: String| all.push(argument);
        add("create".to_owned());
        let text = |name: &str, value: &str| format!("--{name}={value}");
        for (name, value) in [
            ("name", self.name.as_str()),
            ("env-file", "/dev/stdin"),
            ("network", "host"),
            ("read-only", "true"),
            ("cap-drop", "all"),
            ("security-opt", "no-new-privileges"),
            ("no-healthcheck", "true"),
            ("oom-score-adj", KILLED_FIRST),
            ("pull", "never"),
        ] {
            add(text(name, value));
        }
        for (label, value) in [(PLATFORM, &self.platform), (STACK, &self.stack), (INSTANCE, &self.instance)] {
            add(format!("--label={label}={value}"));
        }
        add(format!("--user={}:{}", self.user.0, self.user.1));
        add(format!("--ulimit=nofile={}:{}", self.descriptors.0, self.descriptors.1));
        add(format!("--ulimit=nproc={}:{}", self.processes.0, self.processes.1));
        add("--ulimit=core=0:0".to_owned());
        match kind {
            Kind::Podman => {
                for argument in [
                    "http-proxy=false",
                    "image-volume=ignore",
                    "read-only-tmpfs=false",
                    "log-driver=passthrough",
                    "systemd=false",
                ] {
                    add(format!("--{argument}"));
                }
                if self.rootless {
                    // The user is the one that we are, outside as inside.
                    add("--userns=keep-id".to_owned());
                }
            }
            // Its client writes the log.
            Kind::Docker => add("--log-driver=none".to_owned()),
        }
        if let Some(parent) = &self.parent {
            add(text("cgroup-parent", parent));
            if kind == Kind::Podman {
                // What supervises it isn't the tenant's.
                add("--cgroups=no-conmon".to_owned());
            }
        }
        if let Some(tasks) = self.tasks {
            add(format!("--pids-limit={tasks}"));
        }
        if let Some(memory) = self.memory {
            add(format!("--memory={memory}b"));
            add(format!("--memory-swap={memory}b"));
        }
        if let Some(cpu) = self.cpu {
            add(format!("--cpus={}.{:03}", cpu / 1000, cpu % 1000));
        }
        for Mount { source, place, read_only } in &self.mounts {
            let (source, place) = (plain(source)?, plain(place)?);
            let more = if *read_only { ",readonly" } else { "" };
            add(format!("--mount=type=bind,source={source},destination={place}{more}"));
        }
        for folder in &self.writable {
            let covered = self.mounts.iter().any(|mount| mount.place == *folder);
            if !covered {
                let copy = if kind == Kind::Podman { ",notmpcopyup" } else { "" };
                add(format!("--tmpfs={}:rw,nosuid,nodev,{FOLDER},mode=1777{copy}", plain(folder)?));
            }
        }
        if let Some((program, _)) = self.command.as_ref().and_then(|command| command.split_first()) {
            add(text("entrypoint", &entry_point(kind, program)));
        }
        add(self.image.clone());
        for argument in self.command.iter().flatten().skip(1) {
            add(argument.clone());
        }
        Ok(all)
    }
}

/// To podman a text that begins like a list is one.
fn entry_point(kind: Kind, program: &str) -> String {
    match kind {
        Kind::Podman => serde_json::Value::from(vec![program]).to_string(),
        Kind::Docker => program.to_owned(),
    }
}

/// A path that stands for itself among the options of a mount.
pub(crate) fn plain(path: &std::path::Path) -> Result<&str, String> {
    let unusual = |letter: char| letter.is_control() || matches!(letter, ',' | ':' | '"' | '\\' | '=');
    match path.to_str() {
        Some(text) if path.is_absolute() && !text.contains(unusual) => Ok(text),
        _ => Err(format!("the folder {} can't be given to a container: no , : = \" or \\ in its name", path.display())),
    }
}

/// What a container's own runtime has, and where nothing of a definition may be.
const SYSTEM: [&str; 3] = ["/proc", "/sys", "/dev"];
/// A folder of the stack's own, in which its programs could put links while an engine, as root, makes what is mounted there
/// (CVE-2024-45310).
const TEMPORARY: &str = "/tmp";

/// Why nothing is mounted at a path; `None` where it can be.
pub(crate) fn unsafe_place(path: &str) -> Option<String> {
    let path = path.trim_end_matches('/');
    let below = |folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
    let refused = below(TEMPORARY) || SYSTEM.iter().any(|folder| path == *folder || below(folder));
    refused.then(|| format!("nothing of a definition can be at {path} in a container"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container() -> Container {
        Container {
            name: "freehold-1".to_owned(),
            platform: "p".to_owned(),
            stack: "s".to_owned(),
            instance: "1".to_owned(),
            image: "ghcr.io/acme/web@sha256:0".to_owned(),
            command: None,
            user: (700_000, 700_000),
            rootless: false,
            mounts: vec![Mount { source: "/data/home".into(), place: "/data/home".into(), read_only: false }],
            writable: vec!["/var/cache/web".into()],
            parent: Some("/freehold-p/s/1".to_owned()),
            descriptors: (1024, 20_000),
            processes: (1000, 1000),
            tasks: None,
            memory: None,
            cpu: None,
        }
    }

    #[test]
    fn a_container_has_no_more_rights_than_a_process_of_its_stack() {
        for kind in [Kind::Podman, Kind::Docker] {
            let all = container().create(kind).unwrap();
            for argument in [
                "--read-only=true",
                "--cap-drop=all",
                "--security-opt=no-new-privileges",
                "--user=700000:700000",
                "--no-healthcheck=true",
                "--cgroup-parent=/freehold-p/s/1",
                "--pull=never",
                "--mount=type=bind,source=/data/home,destination=/data/home",
            ] {
                assert!(all.iter().any(|one| one == argument), "{kind:?}: {argument}");
            }
            assert_eq!(all.last().unwrap(), "ghcr.io/acme/web@sha256:0", "nothing after the image: its own command");
        }
    }

    #[test]
    fn what_a_definition_says_is_never_taken_for_an_option() {
        let command = ["[\"/bin/sh\"]", "--privileged", "--volume=/:/host"].map(str::to_owned).to_vec();
        let all = Container { command: Some(command), ..container() }.create(Kind::Podman).unwrap();
        let image = all.iter().position(|one| one.starts_with("ghcr.io")).unwrap();
        assert_eq!(all[image + 1..], ["--privileged", "--volume=/:/host"]);
        assert!(all.contains(&r#"--entrypoint=["[\"/bin/sh\"]"]"#.to_owned()), "{all:?}");
        for folder in ["/var/x:exec", "/a,source=/etc", "/a\nb", "relative"] {
            let folders = vec![folder.into()];
            Container { writable: folders, ..container() }.create(Kind::Podman).unwrap_err();
        }
    }

    #[test]
    fn limits_are_the_engines_where_no_group_of_ours_has_them() {
        let limited =
            Container { parent: None, tasks: Some(4096), memory: Some(64 << 20), cpu: Some(1500), ..container() };
        let all = limited.create(Kind::Docker).unwrap();
        for argument in ["--pids-limit=4096", "--memory=67108864b", "--memory-swap=67108864b", "--cpus=1.500"] {
            assert!(all.iter().any(|one| one == argument), "{argument}");
        }
        assert!(!all.iter().any(|one| one.starts_with("--cgroup")));
    }
}
