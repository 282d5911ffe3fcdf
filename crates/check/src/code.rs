//! The table of codes. Each has a title and a page (`docs/errors/FH####.md`), which is part of the program:
//! `freehold explain FH0203` prints it.
//!
//! A code never changes its meaning and is never used again for something else. The first two digits are the family:
//!
//! ```text
//! FH00 the file itself      FH04 routes               FH08 ownership and conflicts
//! FH01 references, contract FH05 the platform         FH09 operations
//! FH02 tiers and limits     FH06 artifacts            FH10 requests
//! FH03 data                 FH07 running              FH12 clusters
//! ```

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! codes {
    ($($name:ident $code:literal $title:literal)+) => {
        /// What kind of problem it is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = concat!($code, ": ", $title, ".")] $name,)+
        }

        impl Code {
            /// Every code, in order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The code as it is written everywhere: `FH0203`.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $code,)+
                }
            }

            /// What it means, in a few words.
            pub const fn title(self) -> &'static str {
                match self {
                    $(Self::$name => $title,)+
                }
            }

            /// Its page, as Markdown: what happened, why it matters, an example, the fix.
            pub const fn page(self) -> &'static str {
                match self {
                    $(Self::$name => include_str!(concat!("../../../docs/errors/", $code, ".md")),)+
                }
            }
        }
    };
}

codes! {
    // The file itself.
    Syntax                "FH0001" "this isn't valid TOML"
    UnknownKey            "FH0002" "a key that Freehold doesn't know"
    MissingKey            "FH0003" "a key is missing"
    WrongType             "FH0004" "a value of the wrong type"
    BadName               "FH0005" "a name that can't be one"
    BadQuantity           "FH0006" "not a quantity"
    UnknownWord           "FH0007" "not one of the words that may stand here"
    BadReference          "FH0008" "a reference that can't be read"
    UnknownReference      "FH0009" "a reference of a kind that doesn't exist"
    BadPath               "FH0010" "a path that can't be used here"
    OutOfRange            "FH0011" "a figure out of its range"
    BadSchedule           "FH0012" "not a schedule"
    NotProvidedYet        "FH0013" "this version doesn't provide that yet"
    ListedTwice           "FH0014" "the same thing is listed twice"
    NoDefinition          "FH0015" "there is no definition to read"
    BadText               "FH0016" "a text that can't be used here"
    ClaimedTwice          "FH0017" "two containers of a pod claim the same name or port"
    ScheduleDiffers       "FH0018" "a schedule that a cluster would read differently"
    SameObject            "FH0019" "two things would be the same object of a cluster"
    TooLarge              "FH0020" "a definition that is too large"
    MoreProblems          "FH0021" "more problems than are listed"

    // References and the environment contract.
    Dangling              "FH0101" "a reference to something that isn't defined"
    Cycle                 "FH0102" "references in a circle"
    UnknownService        "FH0103" "a service that isn't defined"
    SecretMadePublic      "FH0104" "a secret in a public place"
    VariableNotSet        "FH0105" "the program needs a variable that nobody sets"
    VariableNotRead       "FH0106" "a variable is set that the program doesn't read"
    ReservedVariable      "FH0107" "a variable that Freehold sets itself is set by hand"
    PlaceholderSecret     "FH0108" "a placeholder stands where a secret belongs"
    SecretInTheOpen       "FH0109" "what looks like a secret stands in the definition"
    UnusedSecret          "FH0110" "a secret that nothing uses"
    NoPortToReach         "FH0111" "a service without a port can't be reached"
    NoService             "FH0112" "an app without a service"
    MigratorInService     "FH0113" "a service could change the database's schema"
    TooLongForProcess     "FH0114" "arguments or variables that no process can be started with"

    // Tiers and limits.
    UnknownInTier         "FH0201" "a tier or stage speaks of something that isn't defined"
    QuotaTooSmall         "FH0202" "the tier's quota is too small for the app"
    NoRoomForUpdate       "FH0203" "this quota lets no rolling update through"
    TierRequired          "FH0204" "a tenant of this app needs a tier"
    TierNotForKind        "FH0205" "only tenants have a tier"
    MostBelowReplicas     "FH0206" "the most copies are fewer than the least"
    NoRoomToScale         "FH0207" "this quota leaves the autoscaler no room"
    ScaledFromNothing     "FH0208" "an autoscaler that would start from nothing"

    // Data.
    ExtensionNotAllowed   "FH0301" "an extension that isn't on the list"
    UnusedDatabase        "FH0302" "a database that nothing uses"
    BackupNotMadeYet      "FH0303" "backups on a schedule aren't made yet"
    VolumeShared          "FH0304" "a volume would have several users"
    FoldersOverlap        "FH0305" "two folders of a service overlap"

    // Routes.
    RouteTwice            "FH0401" "two routes claim the same host and path"
    RouteWithoutPort      "FH0402" "a route to a service without a port"
    BadHost               "FH0403" "not a host name"
    HostSharedByStacks    "FH0404" "every stack would claim the same host name"

    // The platform on this machine.
    PostgresNotFound      "FH0501" "PostgreSQL was not found"
    PostgresTooOld        "FH0502" "PostgreSQL is too old"
    PostgresDidNotStart   "FH0503" "PostgreSQL did not start"
    PostgresUnreachable   "FH0504" "PostgreSQL can't be reached"
    DataNotWritable       "FH0505" "the data directory can't be written"
    DataOfOtherVersion    "FH0506" "the data directory belongs to another version"
    AlreadyUp             "FH0507" "a platform is already running on this data"
    NotUp                 "FH0508" "no platform is running"
    PortTaken             "FH0509" "a port is taken"
    MasterKeyMissing      "FH0510" "the master key is missing"
    MasterKeyWrong        "FH0511" "the master key is the wrong one"
    DiskFull              "FH0512" "the disk is full"
    RoleTooPowerful       "FH0513" "the store's role is too powerful"
    NoConnectionsLeft     "FH0514" "the server is out of connections"
    StoreNotMigrated      "FH0515" "the store's schema could not be brought up to date"
    StoreUnreadable       "FH0516" "the store holds something that can't be read"
    SealBroken            "FH0517" "a sealed value doesn't open"
    MasterKeyUnreadable   "FH0518" "the master key can't be read"
    StoreRefused          "FH0519" "the store refused a statement"
    NoRandomness          "FH0520" "the system gives no random numbers"
    Internal              "FH0599" "a fault of Freehold's own"

    // Artifacts.
    BuildFailed           "FH0601" "the build failed"
    ArtifactFileMissing   "FH0602" "a file of the artifact is missing"
    ArtifactUnknown       "FH0603" "the server doesn't have this artifact"
    NoArtifact            "FH0604" "a service has no artifact to run its command from"
    ImageTag              "FH0605" "an image with a tag"
    NothingToRun          "FH0606" "a service with neither build nor image"
    ImageMissing          "FH0607" "an image that doesn't exist"
    ImageNotForPlatform   "FH0608" "an image that isn't made for the cluster's machines"
    RegistryRefused       "FH0609" "a registry doesn't let us in"
    RegistryUnreachable   "FH0610" "a registry can't be reached"
    RegistryBusy          "FH0611" "a registry asks us to wait"
    BadImageReference     "FH0612" "a reference to an image that can't be read"
    RegistryAnswer        "FH0613" "a registry's answer can't be used"
    PullCredentials       "FH0614" "pull credentials that can't be read"
    ArtifactUnfit         "FH0615" "something that an artifact can't hold"

    // Running.
    JobFailed             "FH0701" "a job failed"
    ExitedAtOnce          "FH0702" "a service exited at once"
    NeverReady            "FH0703" "a service never got ready"
    CommandNotFound       "FH0704" "a command was not found"
    RunOutcomeUnknown     "FH0705" "nobody knows how a run ended"
    CrashLoop             "FH0706" "a service keeps crashing"
    FellWhileSettling     "FH0707" "a version was ready and did not stay so"
    // Ownership and conflicts.
    NotOurs               "FH0801" "the object isn't ours"
    NameClaimed           "FH0802" "the name is already claimed"
    DataWouldBeDeleted    "FH0803" "data would be deleted"
    ChangedBehindOurBack  "FH0804" "an object was changed behind our back"
    DestroyLeftSomething  "FH0805" "something is left after destroy"
    DumpNotProved         "FH0806" "a dump could not be proved, so its database is kept"
    FieldsOfOthers        "FH0807" "somebody else manages the fields"
    NotAdoptable          "FH0808" "the object would have to be made anew"
    NoDumpOfIt            "FH0809" "it can't be dumped"
    UsedByOthers          "FH0810" "others use it, or hold a part of it"
    NotToBeTakenOver      "FH0811" "it can't be adopted as it is"

    // Operations.
    PlanOutdated          "FH0901" "the plan is outdated"
    OperationRunning      "FH0902" "another operation is running"
    Cancelled             "FH0903" "the operation was cancelled"
    DeadlinePassed        "FH0904" "the deadline has passed"
    LeaseLost             "FH0905" "another process has taken the operation over"
    StepFailed            "FH0906" "a step failed"

    // Requests.
    RequestName           "FH1001" "a name that can't be one"
    UnknownTier           "FH1002" "the app has no such tier"
    UnknownStack          "FH1003" "there is no such thing"
    SecretNotSet          "FH1004" "a required secret is not set"
    UnknownStage          "FH1005" "the app has no such stage"
    NotConfirmed          "FH1006" "not confirmed"
    UnknownRevision       "FH1007" "there is no such revision"
    IdempotencyKeyReused  "FH1008" "an idempotency key was used for something else"
    Unauthorised          "FH1009" "not allowed in"
    ConnectionsExceeded   "FH1010" "the connections don't add up"
    BadRequest            "FH1011" "the request can't be read"
    SecretValue           "FH1012" "a text that can't be a secret's value"
    SecretNotGenerated    "FH1013" "a secret that isn't generated can't be rotated"
    TenantsNotApart       "FH1014" "a second tenant where tenants aren't kept apart"
    OutputNotWritten      "FH1019" "the output could not be written"

    // Clusters: reaching them, and their objects.
    ClusterUnreachable    "FH1200" "the cluster gives no answer"
    ClusterCredentials    "FH1201" "the cluster doesn't accept our credentials"
    NotPermitted          "FH1202" "the cluster doesn't permit it"
    KubeconfigUnusable    "FH1203" "a kubeconfig that the platform can't use"
    WrongCluster          "FH1204" "another cluster than the target's"
    KindUnknown           "FH1205" "the cluster doesn't know this kind of object"
    AdmissionRefused      "FH1206" "the cluster's admission refuses the object"
    ObjectInvalid         "FH1207" "the cluster finds an object invalid"
    AppearedMeanwhile     "FH1208" "an object appeared where a new one was to be made"
    BeingDeleted          "FH1209" "the object or its namespace is being deleted"
    DeletionHeld          "FH1210" "something holds a deletion up"
    QuotaUsedUp           "FH1211" "the namespace's quota is used up"
    ClusterAnswer         "FH1212" "an API server's answer that can't be used"
    ClusterInTrouble      "FH1213" "the cluster is in trouble"
    NamespaceShared       "FH1214" "the namespace holds somebody else's objects"
    ObjectTooLarge        "FH1215" "an object that is larger than a cluster takes"

    // Clusters: what is meant to run there.
    PodRefused            "FH1220" "the cluster refuses to make a pod"
    ContainerNotMade      "FH1221" "a container can't be made"
    NoRoom                "FH1222" "no node takes a pod"
    RouteRefused          "FH1223" "the gateway does not take a route"
    NoCertificate         "FH1224" "a certificate was not issued"
    ClusterUnfit          "FH1225" "a cluster can't be a target as it is"
    NoMetrics             "FH1226" "an autoscaler can't scale"

    // Targets.
    UnknownTarget         "FH1240" "there is no such target"
    TargetInUse           "FH1241" "a target that has stacks"
    TargetSettings        "FH1242" "a target that can't be made like this"
    TargetDatabase        "FH1243" "the target's database server can't be used"
    OtherKindOfTarget     "FH1244" "not on this kind of target"
    NoImage               "FH1245" "a service has no image to run in the cluster"

    // Clusters, on the command line.
    KubeconfigUnreadable  "FH1250" "a kubeconfig that can't be used"
    UnknownContext        "FH1251" "the kubeconfig has no such context"
}

impl Code {
    /// The code that is written so, in upper or lower case.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str().eq_ignore_ascii_case(text))
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is no code")))
    }
}
