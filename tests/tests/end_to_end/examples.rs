//! The examples, as their users run them.

use anyhow::Result;
use freehold_end_to_end::{Installation, eventually};

fn example(name: &str) -> String {
    format!("{}/../examples/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_guestbook_keeps_what_is_written_into_it() -> Result<()> {
    let freehold = Installation::start()?;
    freehold.deploy(&example("guestbook"), &["--tenant", "acme", "--tier", "pro"])?;
    let client = reqwest::blocking::Client::builder().no_proxy().build()?;
    let base = format!("http://127.0.0.1:{}", freehold.router_port());
    let answer = client
        .post(format!("{base}/api/entries"))
        .header("host", "acme.localhost")
        .header("content-type", "application/json")
        .body(r#"{"author": "Ada", "message": "it's \"quoted\"; DROP TABLE entries"}"#)
        .send()?;
    assert!(answer.status().is_success(), "{}", answer.text()?);
    let entries = freehold.get("acme.localhost", "/api/entries")?.1;
    assert!(entries.contains("DROP TABLE entries"), "{entries}");
    assert_eq!(freehold.get("acme.localhost", "/health/ready")?.0, 200);
    assert_eq!(freehold.deploy(&example("guestbook"), &["--tenant", "acme"])?["state"], "unchanged");
    freehold.run(["destroy", "--tenant", "acme", "--confirm", "acme"])?.succeeded()?;
    assert_eq!(freehold.processes(), [] as [u32; 0]);
    Ok(())
}

#[test]
fn the_notice_board_has_two_services_that_reach_each_other_and_a_worker() -> Result<()> {
    let freehold = Installation::start()?;
    let deployed = freehold.deploy(&example("noticeboard"), &["--tenant", "acme", "--tier", "free"])?;
    assert_eq!(deployed["state"], "succeeded");
    eventually("the page answers", || (freehold.get("acme-notices.localhost", "/").ok()?.0 == 200).then_some(()));
    assert_eq!(freehold.processes().len(), 3);
    Ok(())
}
