//! What the gateway does with each path of a route, and what is logged.

use std::io::{BufRead as _, BufReader};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use freehold_end_to_end::site::{host, url};
use freehold_end_to_end::{Place, Site, eventually, guestbook};
use freehold_testkit::kubernetes::{ControlPlane, Node};

/// The route's short timeout in this test.
const SHORT: Duration = Duration::from_secs(2);
/// How long what is asked for can't be answered.
const LOCKED: Duration = Duration::from_secs(16);

#[test]
fn each_path_has_its_own_timeout_and_logs_are_read_from_pods_and_jobs() -> Result<()> {
    let name = "each_path_has_its_own_timeout_and_logs_are_read_from_pods_and_jobs";
    let Some(node) = Node::for_test(name) else { return Ok(()) };
    let site = Site::start(Place::Node(node))?;
    let tenant = ControlPlane::unique("acme");
    let app = guestbook::copy()?;
    // Entries that wait for a lock take longer than that.
    app.redefine("timeout = \"30s\", retries = 3", "timeout = \"2s\", retries = 0")?;
    site.deploy_folder(&app.argument(), &tenant, &["--tier", "free", "--image", &site.place.guestbook()?])?
        .succeeded()?;

    // A stream lives on although the other path's timeout passes several times.
    let client = reqwest::blocking::Client::builder().no_proxy().timeout(None).build()?;
    let stream = client.get(url("/events?after=0")).header("host", host(&tenant)).send()?;
    assert_eq!(stream.status(), 200);
    let begin = Instant::now();
    let lines = BufReader::new(stream).lines();

    let lock = site.locked(&tenant, "entries", LOCKED)?;
    let asked = Instant::now();
    let (status, _) = site.get(&tenant, "/api/entries")?;
    assert_eq!(status, 504, "the gateway gives up");
    assert!(asked.elapsed() >= SHORT && asked.elapsed() < LOCKED, "{:?}", asked.elapsed());
    lock.join().ok().context("the lock's session")??;

    let entry = eventually("an entry is taken again", || site.write_entry(&tenant, "late").ok());
    let told = lines.map_while(Result::ok).find(|line| line.starts_with("data:") && line.contains("late"));
    assert!(told.is_some(), "the stream told of {entry}");
    assert!(begin.elapsed() > SHORT * 2, "longer than the short timeout");

    let service = site.freehold.run(["logs", "--tenant", &tenant, "--service", "web"])?.succeeded()?.stdout;
    assert!(service.contains("listening"), "{service}");
    let job = site.freehold.run(["logs", "--tenant", &tenant, "--job", "migrate"])?.succeeded()?.stdout;
    assert!(job.contains("applied 0001 entries"), "{job}");
    site.destroy(&tenant)?.succeeded()?;
    Ok(())
}
