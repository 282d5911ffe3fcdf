//! What is said of a kind of resources, in one place. Rows are written out in full: what a new kind doesn't say doesn't compile.

use std::time::Duration;

use crate::kind::ResourceKind;
use crate::kind::describe::{self, New};
use crate::resource_id::ResourceId;
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
    /// Whether progress and `status` fold it where a stack has several such resources: people hardly think of it.
    pub plumbing: bool,
    /// Whether the stack's other objects in the same system are inside it: where it is missing, they are, too. It is observed before
    /// them, and reported before them where all of them are in the way.
    pub encloses: bool,
    /// Which programs of the app it runs: then its name says enough, and it uses what the definition's variables refer to.
    pub program: Program,
    /// The logins to a server that it creates. The secrets in its body are theirs.
    pub logins: Option<Logins>,
    /// What the change of a field of its processes comes from, in the words of the definition, by its name and the field's path. `None`:
    /// its fields are the definition's own.
    pub cause: Option<fn(&str, &str) -> Cause>,
    /// A kind whose resources it scales, among those that it depends on: it is deleted right before one changes, or it would overrule the change.
    pub scales: Option<ResourceKind>,
    /// Whether it is applied only after the verification: it takes away what the version before needs.
    pub after_verification: bool,
    /// Which texts of its body are bounded.
    pub texts: Texts,
    /// What it is called in plans.
    pub called: Called,
    /// Where a plan shows that it is created.
    pub fold: Fold,
    /// What a new one will be, in a few words.
    pub describe: fn(&New<'_>) -> String,
}

/// Which programs of the app a resource runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// It starts nothing.
    None,
    /// A service's, for as long as the stack is there.
    Service,
    /// A job's, on a schedule.
    Schedule,
    /// None of the app's own: a server for it, such as a cache's.
    Server,
}

impl Program {
    /// Whether it runs any.
    pub const fn is_some(self) -> bool {
        match self {
            Self::None | Self::Server => false,
            Self::Service | Self::Schedule => true,
        }
    }
}

/// Logins to a server of which a target has one for all stacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Logins {
    /// The field with the number of connections that programs may use at once.
    pub connections: &'static str,
    /// The connections that are kept free besides.
    pub reserved: u32,
}

/// What the change of a field comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The field itself, in words: `new image`.
    Field(String),
    /// The variables in the `data` of one of these resources: the field is a checksum of it.
    Variables {
        /// Those that it may be a checksum of, as far as they exist.
        of: Vec<ResourceId>,
        /// The words for it where the plan doesn't show which variables.
        words: &'static str,
    },
}

/// Which texts of a body are bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Texts {
    /// Its body has none that could grow.
    None,
    /// Those of its field `env`: variables of the processes of a `service` or `job`.
    Environment(&'static str),
    /// Those of its field `data`, one by one and together. Its name in messages: `Secret`.
    Data(&'static str),
}

/// What a resource is called in plans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Called {
    /// By its outside name.
    Identity,
    /// By its name in the definition.
    Id,
    /// By its name in the namespace.
    Object,
    /// By its host names.
    Hosts,
    /// All of the kind alike: each stands for several things.
    Fixed(&'static str),
}

/// Where a plan shows that a resource is created.
#[derive(Debug)]
pub enum Fold {
    /// In a line of its own.
    Own,
    /// In the line of another resource or run that is new.
    Into {
        /// Whose: the first of these that is in the plan. By its name.
        lines: fn(&str) -> Vec<ResourceId>,
        /// Its place among all that stand in that line.
        place: u8,
        /// The words for the first of such resources, and how many there are.
        words: fn(&New<'_>, usize) -> String,
    },
}

/// Where an API server has a kind of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Api {
    /// Empty for the core.
    pub group: &'static str,
    /// Of the API, without the group: `v1`.
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
    /// It can be made again from the definition.
    None,
    /// A value that can't be made again and that a dump wouldn't keep: a deploy leaves it alone until it is named by its whole id. Where
    /// its body has `required`, somebody has to set it before a deploy.
    Sealed,
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
    /// Whether it runs a service as processes of this machine: those of the version before serve until the new ones are ready, so while it
    /// is ready something serves.
    pub fn serves_while_ready(&self) -> bool {
        self.program == Program::Service && self.api.is_none()
    }

    /// What a resource is called in plans, by its id, its outside name and its body.
    pub fn name(&self, id: &ResourceId, identity: &str, body: &Value) -> String {
        match self.called {
            Called::Identity => identity.to_owned(),
            Called::Id => id.name().to_owned(),
            Called::Fixed(name) => name.to_owned(),
            Called::Object => in_namespace(identity),
            Called::Hosts => {
                let hosts = describe::at(body, &["spec", "hostnames"]).or_else(|| body.get("hosts"));
                let hosts = hosts.and_then(Value::as_list).unwrap_or_default();
                let hosts: Vec<&str> = hosts.iter().filter_map(Value::as_text).collect();
                if hosts.is_empty() { in_namespace(identity) } else { hosts.join(", ") }
            }
        }
    }

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

/// `web` of `acme--guestbook/web`.
fn in_namespace(identity: &str) -> String {
    identity.rsplit('/').next().unwrap_or_default().to_owned()
}

/// A field of a body in seconds; zero where there is none.
pub(super) fn seconds(body: &Value, field: &str) -> Duration {
    let seconds = body.get(field).and_then(Value::as_integer).unwrap_or_default();
    Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}
