//! A cache: a server of the Redis protocol for each stack.

use crate::decode::kind::At;
use crate::decode::number::Truth;
use crate::decode::table::table;
use crate::decode::text::{Amount, Bounded, Limits, OneOf, Text, Word};
use crate::part::output::{OutputRow, Reach, Readers, Secrecy};
use crate::quantity::{Cpu, Memory, Range, Storage};
use crate::span::{Span, Spanned};

/// The least memory for data: below it an empty server would be full.
const LEAST: u64 = 8 << 20;
/// The most, beyond what any machine has.
const MOST: u64 = 1 << 40;

/// A server of the Redis protocol for each stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    /// The table's header.
    pub span: Span,
    /// Memory for data, in bytes: the server's `maxmemory`. What it runs in has more ([`Cache::limit`]).
    pub memory: Spanned<Memory>,
    /// What happens when it is full, where the definition says it: see [`Cache::eviction`].
    pub eviction: Option<Eviction>,
    /// Whether its data outlasts the server. Default false.
    pub persist: Spanned<bool>,
    /// Size of its volume in a cluster, where it persists. Without: see [`Cache::volume`].
    pub storage: Option<Spanned<Storage>>,
    /// Processor time. Default `"100m..1"`.
    pub cpu: Spanned<Range<Cpu>>,
}

impl Cache {
    /// What happens when it is full. One that persists is relied on, by queues and sessions, and loses nothing by itself; in any other the keys
    /// that were used longest ago make room.
    pub fn eviction(&self) -> Eviction {
        self.eviction.unwrap_or(if self.persist.value { Eviction::Never } else { Eviction::AllKeysLru })
    }

    /// The most memory that the server may take with all that it does, in bytes. Beside the data there are the buffers of its clients and
    /// what the allocator can't use; one that persists writes from a copy of itself, which has its own pages of all that changes meanwhile.
    pub fn limit(&self) -> Memory {
        let data = self.memory.value.0;
        let beside = if self.persist.value { data } else { data / 2 };
        Memory(data.saturating_add(beside).saturating_add(BASE))
    }

    /// The size of its volume in a cluster, where it persists: what is said, or room for a log of changes, the one that takes its place, and as
    /// much again.
    pub fn volume(&self) -> Storage {
        self.storage.as_ref().map_or(Storage(self.least_volume().0.max(1 << 30)), |storage| storage.value)
    }

    /// The size of a volume below which it would be full before the memory is.
    pub fn least_volume(&self) -> Storage {
        Storage(self.memory.value.0.saturating_mul(3))
    }
}

/// What the server takes itself, in bytes.
const BASE: u64 = 64 << 20;

/// What a server does that has no memory left for a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eviction {
    /// It refuses the write.
    Never,
    /// Of all keys, those go that were used longest ago.
    AllKeysLru,
    /// Of all keys, those that are used least often.
    AllKeysLfu,
    /// Any of all keys.
    AllKeysRandom,
    /// Of the keys that expire, those that were used longest ago.
    VolatileLru,
    /// Of the keys that expire, those that are used least often.
    VolatileLfu,
    /// Any of the keys that expire.
    VolatileRandom,
    /// Of the keys that expire, those that expire first.
    VolatileTtl,
}

impl Eviction {
    /// The one that Redis calls so.
    pub fn of(word: &str) -> Option<Self> {
        Self::WORDS.iter().find_map(|(known, eviction)| (*known == word).then_some(*eviction))
    }

    /// As Redis calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Never => "noeviction",
            Self::AllKeysLru => "allkeys-lru",
            Self::AllKeysLfu => "allkeys-lfu",
            Self::AllKeysRandom => "allkeys-random",
            Self::VolatileLru => "volatile-lru",
            Self::VolatileLfu => "volatile-lfu",
            Self::VolatileRandom => "volatile-random",
            Self::VolatileTtl => "volatile-ttl",
        }
    }
}

impl Word for Eviction {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("noeviction", Self::Never),
        ("allkeys-lru", Self::AllKeysLru),
        ("allkeys-lfu", Self::AllKeysLfu),
        ("allkeys-random", Self::AllKeysRandom),
        ("volatile-lru", Self::VolatileLru),
        ("volatile-lfu", Self::VolatileLfu),
        ("volatile-random", Self::VolatileRandom),
        ("volatile-ttl", Self::VolatileTtl),
    ];
}

/// What others may refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// The URL: `redis://user:password@host:port`.
    Url,
    /// The host, without the port.
    Host,
    /// The TCP port, as a text.
    Port,
    /// The user of its access control list that the app logs in as.
    User,
    /// That user's password.
    Password,
}

impl Output {
    pub(super) const ALL: &'static [Self] = &[Self::Url, Self::Host, Self::Port, Self::User, Self::Password];

    pub(super) const fn row(self) -> OutputRow {
        let url = OutputRow {
            field: "url",
            what: "a URL",
            secrecy: Secrecy::Secret("this URL has a password in it"),
            reach: Reach::Part,
            readers: Readers::All,
            follows_references: false,
        };
        match self {
            Self::Url => url,
            Self::Host => OutputRow { field: "host", what: "the host of a cache", secrecy: Secrecy::Public, ..url },
            Self::Port => OutputRow { field: "port", what: "the port of a cache", secrecy: Secrecy::Public, ..url },
            Self::User => OutputRow { field: "user", what: "the user of a cache", secrecy: Secrecy::Public, ..url },
            Self::Password => OutputRow {
                field: "password",
                what: "a password",
                secrecy: Secrecy::Secret("this is a password"),
                ..url
            },
        }
    }
}

table! {
    /// A server of the Redis protocol for each stack, with a user and a password of its own.
    "cache" CacheTable -> Cache { span:
        /// Memory for data: "256Mi". The server with all that it does may take more: half as much again, or as much again if it persists.
        memory: default At<Text<Bounded<Memory, LEAST, MOST>>> = "\"64Mi\"";
        /// What happens when it is full, in Redis's words. Without it "allkeys-lru"; "noeviction" if it persists.
        eviction: optional Text<OneOf<Eviction>>;
        /// Whether its data outlasts the server. Then it holds data, and is never deleted without asking.
        persist: default At<Truth> = "false";
        /// Size of its volume in a cluster, where it persists. Without it three times its memory, 1Gi at the least.
        storage: optional At<Text<Amount<Storage>>>;
        /// Processor time, request..limit: "100m..1"; a single figure stands for both.
        cpu: default At<Text<Limits<Cpu>>> = "\"100m..1\"";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(keys: &str) -> Cache {
        let source = format!("[app]\nname = \"a\"\n[cache.one]\n{keys}\n");
        crate::decode(&source).unwrap().caches["one"].clone()
    }

    #[test]
    fn a_cache_makes_room_for_itself_unless_it_is_relied_on() {
        assert_eq!(cache("").eviction(), Eviction::AllKeysLru);
        assert_eq!(cache("persist = true").eviction(), Eviction::Never);
        assert_eq!(cache("persist = true\neviction = \"volatile-ttl\"").eviction(), Eviction::VolatileTtl);
    }

    #[test]
    fn what_a_server_may_take_is_always_more_than_what_its_data_may() {
        for memory in ["8Mi", "64Mi", "1Ti"] {
            for persist in [false, true] {
                let cache = cache(&format!("memory = \"{memory}\"\npersist = {persist}"));
                assert!(cache.limit().0 >= cache.memory.value.0 + cache.memory.value.0 / 2 + BASE);
                assert!(cache.volume().0 >= cache.least_volume().0);
            }
        }
    }
}
