//! Bad input and bad luck: a clear error with a code, the right exit code, nothing lost, a way on.

use anyhow::Result;
use freehold_end_to_end::{App, Installation};

#[test]
fn a_service_that_exits_at_once_fails_with_its_last_words_and_the_old_version_goes_on() -> Result<()> {
    let freehold = Installation::start()?;
    let app = App::small()?;
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    app.version("2")?;
    let text = std::fs::read_to_string(app.definition())?;
    app.define(&format!("{text}\n[service.web.env]\nFAULT = \"exit\"\n"))?;
    let run = freehold.run(["deploy", &app.argument(), "--tenant", "acme", "--yes"])?.failed_with(1, "FH0702")?;
    assert!(run.stderr.contains("the moon is full"), "{}", run.stderr);
    assert_eq!(freehold.get("acme.localhost", "/")?, (200, "1".to_owned()));
    app.define(&text)?;
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    assert_eq!(freehold.get("acme.localhost", "/")?.1, "2");
    Ok(())
}

#[test]
fn a_service_that_never_gets_ready_fails_in_its_time_and_the_old_version_goes_on() -> Result<()> {
    let freehold = Installation::start()?;
    let app = App::small()?;
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    app.redefine("port    = 8080", "port    = 8080\nstart_timeout = \"2s\"")?;
    let text = std::fs::read_to_string(app.definition())?;
    app.define(&format!("{text}\n[service.web.env]\nFAULT = \"never-ready\"\n"))?;
    freehold.run(["deploy", &app.argument(), "--tenant", "acme", "--yes"])?.failed_with(1, "FH0703")?;
    assert_eq!(freehold.get("acme.localhost", "/")?.0, 200);
    assert_eq!(freehold.processes().len(), 1, "the new one was ended");
    Ok(())
}

#[test]
fn a_command_that_does_not_exist_is_named() -> Result<()> {
    let freehold = Installation::start()?;
    let app = App::small()?;
    app.redefine("\"python3\", \"program.py\"", "\"gunicron\", \"program.py\"")?;
    let run = freehold.run(["deploy", &app.argument(), "--tenant", "acme", "--yes"])?.failed_with(1, "FH0704")?;
    assert!(run.stderr.contains("gunicron"), "{}", run.stderr);
    freehold.run(["destroy", "--tenant", "acme", "--confirm", "acme"])?.succeeded()?;
    assert_eq!(freehold.processes(), [] as [u32; 0]);
    Ok(())
}

#[test]
fn a_migration_that_fails_stops_the_deploy_while_the_old_version_serves() -> Result<()> {
    let freehold = Installation::start()?;
    let app = App::small_and("[job.migrate]\nservice = \"web\"\ncommand = [\"sh\", \"-c\", \"exit 0\"]\n")?;
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    app.version("2")?;
    app.redefine("exit 0", "echo column already exists; exit 4")?;
    let run = freehold.run(["deploy", &app.argument(), "--tenant", "acme", "--yes"])?.failed_with(1, "FH0701")?;
    assert!(run.stderr.contains("column already exists") && run.stderr.contains("exit code 4"), "{}", run.stderr);
    assert_eq!(freehold.get("acme.localhost", "/")?.1, "1");
    app.redefine("echo column already exists; exit 4", "exit 0")?;
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    assert_eq!(freehold.get("acme.localhost", "/")?.1, "2");
    Ok(())
}

#[test]
fn the_second_claimant_of_a_host_name_is_told_the_first() -> Result<()> {
    let freehold = Installation::start()?;
    let app = App::small()?;
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    let run = freehold.run(["deploy", &app.argument(), "--preview", "acme", "--yes"])?.failed_with(1, "FH0802")?;
    assert!(run.stderr.contains("acme.localhost") && run.stderr.contains("probe/tenant/acme"), "{}", run.stderr);
    Ok(())
}

#[test]
fn odd_names_are_refused_before_anything_happens() -> Result<()> {
    let freehold = Installation::start()?;
    let app = App::small_and("[database.main]\n")?;
    let long = "a".repeat(64);
    for name in [
        "",
        "Acme",
        "ac me",
        "acme'; DROP DATABASE postgres; --",
        "a\"b",
        "ünï",
        "-acme",
        "a--b",
        "preview",
        long.as_str(),
    ] {
        freehold.run(["deploy", &app.argument(), "--yes", &format!("--tenant={name}")])?.failed_with(2, "FH1001")?;
    }
    assert_eq!(
        freehold.sql("postgres", "SELECT count(*) FROM pg_database")?,
        "5",
        "postgres, two templates, the store and the provisioner's"
    );
    Ok(())
}

#[test]
fn another_programs_database_of_the_same_name_is_left_alone() -> Result<()> {
    let freehold = Installation::start()?;
    freehold.sql("postgres", "CREATE DATABASE acme__probe")?;
    freehold.sql("acme__probe", "CREATE TABLE precious (id int)")?;
    let app = App::small_and("[database.main]\n")?;
    freehold.run(["deploy", &app.argument(), "--tenant", "acme", "--yes"])?.failed_with(1, "FH0801")?;
    assert_eq!(freehold.sql("acme__probe", "SELECT count(*) FROM precious")?, "0");
    Ok(())
}

#[test]
fn what_was_changed_behind_our_back_is_told_by_doctor_and_the_next_plan_and_mended() -> Result<()> {
    let freehold = Installation::start()?;
    let app = App::small_and("[database.main]\n[service.web.env]\nDATABASE_URL = \"${database.main.url}\"\n")?;
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    freehold.sql("postgres", "ALTER ROLE acme__probe__app CONNECTION LIMIT 77")?;
    let doctor = freehold.run(["doctor"])?;
    assert!(format!("{}{}", doctor.stdout, doctor.stderr).contains("connections"), "{doctor:?}");
    let plan = freehold.run(["plan", &app.argument(), "--tenant", "acme"])?.succeeded()?;
    assert!(plan.stdout.contains("77") && plan.stdout.contains("drift"), "{}", plan.stdout);
    let mended = freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    assert_eq!(mended["revision"], 1, "a repair makes no revision");
    freehold.sql("postgres", "DROP DATABASE acme__probe WITH (FORCE)")?;
    let plan = freehold.run(["plan", &app.argument(), "--tenant", "acme"])?.succeeded()?;
    assert!(plan.stdout.contains("data is gone"), "{}", plan.stdout);
    Ok(())
}

#[test]
fn the_same_stack_deployed_from_two_terminals_at_once_is_deployed_once() -> Result<()> {
    let freehold = Installation::start()?;
    let app = App::small_and("[job.migrate]\nservice = \"web\"\ncommand = [\"sh\", \"-c\", \"echo ran; sleep 1\"]\n")?;
    let arguments = ["deploy", &app.argument(), "--tenant", "acme", "--yes", "--json"];
    let first = freehold.start_run(arguments)?;
    let second = freehold.start_run(arguments)?;
    let (first, second) = (first.wait_with_output()?, second.wait_with_output()?);
    let text = |output: &std::process::Output| {
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    };
    assert!(first.status.success() && second.status.success(), "{}\n{}", text(&first), text(&second));
    let log = freehold.run(["logs", "--tenant", "acme", "--job", "migrate"])?.succeeded()?.stdout;
    assert_eq!(log.matches("ran").count(), 1, "{log}");
    assert_eq!(freehold.processes().len(), 1);
    Ok(())
}

#[test]
fn without_a_terminal_nothing_is_changed_unless_it_was_said() -> Result<()> {
    let freehold = Installation::start()?;
    let app = App::small()?;
    freehold.run(["deploy", &app.argument(), "--tenant", "acme"])?.failed_with(2, "FH1006")?;
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    freehold.run(["destroy", "--tenant", "acme"])?.failed_with(2, "FH1006")?;
    freehold.run(["destroy", "--tenant", "acme", "--confirm", "acne"])?.failed_with(2, "FH1006")?;
    assert_eq!(freehold.get("acme.localhost", "/")?.0, 200);
    Ok(())
}

#[test]
fn a_tenant_or_a_tier_that_does_not_exist_is_an_error_with_a_suggestion() -> Result<()> {
    let freehold = Installation::start()?;
    let app = App::small_and("[tier.pro]\n")?;
    freehold
        .run(["deploy", &app.argument(), "--tenant", "acme", "--tier", "por", "--yes"])?
        .failed_with(2, "FH1002")?;
    freehold.deploy(&app.argument(), &["--tenant", "acme", "--tier", "pro"])?;
    let run = freehold.run(["status", "--tenant", "acm"])?.failed_with(1, "FH1003")?;
    assert!(run.stderr.contains("acme"), "{}", run.stderr);
    Ok(())
}

#[test]
fn a_build_that_fails_or_makes_nothing_is_told_before_anything_changes() -> Result<()> {
    let freehold = Installation::start()?;
    let app = App::small()?;
    app.redefine("artifact = [\"program.py\", \"version\"]", "artifact = [\"program.py\", \"missing\"]")?;
    freehold.run(["deploy", &app.argument(), "--tenant", "acme", "--yes"])?.failed_with(2, "FH0602")?;
    app.redefine(
        "build   = { artifact",
        "build   = { command = [\"sh\", \"-c\", \"echo no such crate; exit 1\"], artifact",
    )?;
    let run = freehold.run(["deploy", &app.argument(), "--tenant", "acme", "--yes"])?.failed_with(1, "FH0601")?;
    assert!(run.stderr.contains("no such crate"), "{}", run.stderr);
    Ok(())
}
