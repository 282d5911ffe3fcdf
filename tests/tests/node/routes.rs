//! Everything that a route can have, through a real gateway.

use anyhow::Result;
use freehold_end_to_end::site::{TARGET, host};
use freehold_end_to_end::{Place, Site, eventually, guestbook, routes};
use freehold_testkit::kubernetes::{ControlPlane, HTTP_PORT, Node};

/// The guestbook's own, in whose place others come.
const PATHS: &str = "paths   = [{ prefix = \"/events\", timeout = \"6h\", retries = 0 }, { prefix = \"/\", timeout = \"30s\", retries = 3 }]\n";

#[test]
fn all_that_a_route_can_have_is_so_behind_envoy_gateway() -> Result<()> {
    let Some(node) = Node::for_test("all_that_a_route_can_have_is_so_behind_envoy_gateway") else { return Ok(()) };
    let site = Site::start(Place::Node(node))?;
    let tenant = ControlPlane::unique("routed");
    let app = guestbook::copy()?;
    app.redefine(PATHS, "")?;
    routes::give(&app)?;
    let set = ["secret", "set", "door", "--tenant", &tenant, "--app", "guestbook", "--target", TARGET];
    site.freehold.run_with_input(set, routes::PASSWORD)?.succeeded()?;
    let image = site.place.guestbook()?;
    site.deploy_folder(&app.argument(), &tenant, &["--tier", "free", "--image", &image])?.succeeded()?;
    // Hosts of the same domain lead to the node; a gateway is told of a policy a moment after it is accepted.
    let entrance = format!("http://{}:{HTTP_PORT}", Node::ADDRESS);
    let mut last = Ok(());
    eventually("everything is so", || {
        last = routes::prove(&entrance, &host(&tenant));
        last.is_ok().then_some(())
    });
    last?;
    let again = site.deploy_folder(&app.argument(), &tenant, &[])?.succeeded()?.last_json()?;
    assert_eq!(again["state"], "unchanged", "{again}");
    site.destroy(&tenant)?.succeeded()?;
    assert_eq!(site.left(&tenant)?, [] as [&str; 0]);
    Ok(())
}
