//! What hinders one Pod, read from its status.
//!
//! Whether it is given up at once depends on what could make it better:
//!
//! | | |
//! |---|---|
//! | the image's name can't be read | given up |
//! | three restarts, and the next one waits or the last one failed | given up |
//! | the command doesn't exist in the image | given up |
//! | the registry doesn't have the image or doesn't let us in, and the kubelet backs off, for longer than [`GRACE`] | given up |
//! | a ConfigMap, Secret or key that isn't there, an image that runs as root: for longer than [`GRACE`] | given up |
//! | a registry that doesn't answer, fewer restarts, a probe that fails, no room on any node, a volume that isn't bound yet | waited for |
//!
//! A Pod that is older than the change that is judged ([`Moment`]) says these things from before it, until the node looks again: that
//! takes it [`NODE_LOOKS_AGAIN`] for an object that is missing, and up to five minutes for an image or a container that fails. So these
//! count when an event, or a container that ended, is newer than the change.

use chrono::Duration;
use freehold_problem::Code;
use serde_json::Value as Json;

use crate::document::{Condition, Fields};
use crate::mark;
use crate::moment::Moment;
use crate::not_ready::{More, NotReady};

/// How often a container is started again before it is given up.
const CRASH_LOOP: i64 = 3;
/// How long something may be missing that comes by itself, such as an object that another controller writes.
pub(crate) const GRACE: Duration = Duration::seconds(10);
/// How long it may take until a node looks again for what a container needs: the kubelet's pause of 10 s, up to a half longer.
const NODE_LOOKS_AGAIN: Duration = Duration::seconds(20);
/// After this time events are asked why a container isn't made yet.
const SLOW_START: Duration = Duration::seconds(5);

/// What hinders a Pod from being ready. `None` if nothing does: it is ready, or has done its work.
pub(crate) fn not_ready(pod: &Json, moment: Moment) -> Option<NotReady> {
    if is_ready(pod) || pod.text("/status/phase") == "Succeeded" {
        return None;
    }
    // What has ended the Pod, or ends it, ends its containers: how they do says nothing about the next one.
    let whole = ended(pod).or_else(|| mark::deletion(pod).map(|_| NotReady::waiting("its pod is ending")));
    if whole.is_some() {
        return whole;
    }
    let of_containers = containers(pod).filter_map(|container| container.not_ready(pod, moment));
    let worst = of_containers.max_by_key(NotReady::rank);
    Some(worst.or_else(|| unscheduled(pod)).unwrap_or_else(|| starting(pod, moment)))
}

/// Whether it takes requests.
pub(crate) fn is_ready(pod: &Json) -> bool {
    pod.condition("Ready").is_some_and(Condition::is_true)
}

/// The scheduler's own words, where no node takes the Pod.
fn unscheduled(pod: &Json) -> Option<NotReady> {
    let condition = pod.condition("PodScheduled").filter(|condition| condition.is_false())?;
    let what = match condition.reason() {
        "SchedulingGated" => "it is held back by a scheduling gate",
        _ => "no node fits its pod",
    };
    Some(NotReady::waiting(format!("{what}: {}", condition.message())).coded(Code::NoRoom))
}

/// Whether no node takes the Pod.
pub(crate) fn is_unscheduled(pod: &Json) -> bool {
    pod.condition("PodScheduled").is_some_and(Condition::is_false)
}

/// A Pod that was ended as a whole: evicted, or its node is gone.
pub(crate) fn ended(pod: &Json) -> Option<NotReady> {
    let (reason, message) = (pod.text("/status/reason"), pod.text("/status/message"));
    (pod.text("/status/phase") == "Failed" && !reason.is_empty())
        .then(|| NotReady::waiting(format!("its pod was ended ({reason}): {message}")))
}

/// Nothing is wrong that its status tells of.
fn starting(pod: &Json, moment: Moment) -> NotReady {
    if let Some(gate) = pod.items("/spec/readinessGates").iter().map(|gate| gate.text("/conditionType")).find(|gate| {
        !pod.condition(gate).is_some_and(Condition::is_true)
            && pod.condition("ContainersReady").is_some_and(Condition::is_true)
    }) {
        return NotReady::waiting(format!("its pod's readiness gate {gate} is not open"));
    }
    // A node says first of all when it has begun.
    let node = pod.text("/spec/nodeName");
    let is_begun = node.is_empty() || pod.pointer("/status/startTime").is_some();
    if !is_begun && lasted(pod, moment).is_some_and(|age| age > SLOW_START) {
        return NotReady::waiting(format!("node {node} has not started its pod: is the kubelet running?"));
    }
    let not_ready = NotReady::waiting("its pod is starting");
    if lasted(pod, moment).is_some_and(|age| age > SLOW_START) { not_ready.with(More::Events) } else { not_ready }
}

/// How long it has had, since the change that is judged.
fn lasted(pod: &Json, moment: Moment) -> Option<Duration> {
    let begun = pod.time("/status/startTime").or_else(|| pod.time("/metadata/creationTimestamp"))?;
    Some(moment.lasted(begun))
}

/// Whether it has had its time.
fn is_late(pod: &Json, moment: Moment) -> bool {
    lasted(pod, moment).is_none_or(|lasted| lasted > GRACE)
}

/// One container of a Pod, as defined and as it is.
pub(crate) struct Container<'a> {
    pub(crate) name: &'a str,
    kind: Kind,
    status: &'a Json,
    spec: Option<&'a Json>,
    alone: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Main,
    Init,
    Sidecar,
}

/// The containers of a Pod that have a status, in the order in which they start.
pub(crate) fn containers(pod: &Json) -> impl Iterator<Item = Container<'_>> {
    let spec = |list: &str, name: &str| pod.items(list).iter().find(|spec| spec.text("/name") == name);
    let alone = pod.items("/spec/containers").len() == 1 && pod.items("/spec/initContainers").is_empty();
    let init = pod.items("/status/initContainerStatuses").iter().map(move |status| {
        let spec = spec("/spec/initContainers", status.text("/name"));
        let sidecar = spec.is_some_and(|spec| spec.text("/restartPolicy") == "Always");
        let kind = if sidecar { Kind::Sidecar } else { Kind::Init };
        Container { name: status.text("/name"), kind, status, spec, alone }
    });
    let main = pod.items("/status/containerStatuses").iter().map(move |status| {
        let spec = spec("/spec/containers", status.text("/name"));
        Container { name: status.text("/name"), kind: Kind::Main, status, spec, alone }
    });
    init.chain(main)
}

impl Container<'_> {
    /// `container web`, `init container prepare`, `sidecar proxy`; `it` where there is only one.
    fn called(&self) -> String {
        match self.kind {
            Kind::Main if self.alone => "it".to_owned(),
            Kind::Main => format!("container {}", self.name),
            Kind::Init => format!("init container {}", self.name),
            Kind::Sidecar => format!("sidecar {}", self.name),
        }
    }

    fn is_done(&self) -> bool {
        match self.kind {
            Kind::Init => self.status.text("/state/terminated/reason") == "Completed",
            Kind::Main | Kind::Sidecar => self.status.flag("/ready"),
        }
    }

    /// Whether it has ever run.
    pub(crate) fn has_run(&self) -> bool {
        let status = self.status;
        status.pointer("/state/running").is_some()
            || status.pointer("/state/terminated").is_some()
            || status.pointer("/lastState/terminated").is_some()
    }

    /// How it ended, if it is not running: `exit code 1 after 2 s`.
    pub(crate) fn end(&self) -> Option<String> {
        self.status.pointer("/state/terminated").map(|terminated| self.ended(terminated))
    }

    /// Whether it has ended in failure.
    pub(crate) fn has_failed(&self) -> bool {
        self.status.pointer("/state/terminated").is_some_and(|terminated| terminated.number("/exitCode") != 0)
    }

    fn not_ready(&self, pod: &Json, moment: Moment) -> Option<NotReady> {
        if self.is_done() {
            return None;
        }
        if let Some(waiting) = self.status.pointer("/state/waiting") {
            return self.waiting(waiting, pod, moment);
        }
        if let Some(terminated) = self.status.pointer("/state/terminated") {
            return Some(self.crashed(terminated, false, pod, moment));
        }
        // It runs, and isn't ready.
        self.status.pointer("/state/running")?;
        let called = self.called();
        if self.kind == Kind::Init {
            return Some(NotReady::waiting(format!("{called} is still running")));
        }
        let restarts = self.status.number("/restartCount");
        let mut again = if restarts > 0 { format!(", started again {}", times(restarts)) } else { String::new() };
        // The node starts it again at once, and it may be long before it waits, with this as the reason.
        let mut more = More::Events;
        if let Some(before) = self.status.pointer("/lastState/terminated").filter(|_| restarts > 0) {
            again += &format!("; the one before: {}", self.ended(before));
            more = More::Ended { container: self.name.to_owned(), begun: before.time("/startedAt") };
        }
        let what = if self.status.flag("/started") { "is not ready" } else { "has not started up" };
        Some(NotReady::waiting(format!("{called} runs and {what}{again}")).with(more))
    }

    fn waiting(&self, waiting: &Json, pod: &Json, moment: Moment) -> Option<NotReady> {
        let (reason, message) = (waiting.text("/reason"), waiting.text("/message"));
        let called = self.called();
        match reason {
            "" | "PodInitializing" | "ContainerCreating" => None,
            "ErrImagePull"
            | "ImagePullBackOff"
            | "ErrImageNeverPull"
            | "InvalidImageName"
            | "ImageInspectError"
            | "RegistryUnavailable"
            | "SignatureValidationFailed" => Some(self.image(reason, message, pod, moment)),
            "CrashLoopBackOff" => {
                let last = self.status.pointer("/lastState/terminated").unwrap_or(&Json::Null);
                Some(self.crashed(last, true, pod, moment))
            }
            "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" | "StartError" => {
                let words = format!("{called} can't be started: {}", plain(message));
                if is_no_command(message) {
                    return Some(NotReady::failed(Code::CommandNotFound, words));
                }
                let patience = if moment.is_older(pod) { NODE_LOOKS_AGAIN } else { GRACE };
                let late = lasted(pod, moment).is_none_or(|lasted| lasted > patience);
                Some(NotReady { fatal: late, ..NotReady::failed(Code::ContainerNotMade, words) })
            }
            _ => Some(NotReady::waiting(format!("{called} waits ({reason}): {}", plain(message)))),
        }
    }

    fn image(&self, reason: &str, message: &str, pod: &Json, moment: Moment) -> NotReady {
        let image = self.spec.map_or_else(|| self.status.text("/image"), |spec| spec.text("/image"));
        let of = if self.alone { String::new() } else { format!(" of {}", self.called()) };
        let why = plain(message);
        let words = match reason {
            "InvalidImageName" => format!("the image's name{of} can't be read: {image}"),
            _ if why.is_empty() => format!("the image{of} can't be pulled: {image}"),
            _ => format!("the image{of} can't be pulled: {image}: {why}"),
        };
        let lower = message.to_lowercase();
        let says = |hints: &[&str]| hints.iter().any(|hint| lower.contains(hint));
        if reason == "InvalidImageName" {
            return NotReady::failed(Code::ImageMissing, words);
        }
        let missing = ["not found", "manifest unknown", "name unknown", "does not exist", "no match for platform"];
        let refused = ["unauthorized", "denied", "forbidden", "no basic auth", "401 ", "403 "];
        // The kubelet has tried at least once before it backs off.
        let tried = reason != "ErrImagePull";
        let told = match reason {
            "ErrImageNeverPull" => Some(Code::ImageMissing),
            _ if tried && says(&missing) => Some(Code::ImageMissing),
            _ if tried && says(&refused) => Some(Code::RegistryRefused),
            _ => None,
        };
        if let Some(code) = told {
            let not_ready = NotReady { fatal: is_late(pod, moment), ..NotReady::failed(code, words) };
            return if moment.is_older(pod) { not_ready.unproven() } else { not_ready };
        }
        let not_ready = NotReady::waiting(words).coded(Code::ImageMissing);
        // Older kubelets say only that they back off; the reason is in an event.
        if why.is_empty() || !message.contains(": ") { not_ready.with(More::Events) } else { not_ready }
    }

    fn crashed(&self, terminated: &Json, waits: bool, pod: &Json, moment: Moment) -> NotReady {
        let restarts = self.status.number("/restartCount");
        let (called, how) = (self.called(), self.ended(terminated));
        let begun = terminated.time("/startedAt");
        let log = More::Log { container: self.name.to_owned(), previous: waits, begun };
        let message = terminated.text("/message");
        let is_evidence = !moment.is_older(pod) || moment.is_evidence(terminated.time("/finishedAt"));
        if is_no_command(message) && is_evidence {
            let words = format!("{called} can't be started: {}", plain(message));
            return NotReady::failed(Code::CommandNotFound, words);
        }
        if restarts >= CRASH_LOOP {
            let words = format!("{called} keeps failing, restarted {} so far: {how}", times(restarts));
            let not_ready = NotReady::failed(Code::CrashLoop, words).with(log);
            return if is_evidence { not_ready } else { not_ready.outdated() };
        }
        let again = if restarts > 0 { format!(", restarted {} so far", times(restarts)) } else { String::new() };
        NotReady::waiting(format!("{called} ended: {how}{again}")).coded(Code::CrashLoop).with(log)
    }

    fn ended(&self, terminated: &Json) -> String {
        let after = match (terminated.time("/startedAt"), terminated.time("/finishedAt")) {
            (Some(from), Some(to)) => format!(" after {} s", to.signed_duration_since(from).num_seconds().max(0)),
            _ => String::new(),
        };
        if terminated.text("/reason") == "OOMKilled" {
            let limit = self.spec.map(|spec| spec.text("/resources/limits/memory")).filter(|limit| !limit.is_empty());
            let limit = limit.map(|limit| format!(" of {limit}")).unwrap_or_default();
            return format!("it needed more memory than its limit{limit} and was killed (OOMKilled){after}");
        }
        match terminated.number("/exitCode") {
            0 => format!("exited with code 0{after}; a service must keep running"),
            code => format!("exit code {code}{after}"),
        }
    }
}

/// The start of a container failed because its command isn't in the image.
fn is_no_command(message: &str) -> bool {
    let hints = ["executable file not found", "no such file or directory: unknown", "exec format error"];
    hints.iter().any(|hint| message.contains(hint))
}

/// A message without what it is wrapped in on its way through kubelet and container runtime.
fn plain(message: &str) -> &str {
    let message = message.rsplit_once("ErrImagePull: ").map_or(message, |(_, rest)| rest);
    message.split_once(" desc = ").map_or(message, |(_, rest)| rest).trim()
}

/// `once`, `3 times`.
fn times(count: i64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(init: &Json, main: &Json) -> Json {
        json!({
            "metadata": {"name": "web-1", "creationTimestamp": "2026-03-01T10:00:00Z"},
            "spec": {
                "initContainers": [
                    {"name": "prepare", "image": "example.test/prepare:1"},
                    {"name": "proxy", "image": "example.test/proxy:1", "restartPolicy": "Always"},
                ],
                "containers": [{"name": "web", "image": "example.test/web:1"}],
            },
            "status": {"phase": "Pending", "initContainerStatuses": init, "containerStatuses": main},
        })
    }

    fn waiting(name: &str, reason: &str, message: &str) -> Json {
        json!({"name": name, "restartCount": 0, "state": {"waiting": {"reason": reason, "message": message}}})
    }

    fn of(init: &Json, main: &Json) -> NotReady {
        let now = "2026-03-01T10:01:00Z".parse().unwrap();
        not_ready(&pod(init, main), Moment::new(now)).expect("it is not ready")
    }

    #[test]
    fn init_containers_and_sidecars_are_named_as_such() {
        let crashed = |name: &str| {
            json!([{"name": name, "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": {"exitCode": 2, "reason": "Error"}}}])
        };
        let none = json!([]);
        let init = of(&crashed("prepare"), &none);
        assert_eq!(init.words, "init container prepare keeps failing, restarted 3 times so far: exit code 2");
        assert!(init.fatal);
        assert!(of(&crashed("proxy"), &none).words.starts_with("sidecar proxy keeps failing"));
        assert!(of(&none, &crashed("web")).words.starts_with("container web keeps failing"));
        let running = json!([{"name": "prepare", "restartCount": 0, "state": {"running": {}}}]);
        let waits = of(&running, &json!([waiting("web", "PodInitializing", "")]));
        assert_eq!((waits.fatal, waits.words.as_str()), (false, "init container prepare is still running"));
    }

    #[test]
    fn a_container_that_was_started_again_at_once_is_told_with_the_end_of_the_one_before() {
        let status = json!([{
            "name": "web", "restartCount": 1, "started": false, "state": {"running": {}},
            "lastState": {"terminated": {
                "reason": "OOMKilled", "exitCode": 137,
                "startedAt": "2026-03-01T10:00:00Z", "finishedAt": "2026-03-01T10:00:02Z",
            }},
        }]);
        assert_eq!(
            of(&json!([]), &status).words,
            "container web runs and has not started up, started again once; the one before: it needed more memory than its limit and was \
             killed (OOMKilled) after 2 s"
        );
    }

    #[test]
    fn an_image_is_given_up_when_the_registry_has_answered_and_not_before() {
        let told = |reason: &str, message: &str| of(&json!([]), &json!([waiting("web", reason, message)]));
        let absent = "Back-off pulling image \"x\": ErrImagePull: rpc error: code = NotFound desc = x: not found";
        let given_up = told("ImagePullBackOff", absent);
        assert_eq!((given_up.fatal, given_up.code), (true, Some(Code::ImageMissing)));
        assert_eq!(given_up.words, "the image of container web can't be pulled: example.test/web:1: x: not found");
        assert!(!told("ErrImagePull", "rpc error: code = NotFound desc = x: not found").fatal, "the first attempt");
        let refused = told("ImagePullBackOff", "Back-off pulling: ErrImagePull: 401 Unauthorized: pull access denied");
        assert_eq!((refused.fatal, refused.code), (true, Some(Code::RegistryRefused)));
        let away = told("ImagePullBackOff", "Back-off pulling image \"x\": ErrImagePull: dial tcp: i/o timeout");
        assert!(!away.fatal, "{away:?}");
        assert!(told("InvalidImageName", "couldn't parse image name").fatal);
        // Kubelets before 1.31 leave the reason to an event.
        assert_eq!(told("ImagePullBackOff", "Back-off pulling image \"x\"").more, More::Events);
    }

    #[test]
    fn what_is_missing_is_waited_for_for_a_moment() {
        let missing = json!([waiting("web", "CreateContainerConfigError", "secret \"key\" not found")]);
        let at = |time: &str| not_ready(&pod(&json!([]), &missing), Moment::new(time.parse().unwrap())).unwrap();
        assert!(!at("2026-03-01T10:00:05Z").fatal);
        assert!(at("2026-03-01T10:00:15Z").fatal);
        let command = "exec: \"/nothing\": stat /nothing: no such file or directory: unknown";
        let command = of(&json!([]), &json!([waiting("web", "RunContainerError", command)]));
        assert_eq!((command.fatal, command.code), (true, Some(Code::CommandNotFound)));
    }

    #[test]
    fn an_evicted_pod_a_closed_gate_and_a_silent_node_tell_why() {
        let now = Moment::new("2026-03-01T10:01:00Z".parse().unwrap());
        let evicted = json!({"status": {"phase": "Failed", "reason": "Evicted", "message": "low on memory"}});
        assert_eq!(not_ready(&evicted, now).unwrap().words, "its pod was ended (Evicted): low on memory");
        let mut with_containers =
            pod(&json!([]), &json!([{"name": "web", "state": {"terminated": {"exitCode": 137}}}]));
        for field in ["phase", "reason", "message"] {
            with_containers["status"][field] = evicted["status"][field].clone();
        }
        let told = not_ready(&with_containers, now).unwrap();
        assert_eq!(told.words, "its pod was ended (Evicted): low on memory", "and not by exit code 137");
        let gated = json!({
            "spec": {"readinessGates": [{"conditionType": "example.test/balanced"}]},
            "status": {"phase": "Running", "conditions": [{"type": "ContainersReady", "status": "True"}]},
        });
        assert_eq!(not_ready(&gated, now).unwrap().words, "its pod's readiness gate example.test/balanced is not open");
        let mut lost = json!({
            "metadata": {"creationTimestamp": "2026-03-01T10:00:50Z"}, "spec": {"nodeName": "node-1"},
            "status": {"phase": "Pending"},
        });
        assert_eq!(
            not_ready(&lost, now).unwrap().words,
            "node node-1 has not started its pod: is the kubelet running?"
        );
        lost["metadata"]["creationTimestamp"] = json!("2026-03-01T10:00:58Z");
        assert_eq!(not_ready(&lost, now).unwrap().words, "its pod is starting", "it has had no time yet");
        let ready = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
        assert_eq!(not_ready(&ready, now), None);
    }

    #[test]
    fn what_a_pod_says_from_before_a_change_is_no_evidence_against_it() {
        let at = |pod: &Json, now: &str, changed: u64| {
            let moment = Moment::new(format!("2026-03-01T{now}Z").parse().unwrap());
            not_ready(pod, moment.after(Some(std::time::Duration::from_secs(changed)))).unwrap()
        };
        let none = json!([]);
        let missing = pod(&none, &json!([waiting("web", "CreateContainerConfigError", "secret \"key\" not found")]));
        assert!(!at(&missing, "10:05:00", 1).fatal, "the Secret was put back a second ago");
        assert!(!at(&missing, "10:05:00", 15).fatal, "the node has not looked again");
        assert!(at(&missing, "10:05:00", 25).fatal);

        let absent = "Back-off pulling image \"x\": ErrImagePull: rpc error: code = NotFound desc = x: not found";
        let absent = pod(&none, &json!([waiting("web", "ImagePullBackOff", absent)]));
        let told = at(&absent, "10:05:00", 60);
        assert!(told.unproven, "an event has to tell that it was tried since: {told:?}");
        assert!(!at(&absent, "10:00:05", 5).fatal, "the grace that all have");
        let told = at(&absent, "10:00:15", 15);
        assert!(told.fatal && !told.unproven, "made by the change: {told:?}");

        let crashed = |finished: &str| {
            let last = json!({"terminated": {"exitCode": 1, "reason": "Error", "finishedAt": finished}});
            pod(
                &none,
                &json!([{"name": "web", "restartCount": 5, "lastState": last,
                "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]),
            )
        };
        assert!(!at(&crashed("2026-03-01T10:04:00Z"), "10:05:00", 30).fatal);
        assert!(at(&crashed("2026-03-01T10:04:40Z"), "10:05:00", 30).fatal);
    }
}
