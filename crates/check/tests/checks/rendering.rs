//! How diagnostics look.

use freehold_check::{Diagnostic, render, source};
use freehold_problem::Code;
use serde_json::Value as Json;

use super::{FAULTY, GUESTBOOK};

const TWO: &str =
    "[app]\nname = \"a\"\n[service.web]\ncomand = [\"ä\"]\nimage = \"b\"\ncommand = [\"ä\"]\nreads = [\"A\", \"A\"]\n";

#[test]
fn a_definition_full_of_mistakes_is_told_all_of_them() {
    let (_, diagnostics) = source(FAULTY);
    insta::assert_snapshot!(render::plain(&diagnostics, "freehold.toml", FAULTY));
}

#[test]
fn mistakes_of_reading_and_of_meaning_are_told_together() {
    let text = "[app]\nname = \"a\"\n[service.web]\nimage = \"b\"\ncommand = [\"a\"]\nmemory = \"much\"\nenv = { A = \"${secret.none}\" }\n[route.web]\nservice = \"wep\"\nhosts = [\"${stack.nam}\"]\n";
    let (app, diagnostics) = source(text);
    assert!(app.is_none());
    let codes: Vec<Code> = diagnostics.iter().map(|found| found.code).collect();
    assert_eq!(codes, [Code::BadQuantity, Code::Dangling, Code::UnknownReference]);
}

#[test]
fn the_guestbook_has_no_error() {
    let (app, diagnostics) = source(GUESTBOOK);
    assert!(app.is_some());
    insta::assert_snapshot!(render::plain(&diagnostics, "freehold.toml", GUESTBOOK));
}

#[test]
fn a_definition_for_a_cluster_has_no_error() {
    let (_, diagnostics) = source(super::CLUSTER);
    assert!(
        !diagnostics.iter().any(Diagnostic::is_error),
        "{}",
        render::plain(&diagnostics, "freehold.toml", super::CLUSTER)
    );
}

#[test]
fn the_examples_have_no_error() {
    let examples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut seen = 0;
    for example in std::fs::read_dir(examples).unwrap() {
        let file = example.unwrap().path().join("freehold.toml");
        if let Ok(text) = std::fs::read_to_string(&file) {
            let errors: Vec<Diagnostic> = source(&text).1.into_iter().filter(Diagnostic::is_error).collect();
            assert!(errors.is_empty(), "{}", render::plain(&errors, &file.display().to_string(), &text));
            seen += 1;
        }
    }
    assert!(seen > 0);
}

#[test]
fn colours_are_the_only_difference_between_text_and_plain() {
    let (_, diagnostics) = source(TWO);
    let coloured = render::text(&diagnostics, "freehold.toml", TWO);
    assert!(coloured.contains("\u{1b}["));
    let mut bare = String::new();
    let mut rest = coloured.as_str();
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        bare.push_str(before);
        rest = after.split_once('m').map_or("", |(_, after)| after);
    }
    bare.push_str(rest);
    assert_eq!(bare, render::plain(&diagnostics, "freehold.toml", TWO));
}

#[test]
fn json_has_lines_and_columns() {
    let (_, diagnostics) = source(TWO);
    let json: Json = serde_json::from_str(&render::json(&diagnostics, "freehold.toml", TWO)).unwrap();
    insta::assert_json_snapshot!(json);
}

#[test]
fn sarif_points_at_the_place() {
    let (_, diagnostics) = source(TWO);
    let log: Json = serde_json::from_str(&render::sarif(&diagnostics, "my app/freehold.toml", TWO)).unwrap();
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    let results = run["results"].as_array().unwrap();
    assert_eq!(results.len(), diagnostics.len());
    for result in results {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(run["tool"]["driver"]["rules"][index]["id"], result["ruleId"]);
        assert!(!result["message"]["text"].as_str().unwrap().is_empty());
    }
    let place = &results[0]["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "my%20app/freehold.toml");
    assert_eq!((&place["region"]["startLine"], &place["region"]["startColumn"]), (&4.into(), &1.into()));
    assert_eq!(place["region"]["endColumn"], 7);
}

#[test]
fn github_s_annotations_are_one_line_each() {
    let (_, diagnostics) = source(TWO);
    insta::assert_snapshot!(render::github(&diagnostics, "freehold.toml", TWO));
    let odd = Diagnostic::error(Code::Internal, "100%\nnew");
    assert_eq!(
        render::github(&[odd], "a,b:c", ""),
        "::error file=a%2Cb%3Ac,title=FH0599%3A a fault of Freehold's own::100%25%0Anew\n"
    );
}

#[test]
fn a_diagnostic_survives_the_way_through_json() {
    for diagnostic in source(FAULTY).1 {
        let text = serde_json::to_string(&diagnostic).unwrap();
        assert_eq!(serde_json::from_str::<Diagnostic>(&text).unwrap(), diagnostic);
    }
}

#[test]
fn nothing_to_say_is_an_empty_text() {
    assert_eq!(render::plain(&[], "a", ""), "");
    assert_eq!(render::json(&[], "a", ""), "[]\n");
}
