//! Databases on several servers, with all that is chosen for them.

use std::fs;

use anyhow::Result;
use freehold_end_to_end::{App, Installation};
use freehold_testkit::postgres::TestServer;

/// What psql prints of the other server.
fn ask(server: &TestServer, database: &str, statement: &str) -> Result<String> {
    let url = server.url();
    let (there, _) = url.rsplit_once('/').unwrap_or_default();
    let url = format!("{there}/{database}");
    let output = std::process::Command::new("psql").args(["-XAtq", &url, "-c", statement]).output()?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

#[test]
fn a_database_is_made_on_the_server_that_it_names_and_what_was_chosen_for_it_stays() -> Result<()> {
    let other = TestServer::start()?;
    let mut freehold = Installation::new()?;
    let file = freehold.path().join("analytics.url");
    fs::write(&file, other.url())?;
    freehold.arguments(&["--database-server", &format!("analytics={}", file.display())]);
    freehold.up()?;
    ask(&other, "postgres", "CREATE DATABASE freehold_template_rows TEMPLATE template0")?;
    ask(&other, "freehold_template_rows", "CREATE EXTENSION pgrowlocks")?;
    ask(&other, "postgres", "ALTER DATABASE freehold_template_rows IS_TEMPLATE true ALLOW_CONNECTIONS false")?;
    let definition = "[database.main]\n\
        [database.reports]\nextensions = [\"pgrowlocks\"]\ntemplate = \"rows\"\n\
        server = { name = \"analytics\", version = \"15\", memory = \"1Gi\" }\n\
        [database.old]\nencoding = \"LATIN1\"\n\
        [service.web.env]\nA = \"${database.main.url}\"\nB = \"${database.reports.url}\"\nC = \"${database.old.url}\"\n";
    let app = App::small_and(definition)?;
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    let there = "SELECT count(*) FROM pg_database WHERE datname LIKE 'acme%'";
    assert_eq!((freehold.sql("postgres", there)?, ask(&other, "postgres", there)?), ("2".to_owned(), "1".to_owned()));
    let encoding = "SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname LIKE 'acme%old'";
    assert_eq!(freehold.sql("postgres", encoding)?, "LATIN1");
    let shell = ["db", "shell", "--tenant", "acme", "--database", "reports", "--", "-XAtqc"];
    let extension = "SELECT extname FROM pg_extension WHERE extname = 'pgrowlocks'";
    let said = freehold.run(shell.iter().copied().chain([extension]))?.succeeded()?;
    assert_eq!(said.stdout.trim(), "pgrowlocks");
    assert_eq!(freehold.deploy(&app.argument(), &["--tenant", "acme"])?["state"], "unchanged");

    // Another server, another encoding: both would be new and empty.
    let text = fs::read_to_string(app.definition())?;
    for (from, to, what) in [("name = \"analytics\", ", "", "reports"), ("\"LATIN1\"", "\"UTF8\"", "old")] {
        fs::write(app.definition(), text.replace(from, to))?;
        let refused = freehold.run(["deploy", &app.argument(), "--tenant", "acme"])?;
        // On the machine's own server there is no such template, which is told first.
        match what {
            "reports" => refused.failed_with(2, "FH1272")?,
            _ => refused.failed_with(1, "FH0803")?,
        };
    }
    fs::write(app.definition(), text.replace("name = \"analytics\"", "name = \"analytcs\""))?;
    freehold.run(["deploy", &app.argument(), "--tenant", "acme"])?.failed_with(2, "FH1273")?;
    let newer = text.replace("version = \"15\"", "version = \"18\"");
    fs::write(app.definition(), newer)?;
    let version: u32 = ask(&other, "postgres", "SHOW server_version_num")?.parse()?;
    if version < 180_000 {
        freehold.run(["deploy", &app.argument(), "--tenant", "acme"])?.failed_with(2, "FH1270")?;
    }
    fs::write(app.definition(), &text)?;

    freehold.run(["destroy", "--tenant", "acme", "--confirm", "acme"])?.succeeded()?;
    assert_eq!((freehold.sql("postgres", there)?, ask(&other, "postgres", there)?), ("0".to_owned(), "0".to_owned()));
    assert_eq!(ask(&other, "postgres", "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'acme%'")?, "0");
    Ok(())
}
