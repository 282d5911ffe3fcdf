//! What can go wrong between us and an API server, in words for people, and what it means for a step.

use std::fmt;
use std::time::Duration;

use freehold_engine::ProviderError;
use freehold_problem::{About, Code, Problem};
use kube::core::Status;
use kube::core::response::StatusCause;
use thiserror::Error;

use crate::object::Place;

/// Why a cluster didn't do what it was asked to.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum ClusterError {
    /// The kubeconfig, or the service account in its place, is of no use here.
    #[error("{why}")]
    Kubeconfig {
        /// What is wrong, in words for people.
        why: String,
        /// What to do.
        help: String,
    },
    /// The API server could not be reached, or did not respond in time.
    #[error("{doing}: {}", no_response(server, why))]
    Unreachable {
        /// `creating deployment acme--guestbook/web`
        doing: String,
        /// The URL of the API server.
        server: String,
        /// What is wrong, in words for people.
        why: String,
        /// It was sent and may have been carried out.
        uncertain: bool,
    },
    /// An answer that says no.
    #[error("{doing}: {}", refusal.words())]
    Refused {
        /// `creating deployment acme--guestbook/web`
        doing: String,
        /// The status that the API server responded with.
        refusal: Box<Refusal>,
    },
    /// An answer that can't be read, or makes no sense.
    #[error("{doing}: {}", unusable(why))]
    Answer {
        /// What was being done.
        doing: String,
        /// What is wrong, in words for people.
        why: String,
    },
    /// It is another cluster.
    #[error(
        "this is another cluster than the target's: its namespace kube-system has the uid {found}, the target's {expected}"
    )]
    WrongCluster {
        /// The uid that the target remembers.
        expected: String,
        /// The uid that was found.
        found: String,
    },
    /// It can't be a target as it is, or something of a target isn't ours.
    #[error("{why}")]
    Unfit {
        /// What is wrong, a line for each thing.
        why: String,
        /// What to do, a line for each.
        help: String,
    },
}

fn no_response(server: &str, why: &str) -> String {
    format!("the API server at {server} does not respond: {why}")
}

fn unusable(why: &str) -> String {
    format!("the API server's response can't be used: {why}")
}

/// An API server's refusal.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// The answer's status object, or one made of what the answer said.
    pub(crate) status: Status,
    /// It asks to wait this long.
    pub(crate) after: Option<Duration>,
    /// Whose object it was about.
    pub(crate) place: Place,
    /// It asked for a change, so a server error may come after the change.
    pub(crate) changes: bool,
}

/// What a refusal means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The object doesn't exist.
    Absent,
    /// The object's namespace doesn't exist.
    NamespaceAbsent,
    /// The cluster doesn't know the kind.
    KindUnknown,
    Unauthenticated,
    /// 403 by the cluster's permissions: which verb on which resource.
    NotPermitted(Permission),
    /// The namespace is being deleted.
    NamespaceTerminating,
    Quota,
    /// A quota that was made a moment ago and isn't counted yet.
    QuotaUncounted,
    /// Fields that others manage.
    FieldConflict,
    /// Changed since it was looked at, or another object under that name.
    Changed,
    /// There is one already.
    Exists,
    /// A webhook can't be asked without consequences.
    NoDryRun(String),
    /// A webhook or policy says no: its name.
    Denied(String),
    /// A webhook doesn't answer: its name.
    WebhookDown(String),
    /// It isn't valid.
    Invalid,
    /// The server has too much to do.
    Busy,
    /// The server didn't finish in time.
    TimedOut,
    /// Something in the server doesn't work: its database is full, for example.
    Fault,
    Other,
}

/// The text between `before` and the next quotation mark.
fn quoted(text: &str, before: &str) -> Option<String> {
    let (_, rest) = text.split_once(before)?;
    rest.split(['"', '\'']).next().map(str::to_owned)
}

impl Refusal {
    pub(crate) fn causes(&self) -> &[StatusCause] {
        self.status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default()
    }

    /// What it means.
    pub(crate) fn reason(&self) -> Reason {
        let Status { message, reason, code, .. } = &self.status;
        if let Some(webhook) = quoted(message, "failed calling webhook \"") {
            return Reason::WebhookDown(webhook);
        }
        match *code {
            401 => Reason::Unauthenticated,
            404 => self.absent(),
            409 => self.conflict(),
            429 => Reason::Busy,
            504 => Reason::TimedOut,
            500.. if reason == "Timeout" || reason == "ServerTimeout" => Reason::TimedOut,
            // A value of the wrong type, or a field that the kind doesn't have: server-side apply can't tell how to merge it.
            500.. if message.contains("failed to create typed patch object") => Reason::Invalid,
            500.. => Reason::Fault,
            400.. => self.denied(),
            _ => Reason::Other,
        }
    }

    /// 404. That of the object itself is the only one that means that there is none.
    fn absent(&self) -> Reason {
        let details = self.status.details.as_ref();
        let about = |kind: &str, name: &str| details.is_some_and(|is| is.kind == kind && is.name == name);
        if self.status.reason != "NotFound" {
            return Reason::KindUnknown;
        }
        if about(&self.place.kind.plural, &self.place.name) && !self.place.name.is_empty() {
            return Reason::Absent;
        }
        match &self.place.namespace {
            Some(namespace) if about("namespaces", namespace) => Reason::NamespaceAbsent,
            _ => Reason::KindUnknown,
        }
    }

    fn conflict(&self) -> Reason {
        if self.causes().iter().any(|cause| cause.reason == "FieldManagerConflict") {
            Reason::FieldConflict
        } else if self.status.reason == "AlreadyExists" {
            Reason::Exists
        } else {
            Reason::Changed
        }
    }

    fn denied(&self) -> Reason {
        let Status { message, code, .. } = &self.status;
        if let Some((webhook, _)) = message
            .split_once("admission webhook \"")
            .and_then(|(_, rest)| rest.split_once('"'))
            .filter(|(_, rest)| rest.starts_with(" does not support dry run"))
        {
            return Reason::NoDryRun(webhook.to_owned());
        }
        let policy =
            || quoted(message, "ValidatingAdmissionPolicy '").or_else(|| quoted(message, "MutatingAdmissionPolicy '"));
        if let Some(name) = quoted(message, "admission webhook \"").or_else(policy) {
            return Reason::Denied(name);
        }
        if self.causes().iter().any(|cause| cause.reason == "NamespaceTerminating") {
            return Reason::NamespaceTerminating;
        }
        match code {
            403 if message.contains(" cannot ") && message.contains(" resource ") => {
                Reason::NotPermitted(permission(message).unwrap_or_else(|| Permission::told(message)))
            }
            403 if message.contains("status unknown for quota") => Reason::QuotaUncounted,
            403 if says_quota(message) => Reason::Quota,
            403 => Reason::Denied(admission_plugin(message)),
            400 | 413 | 415 | 422 => Reason::Invalid,
            _ => Reason::Other,
        }
    }

    /// What the server says, and what it means.
    pub(crate) fn words(&self) -> String {
        let message = match self.status.message.trim() {
            "" => format!("status {}", self.status.code),
            message => message.to_owned(),
        };
        match self.reason() {
            Reason::KindUnknown => {
                format!("the cluster doesn't know {} ({})", self.place.kind.resource(), self.place.kind.api_version())
            }
            Reason::Unauthenticated => format!("the API server doesn't accept our credentials: {message}"),
            Reason::NotPermitted(what) => format!("not permitted: {what}"),
            Reason::WebhookDown(name) => format!("admission webhook {name} is unreachable: {message}"),
            Reason::Busy => format!("the API server is overloaded: {message}"),
            Reason::Fault if message.contains("space exceeded") => {
                format!("the cluster's database (etcd) is out of space: {message}")
            }
            _ => message,
        }
    }
}

/// What the cluster's permissions don't allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Permission {
    /// `patch`; empty if the server's words can't be read.
    verb: String,
    /// `deployments.apps in namespace acme--guestbook`
    object: String,
    /// `system:serviceaccount:freehold:freehold`
    user: Option<String>,
}

impl Permission {
    /// In the server's own words.
    fn told(message: &str) -> Self {
        Self { verb: String::new(), object: message.to_owned(), user: None }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{} {}", self.verb, self.object);
        f.write_str(text.trim_start())?;
        self.user.iter().try_for_each(|user| write!(f, ", for {user}"))
    }
}

/// How an administrator grants all that Freehold needs.
fn granting(user: Option<&str>) -> String {
    let apply = |options: &str| {
        format!("as an administrator of the cluster: `freehold target rbac{options} | kubectl apply -f -`")
    };
    let account = user.and_then(|user| user.strip_prefix("system:serviceaccount:")?.split_once(':'));
    match account {
        Some(("freehold", "freehold")) => apply(""),
        Some((namespace, name)) => apply(&format!(" --namespace {namespace} --service-account {name}")),
        None => format!(
            "`freehold target rbac` prints the permissions for a service account: give the target its token, or bind them to {}",
            user.unwrap_or("the platform")
        ),
    }
}

/// Reads the message of a refusal: `User "u" cannot patch resource "deployments" in API group "apps" in the namespace "a"`.
fn permission(message: &str) -> Option<Permission> {
    let (_, rest) = message.split_once(" cannot ")?;
    let verb = rest.split_whitespace().next()?;
    let resource = quoted(rest, "resource \"")?;
    let group = quoted(rest, "API group \"").filter(|group| !group.is_empty());
    let group = group.map(|group| format!(".{group}")).unwrap_or_default();
    let place = match quoted(rest, "in the namespace \"") {
        Some(namespace) => format!("in namespace {namespace}"),
        None => "in the whole cluster".to_owned(),
    };
    let user = quoted(message, "User \"");
    Some(Permission { verb: verb.to_owned(), object: format!("{resource}{group} {place}"), user })
}

/// Whether it is the namespace's quota that has no room: the plugin's own words, in a refusal and wherever a controller repeats one.
pub(crate) fn says_quota(message: &str) -> bool {
    message.contains("exceeded quota") || message.contains("failed quota")
}

/// The built-in plugins don't say their names.
fn admission_plugin(message: &str) -> String {
    match message {
        message if message.contains("violates PodSecurity") => "Pod Security",
        message
            if message.contains("per Container")
                || message.contains("per Pod")
                || message.contains("per PersistentVolumeClaim") =>
        {
            "LimitRange"
        }
        _ => "the API server's admission",
    }
    .to_owned()
}

impl From<ClusterError> for Problem {
    fn from(error: ClusterError) -> Self {
        error.problem(error.code()).maybe_help(error.help())
    }
}

impl ClusterError {
    /// What happened, under a code.
    fn problem(&self, code: Code) -> Problem {
        match self {
            Self::Unreachable { doing, server, why, .. } => Problem::caused(code, doing, no_response(server, why)),
            Self::Refused { doing, refusal } => Problem::caused(code, doing, refusal.words()),
            Self::Answer { doing, why } => Problem::caused(code, doing, unusable(why)),
            Self::Kubeconfig { .. } | Self::WrongCluster { .. } | Self::Unfit { .. } => {
                Problem::new(code, self.to_string())
            }
        }
    }

    pub(crate) fn reason(&self) -> Option<Reason> {
        match self {
            Self::Refused { refusal, .. } => Some(refusal.reason()),
            _ => None,
        }
    }

    /// The cluster doesn't know a kind that doesn't come with Kubernetes: nothing can be of it.
    pub(crate) fn is_of_unknown_kind(&self) -> bool {
        matches!(self, Self::Refused { refusal, .. }
            if refusal.place.kind.installation().is_some() && refusal.reason() == Reason::KindUnknown)
    }

    /// The same of another object: what was refused of its likeness is refused of it.
    pub(crate) fn about(self, verb: &str, place: &Place) -> Self {
        match self {
            Self::Refused { mut refusal, .. } => {
                refusal.place = place.clone();
                Self::Refused { doing: format!("{verb} {place}"), refusal }
            }
            other => other,
        }
    }

    /// 410: what was asked for was there, and is no longer kept.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self, Self::Refused { refusal, .. } if refusal.status.code == 410)
    }

    /// The code that explains it: `FH1200`.
    pub fn code(&self) -> Code {
        match self {
            Self::Kubeconfig { .. } => Code::KubeconfigUnusable,
            Self::Unreachable { .. } => Code::ClusterUnreachable,
            Self::Answer { .. } => Code::ClusterAnswer,
            Self::WrongCluster { .. } => Code::WrongCluster,
            Self::Unfit { .. } => Code::ClusterUnfit,
            Self::Refused { refusal, .. } => match refusal.reason() {
                Reason::Unauthenticated => Code::ClusterCredentials,
                Reason::NotPermitted(_) => Code::NotPermitted,
                Reason::KindUnknown => Code::KindUnknown,
                Reason::Denied(_) | Reason::NoDryRun(_) => Code::AdmissionRefused,
                Reason::Invalid => Code::ObjectInvalid,
                Reason::NamespaceTerminating => Code::BeingDeleted,
                Reason::Quota => Code::QuotaUsedUp,
                Reason::FieldConflict => Code::FieldConflict,
                Reason::Changed | Reason::Exists => Code::PlanOutdated,
                Reason::Busy | Reason::TimedOut | Reason::Fault | Reason::WebhookDown(_) | Reason::QuotaUncounted => {
                    Code::ClusterFault
                }
                Reason::Absent | Reason::NamespaceAbsent | Reason::Other => Code::ClusterAnswer,
            },
        }
    }

    /// What to do next.
    pub fn help(&self) -> Option<String> {
        let text = match self {
            Self::Kubeconfig { help, .. } | Self::Unfit { help, .. } => help,
            Self::Unreachable { .. } => {
                "check that the cluster is up and that the platform reaches it; then run the same command again"
            }
            Self::Answer { .. } => "is there an API server at this address? a proxy or a login page answers like this",
            Self::WrongCluster { .. } => {
                "set the target's address back to its own cluster, or add this cluster as a new target with `freehold target add`"
            }
            Self::Refused { refusal, .. } => match refusal.reason() {
                Reason::Unauthenticated => {
                    "the token has expired or was withdrawn: give the target a new one with `freehold target add`"
                }
                Reason::NotPermitted(_) if !refusal.place.kind.is_known() => {
                    "apply what `freehold target rbac` prints as an administrator, with `--allow-kind` for each kind that manifests hold"
                }
                Reason::NotPermitted(_) => {
                    "apply what `freehold target rbac` prints as an administrator; these are the minimum permissions"
                }
                Reason::KindUnknown => refusal
                    .place
                    .kind
                    .installation()
                    .unwrap_or("the cluster is too old for Freehold: `freehold target check`"),
                Reason::NoDryRun(_) | Reason::Denied(_) => {
                    "change what the policy objects to, or ask its administrator"
                }
                Reason::Invalid => "change what the server rejects; its message names it",
                Reason::NamespaceTerminating => "wait until the namespace is gone, then run the same command again",
                Reason::Quota => "raise the tier's quota, or lower what the services request",
                Reason::FieldConflict => "give these fields up there, or take them with `--adopt`",
                Reason::Changed | Reason::Exists => {
                    "run the same command again to get a plan that rests on what is there now"
                }
                Reason::WebhookDown(_) => "repair the webhook's service, or ask its administrator",
                _ => return None,
            },
        };
        Some(text.to_owned())
    }
}

impl From<ClusterError> for ProviderError {
    fn from(error: ClusterError) -> Self {
        let passing = || {
            let help = "`freehold target check` says more; try again in a moment";
            error.problem(Code::ClusterUnreachable).help(help)
        };
        match &error {
            ClusterError::Unreachable { uncertain: true, .. } => return Self::Unknown(passing()),
            ClusterError::Unreachable { .. } => return Self::Retryable { problem: passing(), after: None },
            ClusterError::Refused { refusal, .. } => match refusal.reason() {
                // It may go on in the background.
                Reason::TimedOut if refusal.changes => return Self::Unknown(passing()),
                // A namespace that was just made isn't known to each of several API servers at once.
                Reason::NamespaceAbsent => return Self::Retryable { problem: passing(), after: None },
                Reason::Busy | Reason::TimedOut | Reason::Fault | Reason::WebhookDown(_) | Reason::QuotaUncounted => {
                    return Self::Retryable { problem: passing(), after: refusal.after };
                }
                _ => {}
            },
            _ => {}
        }
        let detail = match &error {
            ClusterError::Refused { refusal, .. } => causes(refusal),
            _ => Vec::new(),
        };
        let problem = error.problem(error.code()).lines(detail).maybe_help(error.help());
        Self::from(match error.reason() {
            Some(Reason::NotPermitted(Permission { verb, object, user })) => {
                let grant = Some(granting(user.as_deref()));
                problem.about(About::Permission { verb, object, user, grant })
            }
            _ => problem,
        })
    }
}

/// `spec.replicas: must be greater than or equal to 0`. The message repeats a single one.
fn causes(refusal: &Refusal) -> Vec<String> {
    let words = |cause: &StatusCause| match cause.field.as_str() {
        "" => cause.message.clone(),
        field => format!("{}: {}", field.trim_start_matches('.'), cause.message),
    };
    let causes = refusal.causes();
    if causes.len() < 2 { Vec::new() } else { causes.iter().map(words).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::DEPLOYMENT;

    fn reason(code: u16, word: &str, message: &str) -> Reason {
        let status = Status::failure(message, word).with_code(code);
        Refusal { status, after: None, place: Place::of(DEPLOYMENT, "a/web"), changes: true }.reason()
    }

    #[test]
    fn what_fails_for_the_same_cause_says_so_whichever_object_it_was_about() {
        let unreachable = |doing: &str| ClusterError::Unreachable {
            doing: doing.to_owned(),
            server: "https://10.0.0.1:6443".to_owned(),
            why: "timed out".to_owned(),
            uncertain: false,
        };
        let [one, other] = ["looking at pod a/one", "looking at pod a/other"].map(unreachable);
        let (one, other) = (ProviderError::from(one), ProviderError::from(other));
        let cause = "the API server at https://10.0.0.1:6443 does not respond: timed out";
        assert_eq!(one.problem().message, format!("looking at pod a/one: {cause}"));
        assert_eq!(one.problem().cause.as_deref(), Some(cause));
        assert_eq!(one.problem().cause, other.problem().cause);
    }

    #[test]
    fn a_webhook_is_told_by_its_name() {
        let denied = "admission webhook \"policy.example.org\" denied the request: no";
        assert_eq!(reason(403, "Forbidden", denied), Reason::Denied("policy.example.org".to_owned()));
        let effects = "admission webhook \"policy.example.org\" does not support dry run";
        assert_eq!(reason(400, "BadRequest", effects), Reason::NoDryRun("policy.example.org".to_owned()));
        let down =
            "Internal error occurred: failed calling webhook \"policy.example.org\": failed to call webhook: Post …";
        assert_eq!(reason(500, "InternalError", down), Reason::WebhookDown("policy.example.org".to_owned()));
    }

    #[test]
    fn a_permission_is_told_as_rbac_knows_it() {
        let of_u = |verb: &str, object: &str| Permission {
            verb: verb.to_owned(),
            object: object.to_owned(),
            user: Some("u".to_owned()),
        };
        let message = "deployments.apps \"web\" is forbidden: User \"u\" cannot patch resource \"deployments\" in API group \"apps\" in the namespace \"a\"";
        assert_eq!(
            reason(403, "Forbidden", message),
            Reason::NotPermitted(of_u("patch", "deployments.apps in namespace a"))
        );
        let message = "namespaces is forbidden: User \"u\" cannot list resource \"namespaces\" in API group \"\" at the cluster scope";
        assert_eq!(
            reason(403, "Forbidden", message),
            Reason::NotPermitted(of_u("list", "namespaces in the whole cluster"))
        );
    }

    #[test]
    fn permissions_are_granted_to_the_account_that_lacks_them() {
        let command = "`freehold target rbac --namespace ops --service-account deployer | kubectl apply -f -`";
        assert!(granting(Some("system:serviceaccount:ops:deployer")).contains(command));
        let own = granting(Some("system:serviceaccount:freehold:freehold"));
        assert!(own.contains("`freehold target rbac | kubectl apply -f -`"), "{own}");
        assert!(granting(Some("jane")).ends_with("bind them to jane"));
    }

    #[test]
    fn a_quota_that_is_not_counted_yet_is_waited_for() {
        let words = "services \"web\" is forbidden: status unknown for quota: freehold, resources: count/services";
        assert_eq!(reason(403, "Forbidden", words), Reason::QuotaUncounted);
        let words = "services \"web\" is forbidden: exceeded quota: freehold, requested: count/services=1";
        assert_eq!(reason(403, "Forbidden", words), Reason::Quota);
    }

    #[test]
    fn only_the_objects_own_absence_is_an_absence() {
        assert_eq!(reason(404, "", "404 page not found"), Reason::KindUnknown);
        assert_eq!(reason(404, "NotFound", "the server could not find the requested resource"), Reason::KindUnknown);
    }

    #[test]
    fn a_manifest_that_does_not_fit_its_schema_is_invalid_and_no_fault_of_the_server() {
        let words = "failed to create typed patch object (a/main; example.org/v1, Kind=Widget): .spec.size: expected numeric (int or float), got string";
        assert_eq!(reason(500, "InternalError", words), Reason::Invalid);
    }

    #[test]
    fn a_full_database_may_pass_and_is_told() {
        let full = "etcdserver: mvcc: database space exceeded";
        assert_eq!(reason(500, "", full), Reason::Fault);
        let status = Status::failure(full, "").with_code(500);
        let refusal = Refusal { status, after: None, place: Place::of(DEPLOYMENT, "a/web"), changes: true };
        let error = ClusterError::Refused { doing: "applying deployment a/web".to_owned(), refusal: Box::new(refusal) };
        let ProviderError::Retryable { problem: Problem { message, .. }, .. } = error.into() else {
            panic!("it may pass")
        };
        assert!(
            message.starts_with("applying deployment a/web: the cluster's database (etcd) is out of space"),
            "{message}"
        );
    }
}
