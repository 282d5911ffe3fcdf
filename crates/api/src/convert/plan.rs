//! Plans and diagnostics.

use freehold::wire;
use freehold_platform::plan::{Action, Change, Conflict, Effect, FieldChange, Plan, Purpose};
use freehold_platform::view::{Diagnostic, Planned, Severity, ValueChange};

use super::IntoWire;

impl IntoWire for Planned {
    type Wire = wire::PlanResponse;

    fn into_wire(self) -> wire::PlanResponse {
        let Self { plan, noop, new_stack, diagnostics, values, target, cluster, database_server, running } = self;
        wire::PlanResponse {
            plan: plan.into_wire(),
            noop,
            new_stack,
            diagnostics: diagnostics.into_wire(),
            values: values.into_wire(),
            target: target.to_string(),
            cluster,
            database_server,
            running: running.map(|running| running.0),
        }
    }
}

impl IntoWire for ValueChange {
    type Wire = wire::ValueChange;

    fn into_wire(self) -> wire::ValueChange {
        let Self { path, before, after, line, layer, layer_before } = self;
        wire::ValueChange { path, before, after, line, layer, layer_before }
    }
}

impl IntoWire for Plan {
    type Wire = wire::Plan;

    fn into_wire(self) -> wire::Plan {
        let Self {
            id,
            stack,
            key,
            layout,
            purpose,
            generation,
            revision,
            definition,
            request,
            changes,
            runs,
            outputs,
            not_enforced,
            notes,
            same,
            settle,
        } = self;
        wire::Plan {
            id,
            stack,
            key,
            layout,
            purpose: match purpose {
                Purpose::Deploy => wire::PlanPurpose::Deploy,
                Purpose::Rollback { to } => wire::PlanPurpose::Rollback { to },
                Purpose::Destroy { dump } => wire::PlanPurpose::Destroy { dump },
            },
            generation,
            revision,
            definition,
            request,
            changes: changes.into_iter().map(|(id, change)| (id, change.into_wire())).collect(),
            runs,
            outputs,
            not_enforced,
            notes,
            same,
            settle,
        }
    }
}

impl IntoWire for Change {
    type Wire = wire::Change;

    fn into_wire(self) -> wire::Change {
        let Self {
            id,
            kind,
            identity,
            action,
            fields,
            reasons,
            resource,
            desired,
            observed,
            fingerprint,
            object,
            depends_on,
            loses_data,
            takes,
            foreign_fields,
        } = self;
        wire::Change {
            id,
            kind,
            identity,
            action: match action {
                Action::Create => wire::Action::Create,
                Action::Update => wire::Action::Update,
                Action::Replace => wire::Action::Replace,
                Action::Adopt => wire::Action::Adopt,
                Action::Delete => wire::Action::Delete,
                Action::NoOp => wire::Action::NoOp,
            },
            fields: fields.into_wire(),
            reasons,
            resource,
            desired,
            observed,
            fingerprint,
            object,
            depends_on,
            loses_data,
            takes: takes.into_wire(),
            foreign_fields: foreign_fields.into_wire(),
        }
    }
}

impl IntoWire for FieldChange {
    type Wire = wire::FieldChange;

    fn into_wire(self) -> wire::FieldChange {
        let Self { path, before, after, effect } = self;
        let effect = match effect {
            Effect::InPlace => wire::Effect::InPlace,
            Effect::Restart => wire::Effect::Restart,
            Effect::Replace => wire::Effect::Replace,
        };
        wire::FieldChange { path, before, after, effect }
    }
}

impl IntoWire for Conflict {
    type Wire = wire::Conflict;

    fn into_wire(self) -> wire::Conflict {
        let Self { path, manager } = self;
        wire::Conflict { path, manager }
    }
}

impl IntoWire for Diagnostic {
    type Wire = wire::Diagnostic;

    fn into_wire(self) -> wire::Diagnostic {
        let Self { code, severity, message, labels, notes, help, environments, allowed } = self;
        let severity = match severity {
            Severity::Error => wire::Severity::Error,
            Severity::Warning => wire::Severity::Warning,
        };
        let labels = labels.into_iter().map(|label| wire::Label {
            span: wire::Span { start: label.span.start, end: label.span.end },
            message: label.message,
        });
        wire::Diagnostic { code, severity, message, labels: labels.collect(), notes, help, environments, allowed }
    }
}

#[cfg(test)]
mod tests {
    use freehold::wire::document;
    use serde_json::{Value as Json, json};

    use super::*;

    /// A plan with something in every field, as the store keeps it.
    fn plan() -> Json {
        let change = |id: &str, kind: &str, action: &str| {
            json!({
                "id": id, "type": kind, "identity": "acme__guestbook", "action": action,
                "fields": [
                    {"path": "connections", "before": 10, "after": 20, "effect": "in-place"},
                    {"path": "env.KEY", "before": null, "after": "x", "effect": "restart"},
                    {"path": "encoding", "before": "a", "after": null, "effect": "replace"},
                ],
                "reasons": ["restarts: session-key changed"],
                "resource": {
                    "id": id, "type": kind, "identity": "acme__guestbook", "body": {"connections": 20},
                    "depends_on": ["roles.main"],
                },
                "desired": {"connections": 20}, "observed": {"connections": 10}, "fingerprint": "ab", "object": "16384",
                "depends_on": ["roles.main"], "loses_data": true,
                "takes": [{"path": "spec.replicas", "manager": "kubectl-edit"}],
                "beside": [{"path": "spec.paused", "manager": "argocd-controller"}],
            })
        };
        let key = json!({"target": "local", "app": "guestbook", "kind": "tenant", "name": "acme"});
        let stack = "01936ef0-0000-7000-8000-000000000002";
        json!({
            "id": "01936ef0-0000-7000-8000-000000000001", "stack": stack, "key": key, "layout": 1,
            "purpose": {"rollback": {"to": 3}}, "generation": 7, "revision": 4, "definition": "cd",
            "request": {
                "key": key, "id": stack, "tier": "free", "stage": "staging", "artifacts": {"web": "sha256:ef"},
                "containers": {"web": {"proxy": "r/proxy@sha256:01"}}, "rotations": {"postgres/main/app": 1},
            },
            "changes": {
                "database.main": change("database.main", "postgres.database", "update"),
                "roles.main": change("roles.main", "postgres.roles", "no-op"),
                "service.web": change("service.web", "local.service", "replace"),
            },
            "runs": {"job.migrate": {
                "id": "job.migrate", "provider": "local", "body": {"command": ["migrate"]}, "depends_on": ["database.main"],
                "before": ["service.web"],
            }},
            "outputs": {"routes.web.url": "http://acme.localhost:7080"}, "not_enforced": ["files"], "notes": ["a note"],
            "same": false, "settle": true,
        })
    }

    #[test]
    fn a_plan_is_sent_as_it_is_kept_and_read_as_it_is_sent() {
        let text = serde_json::to_string(&serde_json::from_value::<Plan>(plan()).unwrap()).unwrap();
        let sent = serde_json::from_str::<Plan>(&text).unwrap().into_wire();
        assert_eq!(serde_json::to_string(&sent).unwrap(), text, "not a byte differs");
        let read: wire::Plan = serde_json::from_str(&text).unwrap();
        assert_eq!(read, sent);
        for purpose in [json!("deploy"), json!({"destroy": {"dump": false}})] {
            let text = serde_json::to_string(&serde_json::from_value::<Purpose>(purpose).unwrap()).unwrap();
            let read: wire::PlanPurpose = serde_json::from_str(&text).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), text);
        }
    }

    #[test]
    fn what_the_document_says_of_a_plans_parts_is_what_is_sent() {
        let sent = serde_json::to_value(serde_json::from_value::<Plan>(plan()).unwrap().into_wire()).unwrap();
        let part = |pointer: &str| sent.pointer(pointer).unwrap().clone();
        let same = |described: Json, sent: Json| assert_eq!(described, sent);
        let key: document::StackKey = serde_json::from_value(part("/key")).unwrap();
        same(serde_json::to_value(key).unwrap(), part("/key"));
        let request: document::Request = serde_json::from_value(part("/request")).unwrap();
        same(serde_json::to_value(request).unwrap(), part("/request"));
        let resource: document::Resource = serde_json::from_value(part("/changes/service.web/resource")).unwrap();
        same(serde_json::to_value(resource).unwrap(), part("/changes/service.web/resource"));
        let run: document::Run = serde_json::from_value(part("/runs/job.migrate")).unwrap();
        same(serde_json::to_value(run).unwrap(), part("/runs/job.migrate"));
    }

    #[test]
    fn a_diagnostic_is_sent_as_check_writes_it() {
        let found = Diagnostic {
            code: freehold_problem::Code::Dangling,
            severity: Severity::Error,
            message: "no such service".to_owned(),
            labels: Vec::new(),
            notes: vec!["it has web".to_owned()],
            help: Some("did you mean web?".to_owned()),
            environments: vec!["stage production".to_owned()],
            allowed: Some("it is an example".to_owned()),
        };
        let text = serde_json::to_string(&found).unwrap();
        assert_eq!(serde_json::to_string(&found.into_wire()).unwrap(), text);
    }
}
