//! The examples, whole. A cluster that has everything, and one that has nothing.

use freehold_graph::Graph;

use crate::fixture::{EVERYTHING, GUESTBOOK, NOTICEBOARD, app, bare, expanded, rich, tenant, with_operator};

fn guestbook(rich_one: bool) -> Graph {
    let app = app(GUESTBOOK);
    let (tier, target) = if rich_one { (Some("pro"), rich()) } else { (None, bare()) };
    expanded(&app, &tenant(&app, "acme", tier), target)
}

fn noticeboard(rich_one: bool) -> Graph {
    let app = app(NOTICEBOARD);
    let (tier, target) = if rich_one { (Some("pro"), rich()) } else { (None, bare()) };
    expanded(&app, &tenant(&app, "acme", tier), target)
}

#[test]
fn the_guestbook_on_a_cluster_with_everything() {
    insta::assert_json_snapshot!(guestbook(true));
}

#[test]
fn the_guestbook_on_a_bare_cluster() {
    insta::assert_json_snapshot!(guestbook(false));
}

#[test]
fn the_noticeboard_on_a_cluster_with_everything() {
    insta::assert_json_snapshot!(noticeboard(true));
}

#[test]
fn the_noticeboard_on_a_bare_cluster() {
    insta::assert_json_snapshot!(noticeboard(false));
}

#[test]
fn all_that_only_a_cluster_has_with_databases_of_an_operator() {
    let app = app(EVERYTHING);
    insta::assert_json_snapshot!(expanded(&app, &tenant(&app, "acme", Some("small")), with_operator(rich())));
}
