//! What holds for every text.

use freehold_check::{Diagnostic, render};
use freehold_graph::expand::local::runs_image;
use freehold_graph::expand::{ExpandError, LocalTarget, PostgresServer, expand};
use freehold_graph::{Request, StackId, StackKey, StackKind, Target};
use freehold_spec::App;
use proptest::prelude::*;

use super::{CLUSTER, CROWDED, FAULTY, GUESTBOOK};

fn examine(source: &str) {
    let (app, diagnostics) = freehold_check::source(source);
    assert!(app.is_some() || diagnostics.iter().any(Diagnostic::is_error));
    for label in diagnostics.iter().flat_map(|diagnostic| &diagnostic.labels) {
        assert!(source.get(label.span.start..label.span.end).is_some(), "{label:?} is outside of {source:?}");
    }
    if let Some(app) = app.filter(|_| !diagnostics.iter().any(Diagnostic::is_error)) {
        expands(&app);
    }
    let text = render::plain(&diagnostics, "freehold.toml", source);
    for diagnostic in &diagnostics {
        assert!(text.contains(&diagnostic.code.to_string()));
    }
    for rendered in [render::json(&diagnostics, "a", source), render::sarif(&diagnostics, "a", source)] {
        assert!(serde_json::from_str::<serde_json::Value>(&rendered).is_ok());
    }
    assert_eq!(render::github(&diagnostics, "a", source).lines().count(), diagnostics.len());
}

/// What images are looked up to be.
const PINNED: &str = "ghcr.io/acme/web@sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// What passed the checks can be planned.
fn expands(app: &App) {
    let key = StackKey {
        target: "local".parse().unwrap(),
        app: app.name.value.clone(),
        kind: StackKind::Tenant,
        name: "acme".parse().unwrap(),
    };
    let images = app.services.iter().filter(|(_, service)| runs_image(service));
    let request = Request {
        key,
        id: StackId(uuid::Uuid::nil()),
        tier: app.tiers.keys().next().cloned(),
        stage: None,
        artifacts: images.map(|(name, _)| (name.clone(), PINNED.to_owned())).collect(),
        containers: Default::default(),
        rotations: Default::default(),
        revision: 0,
        former_ports: Default::default(),
    };
    let postgres = PostgresServer::new("127.0.0.1".to_owned(), 5432, 18);
    let name = "local".parse().unwrap();
    let target = Target::Local(LocalTarget { name, domain: "localhost".to_owned(), router_port: 7080, postgres });
    // What depends on the target is the plan's to say.
    let of_target = |error: &ExpandError| {
        matches!(
            error,
            ExpandError::UnknownServer { .. } | ExpandError::SidecarAnswers { .. } | ExpandError::GrpcRoute { .. }
        )
    };
    let errors = expand(app, &request, &target).err().unwrap_or_default();
    let errors: Vec<ExpandError> = errors.into_iter().filter(|error| !of_target(error)).collect();
    assert_eq!(errors, []);
}

proptest! {
    #[test]
    fn no_text_makes_the_rules_panic(source in "\\PC{0,120}") {
        examine(&source);
    }

    #[test]
    fn a_definition_with_a_piece_cut_out_is_still_checked(from in 0usize..2400, length in 0usize..80, which in 0usize..4) {
        let source = [FAULTY, GUESTBOOK, CROWDED, CLUSTER][which];
        let from = source.floor_char_boundary(from);
        let to = source.floor_char_boundary(from + length);
        examine(&format!("{}{}", &source[..from], &source[to..]));
    }

    #[test]
    fn what_is_found_doesn_t_depend_on_anything_but_the_source(from in 0usize..2400) {
        let source = &FAULTY[..FAULTY.floor_char_boundary(from)];
        prop_assert_eq!(freehold_check::source(source), freehold_check::source(source));
    }
}
