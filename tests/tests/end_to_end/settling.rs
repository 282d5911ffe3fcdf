//! Ready, and whether it stays so.

use anyhow::Result;
use freehold_end_to_end::{App, Installation, eventually};

/// A small app whose program can be told to fall: a variable for its fault, and how long it has to settle.
fn app(settle: &str) -> Result<App> {
    let app = App::small_and("[service.web.env]\nFAULT = \"none\"\n")?;
    app.redefine("settle  = \"0s\"", &format!("settle  = \"{settle}\""))?;
    Ok(app)
}

#[test]
fn a_version_that_falls_right_after_its_first_answer_is_no_success_and_the_one_before_it_serves() -> Result<()> {
    let freehold = Installation::start()?;
    let app = app("0s")?;
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    app.version("2")?;
    app.redefine("settle  = \"0s\"", "settle  = \"10m\"")?;
    app.redefine("\"none\"", "\"falls\"")?;
    let run = freehold.run(["deploy", &app.argument(), "--tenant", "acme", "--yes"])?.failed_with(1, "FH0707")?;
    assert!(run.stderr.contains("the previous version serves again"), "{}", run.stderr);
    assert!(!run.stdout.contains("Ready"), "{}", run.stdout);
    assert_eq!(freehold.get("acme.localhost", "/")?, (200, "1".to_owned()));
    let status = freehold.run(["status", "--tenant", "acme", "--json"])?;
    assert_eq!((status.code, &status.json()?["state"]), (1, &"failed".into()));
    let history = freehold.run(["history", "--tenant", "acme", "--json"])?.succeeded()?.json()?;
    assert_eq!((&history[0]["verified"], &history[1]["current"]), (&false.into(), &true.into()));
    Ok(())
}

#[test]
fn a_service_that_falls_again_and_again_is_degraded_wherever_one_looks() -> Result<()> {
    let freehold = Installation::start()?;
    let app = app("0s")?;
    app.redefine("\"none\"", "\"falls\"")?;
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    eventually("the crash loop", || {
        let status = freehold.run(["status", "--tenant", "acme"]).ok()?;
        (status.code == 1 && status.stdout.contains("degraded") && status.stdout.contains("FH0706")).then_some(())
    });
    let list = freehold.run(["list", "--json"])?.succeeded()?.json()?;
    assert_eq!(list[0]["state"], "degraded");
    freehold.run(["doctor"])?.failed_with(1, "FH0706")?;
    // That there is nothing to change is no success where what is there doesn't work.
    let again = freehold.run(["deploy", &app.argument(), "--tenant", "acme", "--yes"])?.failed_with(1, "FH0706")?;
    assert!(again.stdout.contains("Nothing to change"), "{again:?}");
    let fleet = freehold.run(["deploy", &app.argument(), "--all-tenants", "--yes"])?;
    assert!(fleet.code == 1 && fleet.stdout.contains("FH0706"), "{fleet:?}");
    Ok(())
}

#[test]
fn a_deploy_that_need_not_settle_is_done_when_all_is_ready() -> Result<()> {
    let freehold = Installation::start()?;
    let app = app("10m")?;
    let done = freehold.deploy(&app.argument(), &["--tenant", "acme", "--no-settle"])?;
    assert_eq!(done["state"], "succeeded");
    app.version("2")?;
    freehold.deploy(&app.argument(), &["--tenant", "acme", "--no-settle"])?;
    assert_eq!(freehold.get("acme.localhost", "/")?.1, "2");
    Ok(())
}

#[test]
fn ready_and_verified_are_two_moments() -> Result<()> {
    let freehold = Installation::start()?;
    let app = app("1s")?;
    let run = freehold.run(["deploy", &app.argument(), "--tenant", "acme", "--yes"])?.succeeded()?;
    assert!(run.stdout.contains("Ready in ") && run.stdout.contains(", verified "), "{}", run.stdout);
    app.version("2")?;
    let done = freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    let time = |name: &str| done["timings"][name].as_u64().unwrap_or_default();
    assert!(time("ready") > 0 && time("total") >= time("ready") + 900, "{done}");
    Ok(())
}
