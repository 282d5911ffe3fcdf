//! What a bad definition is answered with.

use std::fmt::Write as _;

use freehold_spec::{DecodeErrorKind, decode};

use super::{BROKEN, SYNTAX};

/// Each mistake with its line and the words at its place.
fn report(source: &str) -> String {
    let mut text = String::new();
    for error in decode(source).expect_err("the definition is wrong") {
        let line = source[..error.span.start].matches('\n').count() + 1;
        let place = source[error.span.start..error.span.end].replace('\n', "⏎");
        writeln!(text, "{line:>2} {:?} «{place}» {}", error.kind, error.message).unwrap();
        if let Some((span, what)) = error.related {
            writeln!(text, "     «{}» {what}", &source[span.start..span.end]).unwrap();
        }
        if let Some(help) = error.help {
            writeln!(text, "     help: {help}").unwrap();
        }
    }
    text
}

fn kinds(source: &str) -> Vec<DecodeErrorKind> {
    decode(source).expect_err("the definition is wrong").into_iter().map(|error| error.kind).collect()
}

#[test]
fn all_mistakes_are_reported_at_once() {
    insta::assert_snapshot!(report(BROKEN));
}

#[test]
fn a_slip_of_syntax_does_not_hide_the_other_mistakes() {
    insta::assert_snapshot!(report(SYNTAX));
}

#[test]
fn an_empty_file_lacks_the_app() {
    assert_eq!(kinds(""), [DecodeErrorKind::MissingKey]);
    assert_eq!(kinds("# nothing"), [DecodeErrorKind::MissingKey]);
}

#[test]
fn a_part_without_a_name_is_a_wrong_type() {
    let source = "[app]\nname = \"a\"\n[service]\ncommand = [\"a\"]";
    let errors = decode(source).unwrap_err();
    assert_eq!(errors[0].kind, DecodeErrorKind::WrongType);
    assert_eq!(errors[0].help.as_deref(), Some("each has a name: `[service.NAME]`"));
    assert_eq!(kinds("[app]\nname = \"a\"\n[[service]]\ncommand = [\"a\"]"), [DecodeErrorKind::WrongType]);
}

#[test]
fn a_container_or_a_volume_without_a_name_is_a_wrong_type() {
    for (key, table) in [("sidecar", "image = \"x\""), ("init", "image = \"x\""), ("volumes", "path = \"/x\"")] {
        let source = format!("[app]\nname = \"a\"\n[service.web]\ncommand = [\"a\"]\n[service.web.{key}]\n{table}");
        let errors = decode(&source).unwrap_err();
        assert_eq!((errors.len(), errors[0].kind), (1, DecodeErrorKind::WrongType));
        assert_eq!(errors[0].help, Some(format!("each has a name: `[service.web.{key}.NAME]`")));
    }
}

#[test]
fn a_mistake_in_a_text_with_escapes_points_at_the_whole_text() {
    let source = "[app]\nname = \"a\"\n[service.a]\ncommand = [\"a\"]\nenv = { A = \"\\t${nothing}\" }";
    let errors = decode(source).unwrap_err();
    assert_eq!(&source[errors[0].span.start..errors[0].span.end], "\"\\t${nothing}\"");
}

#[test]
fn a_nul_reaches_no_program() {
    let source = "[app]\nname = \"a\"\n[service.a]\ncommand = [\"a\\u0000\"]\nenv = { A = \"\\u0000\" }";
    assert_eq!(kinds(source), [DecodeErrorKind::BadText, DecodeErrorKind::BadText]);
}

#[test]
fn figures_that_fit_no_number_are_out_of_range() {
    let source = |figure: &str| format!("[app]\nname = \"a\"\n[database.a]\nconnections = {figure}");
    for figure in ["0", "-1", "1001", "99999999999999999999", "0xffffffffff"] {
        assert_eq!(kinds(&source(figure)), [DecodeErrorKind::OutOfRange], "{figure}");
    }
    for figure in ["1", "1000", "1_000", "0x10", "0b11"] {
        assert!(decode(&source(figure)).is_ok(), "{figure}");
    }
}

#[test]
fn amounts_are_bounded() {
    let source = |memory: &str| format!("[app]\nname = \"a\"\n[tier.a]\nquota.memory = \"{memory}\"");
    assert_eq!(kinds(&source("0Mi")), [DecodeErrorKind::OutOfRange]);
    assert_eq!(kinds(&source("9999999Ti")), [DecodeErrorKind::OutOfRange]);
    assert_eq!(kinds(&source("99999999999999999999Ti")), [DecodeErrorKind::BadQuantity]);
}

#[test]
fn nothing_runs_as_root() {
    let source = |user: &str| format!("[app]\nname = \"a\"\n[service.web]\ncommand = [\"a\"]\nuser = {user}");
    let errors = decode(&source("0")).unwrap_err();
    assert_eq!((errors.len(), errors[0].kind), (1, DecodeErrorKind::OutOfRange));
    assert_eq!(errors[0].message, "`service.web.user` is 0, which is root");
    assert_eq!(kinds(&source("2147483648")), [DecodeErrorKind::OutOfRange]);
    assert_eq!(kinds(&source("\"nobody\"")), [DecodeErrorKind::WrongType]);
    assert!(decode(&source("1")).is_ok() && decode(&source("2147483647")).is_ok());
}

#[test]
fn folders_in_a_container_are_absolute_and_the_app_s_own() {
    let writable = |path: &str| format!("[app]\nname = \"a\"\n[service.w]\ncommand = [\"a\"]\nwritable = [{path:?}]");
    let volume = |path: &str| {
        format!(
            "[app]\nname = \"a\"\n[service.w]\ncommand = [\"a\"]\nvolumes = {{ a = {{ path = {path:?}, size = \"1Gi\" }} }}"
        )
    };
    for path in ["", "tmp", "./tmp", "/", "//", "/a//b", "/a/../b", "/.", "/a:b", "/proc", "/proc/1", "/sys/fs", "/dev"]
    {
        assert_eq!(kinds(&writable(path)), [DecodeErrorKind::BadPath], "{path:?}");
        assert_eq!(kinds(&volume(path)), [DecodeErrorKind::BadPath], "{path:?}");
    }
    for path in ["/tmp", "/var/cache/", "/dev/shm", "/..a/b c", "/process"] {
        assert!(decode(&writable(path)).is_ok() && decode(&volume(path)).is_ok(), "{path:?}");
    }
    assert_eq!(kinds(&writable("/a").replace("[\"/a\"]", "[\"/a\", \"/a/\"]")), [DecodeErrorKind::ListedTwice]);
}

#[test]
fn what_is_right_can_be_used_beside_what_is_wrong() {
    let source = "[app]\nname = \"a\"\n[service.web]\ncommand = [\"a\"]\nport = \"x\"\nenv = { A = \"${x}\", B = \"b\" }\n[manifest.c]\n[job.d]\nservice = 1\ncommand = [\"a\"]";
    let reading = freehold_spec::read(source);
    let app = reading.app.unwrap();
    let web = &app.services["web"];
    assert!(web.port.is_none() && web.env.contains_key("B") && !web.env.contains_key("A"));
    assert!(app.manifests.is_empty() && app.jobs.is_empty());
    let left_out: Vec<_> = reading.left_out.iter().map(String::as_str).collect();
    assert_eq!(left_out, ["job.d", "manifest.c", "service.web.env.A", "service.web.port"]);
    assert_eq!(reading.errors.len(), 4);
}
