//! Warnings that a definition allows.

use freehold_check::{render, source};
use freehold_problem::Code;
use freehold_spec::{Environment, Files, Language};
use serde_json::Value as Json;

use super::rules::{GOOD, env, found};

/// The codes that are left, and the reasons for which others are allowed.
fn told(definition: &str) -> (Vec<Code>, Vec<String>) {
    let found = found(definition);
    let open = found.iter().filter(|found| found.is_open()).map(|found| found.code).collect();
    (open, found.into_iter().filter_map(|found| found.allowed).collect())
}

const REASON: &str = "the provider shows it to every browser";

#[test]
fn a_comment_allows_what_is_found_on_its_line_or_on_the_next() {
    for line in [
        format!("MAPS_KEY = \"1234\" # freehold:allow FH0109: {REASON}"),
        format!("MAPS_KEY = \"1234\" #freehold: allow FH0109 : {REASON}"),
        format!("# freehold:allow FH0109: {REASON}\nMAPS_KEY = \"1234\""),
        format!("# freehold:allow FH0109: {REASON}\n\n# another comment\nMAPS_KEY = \"1234\""),
        format!("MAPS_KEY = '''\n1234''' # freehold:allow FH0109: {REASON}"),
    ] {
        assert_eq!(told(&env(&line)), (vec![], vec![REASON.to_owned()]), "{line}");
    }
    let two = env(&format!("MAPS_KEY = \"http://a:b@cache.x.svc\" # freehold:allow FH0109, FH0119: {REASON}"));
    assert_eq!(told(&two), (vec![], vec![REASON.to_owned(); 2]));
    // Where an environment says it.
    let stage = format!("{GOOD}[stage.dev]\nservice.web.env.MAPS_KEY = \"1\" # freehold:allow FH0109: {REASON}\n");
    assert_eq!(told(&stage), (vec![], vec![REASON.to_owned()]));
}

#[test]
fn a_comment_that_allows_nothing_is_told() {
    let idle = [Code::AllowsNothing];
    for line in [
        format!("A = \"1\" # freehold:allow FH0109: {REASON}"),
        "A = \"1\" # freehold:allow FH0109".to_owned(),
        "A = \"1\" # freehold:allow FH0109:".to_owned(),
        "A = \"1\" # freehold:allow FH9999: no such code".to_owned(),
        "A = \"1\" # freehold:allow: no code".to_owned(),
        "A = \"1\" # freehold:ignore FH0109".to_owned(),
    ] {
        let expected: &[Code] = if line.ends_with("no code") { &[] } else { &idle };
        assert_eq!(told(&env(&line)).0, expected, "{line}");
    }
    // At another line, or behind everything.
    let other = env(&format!("# freehold:allow FH0109: {REASON}\nA = \"1\"\nMAPS_KEY = \"1234\""));
    assert_eq!(told(&other).0, [Code::AllowsNothing, Code::PlaintextSecret]);
    assert_eq!(told(&format!("{GOOD}\n# freehold:allow FH0109: {REASON}\n")).0, idle);
    // Itself it can't allow.
    let itself = env("A = \"1\" # freehold:allow FH0109, FH0118: odd");
    assert_eq!(told(&itself).0, [Code::AllowsNothing, Code::AllowsNothing]);
    // Text isn't a comment, and prose is none for us.
    assert_eq!(told(&env("A = \"# freehold:allow FH0109: x\"\nB = '''\n# freehold:allow FH0109: x'''")).0, []);
    assert_eq!(told(&env("A = \"1\" # freehold: allowed to be changed, freehold:all")).0, []);
}

#[test]
fn an_error_is_never_allowed() {
    let wrong = env("API_TOKEN = \"changeme\" # freehold:allow FH0108: later");
    assert_eq!(told(&wrong), (vec![Code::PlaceholderSecret, Code::AllowsNothing], vec![]));
    let idle = found(&wrong).into_iter().find(|found| found.code == Code::AllowsNothing).unwrap();
    assert!(idle.message.contains("is an error here"), "{idle:?}");
    // As long as something can't be read, nobody knows what would be found.
    let unread = env(&format!("A = \"${{x\" \nB = \"1\" # freehold:allow FH0109: {REASON}"));
    assert_eq!(told(&unread).0, [Code::BadReference]);
}

#[test]
fn an_environment_that_lacks_what_is_allowed_elsewhere_says_nothing_of_it() {
    let definition = format!("{GOOD}[stage.dev]\nservice.web.env.MAPS_KEY = \"1\" # freehold:allow FH0109: {REASON}\n");
    for stage in ["dev", "staging"] {
        let environment = Environment::Stage(stage.to_owned());
        let (_, found) = freehold_check::in_environment(Language::NEWEST, &definition, &Files::new(), &environment);
        let open: Vec<_> = found.iter().filter(|found| found.is_open()).collect();
        assert!(open.is_empty(), "{open:?}");
        assert_eq!(found.len(), usize::from(stage == "dev"));
    }
}

#[test]
fn every_format_tells_the_reason() {
    let definition = format!(
        "[app]\nname = \"a\"\n[service.web]\nimage = \"a\"\ncommand = [\"a\"]\n[service.web.env]\nMAPS_KEY = \"1234\" # freehold:allow FH0109: {REASON}\n"
    );
    let diagnostics = source(&definition).1;
    let plain = render::plain(&diagnostics, "freehold.toml", &definition);
    assert_eq!(
        plain,
        format!("allowed[FH0109]: MAPS_KEY stands in the definition for all to read\n  (freehold.toml:7): {REASON}\n")
    );
    let json: Json = serde_json::from_str(&render::json(&diagnostics, "f", &definition)).unwrap();
    assert_eq!(json[0]["allowed"], REASON);
    let sarif: Json = serde_json::from_str(&render::sarif(&diagnostics, "f", &definition)).unwrap();
    let suppression = &sarif["runs"][0]["results"][0]["suppressions"][0];
    assert_eq!((&suppression["kind"], &suppression["justification"]), (&"inSource".into(), &REASON.into()));
    let github = render::github(&diagnostics, "f", &definition);
    assert!(github.starts_with("::notice ") && github.ends_with(&format!("allowed: {REASON}\n")), "{github}");
}
