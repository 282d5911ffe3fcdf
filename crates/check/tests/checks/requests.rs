//! The rules that need a request.

use freehold_check::request;
use freehold_graph::expand::{ClusterDatabases, KubernetesTarget, LocalTarget, PostgresServer};
use freehold_graph::{Request, StackId, StackKey, StackKind, Target};
use freehold_problem::Code;

const TIERS: &str = "[tier.free]\n[tier.pro]\n[stage.dev]\n[stage.production]\n";

fn here() -> Target {
    let postgres = PostgresServer::new("127.0.0.1".to_owned(), 5432, 15);
    let name = "local".parse().unwrap();
    Target::Local(LocalTarget { name, domain: "localhost".to_owned(), router_port: 7080, postgres })
}

/// A cluster whose databases are pods.
fn with_operator() -> Target {
    let databases = ClusterDatabases::CloudNativePg { operator_namespace: String::new() };
    Target::Kubernetes(Box::new(KubernetesTarget::minimal("prod".parse().unwrap(), databases)))
}

fn asked(more: &str, kind: StackKind, name: &str, tier: Option<&str>) -> Vec<(Code, String)> {
    asked_of(&here(), more, kind, name, tier)
}

fn asked_of(target: &Target, more: &str, kind: StackKind, name: &str, tier: Option<&str>) -> Vec<(Code, String)> {
    let source = format!("[app]\nname = \"shop\"\n[service.web]\ncommand = [\"web\"]\n{more}");
    let app = freehold_spec::decode(&source).unwrap();
    let key =
        StackKey { target: "local".parse().unwrap(), app: app.name.value.clone(), kind, name: name.parse().unwrap() };
    let tier = tier.map(|tier| tier.parse().unwrap());
    let id = StackId(uuid::Uuid::nil());
    let (artifacts, containers, rotations, former_ports) = Default::default();
    let asked = Request { key, id, tier, stage: None, artifacts, containers, rotations, revision: 0, former_ports };
    let app = freehold_spec::decode_in(&source, &asked.environment()).unwrap();
    request(&app, &asked, target).into_iter().map(|found| (found.code, found.help.unwrap_or_default())).collect()
}

#[test]
fn an_unknown_tier_is_refused_with_the_nearest_one() {
    let found = asked(TIERS, StackKind::Tenant, "acme", Some("por"));
    assert_eq!(found, [(Code::UnknownTier, "did you mean `pro`?".to_owned())]);
    let found = asked(TIERS, StackKind::Tenant, "acme", Some("enterprise"));
    assert_eq!(found, [(Code::UnknownTier, "its tiers are free, pro".to_owned())]);
    assert_eq!(asked("", StackKind::Tenant, "acme", Some("pro"))[0].0, Code::UnknownTier);
    assert!(asked(TIERS, StackKind::Tenant, "acme", Some("pro")).is_empty());
}

#[test]
fn a_tenant_needs_a_tier_where_there_are_some() {
    assert_eq!(asked(TIERS, StackKind::Tenant, "acme", None)[0].0, Code::TierRequired);
    assert!(asked("", StackKind::Tenant, "acme", None).is_empty());
    assert!(asked(TIERS, StackKind::Preview, "107", None).is_empty());
}

#[test]
fn only_tenants_have_a_tier() {
    assert_eq!(asked(TIERS, StackKind::Preview, "107", Some("pro"))[0].0, Code::TierNotForKind);
    assert_eq!(asked(TIERS, StackKind::Stage, "dev", Some("pro"))[0].0, Code::TierNotForKind);
}

#[test]
fn an_unknown_stage_is_refused_where_there_are_some() {
    let found = asked(TIERS, StackKind::Stage, "prodution", None);
    assert_eq!(found, [(Code::UnknownStage, "did you mean `production`?".to_owned())]);
    assert!(asked(TIERS, StackKind::Stage, "dev", None).is_empty());
    assert!(asked("", StackKind::Stage, "anything", None).is_empty());
}

#[test]
fn a_host_that_is_too_long_with_the_stack_s_names_is_refused() {
    let route = "[route.web]\nservice = \"web\"\nhosts = [\"${stack.name}-${tier.name}-shop.${target.domain}\"]\n";
    let (long, tier) = ("a".repeat(40), "b".repeat(18));
    let tiers = format!("{route}[tier.{tier}]\n[tier.pro]\n");
    assert!(asked(&tiers, StackKind::Tenant, &long, Some("pro")).is_empty());
    let found = asked(&tiers, StackKind::Tenant, &long, Some(&tier));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].0, Code::BadHost);
    assert!(found[0].1.contains("a shorter host in `[route.web]`"), "{}", found[0].1);
    // 39 + 1 + 18 + 5 are exactly 63.
    assert!(asked(&tiers, StackKind::Tenant, &long[1..], Some(&tier)).is_empty());
}

#[test]
fn databases_that_are_pods_count_against_the_quota() {
    let fits = "[database.main]\n[tier.a]\nquota.cpu = \"1\"\nquota.memory = \"512Mi\"\nquota.pods = 2\n";
    assert!(asked(fits, StackKind::Tenant, "acme", Some("a")).is_empty());
    let found = asked_of(&with_operator(), fits, StackKind::Tenant, "acme", Some("a"));
    let raised = ["raise cpu to \"1500m\"", "raise memory to \"768Mi\"", "raise pods to 3"];
    for ((code, help), raised) in found.iter().zip(raised) {
        assert_eq!(*code, Code::NoRoomForUpdate);
        assert!(help.starts_with(raised), "{help}");
    }
    assert_eq!(found.len(), raised.len());
    let enough = fits.replace("\"1\"", "\"1500m\"").replace("512Mi", "768Mi").replace("pods = 2", "pods = 3");
    assert!(asked_of(&with_operator(), &enough, StackKind::Tenant, "acme", Some("a")).is_empty());
    // Without a database nothing more runs there than here.
    let without = fits.replace("[database.main]\n", "");
    assert!(asked_of(&with_operator(), &without, StackKind::Tenant, "acme", Some("a")).is_empty());
}
