//! Deploys to a real control plane: what a target remembers, how images are settled, and that any replica goes on with an operation.

use std::path::Path;
use std::time::Duration;

use freehold::wire::{
    ApplyRequest, EventKind, Level, Operation, OperationState, ResourceState, StackPlanRequest, TargetRequest,
    TargetSetting, Verb,
};
use freehold::{Client, ClientError};
use freehold_problem::Code;
use freehold_testkit::kubernetes::{ControlPlane, Image};
use serde_json::json;
use tokio::time::timeout;
use uuid::Uuid;

use crate::setting::{Fixture, SOON, Setting, problem, tenant};

async fn wait(client: &Client, operation: Uuid) -> Result<(), ClientError> {
    timeout(SOON, client.wait(operation)).await.unwrap().map(|_| ())
}

async fn deploy(client: &Client, request: freehold::wire::DeployRequest) -> Operation {
    client.apply(&ApplyRequest::Deploy(Box::new(request))).await.unwrap()
}

/// The events of an operation until `enough`, as one replica tells them.
async fn listen(client: &Client, operation: Uuid, enough: impl Fn(&EventKind) -> bool) -> Vec<EventKind> {
    let listening = async {
        let mut events = client.events(operation, 0).await.unwrap();
        let mut heard = Vec::new();
        while let Some(event) = events.next().await.unwrap() {
            let last = enough(&event.kind);
            heard.push(event.kind);
            if last {
                return heard;
            }
        }
        panic!("the stream ended after {heard:?}");
    };
    timeout(SOON, listening).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_deployed_to_a_cluster_through_one_replica_and_destroyed_through_another() {
    let test = "a_tenant_is_deployed_to_a_cluster_through_one_replica_and_destroyed_through_another";
    let Some(fixture) = Fixture::new(test) else { return };
    let setting = Setting::new();
    let (first, second) = (setting.replica().await, setting.replica().await);
    let added = first.client.put_target("prod", &fixture.target(&setting)).await.unwrap();
    assert_eq!((added.kind.as_str(), added.stacks), ("kubernetes", 0));
    let facts = added.facts.to_string();
    assert!(facts.contains("10.20.30.40/32") && !facts.contains("postgres:"), "{facts}");
    // Known to the other replica without a word.
    let app = ControlPlane::unique("guestbook");
    let definition = fixture.definition(&app);
    let plan = second.client.plan(&tenant("acme", &definition, Some(":1"))).await.unwrap();
    assert!(plan.new_stack && plan.target == "prod", "{}", plan.target);
    assert!(plan.cluster.as_ref().is_some_and(|cluster| cluster.starts_with("Kubernetes v1.")), "{:?}", plan.cluster);
    assert!(plan.database_server.starts_with("PostgreSQL "), "{}", plan.database_server);
    assert!(plan.plan.request.artifacts["web"].contains("/guestbook@sha256:"), "{:?}", plan.plan.request.artifacts);
    let deployment = plan.plan.changes.values().find(|change| change.id.0 == "deployment.web").unwrap();
    let desired = deployment.desired.as_ref().unwrap().to_string();
    assert!(desired.contains("@sha256:"), "{desired}");

    let operation = first.client.apply(&ApplyRequest::Plan { plan: plan.plan.id }).await.unwrap();
    let heard = listen(&second.client, operation.id, |event| matches!(event, EventKind::Finished { .. })).await;
    let Some(EventKind::Finished { state, failure, stack, .. }) = heard.last() else { panic!("{heard:?}") };
    assert_eq!((state.as_str(), failure), ("succeeded", &None));
    let namespace = format!("acme--{app}");
    assert!(fixture.control.kubectl(&["get", "deployment", "web", "--namespace", &namespace]).is_ok());
    let status = second.client.stack(*stack).await.unwrap();
    assert!(status.resources.iter().all(|resource| resource.state == ResourceState::Ready), "{:?}", status.resources);
    assert_eq!((status.target.as_str(), status.state.as_str()), ("prod", "ready"));

    // The image sticks, and a second deploy has nothing to do.
    let again = first.client.plan(&tenant("acme", &definition, None)).await.unwrap();
    assert!(again.noop, "{:?}", again.plan.changes.values().filter(|c| !c.fields.is_empty()).collect::<Vec<_>>());
    // Another tenant from the app's folder runs the same image.
    let other = first.client.plan(&tenant("globex", &definition, None)).await.unwrap();
    assert_eq!(other.plan.request.artifacts, again.plan.request.artifacts);
    // A session on the database is of the server as the platform reaches it, in a role that works.
    let access = second.client.database_access(*stack, "main", "app").await.unwrap();
    assert_eq!((access.host.as_str(), access.port), ("127.0.0.1", setting.postgres.port()));

    let refused = problem(second.client.remove_target("prod").await);
    assert_eq!(refused.code, Code::TargetInUse);
    assert!(refused.detail.contains(&format!("{app}/tenant/acme")), "{}", refused.detail);
    let listed = first.client.stacks(&[("target", "prod")]).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert!(first.client.stacks(&[("target", "staging")]).await.unwrap().is_empty());
    // What other tests of the same cluster have deleted may be on its way.
    let asked = tokio::time::Instant::now();
    let findings = loop {
        let findings = first.client.doctor(false).await.unwrap();
        let wrong: Vec<_> = findings.iter().filter(|finding| finding.level == Level::Error).collect();
        if wrong.is_empty() {
            break findings;
        }
        assert!(asked.elapsed() < SOON, "{wrong:?}");
    };
    assert!(findings.iter().any(|finding| finding.subject == "prod postgresql"), "{findings:?}");

    let plan = second.client.plan_for(*stack, &StackPlanRequest::Destroy { dump: false }).await.unwrap();
    let destroy = second.client.destroy(*stack, "acme", plan.plan.id).await.unwrap();
    wait(&first.client, destroy.id).await.unwrap();
    assert!(fixture.control.kubectl(&["get", "namespace", &namespace]).is_err());
    assert_eq!(second.client.targets().await.unwrap()[0].stacks, 0);
    first.stopped().await;
    second.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_goes_on_at_once_when_its_replica_stops_and_within_its_lease_when_it_is_killed() {
    let test = "an_operation_goes_on_at_once_when_its_replica_stops_and_within_its_lease_when_it_is_killed";
    let Some(fixture) = Fixture::new(test) else { return };
    let setting = Setting::new();
    let first = setting.replica().await;
    first.client.put_target("prod", &fixture.target(&setting)).await.unwrap();
    // Its Pods never do anything, so the operation is under way until it is told to stop.
    let stuck = Image::of_program(Path::new("/bin/true")).unwrap().label("test", test);
    let stuck = fixture.registry.push("fail-stuck", "1", &stuck).unwrap();
    let app = ControlPlane::unique("endless");
    let definition = fixture.definition(&app);
    let operation = deploy(&first.client, tenant("acme", &definition, Some(&stuck))).await.id;
    let is_taken =
        |number: u32| move |event: &EventKind| matches!(event, EventKind::Taken { times, .. } if *times == number);
    let runs = |event: &EventKind| matches!(event, EventKind::StepStarted { verb, .. } if *verb == Verb::Run);
    listen(&first.client, operation, runs).await;
    let second = setting.replica().await;
    let store = setting.postgres.superuser().database("freehold");
    let mut store = sqlx::ConnectOptions::connect(&store).await.unwrap();
    let holder = async |store: &mut sqlx::PgConnection| -> Option<String> {
        let sql = "SELECT holder FROM leases WHERE operation = $1";
        sqlx::query_scalar(sql).bind(operation).fetch_one(store).await.unwrap()
    };
    let before = holder(&mut store).await;
    assert!(before.is_some());
    first.stopped().await;
    assert_ne!(holder(&mut store).await, before, "a lease is given back, not left to run out");
    let heard = listen(&second.client, operation, is_taken(2)).await;
    assert!(matches!(heard.last(), Some(EventKind::Taken { done, .. }) if *done > 5), "{heard:?}");

    let third = setting.replica().await;
    second.kill();
    listen(&third.client, operation, is_taken(3)).await;
    assert_eq!(third.client.operation(operation).await.unwrap().state, OperationState::Running);
    fixture.control.kubectl(&["delete", "namespace", &format!("acme--{app}"), "--wait=false"]).unwrap();
    third.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_can_t_run_there_is_an_error_of_the_plan_with_all_the_others() {
    let test = "an_image_that_can_t_run_there_is_an_error_of_the_plan_with_all_the_others";
    let Some(fixture) = Fixture::new(test) else { return };
    let setting = Setting::new();
    let replica = setting.replica().await;
    replica.client.put_target("prod", &fixture.target(&setting)).await.unwrap();
    let definition = fixture.definition(&ControlPlane::unique("images"));
    let plan = async |definition: &str, image| problem(replica.client.plan(&tenant("acme", definition, image)).await);
    let refused = plan(&definition, None).await;
    assert_eq!(refused.code, Code::NoImage, "{refused:?}");
    assert!(refused.help.unwrap().contains("--image web=:TAG"));
    let refused = plan(&definition, Some(":3")).await;
    assert_eq!(refused.code, Code::ImageMissing, "{refused:?}");
    let refused = plan(&definition, Some(":arm")).await;
    assert_eq!(refused.code, Code::ImageNotForPlatform, "{refused:?}");
    let refused = plan(&definition, Some(":no:tag")).await;
    assert_eq!(refused.code, Code::BadImageReference, "{refused:?}");
    // A sidecar's image is looked for as well, and told together with the service's.
    let sidecar = format!(
        "{definition}\n[service.web.sidecar.proxy]\nimage = \"{}/nothing:1\"\n[service.web.init.wait]\nimage = \"{}/guestbook:1\"\n",
        fixture.registry.address(),
        fixture.registry.address()
    );
    let refused = plan(&sidecar, Some(":3")).await;
    assert!(refused.detail.contains("service web") && refused.detail.contains("sidecar proxy"), "{}", refused.detail);
    assert!(!refused.detail.contains("init"), "{}", refused.detail);
    // What was built for this machine is of no use there.
    let mut request = tenant("acme", &definition, None);
    request.artifacts.insert("web".to_owned(), format!("sha256:{}", "a".repeat(64)));
    assert_eq!(problem(replica.client.plan(&request).await).code, Code::OtherKindOfTarget);
    let mut request = tenant("acme", &definition, None);
    request.images.insert("worker".to_owned(), ":1".to_owned());
    assert!(problem(replica.client.plan(&request).await).detail.contains("no service worker"));
    let registry = format!("{}/guestbook", fixture.registry.address());
    let tagged = definition.replace(&registry, &format!("{registry}:2"));
    let made = replica.client.plan(&tenant("acme", &tagged, None)).await.unwrap();
    assert!(made.plan.request.artifacts["web"].starts_with(&format!("{registry}@sha256:")));
    replica.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_stays_as_it_was_where_a_change_says_nothing_and_another_cluster_is_refused() {
    let test = "a_target_stays_as_it_was_where_a_change_says_nothing_and_another_cluster_is_refused";
    let Some(fixture) = Fixture::new(test) else { return };
    let setting = Setting::new();
    let replica = setting.replica().await;
    let client = &replica.client;
    let first = client.put_target("prod", &fixture.target(&setting)).await.unwrap();
    let change = TargetRequest { domain: Some("apps.example.net".to_owned()), ..TargetRequest::default() };
    let second = client.put_target("prod", &change).await.unwrap();
    assert_eq!((second.domain.as_str(), &second.facts["gateway"]), ("apps.example.net", &first.facts["gateway"]));
    assert_eq!(second.facts["databases"], first.facts["databases"]);
    let here = TargetRequest { in_cluster: true, ..TargetRequest::default() };
    assert_eq!(
        problem(client.put_target("prod", &here).await).code,
        Code::KubeconfigUnusable,
        "this platform is no Pod"
    );
    let dns = async |external_dns, unset: &[TargetSetting]| {
        let unset = unset.iter().copied().collect();
        client.put_target("prod", &TargetRequest { external_dns, unset, ..TargetRequest::default() }).await
    };
    assert_eq!(dns(true, &[]).await.unwrap().facts["external_dns"], true);
    assert_eq!(dns(false, &[]).await.unwrap().facts["external_dns"], true, "what is left out stays");
    let off = dns(false, &[TargetSetting::ExternalDns]).await.unwrap();
    assert!(!off.facts["external_dns"].as_bool().unwrap_or_default(), "{off:?}");
    let findings = client.check_target("prod").await.unwrap();
    let wrong: Vec<_> = findings.iter().filter(|finding| finding.level == Level::Error).collect();
    assert!(wrong.is_empty(), "{wrong:?}");

    // As if the cluster behind the address had been made anew.
    let store = setting.postgres.superuser().database("freehold");
    let sql = "UPDATE targets SET facts = replace(facts::text, $1, 'another')::json";
    let identity = second.facts["cluster"].as_str().unwrap().to_owned();
    let mut connection = sqlx::ConnectOptions::connect(&store).await.unwrap();
    sqlx::query(sql).bind(identity).execute(&mut connection).await.unwrap();
    let refused = problem(client.put_target("prod", &change).await);
    assert_eq!(refused.code, Code::WrongCluster, "{refused:?}");
    assert!(refused.help.unwrap().contains("--replace-cluster"));
    let taken = client.put_target("prod", &TargetRequest { replace_cluster: true, ..change }).await.unwrap();
    assert_eq!(taken.facts["cluster"], second.facts["cluster"]);
    let (status, health) = replica.health().await;
    assert_eq!((status, &health["status"]), (200, &json!("ok")), "{health}");
    assert_eq!(health["checks"][1]["name"], "cluster prod");
    replica.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_away_makes_a_replica_degraded_and_hinders_no_start() {
    let test = "a_cluster_that_is_away_makes_a_replica_degraded_and_hinders_no_start";
    let Some(fixture) = Fixture::new(test) else { return };
    let setting = Setting::new();
    let replica = setting.replica().await;
    replica.client.put_target("prod", &fixture.target(&setting)).await.unwrap();
    replica.client.put_target("away", &fixture.target(&setting)).await.unwrap();
    replica.stopped().await;
    // Its token was withdrawn while the platform was down: prod's and away's are the same.
    fixture
        .control
        .kubectl(&["delete", "serviceaccount", &fixture.namespace, "--namespace", &fixture.namespace])
        .unwrap();
    let replica = setting.replica().await;
    // An API server believes for some seconds what it has once seen of a token.
    let degraded = async {
        loop {
            let (status, health) = replica.health().await;
            assert_eq!(status, 200, "{health}");
            if health["status"] == "degraded" {
                return health;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let health = timeout(SOON, degraded).await.unwrap();
    assert!(health["checks"].as_array().unwrap().iter().any(|check| check["status"] == "unhealthy"), "{health}");
    let findings = replica.client.check_target("prod").await.unwrap();
    assert!(findings.iter().any(|finding| finding.level == Level::Error), "{findings:?}");
    let definition = fixture.definition(&ControlPlane::unique("which"));
    let refused = problem(replica.client.plan(&tenant("acme", &definition, Some(":1"))).await);
    assert_eq!(refused.code, Code::TargetNotChosen, "{refused:?}");
    assert!(refused.detail.contains("away, prod") && refused.help.unwrap().contains("--target"), "{}", refused.detail);
    replica.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_have_in_a_cluster_is_no_orphan_and_is_not_lost_with_a_namespace() {
    let test = "what_others_have_in_a_cluster_is_no_orphan_and_is_not_lost_with_a_namespace";
    let Some(fixture) = Fixture::new(test) else { return };
    let (setting, neighbour) = (Setting::new(), Setting::new());
    let (ours, theirs) = (setting.replica().await, neighbour.replica().await);
    ours.client.put_target("prod", &fixture.target(&setting)).await.unwrap();
    theirs.client.put_target("prod", &fixture.target(&neighbour)).await.unwrap();
    let app = ControlPlane::unique("guestbook");
    let operation = deploy(&ours.client, tenant("acme", &fixture.definition(&app), Some(":1"))).await;
    wait(&ours.client, operation.id).await.unwrap();
    let (stack, namespace) = (operation.stack, format!("acme--{app}"));

    let findings = theirs.client.doctor(false).await.unwrap();
    let orphans: Vec<_> = findings.iter().filter(|finding| finding.message.contains(&stack.to_string())).collect();
    assert!(orphans.is_empty(), "{orphans:?}");
    let told = findings.iter().find(|finding| finding.subject == "prod other platforms").unwrap();
    assert!(told.level == Level::Ok && told.message.contains("another platform"), "{told:?}");
    theirs.client.remove_target("prod").await.unwrap();
    fixture.control.kubectl(&["get", "namespace", "freehold-scratch"]).unwrap();

    let inside = |arguments: &[&str]| fixture.control.kubectl(&[arguments, &["--namespace", &namespace]].concat());
    inside(&["create", "configmap", "settings"]).unwrap();
    let destroy = StackPlanRequest::Destroy { dump: false };
    let refused = problem(ours.client.plan_for(stack, &destroy).await);
    assert_eq!((refused.code, refused.lines), (Code::NamespaceShared, vec!["configmap settings".to_owned()]));
    inside(&["get", "deployment", "web"]).unwrap();
    inside(&["delete", "configmap", "settings"]).unwrap();
    let plan = ours.client.plan_for(stack, &destroy).await.unwrap().plan;
    // Put there after the plan: the step looks again.
    inside(&["create", "configmap", "late"]).unwrap();
    let stopped = ours.client.destroy(stack, "acme", plan.id).await.unwrap();
    wait(&ours.client, stopped.id).await.unwrap_err();
    inside(&["delete", "configmap", "late"]).unwrap();
    let plan = ours.client.plan_for(stack, &destroy).await.unwrap().plan;
    let destroyed = ours.client.destroy(stack, "acme", plan.id).await.unwrap();
    wait(&ours.client, destroyed.id).await.unwrap();
    assert!(fixture.control.kubectl(&["get", "namespace", &namespace]).is_err());
    ours.stopped().await;
    theirs.stopped().await;
}
