//! Everything that a route can have, on one machine.

use anyhow::Result;
use freehold_end_to_end::{App, Installation, eventually, routes};

#[test]
fn all_that_a_route_can_have_is_so_and_nothing_of_it_is_left() -> Result<()> {
    let mut freehold = Installation::start()?;
    let app = App::small()?;
    routes::give(&app)?;
    let door = |freehold: &Installation, tenant: &str| {
        let set = ["secret", "set", "door", "--tenant", tenant, "--app", "probe"];
        freehold.run_with_input(set, routes::PASSWORD)?.succeeded()
    };
    door(&freehold, "acme")?;
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    let entrance = format!("http://127.0.0.1:{}", freehold.router_port());
    routes::prove(&entrance, "acme.localhost")?;
    assert_eq!(freehold.deploy(&app.argument(), &["--tenant", "acme"])?["state"], "unchanged");

    freehold.kill()?;
    freehold.up()?;
    let entrance = format!("http://127.0.0.1:{}", freehold.router_port());
    eventually("all is as it was", || routes::prove(&entrance, "acme.localhost").ok());

    // A host that goes is given up, and another stack may have it.
    app.redefine(", \"shop-${stack.name}.${target.domain}\"]", "]")?;
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    assert_eq!(freehold.get("shop-acme.localhost", "/")?.0, 404);
    assert_eq!(freehold.get("acme.localhost", "/")?.0, 200);
    app.redefine("\"ops-${stack.name}.${target.domain}\"", "\"shop-acme.localhost\"")?;
    app.redefine("basic_auth = { ops = \"${secret.door}\" }", "request_headers = { set = { X-A = \"b\" } }")?;
    app.redefine("[secret.door]", "")?;
    freehold.deploy(&app.argument(), &["--tenant", "beta"])?;
    assert_eq!(freehold.get("shop-acme.localhost", "/")?.0, 200);
    freehold.run(["plan", &app.argument(), "--tenant", "acme"])?.failed_with(1, "FH0802")?;

    for tenant in ["acme", "beta"] {
        freehold.run(["destroy", "--tenant", tenant, "--confirm", tenant])?.succeeded()?;
    }
    assert_eq!(freehold.get("acme.localhost", "/")?.0, 404);
    Ok(())
}
