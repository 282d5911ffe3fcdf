//! Secrets: from standard input only, never readable anywhere, restarting exactly their readers.

use std::fs;
use std::path::Path;

use anyhow::Result;
use freehold_end_to_end::{App, Installation};

const SECRET: &str = "correct-horse-battery-staple-7b1f";

fn app() -> Result<App> {
    App::small_and("[secret.api-key]\n[service.web.env]\nKEY = \"${secret.api-key}\"\n")
}

#[test]
fn a_required_secret_that_is_not_set_or_makes_a_variable_too_long_is_an_error_of_the_plan() -> Result<()> {
    let freehold = Installation::start()?;
    let app = app()?;
    let run = freehold.run(["deploy", &app.argument(), "--tenant", "acme", "--yes"])?.failed_with(1, "FH1004")?;
    assert!(run.stderr.contains("freehold secret set api-key"), "{}", run.stderr);

    // Twice the longest value is more than a variable holds: no process could be started with it.
    app.redefine("${secret.api-key}", "${secret.api-key}${secret.api-key}")?;
    let set = ["secret", "set", "api-key", "--tenant", "acme", "--app", "probe"];
    freehold.run_with_input(set, &"a".repeat(65_536))?.succeeded()?;
    let run = freehold.run(["plan", &app.argument(), "--tenant", "acme"])?.failed_with(2, "FH0114")?;
    assert!(run.stderr.contains("KEY of service web has 131072 bytes"), "{}", run.stderr);
    assert_eq!(freehold.processes(), [] as [u32; 0]);
    Ok(())
}

#[test]
fn secrets_are_imported_all_or_none_and_what_nobody_means_is_refused() -> Result<()> {
    let freehold = Installation::start()?;
    let app = App::small_and(
        "[secret.api-key]\n[secret.stripe-key]\n[service.web.env]\nA = \"${secret.api-key}\"\nB = \"${secret.stripe-key}\"\n",
    )?;
    let file = app.path().join("secrets.env");
    let import = |stack: &[&str], text: &str| {
        std::fs::write(&file, text)?;
        freehold.run_in(app.path(), [&["secret", "import", "secrets.env", "--app", "probe"], stack].concat())
    };
    let acme = ["--tenant", "acme"];
    let nothing = || -> Result<()> {
        freehold.run(["secret", "list", "--tenant", "acme", "--app", "probe"])?.failed_with(1, "FH1003").map(|_| ())
    };
    let refused =
        import(&acme, "API_KEY=abc\nSTRIPE_KEI=def\n")?.failed_with(1, "STRIPE_KEI: did you mean stripe-key?")?;
    assert!(!refused.stderr.contains("def\n"), "{}", refused.stderr);
    import(&acme, "API_KEY=abc\nSTRIPE_KEY=sk_live_REPLACE_ME\n")?.failed_with(2, "FH0108")?;
    let refused = import(&acme, "API_KEY=abc\nSTRIPE_KEY=sk_test_s3cret\n")?.failed_with(2, "FH0117")?;
    assert!(!refused.stderr.contains("s3cret"), "{}", refused.stderr);
    nothing()?;
    // What isn't production may have them.
    for stack in [&["--preview", "7"][..], &["--stage", "dev"]] {
        import(stack, "{\"API_KEY\": \"abc\", \"stripe-key\": \"sk_test_1\"}")?.succeeded()?;
    }
    let told =
        import(&[&acme[..], &["--known-only"]].concat(), "LOG_LEVEL=info\nAPI_KEY=first\nSTRIPE_KEY=sk_live_1\n")?
            .succeeded()?;
    assert!(
        told.stdout.contains("api-key was set") && told.stderr.contains("LOG_LEVEL"),
        "{} {}",
        told.stdout,
        told.stderr
    );
    freehold.deploy(&app.argument(), &acme)?;
    assert_eq!(freehold.get("acme.localhost", "/env/A")?.1.trim(), "first");
    let set = ["secret", "set", "stripe-key", "--tenant", "acme"];
    freehold.run_with_input(set, "TODO")?.failed_with(2, "FH0108")?;
    freehold.run_with_input(set, "sk_test_2")?.failed_with(2, "FH0117")?;
    freehold.run_with_input([&set[..], &["--force"]].concat(), "sk_test_2")?.succeeded()?;
    Ok(())
}

#[test]
fn a_set_secret_reaches_its_reader_and_nothing_else() -> Result<()> {
    let mut freehold = Installation::start()?;
    let app = app()?;
    let set = ["secret", "set", "api-key", "--tenant", "acme", "--app", "probe"];
    freehold.run_with_input(set, &format!("{SECRET}\n"))?.succeeded()?;
    let deploy = freehold.run(["deploy", &app.argument(), "--tenant", "acme", "--yes"])?.succeeded()?;
    assert_eq!(freehold.get("acme.localhost", "/env/KEY")?.1, SECRET);
    let list = freehold.run(["secret", "list", "--tenant", "acme"])?.succeeded()?;
    for output in [&deploy.stdout, &deploy.stderr, &list.stdout] {
        assert!(!output.contains(SECRET), "{output}");
    }

    freehold.run_with_input(set, "another-value-that-is-long-enough\n")?.succeeded()?;
    let plan = freehold.run(["plan", &app.argument(), "--tenant", "acme"])?.succeeded()?;
    assert!(
        plan.stdout.contains("••• changed") && plan.stdout.contains("api-key changed (reads KEY)"),
        "{}",
        plan.stdout
    );
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    assert_eq!(freehold.get("acme.localhost", "/env/KEY")?.1, "another-value-that-is-long-enough");

    freehold.down()?;
    assert_eq!(files_with(&freehold.data(), SECRET)?, Vec::<String>::new(), "in plain text on disk");
    assert!(!freehold.log().contains(SECRET));
    Ok(())
}

/// The files below a folder that contain a text.
fn files_with(directory: &Path, text: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(files_with(&entry.path(), text)?);
        } else if entry.file_type()?.is_file() {
            let content = fs::read(entry.path())?;
            if content.windows(text.len()).any(|window| window == text.as_bytes()) {
                found.push(entry.path().display().to_string());
            }
        }
    }
    Ok(found)
}

#[test]
fn rotated_database_credentials_work_after_the_next_deploy_and_the_old_ones_do_not() -> Result<()> {
    let freehold = Installation::start()?;
    let app = App::small_and(
        "[database.main]\n[service.web.env]\nDATABASE_URL = \"${database.main.url}\"\n\
         [service.worker]\nbuild = { artifact = [\"version\"] }\ncommand = [\"sleep\", \"1000000\"]\nsettle = \"0s\"\n",
    )?;
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    let before = freehold.get("acme.localhost", "/env/DATABASE_URL")?.1;
    let rotated =
        freehold.run(["secret", "rotate", "database.main", "--tenant", "acme", "--json"])?.succeeded()?.json()?;
    assert_eq!(rotated["readers"], serde_json::json!(["web"]), "the worker has no database");
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    let after = freehold.get("acme.localhost", "/env/DATABASE_URL")?.1;
    assert_ne!(before, after);
    assert!(works(&after) && !works(&before));
    Ok(())
}

#[test]
fn a_generated_secret_outlives_deploys_and_rollbacks_that_do_not_name_it() -> Result<()> {
    let freehold = Installation::start()?;
    let plain = "[secret.key]\ngenerate = { bytes = 32 }\n[service.web.env]\nKEY = \"${secret.key}\"\n";
    let app = App::small_and(plain)?;
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    let key = freehold.get("acme.localhost", "/env/KEY")?.1;
    let with = std::fs::read_to_string(app.definition())?;
    let without = with.replace(plain, "");
    app.define(&without)?;
    let deploy = freehold.run(["deploy", &app.argument(), "--tenant", "acme", "--yes"])?.succeeded()?;
    assert!(deploy.stderr.contains("secret.key is not in this definition and is kept"), "{}", deploy.stderr);
    assert_eq!(freehold.get("acme.localhost", "/env/KEY")?.1, "(unset)");
    app.define(&with)?;
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    assert_eq!(freehold.get("acme.localhost", "/env/KEY")?.1, key);
    // Back to the revision without it, and forth again.
    freehold.run(["rollback", "2", "--tenant", "acme", "--yes"])?.succeeded()?;
    freehold.run(["rollback", "3", "--tenant", "acme", "--yes"])?.succeeded()?;
    assert_eq!(freehold.get("acme.localhost", "/env/KEY")?.1, key);
    // Only who names it deletes it.
    app.define(&without)?;
    freehold.deploy(&app.argument(), &["--tenant", "acme", "--delete-data", "secret.key"])?;
    app.define(&with)?;
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    assert_ne!(freehold.get("acme.localhost", "/env/KEY")?.1, key);
    Ok(())
}

#[test]
fn setting_a_secret_is_one_line_of_audit_and_so_is_rotating_it() -> Result<()> {
    let freehold = Installation::start()?;
    let app = App::small_and("[secret.key]\ngenerate = { bytes = 32 }\n[service.web.env]\nKEY = \"${secret.key}\"\n")?;
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    let audited = "SELECT string_agg(action, ' ' ORDER BY id) FROM audit WHERE action LIKE 'secret.%'";
    assert_eq!(freehold.sql("freehold", audited)?, "secret.generate");
    freehold.run_with_input(["secret", "set", "key", "--tenant", "acme", "--app", "probe"], "a value")?.succeeded()?;
    assert_eq!(freehold.sql("freehold", audited)?, "secret.generate secret.set");
    freehold.run(["secret", "rotate", "key", "--tenant", "acme"])?.succeeded()?;
    assert_eq!(freehold.sql("freehold", audited)?, "secret.generate secret.set secret.rotate");
    Ok(())
}

/// The serving version connects anew all the time; a migration that takes long, or fails, must not take its credentials away.
#[test]
fn a_rotation_whose_deploy_fails_leaves_the_version_that_serves_its_credentials() -> Result<()> {
    const DEFINITION: &str = "[database.main]\n[service.web.env]\nDATABASE_URL = \"${database.main.url}\"\n";
    let freehold = Installation::start()?;
    let app = App::small_and(DEFINITION)?;
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    let before = freehold.get("acme.localhost", "/env/DATABASE_URL")?.1;
    assert!(before.starts_with("postgresql:///") && before.contains("?host=/"), "{before}");
    freehold.run(["secret", "rotate", "database.main", "--tenant", "acme"])?.succeeded()?;
    let failing = App::small_and(&format!("{DEFINITION}[job.migrate]\nservice = \"web\"\ncommand = [\"false\"]\n"))?;
    freehold.run(["deploy", &failing.argument(), "--tenant", "acme", "--yes"])?.failed_with(1, "FH0701")?;
    assert!(works(&before), "the credentials of the version that serves were taken away");
    assert_eq!(freehold.get("acme.localhost", "/env/DATABASE_URL")?.1, before);

    let plan = freehold.run(["plan", &app.argument(), "--tenant", "acme"])?.succeeded()?;
    assert!(plan.stdout.contains("logins"), "{}", plan.stdout);
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    let after = freehold.get("acme.localhost", "/env/DATABASE_URL")?.1;
    assert!(works(&after) && !works(&before));
    assert_eq!(freehold.deploy(&app.argument(), &["--tenant", "acme"])?["state"], "unchanged");
    freehold.run(["destroy", "--tenant", "acme", "--confirm", "acme", "--no-dump"])?.succeeded()?;
    Ok(())
}

/// Whether somebody gets in with a URL.
fn works(url: &str) -> bool {
    let output = std::process::Command::new("psql").args(["-XAtc", "SELECT 1"]).arg(url).output();
    output.is_ok_and(|output| output.status.success())
}
