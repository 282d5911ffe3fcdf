//! A new version under load: nobody notices.

use std::time::Instant;

use anyhow::Result;
use freehold_end_to_end::traffic::Traffic;
use freehold_end_to_end::{Place, Site, eventually, guestbook};
use freehold_testkit::kubernetes::{ControlPlane, Node};

#[test]
fn a_rollout_under_load_fails_no_request_and_loses_no_event() -> Result<()> {
    let Some(node) = Node::for_test("a_rollout_under_load_fails_no_request_and_loses_no_event") else { return Ok(()) };
    let site = Site::start(Place::Node(node))?;
    let tenant = ControlPlane::unique("busy");
    let app = guestbook::copy()?;
    site.deploy_folder(&app.argument(), &tenant, &["--tier", "pro", "--image", &site.place.guestbook()?])?
        .succeeded()?;

    let traffic = Traffic::start(&tenant);
    eventually("requests are answered", || (traffic.good() > 300).then_some(()));
    app.redefine("LOG_LEVEL    = \"info\"", "LOG_LEVEL    = \"warn\"")?;
    let begin = Instant::now();
    let deployed = site.deploy_folder(&app.argument(), &tenant, &[])?.succeeded()?.last_json()?;
    let took = begin.elapsed();
    assert_eq!(deployed["revision"], 2);
    // The old Pods are still on their way out.
    let after = traffic.good();
    eventually("requests go on", || (traffic.good() > after + 3000).then_some(()));
    let outcome = traffic.stop()?;

    println!(
        "rollout: {:.1} s, {} requests at {:.0}/s, {} failed, {} entries, {} lost, {} reconnects",
        took.as_secs_f64(),
        outcome.good,
        outcome.rate(),
        outcome.failed.len(),
        outcome.written,
        outcome.lost,
        outcome.reconnects
    );
    assert_eq!(outcome.failed, [] as [&str; 0]);
    assert_eq!(outcome.lost, 0, "of {} entries", outcome.written);
    assert!(outcome.reconnects > 0, "every stream was on an old Pod and had to come back");
    site.destroy(&tenant)?.succeeded()?;
    Ok(())
}
