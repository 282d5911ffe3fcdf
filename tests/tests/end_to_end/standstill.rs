//! What is stopped on purpose, and what that costs: a destroy whose dump fails, a platform that is stopped in the middle of a migration.

use anyhow::{Context as _, Result};
use freehold_end_to_end::{App, Installation, eventually};

const DATA: &str = "[database.main]\n[secret.field-key]\ngenerate = { bytes = 32, as = \"hex\" }\n[service.web.env]\n\
FIELD_KEY = \"${secret.field-key}\"\nDATABASE_URL = \"${database.main.url}\"\n";

/// An index that calls a function without naming its schema: no plan sees that it can't be restored.
const NOT_RESTORED: &str = "SET ROLE acme__probe__owner; \
    CREATE FUNCTION inner_one(x int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT x + 1'; \
    CREATE FUNCTION outer_one(x int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN inner_one(x); END'; \
    CREATE TABLE entries (x int); INSERT INTO entries VALUES (1); CREATE INDEX ON entries (outer_one(x))";

#[test]
fn a_destroy_whose_dump_fails_takes_nothing_away_and_everything_runs_again() -> Result<()> {
    let freehold = Installation::start()?;
    let app = App::small_and(DATA)?;
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    let key = freehold.get("acme.localhost", "/env/FIELD_KEY")?;
    freehold.sql("acme__probe", NOT_RESTORED)?;
    let failed = freehold.run(["destroy", "--tenant", "acme", "--confirm", "acme"])?;
    let failed = failed.failed_with(1, "nothing was deleted")?;
    assert!(failed.stderr.contains("--no-dump"), "{}", failed.stderr);
    assert_eq!(freehold.get("acme.localhost", "/env/FIELD_KEY")?, key, "the service runs, with the secret that it had");
    assert_eq!(freehold.sql("acme__probe", "SELECT count(*) FROM entries")?, "1");
    let shut = "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'acme%\\_app%' AND NOT rolcanlogin";
    assert_eq!(freehold.sql("postgres", shut)?, "0", "logins are open");
    let plan = freehold.run(["plan", &app.argument(), "--tenant", "acme"])?.succeeded()?;
    assert!(!plan.stdout.contains("to delete") && !plan.stdout.contains("drift"), "{}", plan.stdout);

    freehold.run(["destroy", "--tenant", "acme", "--confirm", "acme", "--no-dump"])?.succeeded()?;
    assert_eq!(freehold.get("acme.localhost", "/")?.0, 404);
    assert_eq!(freehold.processes(), [] as [u32; 0]);
    Ok(())
}

/// An index whose function doesn't come to an end in the database that the dump is restored into.
const NEVER_RESTORED: &str = "SET ROLE acme__probe__owner; \
    CREATE FUNCTION slow(x int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN \
        IF pg_catalog.starts_with(pg_catalog.current_database(), ''freehold_restore'') THEN PERFORM pg_catalog.pg_sleep(100000); END IF; \
        RETURN x; END'; \
    CREATE TABLE entries (x int); INSERT INTO entries VALUES (1); CREATE INDEX ON entries (slow(x))";

#[test]
fn a_destroy_that_is_killed_and_stopped_while_it_dumps_goes_on_until_it_is_cancelled_and_all_is_as_before() -> Result<()>
{
    let mut freehold = Installation::start()?;
    let app = App::small_and(DATA)?;
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    freehold.sql("acme__probe", NEVER_RESTORED)?;
    let mut destroy = freehold.start_run(["destroy", "--tenant", "acme", "--confirm", "acme"])?;
    let restoring = |freehold: &Installation| {
        eventually("the dump is restored", || {
            let count = freehold.sql("postgres", "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
            count.ok().filter(|count| count == "1")
        });
        let open = "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'acme%\\_app%' AND rolcanlogin";
        freehold.sql("postgres", open)
    };
    assert_eq!(restoring(&freehold)?, "0", "nobody logs in");
    assert_eq!(freehold.get("acme.localhost", "/")?.0, 503);
    freehold.kill()?;
    freehold.up()?;
    assert_eq!(restoring(&freehold)?, "0", "nobody logs in");
    freehold.down()?;
    freehold.up()?;
    assert_eq!(restoring(&freehold)?, "0", "nobody logs in");
    tokio::runtime::Runtime::new()?.block_on(async {
        let client = freehold::Client::connect_to(&freehold.data())?;
        let stacks = client.stacks(&[]).await?;
        let operation = stacks.first().and_then(|stack| stack.operation);
        client.cancel(operation.context("nothing is under way")?).await?;
        anyhow::Ok(())
    })?;
    eventually("everything runs again", || freehold.get("acme.localhost", "/").ok().filter(|answer| answer.0 == 200));
    destroy.wait()?;
    let told = eventually("the operation is over", || {
        let status = freehold.run(["status", "--tenant", "acme"]).ok()?;
        status.stdout.contains("the destroy: cancelled").then_some(status.stdout)
    });
    assert!(
        told.contains("ready · revision 1")
            && told.contains("nothing was deleted")
            && told.contains("✓ service    web"),
        "{told}"
    );
    let shut = "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'acme%\\_app%' AND NOT rolcanlogin";
    assert_eq!(freehold.sql("postgres", shut)?, "0", "logins are open");
    assert_eq!(
        freehold.sql("postgres", "SELECT count(*) FROM pg_database WHERE datname LIKE 'freehold_restore%'")?,
        "0"
    );
    freehold.run(["destroy", "--tenant", "acme", "--confirm", "acme", "--no-dump"])?.succeeded()?;
    Ok(())
}

const SLOW_MIGRATION: &str = "[database.main]\n[job.migrate]\nservice = \"web\"\ncommand = [\"sh\", \"-c\", '''\n\
psql \"$DATABASE_URL\" -Xqc 'CREATE TABLE steps (n int)' && sleep 4 && exec psql \"$DATABASE_URL\" -Xqc 'INSERT INTO steps VALUES (1)'\n\
''']\n[job.migrate.env]\nDATABASE_URL = \"${database.main.migration_url}\"\n";

#[test]
fn a_migration_that_runs_when_the_platform_is_stopped_keeps_its_database() -> Result<()> {
    let mut freehold = Installation::start()?;
    let app = App::small_and(SLOW_MIGRATION)?;
    let mut deploy = freehold.start_run(["deploy", &app.argument(), "--tenant", "acme", "--yes"])?;
    eventually("the migration has begun", || {
        let count = freehold.sql("acme__probe", "SELECT count(*) FROM pg_tables WHERE tablename = 'steps'");
        count.ok().filter(|count| count == "1")
    });
    freehold.down()?;
    deploy.wait()?;
    freehold.up()?;
    eventually("the deploy goes on", || freehold.get("acme.localhost", "/").ok().filter(|answer| answer.0 == 200));
    assert_eq!(freehold.sql("acme__probe", "SELECT count(*) FROM steps")?, "1", "it ran once, to its end");
    Ok(())
}

#[test]
fn a_service_that_does_not_get_ready_keeps_nobody_waiting() -> Result<()> {
    let mut freehold = Installation::start()?;
    let app = App::small_and("[service.web.env]\nFAULT = \"never-ready\"\n")?;
    app.redefine("port    = 8080", "port    = 8080\nstart_timeout = \"10m\"")?;
    let mut deploy = freehold.start_run(["deploy", &app.argument(), "--tenant", "acme", "--yes"])?;
    eventually("the service has been started", || (freehold.processes().len() == 1).then_some(()));
    freehold.run(["status", "--tenant", "acme", "--json"])?;
    freehold.run(["plan", &app.argument(), "--tenant", "acme"])?.succeeded()?;
    freehold.run(["destroy", "--tenant", "acme", "--confirm", "acme"])?.failed_with(1, "FH0902")?;
    freehold.down()?;
    deploy.wait()?;
    assert_eq!(freehold.processes(), [] as [u32; 0]);
    Ok(())
}
