//! A definition in all its environments: what is told once, and where it is so.

use freehold_check::{Diagnostic, render};
use freehold_problem::Code;

const SHOP: &str = "[app]\nname = \"shop\"\n[service.web]\ncommand = [\"web\"]\nimage = \"w\"\nport = 80\nhealth = { ready = \"/\" }\n";

fn found(more: &str) -> Vec<Diagnostic> {
    super::rules::found(&format!("{SHOP}{more}"))
}

/// The codes, each with where it is so.
fn told(more: &str) -> Vec<(Code, String)> {
    found(more).into_iter().map(|found| (found.code, found.environments.join(", "))).collect()
}

fn only(code: Code, environments: &str, more: &str) {
    assert_eq!(told(more), [(code, environments.to_owned())], "{more}");
}

#[test]
fn what_is_wrong_everywhere_is_told_once_and_without_a_place() {
    only(Code::Dangling, "", "[stage.dev]\n[tier.a]\n[service.web.env]\nA = \"${secret.none}\"\n");
    only(Code::UnknownKey, "", "prot = 8080\n[stage.dev]\n[tier.a]\n");
}

#[test]
fn what_is_wrong_somewhere_is_told_with_where() {
    only(Code::Dangling, "stage dev", "[stage.dev]\nservice.web.env.A = \"${secret.none}\"\n");
    only(Code::Dangling, "previews", "[stage.dev]\n[preview]\nservice.web.env.A = \"${secret.none}\"\n");
    only(
        Code::Dangling,
        "tenants of tier a",
        "[tier.a]\nservice.web.env.A = \"${secret.none}\"\n[tier.b]\n[stage.dev]\n",
    );
    let both = "[tier.a]\nservice.web.replicas = 3\n[tier.b]\n[stage.dev]\nservice.web.autoscale = { max = 2 }\n";
    only(Code::MostBelowReplicas, "tenants of tier a in stage dev", both);
    // The stage's own stack has no tier, and the tiers make it right.
    let own = "[stage.dev]\nservice.web.replicas = 3\nservice.web.autoscale = { max = 2 }\n[tier.a]\nservice.web.replicas = 1\n";
    only(Code::MostBelowReplicas, "the stack of stage dev", own);
}

#[test]
fn an_override_may_make_it_right() {
    let wrong = "[service.web.env]\nA = \"${secret.none}\"\n[stage.dev]\nservice.web.env.A = \"1\"\n";
    only(Code::Dangling, "stage production, previews", wrong);
    assert_eq!(
        told(&format!("{wrong}[stage.production]\nservice.web.env.A = \"2\"\n[preview]\nservice.web.env.A = \"3\"\n")),
        []
    );
}

#[test]
fn routes_that_meet_in_one_environment_only_are_told_there() {
    let routes = "[route.a]\nservice = \"web\"\nhosts = [\"a.${stack.name}.${target.domain}\"]\n\
                  [route.b]\nservice = \"web\"\nhosts = [\"b.${stack.name}.${target.domain}\"]\n\
                  [stage.production]\nroute.b.hosts = [\"a.${stack.name}.${target.domain}\"]\n";
    only(Code::RouteTwice, "stage production", routes);
}

#[test]
fn each_quota_is_told_with_its_own_sums() {
    let more = "[stage.dev]\nservice.web.replicas = 1\n[stage.production]\nservice.web.replicas = 6\n[tier.free]\nquota.memory = \"100Mi\"\n";
    let found = found(more);
    let told: Vec<(&str, Option<&str>)> =
        found.iter().map(|found| (found.environments[0].as_str(), found.help.as_deref())).collect();
    let of = |stage: &str| told.iter().find(|(place, _)| place.ends_with(stage)).and_then(|(_, help)| *help).unwrap();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(of("stage dev").contains("512Mi") && of("stage production").contains("1792Mi"), "{told:?}");
}

#[test]
fn what_only_some_environments_use_is_not_unused() {
    let more = "[secret.live]\n[stage.production]\nservice.web.env.KEY = \"${secret.live}\"\n[stage.dev]\n";
    assert_eq!(told(more), []);
    only(Code::UnusedSecret, "", "[secret.live]\n[stage.production]\n[stage.dev]\nservice.web.replicas = 2\n");
}

#[test]
fn an_environment_that_can_not_be_read_is_no_reason_to_say_that_it_is_fine() {
    let more = "[service.web.env]\nAPI_KEY = \"d41d8cd98f00b204\"\n[tier.a]\nservice.web.replicas = \"two\"\n[tier.b]\n[stage.dev]\n";
    let told = told(more);
    assert!(told.contains(&(Code::PlaintextSecret, String::new())), "{told:?}");
    assert!(told.contains(&(Code::WrongType, "tenants of tier a".to_owned())), "{told:?}");
}

#[test]
fn environments_and_their_names_are_bounded() {
    let stages = |count: usize| (0..count).map(|number| format!("[stage.s{number}]\n")).collect::<String>();
    assert_eq!(told(&stages(98)), []);
    only(Code::TooLarge, "", &stages(99));
    let tiers: String = (0..49).map(|number| format!("[tier.t{number}]\n")).collect();
    assert_eq!(told(&tiers), []);
    only(Code::TooLarge, "", &format!("{tiers}[stage.dev]\n"));
    let long = format!("#{}\n", "x".repeat(200 << 10));
    assert_eq!(told(&format!("{long}{}", stages(7))), []);
    only(Code::TooLarge, "", &format!("{long}{}", stages(20)));
    // As many findings as there may be, each in half of the environments.
    let wrong: String = (0..200).map(|number| format!("V{number} = \"${{secret.none{number}}}\"\n")).collect();
    let half: String =
        (0..40).map(|number| format!("[stage.s{number}]\nservice.web.replicas = {}\n", number % 7)).collect();
    let source = format!("{SHOP}{half}[stage.wrong.service.web.env]\n{wrong}");
    let found = freehold_check::source(&source).1;
    assert!(found.iter().all(|found| found.environments.len() <= 11), "{found:?}");
    assert!(render::json(&found, "freehold.toml", &source).len() < 200_000);
    // What can't be a name is no environment.
    only(Code::BadName, "", "[tier.\"\\u001b[31m\"]\n");
}
