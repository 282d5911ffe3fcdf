//! Definitions that were written to keep whoever reads them busy.

use freehold_check::{Diagnostic, render};
use freehold_problem::Code;
use freehold_spec::LARGEST;

/// Repeats a piece up to the largest size, with the number of each.
fn filled(start: &str, piece: impl Fn(usize) -> String, end: &str) -> String {
    let mut source = start.to_owned();
    for number in 0.. {
        let next = piece(number);
        if source.len() + next.len() + end.len() > LARGEST {
            break;
        }
        source.push_str(&next);
    }
    source + end
}

fn crowds() -> Vec<(&'static str, String)> {
    let app = "[app]\nname = \"crowd\"\n";
    let service = format!("{app}[service.web]\nimage = \"a\"\ncommand = [\"a\"]\nport = 1\n");
    let env = format!("{service}[service.web.env]\n");
    let one_line = format!("{env}A = \"");
    vec![
        ("references in one line", filled(&one_line, |_| "${secret.x}".to_owned(), "\"\n")),
        ("other references in one line", filled(&one_line, |number| format!("${{secret.x{number}}}"), "\"\n")),
        ("wrong references in one line", filled(&one_line, |number| format!("${{sekret.x{number}}}"), "\"\n")),
        ("one endless reference", filled(&format!("{one_line}${{"), |_| "x".to_owned(), "}\"\n")),
        ("variables", filled(&env, |number| format!("A{number} = \"${{secret.x}}\"\n"), "")),
        ("placeholders", filled(&env, |number| format!("A{number}_KEY = \"changeme\"\n"), "")),
        (
            "unread variables",
            filled(
                &format!("{service}reads = [\"B0\", \"B1\"]\n[service.web.env]\n"),
                |number| format!("A{number} = \"\"\n"),
                "",
            ),
        ),
        (
            "reads that nobody sets",
            filled(&format!("{service}env = {{ A = \"1\" }}\nreads = ["), |number| format!("\"A{number}\","), "]\n"),
        ),
        ("services", filled(app, |number| format!("[service.s{number}]\ncommand = [\"a\"]\n"), "")),
        (
            "jobs of no service",
            filled(&service, |number| format!("[job.j{number}]\nservice = \"wep\"\ncommand = [\"a\"]\n"), ""),
        ),
        ("secrets", filled(&service, |number| format!("[secret.s{number}]\n"), "")),
        ("databases", filled(&service, |number| format!("[database.d{number}]\n"), "")),
        (
            "routes in a circle",
            filled(
                &service,
                |number| {
                    format!("[route.r{number}]\nservice = \"web\"\nhosts = [\"${{route.r{}.url}}\"]\n", number + 1)
                },
                "[route.r3000]\nservice = \"web\"\nhosts = [\"${route.r0.url}\"]\n",
            ),
        ),
        (
            "routes of one host",
            filled(&service, |number| format!("[route.r{number}]\nservice = \"web\"\nhosts = [\"a.b\"]\n"), ""),
        ),
        (
            "paths",
            filled(
                &format!("{service}[route.r]\nservice = \"web\"\nhosts = [\"${{stack.name}}\"]\npaths = ["),
                |number| format!("{{prefix=\"/{}\"}},", number / 2),
                "]\n",
            ),
        ),
        ("tiers", filled(&service, |number| format!("[tier.t{number}]\nservice.wep.replicas = 2\n"), "")),
        ("unknown keys", filled(&service, |number| format!("x{number} = 1\n"), "")),
        (
            "unknown keys below a long one",
            filled(&format!("{app}[service.{}]\n", "x".repeat(60_000)), |number| format!("x{number} = 1\n"), ""),
        ),
        ("lines that are no TOML", filled(app, |_| "= =\n".to_owned(), "")),
        ("brackets", filled(&format!("{app}a = "), |_| "[".to_owned(), "\n")),
        ("dots", filled(app, |_| "a.".to_owned(), "a = 1\n")),
        (
            "sidecars",
            filled(&service, |number| format!("[service.web.sidecar.s{number}]\nimage = \"a\"\nport = 1\n"), ""),
        ),
        (
            "volumes",
            filled(&service, |number| format!("[service.web.volumes.v{number}]\npath = \"/a/{number}\"\n"), ""),
        ),
    ]
}

#[test]
fn however_many_problems_there_are_a_hundred_are_listed_and_the_others_counted() {
    for (what, source) in crowds() {
        let (app, diagnostics) = freehold_check::source(&source);
        assert!(app.is_some() || diagnostics.iter().any(Diagnostic::is_error), "{what}");
        assert!(diagnostics.len() <= 101, "{what}: {}", diagnostics.len());
        if diagnostics.len() > 100 {
            assert!(diagnostics.last().unwrap().message.starts_with("… and "), "{what}");
        }
        let text = render::plain(&diagnostics, "freehold.toml", &source);
        assert!(text.len() < 600_000, "{what}: {} bytes", text.len());
        for rendered in [render::json, render::sarif, render::github] {
            let text = rendered(&diagnostics, "freehold.toml", &source);
            assert!(text.len() < 1_000_000, "{what}: {} bytes", text.len());
        }
    }
}

#[test]
fn an_error_is_never_left_out_for_warnings_that_stand_before_it() {
    let secrets: String = (0..500).map(|number| format!("[secret.s{number}]\n")).collect();
    let source = format!(
        "[app]\nname = \"a\"\n{secrets}[service.web]\nimage = \"a\"\ncommand = [\"a\"]\nenv = {{ A = \"${{secret.none}}\" }}\n"
    );
    let (_, diagnostics) = freehold_check::source(&source);
    assert!(diagnostics.iter().any(|diagnostic| diagnostic.code == Code::Dangling));
    let last = diagnostics.last().unwrap();
    assert_eq!(
        (last.code, last.is_error(), last.message.as_str()),
        (Code::MoreProblems, false, "… and 401 more warnings")
    );
}

#[test]
fn a_definition_that_is_too_large_is_not_read() {
    let source = format!("[app]\nname = \"a\"\n#{}\n", "x".repeat(LARGEST));
    let (app, diagnostics) = freehold_check::source(&source);
    assert!(app.is_none());
    assert_eq!(diagnostics.iter().map(|diagnostic| diagnostic.code).collect::<Vec<_>>(), [Code::TooLarge]);
    assert!(render::plain(&diagnostics, "freehold.toml", &source).contains("262144 are the most"));
}

#[test]
fn of_a_long_line_only_what_is_near_the_place_is_shown() {
    let padding = "x".repeat(5000);
    let source = format!(
        "[app]\nname = \"a\"\n[service.web]\nimage = \"a\"\ncommand = [\"a\"]\nenv = {{ A = \"{padding}${{secret.none}}{padding}\" }}\n"
    );
    let (_, diagnostics) = freehold_check::source(&source);
    let text = render::plain(&diagnostics, "freehold.toml", &source);
    assert!(text.contains("freehold.toml:6:5014"), "{text}");
    assert!(text.contains("^^^^^^^^^^^^^^ there is no `[secret.none]`"), "{text}");
    assert!(text.contains("…x") && text.lines().all(|line| line.chars().count() < 300), "{text}");
}
