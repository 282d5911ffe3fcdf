//! Targets, findings, the installation.

use freehold::wire;
use freehold_platform::view::{Finding, Installation, Level, Target, TargetView};

use super::IntoWire;

impl IntoWire for TargetView {
    type Wire = wire::Target;

    fn into_wire(self) -> wire::Target {
        let Self { target, stacks } = self;
        let (kind, facts) = match &target {
            Target::Local(facts) => (wire::TargetKind::Local, serde_json::to_value(facts)),
            Target::Kubernetes(facts) => (wire::TargetKind::Kubernetes, serde_json::to_value(facts)),
        };
        wire::Target {
            name: target.name().to_string(),
            kind,
            domain: target.domain().to_owned(),
            stacks,
            facts: facts.unwrap_or_default(),
        }
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
