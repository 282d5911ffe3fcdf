//! Targets, findings, the installation.

use freehold::wire;
use freehold_platform::view::{Finding, Installation, Level, Target, TargetView, UnreadableFacts};
use serde_json::{Map, Value as Json};

use super::IntoWire;

impl IntoWire for TargetView {
    type Wire = wire::Target;

    fn into_wire(self) -> wire::Target {
        let Self { name, facts, stacks } = self;
        let (kind, domain, facts, unreadable) = match facts {
            Ok(target) => {
                let domain = target.domain().to_owned();
                let (kind, facts) = match &target {
                    Target::Local(facts) => (wire::TargetKind::Local, serde_json::to_value(facts)),
                    Target::Kubernetes(facts) => (wire::TargetKind::Kubernetes, serde_json::to_value(facts)),
                };
                (kind, domain, facts.unwrap_or_default(), None)
            }
            Err(UnreadableFacts { kind, problem }) => {
                (kind.as_str().into(), String::new(), Json::Object(Map::new()), Some(Box::new(problem.into_wire())))
            }
        };
        wire::Target { name: name.to_string(), kind, domain, stacks, facts, unreadable }
    }
}

impl IntoWire for Finding {
    type Wire = wire::Finding;

    fn into_wire(self) -> wire::Finding {
        let Self { level, subject, message, help } = self;
        let level = match level {
            Level::Ok => wire::Level::Ok,
            Level::Warning => wire::Level::Warning,
            Level::Error => wire::Level::Error,
        };
        wire::Finding { level, subject, message: message.into(), help }
    }
}

impl IntoWire for Installation {
    type Wire = wire::Platform;

    fn into_wire(self) -> wire::Platform {
        let Self { version, pid, data_directory, router_port, domain, postgres, started_at } = self;
        wire::Platform { version, pid, data_directory, router_port, domain, postgres, started_at }
    }
}
