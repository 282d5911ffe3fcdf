//! The definition, without a platform.

use anyhow::Result;
use freehold_end_to_end::{App, Installation};

#[test]
fn everything_that_is_wrong_with_a_definition_is_told_at_once_with_its_place() -> Result<()> {
    let freehold = Installation::new()?;
    let app = App::with(
        "[app]\nname = \"Probe\"\n[service.web]\ncomand = [\"x\"]\nport = \"http\"\nreads = [\"APP_WEB_URL\"]\n\
         [service.web.env]\nWEB_URL = \"${route.wbe.url}\"\n[route.web]\nservice = \"wep\"\nhosts = [\"${stack.name}\"]\n",
    )?;
    let run = freehold.run(["check", &app.argument()])?.failed_with(2, "freehold.toml:2:")?;
    let text = format!("{}{}", run.stdout, run.stderr);
    for expected in ["comand", "command", "Probe", "port"] {
        assert!(text.contains(expected), "{expected} is missing in\n{text}");
    }
    Ok(())
}

#[test]
fn broken_toml_is_an_error_of_the_definition() -> Result<()> {
    let freehold = Installation::new()?;
    let app = App::with("[app\nname = probe\n")?;
    freehold.run(["check", &app.argument()])?.failed_with(2, "freehold.toml:1:")?;
    Ok(())
}

#[test]
fn without_a_platform_a_command_says_how_to_start_one() -> Result<()> {
    let freehold = Installation::new()?;
    let app = App::small()?;
    let run = freehold.run(["deploy", &app.argument(), "--tenant", "acme", "--yes"])?.failed_with(1, "FH0508")?;
    assert!(run.stderr.contains("freehold up"), "{}", run.stderr);
    Ok(())
}

#[test]
fn the_schema_and_the_pages_are_in_the_binary() -> Result<()> {
    let freehold = Installation::new()?;
    let schema = freehold.run(["schema"])?.succeeded()?.json()?;
    assert!(schema["properties"]["service"].is_object());
    assert!(freehold.run(["explain", "FH0203"])?.succeeded()?.stdout.contains("quota"));
    freehold.run(["explain", "FH9999"])?.failed_with(2, "FH9999")?;
    Ok(())
}

#[test]
fn below_an_apps_folder_its_definition_is_found_and_named() -> Result<()> {
    let freehold = Installation::start()?;
    let app = App::small_and("[service.web.env]\nV = \"1\"\n")?;
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    app.redefine("V = \"1\"", "V = \"2\"")?;
    let below = app.path().join("src/deep");
    std::fs::create_dir_all(&below)?;
    let run = freehold.run_in(&below, ["deploy", "--tenant", "acme", "--yes"])?.succeeded()?;
    assert!(run.stderr.contains("The definition is ../../freehold.toml."), "{}", run.stderr);
    assert_eq!(freehold.get("acme.localhost", "/env/V")?.1, "2");
    // Where there is none, it is said which one is meant.
    let elsewhere = tempfile::tempdir()?;
    let run = freehold.run_in(elsewhere.path(), ["deploy", "--tenant", "acme", "--yes"])?.succeeded()?;
    assert!(run.stderr.contains("none is here or above"), "{}", run.stderr);
    freehold.run_in(elsewhere.path(), ["check"])?.failed_with(2, "FH0015")?;
    Ok(())
}
