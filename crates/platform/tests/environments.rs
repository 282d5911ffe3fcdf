//! One definition in several environments: what holds for which stack, and from where.

use freehold_graph::{StackKind, Value};
use freehold_platform::view::{OperationState, Planned};
use freehold_platform::{Actor, Deploy};
use freehold_problem::Code;

use crate::testbed::{NOTES, Testbed};

const OVERRIDES: &str = r#"
[stage.production]
service.web.replicas = 2
service.web.env.MODE = "production"

[stage.staging]
service.web.env.MODE = "staging"

[tier.pro]
service.web.replicas = 3
database.main.connections = 30

[tier.free]

[preview]
service.web.env.MODE = "preview"
"#;

fn source() -> String {
    let reads = NOTES.replace("reads = [\"DATABASE_URL\"]", "reads = [\"DATABASE_URL\", \"MODE?\"]");
    format!("{reads}{OVERRIDES}")
}

fn request(kind: StackKind, name: &str, tier: Option<&str>, stage: Option<&str>) -> Deploy {
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let Deploy { artifacts, .. } = Testbed::deploy(name);
    Deploy { artifacts, tier: owned(tier), stage: owned(stage), ..Deploy::of(source(), kind, name) }
}

async fn planned(bed: &Testbed, request: &Deploy) -> Planned {
    bed.platform.plans.deploy(&Actor::operator(), request).await.unwrap()
}

/// Copies and mode of the service, and connections of the database.
fn figures(planned: &Planned) -> (i64, String, i64) {
    let body = |id: &str| {
        let change = planned.plan.changes.values().find(|change| change.id.0 == id).unwrap();
        change.resource.body.clone()
    };
    let (service, roles) = (body("service.web"), body("roles.main"));
    let number = |value: &Value, field: &str| value.get(field).and_then(Value::as_integer).unwrap();
    let mode = service.get("env").and_then(|env| env.get("MODE")).and_then(Value::as_text).unwrap_or_default();
    (number(&service, "replicas"), mode.to_owned(), number(&roles, "connections"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_gets_what_holds_for_its_stage_and_its_tier() {
    let bed = Testbed::new().await;
    for (kind, name, tier, stage, expected) in [
        (StackKind::Tenant, "acme", Some("pro"), None, (3, "production", 30)),
        (StackKind::Tenant, "globex", Some("free"), None, (2, "production", 20)),
        (StackKind::Tenant, "initech", Some("pro"), Some("staging"), (3, "staging", 30)),
        (StackKind::Stage, "production", None, None, (2, "production", 20)),
        (StackKind::Stage, "staging", None, None, (1, "staging", 20)),
        (StackKind::Preview, "107", None, None, (1, "preview", 20)),
    ] {
        let (copies, mode, connections) = expected;
        let planned = planned(&bed, &request(kind, name, tier, stage)).await;
        assert_eq!(figures(&planned), (copies, mode.to_owned(), connections), "{kind} {name}");
        assert_eq!(planned.values, [], "of a new stack everything is new");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_stage_stays_and_a_change_of_it_names_every_value_with_its_place() {
    let bed = Testbed::new().await;
    let deploy = request(StackKind::Tenant, "acme", Some("free"), Some("staging"));
    assert_eq!(bed.apply(deploy).await.state, OperationState::Succeeded);
    let again = planned(&bed, &request(StackKind::Tenant, "acme", None, None)).await;
    assert!(again.noop && again.values.is_empty(), "{:?}", again.plan.changes);

    let moved = planned(&bed, &request(StackKind::Tenant, "acme", Some("pro"), Some("production"))).await;
    assert_eq!(figures(&moved), (3, "production".to_owned(), 30));
    let line = |text: &str| source().lines().position(|line| line == text).map(|index| index + 1);
    let told = moved.values.iter().map(|value| {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        (value.path.as_str(), text(&value.before), text(&value.after), value.line, text(&value.layer))
    });
    let owned = str::to_owned;
    let expected = [
        ("database.main.connections", "20", "30", line("database.main.connections = 30"), "tier.pro"),
        (
            "service.web.env.MODE",
            "\"staging\"",
            "\"production\"",
            line("service.web.env.MODE = \"production\""),
            "stage.production",
        ),
        ("service.web.replicas", "", "3", line("service.web.replicas = 3"), "tier.pro"),
    ];
    let expected =
        expected.map(|(path, before, after, line, layer)| (path, owned(before), owned(after), line, owned(layer)));
    assert_eq!(told.collect::<Vec<_>>(), expected);

    assert_eq!(bed.apply(request(StackKind::Tenant, "acme", Some("pro"), Some("production"))).await.failure, None);
    let stacks = bed.platform.stacks.list(&Actor::operator(), &Default::default()).await.unwrap();
    assert_eq!((stacks.items[0].tier.as_deref(), stacks.items[0].stage.as_deref()), (Some("pro"), Some("production")));
    // A rollback goes back to the stage as well.
    let stack = stacks.items[0].id;
    let back = bed.platform.plans.rollback(&Actor::operator(), stack, Some(1), Default::default()).await.unwrap();
    assert_eq!(figures(&back), (1, "staging".to_owned(), 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_that_is_wrong_in_another_environment_is_not_deployed() {
    let bed = Testbed::new().await;
    let wrong = source() + "[stage.dev]\nservice.web.env.DATABASE_URL = \"${database.mian.url}\"\n";
    let request = Deploy { definition: Some(wrong), ..request(StackKind::Tenant, "acme", Some("free"), None) };
    let refused = bed.platform.plans.deploy(&Actor::operator(), &request).await.unwrap_err();
    assert_eq!(refused.code, Code::Dangling);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_tenants_belong_to_a_stage_and_only_to_one_that_there_is() {
    let bed = Testbed::new().await;
    for (kind, stage, code) in [
        (StackKind::Preview, "staging", Code::TierNotForKind),
        (StackKind::Stage, "staging", Code::TierNotForKind),
        (StackKind::Tenant, "stagin", Code::UnknownStage),
    ] {
        let tier = (kind == StackKind::Tenant).then_some("free");
        let request = request(kind, "production", tier, Some(stage));
        let refused = bed.platform.plans.deploy(&Actor::operator(), &request).await.unwrap_err();
        assert_eq!(refused.code, code, "{kind}");
    }
}

/// What a release wrote that knew only language 1: stages had figures of their own, and their tenants didn't have these.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_an_older_release_deployed_keeps_what_its_definition_meant() {
    let bed = Testbed::new().await;
    let first = format!(
        "{NOTES}[stage.production]\nreplicas = {{ web = 2 }}\n[tier.pro]\nreplicas = {{ web = 3 }}\n[tier.free]\n"
    );
    let deploy = request(StackKind::Tenant, "acme", Some("free"), Some("staging"));
    let plain = NOTES.to_owned() + "[tier.pro]\n[tier.free]\n";
    let deploy = Deploy { definition: Some(plain), stage: None, ..deploy };
    assert_eq!(bed.apply(deploy).await.state, OperationState::Succeeded);
    bed.write_with("UPDATE definitions SET language = 1, source = $1", &first).await;

    let mut again = request(StackKind::Tenant, "acme", None, None);
    again.definition = None;
    let again = planned(&bed, &again).await;
    assert_eq!(figures(&again), (1, String::new(), 20), "production's copies were not its tenants'");
    let mut pro = request(StackKind::Tenant, "acme", Some("pro"), None);
    pro.definition = None;
    assert_eq!(figures(&planned(&bed, &pro).await).0, 3);
}
