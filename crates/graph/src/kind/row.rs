//! What is said of a kind of resources, in one place. Rows are written out in full: what a new kind doesn't say doesn't compile.

use std::time::Duration;

use crate::kind::ResourceKind;
use crate::value::Value;

/// What one kind of resources is like.
#[derive(Debug)]
pub struct Row {
    /// The word that people read in plans and give to `--adopt`. For an object of a cluster its kind in lower case, so that
    /// `WORD/NAMESPACE/NAME` is what `kubectl` knows, too.
    pub word: &'static str,
    /// The first part of its ids: mostly the word.
    pub id_word: &'static str,
    /// How short it is called where there is little room.
    pub label: &'static str,
    /// Where an API server has it.
    pub api: Option<Api>,
    /// Whether data is lost with it.
    pub data: Data,
    /// Fields whose change isn't [`Effect::InPlace`]. A name stands for all that is below it.
    pub effects: &'static [(&'static str, Effect)],
    /// Lists whose items are told apart by a field instead of by their place: `(list, field)`. A list within such a list is named
    /// without the item: `containers.env`.
    pub keyed_lists: &'static [(&'static str, &'static str)],
    /// How long steps on it may take.
    pub times: Times,
    /// When it is stopped before a destroy dumps.
    pub fence: Fence,
    /// A kind of the same name without which it can't be ready: it has no other reason not to be.
    pub behind: Option<ResourceKind>,
    /// Whether more has to be known of it than that it is there, to call it ready.
    pub status: bool,
    /// Its place among the lines of a plan.
    pub rank: u8,
    /// People hardly think of it.
    pub plumbing: bool,
}

/// Where an API server has a kind of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Api {
    /// Empty for the core.
    pub group: &'static str,
    /// `v1`
    pub version: &'static str,
    /// As in manifests: `Deployment`.
    pub kind: &'static str,
    /// As in paths: `deployments`.
    pub plural: &'static str,
    /// Whether it is in a namespace.
    pub namespaced: bool,
}

impl Api {
    /// `apps/v1`, or `v1` for the core.
    pub fn version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }
}

/// Whether data is lost with a resource. What is holds data that can't be made again: it is never deleted or replaced without being named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Data {
    /// None.
    None,
    /// It is, and nothing can write it to a file.
    Kept,
    /// It is; it can be written to a file that is proved to restore.
    Dumped,
}

/// What a change of a field does to the resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Changed where it stands; nobody notices.
    InPlace,
    /// New processes take over from the old ones.
    Restart,
    /// The resource has to be deleted and made anew.
    Replace,
}

/// How long steps on a resource may take.
#[derive(Debug)]
pub struct Times {
    /// Until it is applied.
    pub apply: Limit,
    /// Until it is ready, from then on.
    pub start: Limit,
    /// Until it is gone.
    pub delete: Limit,
}

/// A limit of a step's time.
#[derive(Debug)]
pub enum Limit {
    /// The same for all of the kind.
    Fixed(Duration),
    /// By what it should be like.
    Of(fn(&Value) -> Duration),
}

impl Limit {
    /// None at all: it is done as soon as it is applied.
    pub const NONE: Self = Self::Fixed(Duration::ZERO);
    /// For what only writes a file or a row.
    pub const QUICK: Self = Self::Fixed(Duration::from_secs(30));
    /// On a server that is busy or starting.
    pub const SERVER: Self = Self::Fixed(Duration::from_secs(120));
    /// For what takes a while by itself: finalizers, Pods that use their grace period, a database that is made.
    pub const LONG: Self = Self::Fixed(Duration::from_secs(300));

    /// The limit for a resource of this body.
    pub fn of(&self, body: &Value) -> Duration {
        match self {
            Self::Fixed(limit) => *limit,
            Self::Of(limit) => limit(body),
        }
    }
}

/// When a resource is stopped before the dumps of a destroy, so that what is dumped is all there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fence {
    /// Not at all: it holds the data, only leads to those who write it, or is stopped by the logins that are shut.
    None,
    /// First: it works with the data.
    Workers,
    /// Then: it is what others log in with, and sessions end with it.
    Logins,
    /// By the fence of the resource of this kind and the same name.
    With(ResourceKind),
}

impl Fence {
    /// How many ranks there are.
    pub const RANKS: u8 = 2;

    /// In which order fences are raised.
    pub const fn rank(self) -> Option<u8> {
        match self {
            Self::Workers => Some(0),
            Self::Logins => Some(1),
            Self::None | Self::With(_) => None,
        }
    }
}

impl Row {
    /// What a change of the field at `path` (dotted) does.
    pub fn effect(&self, path: &str) -> Effect {
        self.effects
            .iter()
            .find(|(field, _)| {
                path.strip_prefix(field).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
            })
            .map_or(Effect::InPlace, |(_, effect)| *effect)
    }

    /// The field that tells the items of the list at `path` apart, if one does. Items on the way are written as the diff writes
    /// them: `containers[web].env`.
    pub fn list_key(&self, path: &str) -> Option<&'static str> {
        let mut list = String::new();
        for (index, piece) in path.split('[').enumerate() {
            let behind = if index == 0 { Some(piece) } else { piece.rsplit_once(']').map(|(_, behind)| behind) };
            list.push_str(behind.unwrap_or_default());
        }
        self.keyed_lists.iter().find(|(keyed, _)| *keyed == list).map(|(_, key)| *key)
    }
}

/// A field of a body in seconds; zero where there is none.
pub(super) fn seconds(body: &Value, field: &str) -> Duration {
    let seconds = body.get(field).and_then(Value::as_integer).unwrap_or_default();
    Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}
