//! The state of a stack in a cluster: one word, the same wherever one asks.

use freehold::wire::{ApplyRequest, EventKind, StackPlanRequest, StackState};
use freehold_problem::Code;
use freehold_testkit::kubernetes::{ControlPlane, Image};
use serde_json::json;
use tokio::time::timeout;

use crate::setting::{Fixture, SOON, Setting, problem, tenant};

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_has_one_state_wherever_one_looks_and_what_is_gone_makes_it_degraded() {
    let test = "a_stack_has_one_state_wherever_one_looks_and_what_is_gone_makes_it_degraded";
    let Some(fixture) = Fixture::new(test) else { return };
    let setting = Setting::new();
    let replica = setting.replica().await;
    let client = &replica.client;
    client.put_target("prod", &fixture.target(&setting)).await.unwrap();
    let app = ControlPlane::unique("states");
    let namespace = format!("acme--{app}");
    let mut stacks = Vec::new();
    for name in ["acme", "globex"] {
        let request = tenant(name, &fixture.definition(&app), Some(":1"));
        let operation = client.apply(&ApplyRequest::Deploy(Box::new(request))).await.unwrap();
        timeout(SOON, client.wait(operation.id)).await.unwrap().unwrap();
        stacks.push(operation.stack);
    }
    let listed = async || client.stacks(&[("app", &app)]).await.unwrap();
    let states = async || listed().await.into_iter().map(|stack| stack.state).collect::<Vec<_>>();
    assert_eq!(states().await, [StackState::Ready, StackState::Ready]);

    let broken = json!({"spec": {"template": {"spec": {"containers": [
        {"name": "web", "env": [{"name": "FREEHOLD_TEST_FAIL", "value": "not-ready"}]}]}}}});
    let patch = broken.to_string();
    let patch = ["patch", "deployment", "web", "--namespace", &namespace, "--type=strategic", "--patch", &patch];
    fixture.control.kubectl(&patch).unwrap();
    let degraded = async {
        while client.stack(stacks[0]).await.unwrap().state != StackState::Degraded {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    timeout(SOON, degraded).await.unwrap();
    assert_eq!(states().await, [StackState::Degraded, StackState::Ready]);

    fixture.control.kubectl(&["delete", "namespace", &namespace]).unwrap();
    let (one, list) = (client.stack(stacks[0]).await.unwrap(), listed().await);
    assert_eq!((one.state.as_str(), list[0].state.as_str(), list[1].state.as_str()), ("degraded", "degraded", "ready"));
    let ill: Vec<_> = one.resources.iter().filter(|part| part.is_unwell()).cloned().collect();
    assert_eq!(list[0].resources, ill, "a list has the parts that aren't well, in the same words");
    let findings = client.doctor(false).await.unwrap();
    let subject = format!("namespace.main of {app}/tenant/acme");
    let found = findings.iter().find(|finding| finding.subject == subject).unwrap();
    assert_eq!((found.level.as_str(), &*found.message), ("error", "failed: it does not exist"));
    fixture.control.kubectl(&["delete", "namespace", &format!("globex--{app}"), "--wait=false"]).unwrap();
    replica.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_deploy_waits_for_is_told_by_its_events_its_operation_and_its_stack() {
    let test = "what_a_deploy_waits_for_is_told_by_its_events_its_operation_and_its_stack";
    let Some(fixture) = Fixture::new(test) else { return };
    let setting = Setting::new();
    let replica = setting.replica().await;
    let client = &replica.client;
    client.put_target("prod", &fixture.target(&setting)).await.unwrap();
    let app = ControlPlane::unique("waits");
    // A route that nobody looks at: the gateway has no controller.
    let route = "\n[route.web]\nservice = \"web\"\nhosts = [\"${stack.name}.${target.domain}\"]\n";
    let request = tenant("acme", &format!("{}{route}", fixture.definition(&app)), Some(":1"));
    let operation = client.apply(&ApplyRequest::Deploy(Box::new(request))).await.unwrap();
    let mut events = client.events(operation.id, 0).await.unwrap();
    let told = async {
        loop {
            let event = events.next().await.unwrap().unwrap();
            if let EventKind::Waiting { subject, reason: Some(reason), milliseconds, .. } = event.kind
                && subject == "httproute.web"
            {
                return (reason, milliseconds);
            }
        }
    };
    let (reason, milliseconds) = timeout(SOON, told).await.unwrap();
    assert!(reason.contains("the gateway") && reason.contains("listener http serves all hosts"), "{reason}");
    assert!(milliseconds >= 3000, "{milliseconds}");
    let now = client.operation(operation.id).await.unwrap();
    let wait = now.waits.iter().find(|wait| wait.subject == "httproute.web").unwrap();
    assert_eq!(wait.reason, reason);
    assert!(client.stack(operation.stack).await.unwrap().waits.contains(wait));
    client.cancel(operation.id).await.unwrap();
    let ended = timeout(SOON, client.wait(operation.id)).await.unwrap();
    assert!(ended.is_err());
    assert_eq!(client.operation(operation.id).await.unwrap().waits, []);
    fixture.control.kubectl(&["delete", "namespace", &format!("acme--{app}"), "--wait=false"]).unwrap();
    replica.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_plan_and_a_rollback_are_refused_once_their_image_has_gone_before_anything_is_touched() {
    let test = "a_kept_plan_and_a_rollback_are_refused_once_their_image_has_gone_before_anything_is_touched";
    let Some(fixture) = Fixture::new(test) else { return };
    let setting = Setting::new();
    let replica = setting.replica().await;
    let client = &replica.client;
    client.put_target("prod", &fixture.target(&setting)).await.unwrap();
    let app = ControlPlane::unique("vanished");
    let image = Image::of_program(std::path::Path::new("/bin/true")).unwrap().label("version", test);
    let pushed = fixture.registry.push("guestbook", "vanishing", &image).unwrap();
    let definition = fixture.definition(&app);
    let first = client.plan(&tenant("acme", &definition, Some(":vanishing"))).await.unwrap().plan;
    let kept = client.plan(&tenant("globex", &definition, Some(":vanishing"))).await.unwrap().plan;
    let operation = client.apply(&ApplyRequest::Plan { plan: first.id }).await.unwrap();
    timeout(SOON, client.wait(operation.id)).await.unwrap().unwrap();
    let other = client.apply(&ApplyRequest::Deploy(Box::new(tenant("acme", &definition, Some(":1"))))).await.unwrap();
    timeout(SOON, client.wait(other.id)).await.unwrap().unwrap();
    let back = client.plan_for(operation.stack, &StackPlanRequest::rollback(Some(1))).await.unwrap().plan;

    let digest = pushed.split_once('@').unwrap().1;
    fixture.registry.delete("guestbook", digest).unwrap();
    for plan in [kept.id, back.id] {
        let refused = problem(client.apply(&ApplyRequest::Plan { plan }).await);
        assert_eq!(refused.code, Code::ImageMissing, "{refused:?}");
        assert!(refused.detail.contains("service web"), "{}", refused.detail);
    }
    assert!(fixture.control.kubectl(&["get", "namespace", &format!("globex--{app}")]).is_err(), "nothing was made");
    assert_eq!(client.stack(operation.stack).await.unwrap().revision, Some(2));
    fixture.control.kubectl(&["delete", "namespace", &format!("acme--{app}"), "--wait=false"]).unwrap();
    replica.stopped().await;
}
