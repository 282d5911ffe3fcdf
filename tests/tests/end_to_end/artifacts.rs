//! What services run from: made of the app's folder and of nothing else, built again when that is asked for.

use std::os::unix::fs::symlink;
use std::process::Command;

use anyhow::{Context as _, Result};
use freehold_end_to_end::{App, Installation};

#[test]
fn a_build_is_repeated_without_a_change_only_if_that_is_asked_for() -> Result<()> {
    let freehold = Installation::start()?;
    let app = App::small()?;
    // What it takes from elsewhere: nothing in the folder says that it has changed.
    let elsewhere = freehold.path().join("elsewhere");
    std::fs::write(&elsewhere, "1")?;
    let build =
        format!("build   = {{ command = [\"cp\", {:?}, \"version\"], artifact", elsewhere.display().to_string());
    app.redefine("build   = { artifact", &build)?;
    let revision = |arguments: &[&str]| -> Result<u64> {
        let arguments = [&["--tenant", "acme"], arguments].concat();
        freehold.deploy(&app.argument(), &arguments)?["revision"].as_u64().context("no revision")
    };
    assert_eq!(revision(&[])?, 1);
    std::fs::write(&elsewhere, "2")?;
    assert_eq!(revision(&[])?, 1);
    assert_eq!(revision(&["--rebuild"])?, 2);
    assert_eq!(freehold.get("acme.localhost", "/version")?.1, "2");
    Ok(())
}

#[test]
fn a_link_out_of_the_apps_folder_is_refused_by_name_and_read_by_nobody() -> Result<()> {
    let freehold = Installation::start()?;
    let app = App::small()?;
    symlink("/etc/shadow", app.path().join("settings"))?;
    app.redefine("\"version\"]", "\"version\", \"settings\"]")?;
    let deploy = ["deploy", &app.argument(), "--tenant", "acme", "--yes"];
    freehold.run(deploy)?.failed_with(2, "FH0615")?.failed_with(2, "/etc/shadow")?;
    std::fs::remove_file(app.path().join("settings"))?;
    std::fs::create_dir(app.path().join("settings"))?;
    symlink("/etc/shadow", app.path().join("settings/inner"))?;
    freehold.run(deploy)?.failed_with(2, "settings/inner")?;
    assert!(!freehold.data().join("artifacts").read_dir()?.any(|entry| entry.is_ok()), "nothing was sent");
    Ok(())
}

#[test]
fn a_service_runs_from_a_python_environment() -> Result<()> {
    let freehold = Installation::start()?;
    let app = App::small()?;
    let made = Command::new("/usr/bin/python3")
        .args(["-m", "venv", "--without-pip"])
        .arg(app.path().join("venv"))
        .status()
        .context("python3")?;
    anyhow::ensure!(made.success(), "no environment could be made");
    app.redefine("\"version\"]", "\"version\", \"venv\"]")?;
    app.redefine("[\"python3\", \"program.py\"]", "[\"venv/bin/python\", \"program.py\"]")?;
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    assert_eq!(freehold.get("acme.localhost", "/version")?.1, "1");
    Ok(())
}
