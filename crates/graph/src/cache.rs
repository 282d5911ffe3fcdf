//! What the server of a cache is told, on every target: its settings and its users, in the language of `redis.conf`.
//!
//! All that is written here is Freehold's own or made of what can't be anything else: figures, words of a list, names of parts, digests. A
//! value of the definition that is free text must not get in here: a line break in it would be a line of the configuration.

use std::fmt::Write as _;

use freehold_spec::app::Eviction;

/// The port of a cache in a cluster.
pub const PORT: u16 = 6379;
/// Whom the app logs in as, whatever its cache is called: a cache may be called `default`, as the user is that every server has.
pub const USER: &str = "app";
/// Whom Freehold's own probes log in as. It may ask whether the server responds, and nothing else; so it needs no password. Nothing of a
/// definition can be called so.
pub const PROBE: &str = "freehold--probe";
/// The most clients that a server takes at once.
pub const MOST_CLIENTS: u32 = 1000;

/// A version of the server's program, Redis or Valkey.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32);

impl Version {
    /// The first one with users.
    pub const OLDEST: Self = Self(6, 0);
    /// The first one that takes all that is said here. What clusters run has to be as new.
    pub const WHOLE: Self = Self(7, 0);

    /// From what `redis-server --version` or `valkey-server --version` prints.
    pub fn read(printed: &str) -> Option<Self> {
        let version = printed.split_whitespace().find_map(|word| word.strip_prefix("v="))?;
        let mut figures = version.split('.').map(str::parse);
        Some(Self(figures.next()?.ok()?, figures.next()?.ok()?))
    }
}

/// How a server keeps its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheServer {
    /// Bytes for data.
    pub max_memory: u64,
    /// What happens when they are used up.
    pub eviction: Eviction,
    /// Whether its data outlasts it.
    pub persist: bool,
}

impl CacheServer {
    /// Its settings, but for where it listens, where its files are and who its users are.
    pub fn settings(&self, version: Version) -> String {
        let Self { max_memory, eviction, persist } = self;
        let mut lines = format!(
            "daemonize no\nlogfile \"\"\nmaxclients {MOST_CLIENTS}\nmaxmemory {max_memory}\nmaxmemory-policy {}\n",
            eviction.as_str()
        );
        // What changed in the last second may be lost with the machine; a snapshot on top of the log would be written for nothing.
        lines.push_str(if *persist {
            "save \"\"\nappendonly yes\nappendfsync everysec\n"
        } else {
            "save \"\"\nappendonly no\n"
        });
        if version >= Version(6, 2) {
            // Else it overwrites its environment, and with it the mark by which Freehold finds what it started.
            lines.push_str("set-proc-title no\n");
        }
        if version >= Version::WHOLE {
            // What answers that nobody reads take: before the whole server dies of them, the client goes.
            let _ = writeln!(lines, "maxmemory-clients {}", (max_memory / 4).max(4 << 20));
        }
        lines
    }
}

/// The lines before and after a password for the server's users: nobody but [`USER`], who may do all that is no administration, and the
/// probe. `#` before the password: it is the SHA-256 digest of it; `>`: the password itself.
pub fn users(mark: char, version: Version) -> (String, String) {
    let channels = if version >= Version(6, 2) { " &*" } else { "" };
    let before = format!("user default off resetpass -@all\nuser {PROBE} on nopass -@all +ping\nuser {USER} on {mark}");
    // Of what is administration, what client libraries ask of their own accord. MIGRATE would connect to where its caller says.
    let may = "+@all -@admin -migrate +client|setname +client|getname +client|id +client|list +client|reply +client|tracking \
               +client|caching +acl|whoami";
    (before, format!(" ~*{channels} {may}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_the_programs_print() {
        let redis = "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=ae4d7c971a948f0";
        let valkey = "Valkey server v=8.1.1 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=8a2d3e0f";
        assert_eq!((Version::read(redis), Version::read(valkey)), (Some(Version(7, 0)), Some(Version(8, 1))));
        assert_eq!((Version::read("Redis server"), Version::read("v=seven")), (None, None));
    }

    #[test]
    fn what_an_older_server_does_not_know_is_not_told_it() {
        let server = CacheServer { max_memory: 64 << 20, eviction: Eviction::Never, persist: false };
        let settings = [Version(6, 0), Version(6, 2), Version(7, 0)].map(|version| server.settings(version));
        assert_eq!(settings.each_ref().map(|text| text.contains("set-proc-title")), [false, true, true]);
        assert_eq!(settings.each_ref().map(|text| text.contains("maxmemory-clients")), [false, false, true]);
        assert_eq!([Version(6, 0), Version(6, 2)].map(|version| users('#', version).1.contains("&*")), [false, true]);
    }

    #[test]
    fn no_user_is_there_twice() {
        let (before, _) = users('#', Version::WHOLE);
        let mut names: Vec<&str> = before.lines().filter_map(|line| line.split(' ').nth(1)).collect();
        assert_eq!(names, ["default", PROBE, USER]);
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 3, "a server refuses a user that it is told twice");
        assert!(PROBE.parse::<freehold_spec::Name>().is_err());
    }
}
