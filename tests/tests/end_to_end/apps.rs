//! Apps of the shapes that real teams have, whole: deployed on one machine, asked for what their definitions say, updated, rolled back, and gone.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use freehold_end_to_end::{App, Installation};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/apps")
}

/// One of the apps, in a folder with what it needs.
fn app(name: &str) -> Result<App> {
    let app = App::with(&fs::read_to_string(fixtures().join(name).with_extension("toml"))?)?;
    for file in ["nginx.conf", "backend.py"] {
        fs::copy(fixtures().join(file), app.path().join(file))?;
    }
    Ok(app)
}

/// Deployed as a tenant of production, after a check that has nothing to say.
fn deployed(freehold: &Installation, app: &App) -> Result<()> {
    let check = freehold.run(["check", &app.argument()])?.succeeded()?;
    ensure!(!check.stdout.contains("warning") && !check.stderr.contains("warning"), "{}{}", check.stdout, check.stderr);
    for state in ["succeeded", "unchanged"] {
        let outcome = freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
        ensure!(outcome.get("state").is_some_and(|found| found == state), "{outcome}");
    }
    Ok(())
}

/// A later version is deployed, and taken back; then nothing is left.
fn changed_and_gone(freehold: &Installation, app: &App, host: &str) -> Result<()> {
    app.version("2")?;
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    ensure!(freehold.get(host, "/version")?.1 == "2");
    freehold.run(["rollback", "--tenant", "acme", "--yes"])?.succeeded()?;
    ensure!(freehold.get(host, "/version")?.1 == "1");
    freehold.run(["destroy", "--tenant", "acme", "--confirm", "acme", "--no-dump"])?.succeeded()?;
    ensure!(freehold.processes().is_empty() && fs::read_dir(freehold.data().join("local/stacks"))?.count() == 0);
    Ok(())
}

fn variable(freehold: &Installation, host: &str, name: &str) -> Result<String> {
    Ok(freehold.get(host, &format!("/env/{name}"))?.1)
}

#[test]
fn a_site_behind_a_proxy_that_speaks_something_else() -> Result<()> {
    let freehold = Installation::start()?;
    let app = app("site")?;
    deployed(&freehold, &app)?;
    let (web, api) = ("www.acme.localhost", "api-acme.localhost");
    assert_eq!(variable(&freehold, web, "APP_ENV")?, "production");
    assert_eq!(variable(&freehold, web, "VERSION")?, "1");
    // Through nginx, whose configuration names the backend, to a program that reads its secret from a file.
    let (status, body) = freehold.get(api, "/")?;
    let words: Vec<&str> = body.split_whitespace().collect();
    assert_eq!((status, words.get(1..)), (200, Some(["warning", "43"].as_slice())), "{body}");
    assert!(words[0].contains("acme"), "the role of the stack: {body}");
    let port = freehold.router_port();
    assert_eq!(freehold.get(api, "/uri")?.1, format!("/uri of http://www.acme.localhost:{port}\n"));
    assert_eq!(freehold.get(api, "/internal/x")?.0, 403);
    changed_and_gone(&freehold, &app, web)
}

#[test]
fn a_product_with_an_api_below_a_path_jobs_on_demand_and_flags_by_stage() -> Result<()> {
    let freehold = Installation::start()?;
    let app = app("ledger")?;
    deployed(&freehold, &app)?;
    let host = "app-acme.localhost";
    assert_eq!(freehold.get(host, "/api/version")?, (200, "1".to_owned()));
    assert_eq!(freehold.get("admin-acme.localhost", "/")?.0, 200);
    let catalog = freehold.run(["run", "catalog", "--tenant", "acme"])?.succeeded()?;
    assert!(catalog.stdout.contains("catalog of production"), "{}", catalog.stdout);
    // The same app in another stage has other flags, and fewer copies.
    freehold.deploy(&app.argument(), &["--stage", "staging"])?;
    let staging = freehold.run(["render", &app.argument(), "--stage", "staging"])?.succeeded()?;
    assert!(staging.stdout.contains("sandbox"), "{}", staging.stdout);
    assert_eq!(freehold.get("app-staging.localhost", "/")?.0, 200);
    freehold.run(["destroy", "--stage", "staging", "--confirm", "staging", "--no-dump"])?.succeeded()?;
    changed_and_gone(&freehold, &app, host)
}

#[test]
fn a_data_service_with_several_databases_a_cache_and_a_queue() -> Result<()> {
    let freehold = Installation::start()?;
    let app = app("budget")?;
    deployed(&freehold, &app)?;
    let host = "acme.localhost";
    let urls = ["FACTS_URL", "STATISTICS_URL"].map(|name| variable(&freehold, host, name));
    let [facts, statistics] = urls;
    assert_ne!(facts?, statistics?);
    assert_eq!(variable(&freehold, host, "POD")?, "api");
    assert!(variable(&freehold, host, "APP_VERSION")?.starts_with("sha256:"));
    let answers = variable(&freehold, host, "CACHE_URL")?;
    let (queue, port) = (variable(&freehold, host, "QUEUE_HOST")?, variable(&freehold, host, "QUEUE_PORT")?);
    assert!(answers.starts_with("redis://app:") && !answers.ends_with(&format!("{queue}:{port}")));
    assert_eq!(freehold.get("api-acme.localhost", "/api/v1/admin/users")?.0, 403);
    assert_eq!(freehold.get("api-acme.localhost", "/api/v1/admin/campaigns")?.0, 200);
    let name = freehold
        .sql("postgres", "select datname from pg_database where datcollate = 'C' and datname like 'acme%users'")?;
    assert_eq!(name.trim(), "acme__budget__users");
    changed_and_gone(&freehold, &app, host)
}
