//! Every command as a process: exit code, stdout, stderr. Those that need a platform are called here without one; what they do with one is in
//! the end-to-end tests.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::path::Path;
use std::process::{Command, Stdio};

const DEFINITION: &str = r#"[app]
name = "guestbook"

[service.web]
build   = { command = ["true"], artifact = ["program.py"] }
command = ["python3", "program.py"]
port    = 8080
"#;

/// What a call gave, with the test's folder as DIR and without what differs between machines.
fn call(folder: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_freehold"));
    for name in ["FREEHOLD_URL", "FREEHOLD_TOKEN", "FREEHOLD_TARGET", "KUBECONFIG", "FREEHOLD_DATABASE_URL"] {
        command.env_remove(name);
    }
    let output = command
        .args(arguments)
        .current_dir(folder)
        .env("FREEHOLD_DATA_DIR", folder.join("data"))
        .env("XDG_CACHE_HOME", folder.join("cache"))
        .env("HOME", folder)
        .env("NO_COLOR", "1")
        .env("COLUMNS", "80")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        lines.join("\n").replace(folder.to_str().unwrap(), "DIR").replace(env!("CARGO_PKG_VERSION"), "VERSION")
    };
    format!(
        "exit code {}\n----- stdout -----\n{}\n----- stderr -----\n{}",
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr)
    )
}

fn folder() -> tempfile::TempDir {
    // A short name of always the same length: messages are wrapped at a width.
    let folder = tempfile::Builder::new().prefix("f").rand_bytes(6).tempdir_in("/tmp").unwrap();
    std::fs::write(folder.path().join("freehold.toml"), DEFINITION).unwrap();
    folder
}

/// A snapshot for each call, named by what it shows.
fn shown(folder: &Path, calls: &[(&str, &[&str])]) {
    for (name, arguments) in calls {
        let text = call(folder, arguments);
        insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true, description => format!("freehold {}", arguments.join(" ")) }, {
            insta::assert_snapshot!(*name, text);
        });
    }
}

#[test]
fn commands_that_need_nothing_but_a_definition_say_what_they_found() {
    let folder = folder();
    shown(
        folder.path(),
        &[
            ("version", &["version"]),
            ("version_json", &["version", "--json"]),
            ("help", &["--help"]),
            ("unknown_command", &["delpoy"]),
            ("check", &["check"]),
            ("init_over", &["init"]),
            ("check_missing", &["check", "nowhere"]),
            ("explain_unknown", &["explain", "FH9999"]),
        ],
    );
    let page = call(folder.path(), &["explain", "FH1009"]);
    assert!(page.starts_with("exit code 0") && page.contains("# FH1009: ") && page.contains("## Fix"), "{page}");
    let schema = call(folder.path(), &["schema"]);
    assert!(schema.starts_with("exit code 0") && schema.contains("json-schema.org"), "{schema}");
    std::fs::write(folder.path().join("freehold.toml"), DEFINITION.replace("port ", "prot ")).unwrap();
    shown(folder.path(), &[("check_invalid", &["check"])]);
}

#[test]
fn commands_that_need_a_platform_say_that_none_is_running() {
    let folder = folder();
    shown(
        folder.path(),
        &[("without_platform", &["list"]), ("without_platform_json", &["status", "--tenant", "acme", "--json"])],
    );
    let expected = call(folder.path(), &["list"]);
    let others: [&[&str]; 14] = [
        &["status", "--tenant", "acme"],
        &["plan", ".", "--tenant", "acme"],
        &["deploy", ".", "--tenant", "acme", "--yes"],
        &["rollback", "--tenant", "acme", "--yes"],
        &["destroy", "--tenant", "acme", "--confirm", "acme"],
        &["history", "--tenant", "acme"],
        &["logs", "--tenant", "acme"],
        &["run", "--tenant", "acme", "--", "true"],
        &["secret", "list", "--tenant", "acme"],
        &["secret", "rotate", "key", "--tenant", "acme"],
        &["db", "shell", "--tenant", "acme"],
        &["target", "list"],
        &["target", "check", "prod"],
        &["down"],
    ];
    for arguments in others {
        assert_eq!(call(folder.path(), arguments), expected, "freehold {}", arguments.join(" "));
    }
}

#[test]
fn commands_about_clusters_that_need_no_platform_say_what_they_need() {
    let folder = folder();
    std::fs::write(folder.path().join("key"), "too short").unwrap();
    let serve = ["serve", "--listen", "127.0.0.1:0", "--token-file", "token", "--master-key-file"];
    let with = |words: &[&'static str]| [&serve[..], words].concat();
    shown(
        folder.path(),
        &[
            ("serve_without_database", &with(&["key"])),
            ("serve_without_url_file", &with(&["key", "--database-url-file", "nowhere"])),
            ("install_without_dry_run", &["install", "--image", "example.org/freehold:1"]),
            ("install_without_database", &["install", "--image", "example.org/freehold:1", "--dry-run"]),
            ("install_of_no_name", &["install", "--image", "x", "--dry-run", "--namespace", "Free_Hold"]),
            ("target_rbac_of_no_name", &["target", "rbac", "--service-account", "Free_Hold"]),
            ("target_rbac", &["target", "rbac"]),
        ],
    );
    let existing = ["install", "--image", "example.org/freehold:1", "--dry-run", "--existing-secret", "freehold"];
    let manifests = call(folder.path(), &existing);
    assert!(manifests.starts_with("exit code 0") && manifests.contains("kind: Deployment"), "{manifests}");
}

#[test]
fn wrong_use_exits_with_2_and_says_what_is_missing() {
    shown(
        folder().path(),
        &[
            ("status_of_nothing", &["status"]),
            ("deploy_of_nothing", &["deploy", "."]),
            ("status_of_two", &["status", "--tenant", "acme", "--stage", "dev"]),
            ("secret_set_without_name", &["secret", "set"]),
            ("target_add_without_name", &["target", "add"]),
            ("install_without_arguments", &["install"]),
            ("serve_without_arguments", &["serve"]),
            ("db_without_command", &["db"]),
        ],
    );
}

const ENVIRONMENTS: &str = r#"[app]
name = "guestbook"

[service.web]
build   = { command = ["true"], artifact = ["program.py"] }
command = ["python3", "program.py"]
port    = 8080
reads   = ["LOG_LEVEL", "MODE?"]

[service.web.env]
LOG_LEVEL = "info"

[stage.production]
service.web.replicas = 2
service.web.env.LOG_LEVEL = "warning"

[stage.dev.service.web]
env = { LOG_LEVEL = "debug", MODE = "development" }

[tier.free]
quota = { cpu = "1", memory = "1Gi" }
service.web.replicas = 1

[tier.pro]
quota = { cpu = "1", memory = "8Gi" }

[preview.service.web]
command = [
    "python3",
    "program.py", "--preview",
]
"#;

#[test]
fn a_definition_is_checked_and_shown_in_each_of_its_environments() {
    let folder = folder();
    std::fs::write(folder.path().join("freehold.toml"), ENVIRONMENTS).unwrap();
    shown(
        folder.path(),
        &[
            ("check_environments", &["check"]),
            ("render_base", &["render"]),
            ("render_stage", &["render", "--stage", "dev"]),
            ("render_tier", &["render", "--tier", "free"]),
            ("render_preview", &["render", "--preview"]),
            ("render_unknown_tier", &["render", "--tier", "fee"]),
            ("render_unknown_stage", &["render", "--stage", "staging"]),
            ("render_two", &["render", "--preview", "--stage", "dev"]),
            ("render_without_tier", &["render", "--tenant"]),
            ("render_json", &["render", "--stage", "production", "--json"]),
        ],
    );
}
