//! A stack's life: deploy, change, break, roll back, destroy.

use anyhow::Result;
use freehold_end_to_end::{App, Installation, eventually};

#[test]
fn a_deploy_answers_a_second_one_changes_nothing_and_a_destroy_leaves_nothing() -> Result<()> {
    let freehold = Installation::start()?;
    let app = App::small_and("[database.main]\n[service.web.env]\nDATABASE_URL = \"${database.main.url}\"\n")?;
    let first = freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    assert_eq!(first["state"], "succeeded");
    assert_eq!(first["revision"], 1);
    let url = format!("http://acme.localhost:{}", freehold.router_port());
    assert_eq!(first["outputs"]["routes"]["web"]["url"], url);
    assert_eq!(freehold.get("acme.localhost", "/")?, (200, "1".to_owned()));

    let second = freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    assert_eq!((&second["state"], &second["revision"]), (&"unchanged".into(), &1.into()));
    freehold.run(["deploy", &app.argument(), "--tenant", "acme"])?.failed_with(0, "Nothing to change")?;

    freehold.run(["destroy", "--tenant", "acme", "--confirm", "acme"])?.succeeded()?;
    assert_eq!(freehold.get("acme.localhost", "/")?.0, 404);
    assert_eq!(freehold.processes(), [] as [u32; 0]);
    assert_eq!(freehold.sql("postgres", "SELECT count(*) FROM pg_database WHERE datname LIKE 'acme%'")?, "0");
    assert_eq!(freehold.sql("postgres", "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'acme%'")?, "0");
    assert_eq!(freehold.run(["list", "--json"])?.succeeded()?.json()?, serde_json::json!([]));
    let dumps: Vec<_> = std::fs::read_dir(freehold.data().join("dumps"))?.collect::<Result<_, _>>()?;
    assert_eq!(dumps.len(), 1, "a dump was written first");
    Ok(())
}

#[test]
fn a_new_version_takes_over_and_a_rollback_runs_the_old_files_not_todays_folder() -> Result<()> {
    let freehold = Installation::start()?;
    let app = App::small()?;
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    app.version("2")?;
    assert_eq!(freehold.deploy(&app.argument(), &["--tenant", "acme"])?["revision"], 2);
    assert_eq!(freehold.get("acme.localhost", "/")?.1, "2");
    app.version("3")?;
    freehold.run(["rollback", "--tenant", "acme", "--yes"])?.succeeded()?;
    assert_eq!(freehold.get("acme.localhost", "/")?.1, "1");
    let history = freehold.run(["history", "--tenant", "acme", "--json"])?.succeeded()?.json()?;
    assert_eq!(history.as_array().map(Vec::len), Some(3));
    assert_eq!(history[0]["number"], 3);
    freehold.run(["rollback", "2", "--tenant", "acme", "--yes"])?.succeeded()?;
    assert_eq!(freehold.get("acme.localhost", "/")?.1, "2");
    freehold.run(["rollback", "77", "--tenant", "acme", "--yes"])?.failed_with(1, "FH1007")?;
    Ok(())
}

#[test]
fn a_service_that_was_removed_from_the_definition_is_planned_as_a_deletion_and_stopped() -> Result<()> {
    let freehold = Installation::start()?;
    let app = App::small_and(
        "[service.extra]\nbuild = { artifact = [\"program.py\", \"version\"] }\ncommand = [\"python3\", \"program.py\"]\nport = 8081\n",
    )?;
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    assert_eq!(freehold.processes().len(), 2);
    let text = std::fs::read_to_string(app.definition())?;
    app.define(text.split("[service.extra]").next().unwrap_or_default())?;
    let plan = freehold.run(["plan", &app.argument(), "--tenant", "acme"])?.succeeded()?;
    assert!(plan.stdout.contains("- service") && plan.stdout.contains("1 to delete"), "{}", plan.stdout);
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    eventually("one process is left", || (freehold.processes().len() == 1).then_some(()));
    Ok(())
}

#[test]
fn a_database_that_was_renamed_in_the_definition_is_never_dropped_silently() -> Result<()> {
    let freehold = Installation::start()?;
    let app = App::small_and("[database.main]\n")?;
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    app.redefine("[database.main]", "[database.primary]")?;
    freehold.run(["deploy", &app.argument(), "--tenant", "acme", "--yes"])?.failed_with(1, "FH0803")?;
    assert_eq!(freehold.sql("postgres", "SELECT count(*) FROM pg_database WHERE datname = 'acme__probe'")?, "1");
    freehold.deploy(&app.argument(), &["--tenant", "acme", "--delete-data", "main"])?;
    assert_eq!(freehold.sql("postgres", "SELECT count(*) FROM pg_database WHERE datname = 'acme__probe'")?, "0");
    Ok(())
}

#[test]
fn a_rollback_keeps_the_data_that_the_older_revision_does_not_have() -> Result<()> {
    let freehold = Installation::start()?;
    let app = App::small()?;
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    app.define(&format!("{}\n[database.main]\n[secret.key]\n", std::fs::read_to_string(app.definition())?))?;
    app.redefine("[secret.key]", "[secret.key]\ngenerate = { bytes = 32 }")?;
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    freehold.sql("acme__probe", "SET ROLE acme__probe__owner; CREATE TABLE kept (id int)")?;
    let back = freehold.run(["rollback", "--tenant", "acme", "--yes"])?.succeeded()?;
    assert!(back.stderr.contains("database.main is not in this definition and is kept"), "{}", back.stderr);
    assert!(back.stderr.contains("secret.key is not in this definition and is kept"), "{}", back.stderr);
    assert_eq!(freehold.sql("acme__probe", "SELECT count(*) FROM kept")?, "0");
    let again = freehold.run(["deploy", &app.argument(), "--tenant", "acme", "--yes"])?.succeeded()?;
    assert!(
        again.stderr.contains("database.main is back in the definition and is reused unchanged"),
        "{}",
        again.stderr
    );
    assert_eq!(freehold.sql("acme__probe", "SELECT count(*) FROM kept")?, "0", "it is used again as it was");
    freehold.run(["deploy", &app.argument(), "--tenant", "acme"])?.failed_with(0, "Nothing to change")?;
    // Named, it goes.
    let to_first = ["rollback", "1", "--tenant", "acme", "--yes", "--delete-data", "database.main"];
    freehold.run(to_first)?.succeeded()?;
    assert_eq!(freehold.sql("postgres", "SELECT count(*) FROM pg_database WHERE datname = 'acme__probe'")?, "0");
    freehold.run(["destroy", "--tenant", "acme", "--confirm", "acme"])?.succeeded()?;
    Ok(())
}

#[test]
fn settings_are_sticky() -> Result<()> {
    let freehold = Installation::start()?;
    let app = App::small_and("[tier.free]\n[tier.pro]\nservice.web.replicas = 2\n")?;
    freehold.deploy(&app.argument(), &["--tenant", "acme", "--tier", "pro"])?;
    assert_eq!(freehold.processes().len(), 2);
    app.version("2")?;
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    eventually("the old ones have gone", || (freehold.processes().len() == 2).then_some(()));
    let stack = freehold.run(["status", "--tenant", "acme", "--json"])?.succeeded()?.json()?;
    assert_eq!(stack["tier"], "pro");
    Ok(())
}

#[test]
fn all_tenants_get_a_new_version_and_a_table_says_who_has_what() -> Result<()> {
    let freehold = Installation::start()?;
    let app = App::small()?;
    for tenant in ["acme", "globex", "initech"] {
        freehold.deploy(&app.argument(), &["--tenant", tenant])?;
    }
    app.version("2")?;
    let run = freehold.run(["deploy", &app.argument(), "--all-tenants", "--wave", "34%", "--yes"])?.succeeded()?;
    for tenant in ["acme", "globex", "initech"] {
        assert_eq!(freehold.get(&format!("{tenant}.localhost"), "/")?.1, "2");
        assert!(run.stdout.contains(tenant), "{}", run.stdout);
    }
    Ok(())
}

#[test]
fn a_plan_in_a_file_is_refused_once_it_is_outdated() -> Result<()> {
    let freehold = Installation::start()?;
    let app = App::small()?;
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    app.version("2")?;
    let file = freehold.path().join("plan.json").display().to_string();
    freehold.run(["plan", &app.argument(), "--tenant", "acme", "--out", &file])?.succeeded()?;
    app.version("3")?;
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    freehold.run(["deploy", "--plan", &file, "--yes"])?.failed_with(1, "FH0901")?;
    assert_eq!(freehold.get("acme.localhost", "/")?.1, "3");
    Ok(())
}

#[test]
fn previews_and_stages_live_beside_tenants() -> Result<()> {
    let freehold = Installation::start()?;
    let app = App::small_and("[stage.dev]\n")?;
    freehold.deploy(&app.argument(), &["--preview", "107"])?;
    freehold.deploy(&app.argument(), &["--stage", "dev"])?;
    assert_eq!(freehold.get("107.localhost", "/")?.0, 200);
    assert_eq!(freehold.get("dev.localhost", "/")?.0, 200);
    freehold.run(["deploy", &app.argument(), "--stage", "prod", "--yes"])?.failed_with(2, "FH1005")?;
    Ok(())
}

#[test]
fn every_environment_gets_what_its_tables_say() -> Result<()> {
    let freehold = Installation::start()?;
    let app = App::small_and(
        r#"
[service.web.env]
MODE  = "base"
STAGE = "${stage.name}"
[stage.production]
service.web.env.MODE = "production"
[stage.staging]
route.web.hosts = ["${stack.name}-staging.${target.domain}"]
service.web.env = { MODE = "staging" }
[tier.free]
[tier.pro]
service.web.replicas = 2
[preview.service.web.env]
MODE = "preview"
"#,
    )?;
    let folder = app.argument();
    let mode = |host: &str| -> Result<String> {
        let value = |name: &str| Ok::<_, anyhow::Error>(freehold.get(host, &format!("/env/{name}"))?.1);
        Ok(format!("{} in {}", value("MODE")?, value("STAGE")?))
    };
    for (options, host, expected) in [
        (&["--tenant", "acme", "--tier", "free"][..], "acme.localhost", "production in production"),
        (
            &["--tenant", "globex", "--tier", "pro", "--stage", "staging"],
            "globex-staging.localhost",
            "staging in staging",
        ),
        (&["--stage", "production"], "production.localhost", "production in production"),
        (&["--preview", "107"], "107.localhost", "preview in preview"),
    ] {
        freehold.deploy(&folder, options)?;
        assert_eq!(mode(host)?, expected, "{options:?}");
    }
    assert_eq!(freehold.processes().len(), 5, "the one of tier pro has two copies");

    // The stage stays; to move to another one is a change like any, told with the line that it comes from.
    freehold.deploy(&folder, &["--tenant", "globex"])?;
    assert_eq!(mode("globex-staging.localhost")?, "staging in staging");
    let plan = freehold.run(["plan", &folder, "--tenant", "globex", "--stage", "production"])?.succeeded()?;
    let told = "service.web.env.MODE \"staging\" → \"production\" ([stage.production], line 20)";
    assert!(plan.stdout.contains(told), "{}", plan.stdout);
    freehold.deploy(&folder, &["--tenant", "globex", "--stage", "production"])?;
    assert_eq!(mode("globex.localhost")?, "production in production");

    let wrong = freehold.run(["deploy", &folder, "--yes", "--preview", "107", "--stage", "staging"])?;
    anyhow::ensure!(wrong.code == 2 && wrong.stderr.contains("cannot be used with"), "{wrong:?}");
    freehold.run(["deploy", &folder, "--yes", "--tenant", "acme", "--stage", "stagin"])?.failed_with(2, "FH1005")?;
    for (options, name) in
        [("--tenant", "acme"), ("--tenant", "globex"), ("--stage", "production"), ("--preview", "107")]
    {
        freehold.run(["destroy", options, name, "--confirm", name])?.succeeded()?;
    }
    assert!(freehold.processes().is_empty());
    Ok(())
}
