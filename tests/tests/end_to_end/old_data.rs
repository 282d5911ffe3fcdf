//! What an earlier release has left: opened, finished, changed, rolled back and taken away by this one.

use anyhow::Result;
use freehold_end_to_end::fixture::{self, Restored};
use freehold_end_to_end::{Installation, eventually};

#[test]
fn the_data_directory_of_an_earlier_release_goes_on_with_this_one() -> Result<()> {
    let mut restored = Restored::new("data-1")?;
    let freehold = &mut restored.freehold;
    freehold.up()?;

    // The operation that was cut off is finished by itself; the stacks that were there are there.
    eventually("initech answers", || answers(freehold, "initech", "/", "3"));
    eventually("acme answers", || answers(freehold, "acme", "/", "2"));
    answers(freehold, "acme", "/env/TOKEN", "token of acme").expect("the sealed secret opens");
    assert_eq!(freehold.sql("acme__probe", "SELECT line FROM kept")?, "of today");
    let failed = freehold.run(["status", "--tenant", "globex"])?;
    assert!(failed.stdout.contains("FH0702"), "why it failed is still told: {failed:?}");
    let history = freehold.run(["history", "--tenant", "acme", "--json"])?.succeeded()?.json()?;
    assert_eq!(history.as_array().map(Vec::len), Some(2));

    let app = fixture::app()?;
    app.version("4")?;
    for (tenant, revision) in [("acme", 3), ("globex", 2), ("initech", 2)] {
        let deployed = freehold.deploy(&app.argument(), &["--tenant", tenant])?;
        assert_eq!((&deployed["state"], &deployed["revision"]), (&"succeeded".into(), &revision.into()));
        eventually("version 4 answers", || answers(freehold, tenant, "/", "4"));
    }
    freehold.run(["rollback", "--tenant", "acme", "--yes"])?.succeeded()?;
    eventually("version 2 answers", || answers(freehold, "acme", "/", "2"));
    freehold.run(["rollback", "1", "--tenant", "acme", "--yes"])?.succeeded()?;
    eventually("version 1 answers", || answers(freehold, "acme", "/", "1"));
    assert_eq!(freehold.sql("acme__probe", "SELECT line FROM kept")?, "of today");

    for tenant in ["acme", "globex", "initech"] {
        freehold.run(["destroy", "--tenant", tenant, "--confirm", tenant])?.succeeded()?;
    }
    assert_eq!(freehold.processes(), [] as [u32; 0]);
    assert_eq!(freehold.run(["list", "--json"])?.succeeded()?.json()?, serde_json::json!([]));
    assert_eq!(freehold.sql("postgres", "SELECT count(*) FROM pg_database WHERE datname LIKE '%\\_\\_probe'")?, "0");
    assert_eq!(freehold.sql("postgres", "SELECT count(*) FROM pg_roles WHERE rolname LIKE '%\\_\\_probe%'")?, "0");
    freehold.run(["doctor"])?.succeeded()?;
    Ok(())
}

fn answers(freehold: &Installation, tenant: &str, path: &str, expected: &str) -> Option<()> {
    let answer = freehold.get(&format!("{tenant}.localhost"), path).ok()?;
    (answer == (200, expected.to_owned())).then_some(())
}
