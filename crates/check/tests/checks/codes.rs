//! Codes and their pages.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use freehold_check::page;
use freehold_problem::Code;

fn top() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn each_page_has_a_code_and_each_code_a_page() {
    let pages: BTreeSet<String> = fs::read_dir(top().join("docs/errors"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".md").map(str::to_owned))
        .filter(|name| name != "README")
        .collect();
    let codes: BTreeSet<String> = Code::ALL.iter().map(ToString::to_string).collect();
    assert_eq!(pages, codes);
}

#[test]
fn a_page_begins_with_its_code_and_title_and_says_what_why_and_how() {
    for code in Code::ALL {
        let page = page(*code);
        assert_eq!(page.lines().next().unwrap_or_default(), format!("# {code}: {}", code.title()));
        for heading in ["## Why", "## Fix"] {
            assert!(page.contains(&format!("\n{heading}\n")), "{code} has no {heading:?}");
        }
        let lines = page.lines().count();
        assert!((12..=60).contains(&lines), "{code} has {lines} lines");
        assert!(page.lines().all(|line| line.chars().count() <= 100), "{code} has a line that is too long");
    }
}

#[test]
fn the_index_lists_every_code() {
    let index = fs::read_to_string(top().join("docs/errors/README.md")).unwrap();
    for code in Code::ALL {
        assert!(index.contains(&format!("| [{code}]({code}.md) | {} |", code.title())), "{code}");
    }
}

/// What documents and comments say of codes. Tests may make some up.
#[test]
fn every_code_that_the_source_mentions_exists() {
    let mut open = vec![top().join("crates"), top().join("docs"), top().join("README.md")];
    while let Some(path) = open.pop() {
        let of_tests = ["tests", "testing", "target"].iter().any(|name| path.ends_with(name));
        if path.is_dir() && !of_tests {
            open.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "md") {
            let text = fs::read_to_string(&path).unwrap();
            for (at, _) in text.match_indices("FH") {
                let code = text.get(at..at + 6).unwrap_or_default();
                let is_code = code.len() == 6 && code[2..].bytes().all(|byte| byte.is_ascii_digit());
                assert!(!is_code || Code::parse(code).is_some(), "{} in {}", code, path.display());
            }
        }
    }
}

/// The examples of the rules' pages are short: the app's own table is put before them, and a table for bare keys.
#[test]
fn the_example_of_a_page_has_the_mistake_that_the_page_is_about() {
    let about_definitions =
        |code: &&Code| **code < Code::PostgresNotFound || (Code::BuildFailed..=Code::RegistryRefused).contains(*code);
    let mut seen = 0;
    for code in Code::ALL.iter().filter(about_definitions) {
        let Some((example, _)) = page(*code).split_once("```toml\n").and_then(|(_, rest)| rest.split_once("\n```"))
        else {
            continue;
        };
        if *code == Code::ArtifactFileMissing {
            continue; // Seen only when it is built.
        }
        let app = if example.contains("[app]") { "" } else { "[app]\nname = \"guestbook\"\n" };
        let table = match example.split(' ').next().unwrap_or_default() {
            word if word.starts_with('[') => "",
            word if word.chars().all(|c| c.is_ascii_uppercase() || c == '_') => {
                "[service.web]\ncommand = [\"guestbook\"]\n[service.web.env]\n"
            }
            _ => "[service.web]\ncommand = [\"guestbook\"]\n",
        };
        let definition = format!("{app}{table}{example}");
        let codes: Vec<Code> = freehold_check::source(&definition).1.into_iter().map(|found| found.code).collect();
        assert!(codes.contains(code), "the example of {code} gives {codes:?}:\n{definition}");
        seen += 1;
    }
    assert!(seen > 30, "{seen}");
}
