//! The table of codes. Each has a title, a status and a page (`docs/errors/FH####.md`), which `freehold explain FH0203` prints.
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

use crate::status::{Exit, Status};

/// Calls a macro with the rows of the table: `Name "FHnnnn" Status "title"`. Whoever needs something for each code, as its page, makes it
/// from this, and a row without it doesn't compile.
#[macro_export]
macro_rules! codes {
    ($with_rows:ident) => {
        $with_rows! {
            // The file itself.
            Syntax                "FH0001" Invalid            "this isn't valid TOML"
            UnknownKey            "FH0002" Invalid            "a key that Freehold doesn't know"
            MissingKey            "FH0003" Invalid            "a key is missing"
            WrongType             "FH0004" Invalid            "a value of the wrong type"
            BadName               "FH0005" Invalid            "a name that is not valid"
            BadQuantity           "FH0006" Invalid            "not a quantity"
            UnknownWord           "FH0007" Invalid            "not one of the words that may stand here"
            BadReference          "FH0008" Invalid            "a reference that can't be read"
            UnknownReference      "FH0009" Invalid            "a reference of a kind that doesn't exist"
            BadPath               "FH0010" Invalid            "a path that can't be used here"
            OutOfRange            "FH0011" Invalid            "a figure out of its range"
            BadSchedule           "FH0012" Invalid            "not a schedule"
            ListedTwice           "FH0014" Invalid            "the same thing is listed twice"
            NoDefinition          "FH0015" Invalid            "there is no definition to read"
            BadText               "FH0016" Invalid            "a text that can't be used here"
            ClaimedTwice          "FH0017" Invalid            "two containers of a pod claim the same name or port"
            ScheduleDiffers       "FH0018" Invalid            "a schedule that a cluster would read differently"
            SameObject            "FH0019" Invalid            "two things would be the same object of a cluster"
            TooLarge              "FH0020" Invalid            "a definition that is too large"
            MoreProblems          "FH0021" Invalid            "more problems than are listed"
            BadManifest           "FH0022" Invalid            "a manifest that can't be read"
            NotDeliverable        "FH0023" Invalid            "an object that no manifest may hold"
            BadFile               "FH0024" Invalid            "a file of a program that can't be read"

            // References and the environment contract.
            Dangling              "FH0101" Invalid            "a reference to something that isn't defined"
            Cycle                 "FH0102" Invalid            "references in a circle"
            UnknownService        "FH0103" Invalid            "a service that isn't defined"
            SecretMadePublic      "FH0104" Invalid            "a secret in a public place"
            VariableNotSet        "FH0105" Invalid            "a required variable is not set"
            VariableNotRead       "FH0106" Invalid            "a variable is set that the program doesn't read"
            ReservedVariable      "FH0107" Invalid            "a variable that Freehold sets itself is set by hand"
            PlaceholderSecret     "FH0108" Invalid            "a placeholder stands where a secret belongs"
            PlaintextSecret       "FH0109" Invalid            "a value looks like a plain-text secret"
            UnusedSecret          "FH0110" Invalid            "a secret that nothing uses"
            NoPortToReach         "FH0111" Invalid            "a service without a port can't be reached"
            NoService             "FH0112" Invalid            "an app without a service"
            MigratorInService     "FH0113" Invalid            "a service could change the database's schema"
            TooLongForProcess     "FH0114" Invalid            "arguments or variables that no process can be started with"
            WhenContradicts       "FH0115" Invalid            "`when` and `schedule` contradict each other"
            NotInDeploy           "FH0116" Invalid            "an order with a job that no deploy runs"
            TestKey               "FH0117" Invalid            "a key for tests where production runs"
            AllowsNothing         "FH0118" Invalid            "a comment that allows nothing"
            AddressShutOut        "FH0119" Invalid            "an address that the stack's own policies shut out"
            NobodyReaches         "FH0120" Invalid            "a service that nobody can reach"
            BadProbe              "FH0130" Invalid            "a probe that asks nothing, or several things"
            ContainerImage        "FH0131" Invalid            "a container whose image is said twice, or not at all"

            // Tiers and limits.
            UnknownOverride       "FH0201" Invalid            "an override of something that isn't defined"
            QuotaTooSmall         "FH0202" Invalid            "the quota is too small for the app"
            NoRoomForUpdate       "FH0203" Invalid            "the quota leaves no room for a rolling update"
            TierRequired          "FH0204" Invalid            "a tenant of this app needs a tier"
            TierNotForKind        "FH0205" Invalid            "only tenants have a tier and a stage of their own"
            MostBelowReplicas     "FH0206" Invalid            "the most copies are fewer than the least"
            NoRoomToScale         "FH0207" Invalid            "this quota leaves the autoscaler no room"
            ScaleFromZero         "FH0208" Invalid            "an autoscaler that would start from nothing"
            OneCopy               "FH0209" Invalid            "production with one copy of a service"
            MemoryOvercommitted   "FH0210" Invalid            "a memory limit far above the request"
            CacheFillsLimit       "FH0211" Invalid            "a cache whose data fills its memory limit"
            PoolsTooLarge         "FH0212" Invalid            "pools with more connections than the database has"
            NoBackup              "FH0213" Invalid            "production data without a backup"

            // Data.
            ExtensionNotAllowed   "FH0301" Invalid            "an extension that isn't on the list"
            UnusedDatabase        "FH0302" Invalid            "a database that nothing uses"
            BackupNotMadeYet      "FH0303" Invalid            "backups on a schedule aren't made yet"
            VolumeShared          "FH0304" Invalid            "a volume would have several users"
            FoldersOverlap        "FH0305" Invalid            "two folders of a service overlap"
            StorageNotKept        "FH0306" Invalid            "a size for data that isn't kept"
            UnusedCache           "FH0307" Invalid            "a cache that nothing uses"
            VolumeTooSmall        "FH0308" Invalid            "a volume that is smaller than what is kept on it"
            JobsMeet              "FH0309" Invalid            "two jobs write to the same database at once"
            UnusedBucket          "FH0310" Invalid            "a bucket that nothing uses"
            RuleWithoutEffect     "FH0311" Invalid            "a rule of a lifecycle that does nothing"
            UnknownParameter      "FH0320" Invalid            "PostgreSQL has no such parameter"
            ParameterValue        "FH0321" Invalid            "a value that a parameter of PostgreSQL can't have"
            OperatorsParameter    "FH0322" Invalid            "a parameter that only a server's operator sets"
            ServerTooSmall        "FH0323" Invalid            "a database server that is smaller than its parameters"
            CollationEncoding     "FH0324" Invalid            "a collation for texts of another encoding"

            // Routes.
            RouteTwice            "FH0401" Invalid            "two routes claim the same host and path"
            RouteWithoutPort      "FH0402" Invalid            "a route to a service without a port"
            BadHost               "FH0403" Invalid            "not a host name"
            HostSharedByStacks    "FH0404" Invalid            "every stack would claim the same host name"
            PathUnclear           "FH0405" Invalid            "a path that leads nowhere or to two places"
            RouteSetting          "FH0406" Invalid            "a setting of a route that can't hold"
            RetryNever            "FH0407" Invalid            "a retry that can never happen"
            RouteNotHttp          "FH0408" Invalid            "a route to a service that doesn't speak HTTP"

            // The platform on this machine.
            PostgresNotFound      "FH0501" Unavailable        "PostgreSQL was not found"
            PostgresTooOld        "FH0502" Unavailable        "PostgreSQL is too old"
            PostgresDidNotStart   "FH0503" Unavailable        "PostgreSQL did not start"
            PostgresUnreachable   "FH0504" Unavailable        "PostgreSQL can't be reached"
            DataNotWritable       "FH0505" Unavailable        "the data directory can't be written"
            DataOfOtherVersion    "FH0506" Conflict           "the data directory belongs to another version"
            AlreadyUp             "FH0507" Conflict           "a platform is already running on this data"
            NotUp                 "FH0508" Unavailable        "no platform is running"
            PortTaken             "FH0509" Conflict           "a port is taken"
            MasterKeyMissing      "FH0510" Internal           "the master key is missing"
            MasterKeyWrong        "FH0511" Internal           "the master key is the wrong one"
            DiskFull              "FH0512" Unavailable        "the disk is full"
            RoleTooPowerful       "FH0513" Internal           "the store's role is too powerful"
            NoConnectionsLeft     "FH0514" Unavailable        "the server is out of connections"
            StoreNotMigrated      "FH0515" Internal           "the store's schema could not be brought up to date"
            StoreUnreadable       "FH0516" Conflict           "the store holds something that can't be read"
            SealBroken            "FH0517" Internal           "a sealed value doesn't open"
            MasterKeyUnreadable   "FH0518" Internal           "the master key can't be read"
            StoreRefused          "FH0519" Internal           "the store refused a statement"
            NoRandomness          "FH0520" Unavailable        "the system provides no random numbers"
            DatabaseUrl           "FH0521" Invalid            "a database URL that can't be used"
            CacheServerNotFound   "FH0522" Invalid            "no server for caches on this machine"
            BucketUnusable        "FH0523" Unavailable        "the files of a bucket can't be used"
            NoContainerEngine     "FH0530" Invalid            "no container engine on this machine"
            ContainerEngineFailed "FH0531" Unavailable        "the container engine doesn't do its work"
            ImageNotFetched       "FH0532" Unavailable        "an image could not be fetched"
            ContainerNotStarted   "FH0533" Conflict           "a container could not be started"
            NotForContainers      "FH0534" Invalid            "something that a container can't be given"
            SidecarAnswers        "FH0540" Invalid            "a service that only a sidecar answers for, on one machine"
            GrpcRoute             "FH0541" Invalid            "a route to a gRPC service, on one machine"
            Internal              "FH0599" Internal           "a fault of Freehold's own"

            // Artifacts.
            BuildFailed           "FH0601" Conflict           "the build failed"
            ArtifactFileMissing   "FH0602" Invalid            "a file of the artifact is missing"
            ArtifactUnknown       "FH0603" Invalid            "the server doesn't have this artifact"
            NoArtifact            "FH0604" Invalid            "a service has no artifact to run its command from"
            ImageTag              "FH0605" Invalid            "an image with a tag"
            NothingToRun          "FH0606" Invalid            "a service with neither build nor image"
            ImageMissing          "FH0607" Invalid            "an image that doesn't exist"
            ImageNotForPlatform   "FH0608" Invalid            "an image that isn't made for the cluster's machines"
            RegistryRefused       "FH0609" Invalid            "registry authentication failed"
            RegistryUnreachable   "FH0610" Invalid            "a registry can't be reached"
            RegistryBusy          "FH0611" Invalid            "a registry asks us to wait"
            BadImageReference     "FH0612" Invalid            "a reference to an image that can't be read"
            RegistryAnswer        "FH0613" Invalid            "a registry's answer can't be used"
            PullCredentials       "FH0614" Invalid            "pull credentials that can't be read"
            ArtifactUnfit         "FH0615" Invalid            "something that an artifact can't hold"
            ArtifactRemoved       "FH0616" Unavailable        "an artifact was removed while it was being stored"

            // Running.
            JobFailed             "FH0701" Conflict           "a job failed"
            ExitedAtOnce          "FH0702" Conflict           "a service exited at once"
            NeverReady            "FH0703" Conflict           "a service never became ready"
            CommandNotFound       "FH0704" Conflict           "a command was not found"
            RunOutcomeUnknown     "FH0705" Conflict           "the outcome of a run is unknown"
            CrashLoop             "FH0706" Conflict           "a service keeps crashing"
            FailedWhileSettling   "FH0707" Conflict           "a new version did not stay ready"
            // Ownership and conflicts.
            NotOwned              "FH0801" Conflict           "the object is unmanaged or belongs to another stack"
            NameClaimed           "FH0802" Conflict           "the name is already claimed"
            DataWouldBeDeleted    "FH0803" Conflict           "data would be deleted"
            ChangedExternally     "FH0804" Conflict           "the object changed outside Freehold"
            DestroyLeftSomething  "FH0805" Conflict           "something is left after destroy"
            DumpNotProved         "FH0806" Conflict           "a dump could not be verified, so its database is kept"
            FieldConflict         "FH0807" Conflict           "the fields belong to another manager"
            NotAdoptable          "FH0808" Conflict           "the object would have to be recreated"
            NoDumpOfIt            "FH0809" Conflict           "it can't be dumped"
            UsedByOthers          "FH0810" Conflict           "others use it, or hold a part of it"
            NotAdoptableAsIs      "FH0811" Conflict           "it can't be adopted as it is"

            // Operations.
            PlanOutdated          "FH0901" Conflict           "the plan is outdated"
            OperationRunning      "FH0902" Conflict           "another operation is running"
            Cancelled             "FH0903" Conflict           "the operation was cancelled"
            DeadlinePassed        "FH0904" Conflict           "the deadline has passed"
            LeaseLost             "FH0905" Conflict           "another process has taken the operation over"
            StepFailed            "FH0906" Conflict           "a step failed"
            PlanUnknown           "FH0907" NotFound           "there is no such plan"
            PreconditionFailed    "FH0908" PreconditionFailed "the stack is not at the generation that the request names"
            NotNow                "FH0909" Unavailable        "temporarily unavailable"

            // Requests.
            RequestName           "FH1001" Invalid            "a name that is not valid"
            UnknownTier           "FH1002" Invalid            "the app has no such tier"
            NotFound              "FH1003" NotFound           "not found"
            SecretNotSet          "FH1004" Conflict           "a required secret is not set"
            UnknownStage          "FH1005" Invalid            "the app has no such stage"
            NotConfirmed          "FH1006" Invalid            "not confirmed"
            UnknownRevision       "FH1007" NotFound           "there is no such revision"
            IdempotencyKeyReused  "FH1008" Invalid            "an idempotency key was used for something else"
            Unauthorised          "FH1009" Unauthenticated    "unauthorised"
            ConnectionsExceeded   "FH1010" Conflict           "the connections don't add up"
            BadRequest            "FH1011" Invalid            "the request can't be read"
            SecretValue           "FH1012" Invalid            "a text that can't be a secret's value"
            SecretNotGenerated    "FH1013" Invalid            "a secret that isn't generated can't be rotated"
            TenantsNotIsolated    "FH1014" Conflict           "a second tenant where tenants are not isolated"
            NeverDeployed         "FH1015" Conflict           "the stack was never deployed"
            Ambiguous             "FH1016" Invalid            "a name that fits several things"
            UnknownHandle         "FH1017" Invalid            "a handle that matches nothing"
            RequestInProgress     "FH1018" Conflict           "a request with this idempotency key is still in progress"
            OutputNotWritten      "FH1019" Internal           "the output could not be written"
            HostNotAllowed        "FH1020" Forbidden          "a host name that the API does not answer to"
            Forbidden             "FH1021" Forbidden          "not permitted to do that"

            // Clusters: reaching them, and their objects.
            ClusterUnreachable    "FH1200" Unavailable        "the cluster's API server is unreachable"
            ClusterCredentials    "FH1201" Conflict           "the cluster doesn't accept our credentials"
            NotPermitted          "FH1202" Conflict           "the cluster doesn't permit it"
            KubeconfigUnusable    "FH1203" Conflict           "a kubeconfig that the platform can't use"
            WrongCluster          "FH1204" Conflict           "another cluster than the target's"
            KindUnknown           "FH1205" Conflict           "the cluster doesn't know this kind of object"
            AdmissionRefused      "FH1206" Conflict           "the cluster's admission refuses the object"
            ObjectInvalid         "FH1207" Conflict           "the cluster finds an object invalid"
            AppearedMeanwhile     "FH1208" Conflict           "an object appeared where a new one was to be made"
            BeingDeleted          "FH1209" Conflict           "the object or its namespace is being deleted"
            DeletionHeld          "FH1210" Conflict           "a deletion is blocked"
            QuotaUsedUp           "FH1211" Conflict           "the namespace's quota is used up"
            ClusterAnswer         "FH1212" Conflict           "an API server's answer that can't be used"
            ClusterFault          "FH1213" Conflict           "the cluster reports an error"
            NamespaceShared       "FH1214" Conflict           "the namespace holds unmanaged objects"
            ObjectTooLarge        "FH1215" Invalid            "an object that is larger than a cluster takes"

            // Clusters: what is meant to run there.
            PodRefused            "FH1220" Conflict           "the cluster refuses to make a pod"
            ContainerNotMade      "FH1221" Conflict           "a container can't be created"
            NoRoom                "FH1222" Conflict           "no node fits a pod"
            RouteRefused          "FH1223" Conflict           "the gateway does not accept a route"
            NoCertificate         "FH1224" Conflict           "a certificate was not issued"
            ClusterUnfit          "FH1225" Conflict           "the cluster does not meet the requirements"
            NoMetrics             "FH1226" Conflict           "an autoscaler can't scale"
            KindNotAllowed        "FH1227" Conflict           "a kind of objects that the target doesn't allow"
            GatewayLacks          "FH1228" Conflict           "a route asks for what the gateway can't do"

            // Targets.
            UnknownTarget         "FH1240" NotFound           "there is no such target"
            TargetInUse           "FH1241" Conflict           "a target that has stacks"
            TargetSettings        "FH1242" Invalid            "a target whose settings are not valid"
            TargetDatabase        "FH1243" Invalid            "the target's database server can't be used"
            OtherKindOfTarget     "FH1244" Invalid            "not on this kind of target"
            NoImage               "FH1245" Invalid            "a service has no image to run in the cluster"
            TargetIncomplete      "FH1246" Unavailable        "the target lacks a provider"
            TargetNotChosen       "FH1247" Invalid            "no target was named"
            NoCacheImage          "FH1248" Invalid            "the target has no image for caches"

            // Clusters, on the command line.
            KubeconfigUnreadable  "FH1250" Invalid            "a kubeconfig that can't be used"
            UnknownContext        "FH1251" Invalid            "the kubeconfig has no such context"
            ConnectionSettings    "FH1252" Invalid            "FREEHOLD_URL or FREEHOLD_TOKEN can't be used"

            // What targets lack.
            NoBucketServer        "FH1260" Invalid            "the target has no server for buckets"

            // Database servers of targets.
            ServerTooOld          "FH1270" Invalid            "the database server is older than the app needs"
            NoSuchCollation       "FH1271" Invalid            "a collation that PostgreSQL calls otherwise"
            ExtensionNotPrepared  "FH1272" Invalid            "an extension that the database server doesn't provide"
            UnknownServer         "FH1273" Invalid            "the target has no such database server"
        }
    };
}

macro_rules! code {
    ($($name:ident $code:literal $status:ident $title:literal)+) => {
        /// What kind of problem it is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = concat!($code, ": ", $title, ".")] $name,)+
            /// One of a later release, by its number. It is kept and shown; what it means, that release knows.
            Newer(u16),
        }

        impl Code {
            /// Every code of this release, in order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// What it means, in a few words; empty for a later release's.
            pub const fn title(self) -> &'static str {
                match self {
                    $(Self::$name => $title,)+
                    Self::Newer(_) => "",
                }
            }

            /// The status of an answer with this problem.
            pub const fn status(self) -> Status {
                match self {
                    $(Self::$name => Status::$status,)+
                    Self::Newer(_) => Status::Internal,
                }
            }
        }

        impl fmt::Display for Code {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$name => f.pad($code),)+
                    Self::Newer(number) => f.pad(&format!("FH{number:04}")),
                }
            }
        }

        /// The code of this release that has this number.
        fn known(text: &str) -> Option<Code> {
            match text {
                $($code => Some(Code::$name),)+
                _ => None,
            }
        }
    };
}

codes!(code);

impl Code {
    /// What a command exits with that fails for this reason.
    pub const fn exit(self) -> Exit {
        self.status().exit()
    }

    /// The code that is written so, in upper or lower case: `FH0203`. `None` if it isn't one of this release.
    pub fn parse(text: &str) -> Option<Self> {
        known(&text.to_ascii_uppercase())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let is_number = |digits: &&str| digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_digit());
        let newer = || text.strip_prefix("FH").filter(is_number)?.parse().ok().map(Self::Newer);
        Self::parse(&text).or_else(newer).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is not a code")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_in_order_and_none_comes_twice() {
        let texts: Vec<String> = Code::ALL.iter().map(ToString::to_string).collect();
        assert!(texts.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(Code::ALL.is_sorted());
    }

    #[test]
    fn a_code_is_read_in_upper_and_lower_case() {
        assert_eq!(Code::parse("fh0203"), Some(Code::NoRoomForUpdate));
        assert_eq!(Code::parse("FH0203"), Some(Code::NoRoomForUpdate));
        assert_eq!(Code::parse("FH02"), None);
    }

    #[test]
    fn a_code_of_a_later_release_is_kept_as_it_was_written() {
        let text = format!("\"FH{}\"", 9876);
        let code: Code = serde_json::from_str(&text).unwrap();
        assert_eq!((code, code.title(), code.status()), (Code::Newer(9876), "", Status::Internal));
        assert_eq!(serde_json::to_string(&code).unwrap(), text);
        for text in ["\"FH12\"", "\"FHxxxx\"", "\"FH+123\"", "\"fh-123\"", "\"\"", "7"] {
            assert!(serde_json::from_str::<Code>(text).is_err(), "{text}");
        }
    }
}
