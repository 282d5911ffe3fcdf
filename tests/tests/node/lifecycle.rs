//! A tenant's life on a real cluster.

use anyhow::Result;
use freehold_end_to_end::site::{TARGET, host, namespace};
use freehold_end_to_end::{Place, Site, eventually, guestbook};
use freehold_testkit::kubernetes::{ControlPlane, HTTP_PORT, Node};

#[test]
fn a_tenant_answers_through_the_gateway_and_after_its_destroy_nothing_is_left() -> Result<()> {
    let name = "a_tenant_answers_through_the_gateway_and_after_its_destroy_nothing_is_left";
    let Some(node) = Node::for_test(name) else { return Ok(()) };
    let site = Site::start(Place::Node(node))?;
    let tenant = ControlPlane::unique("acme");
    let image = site.place.guestbook()?;

    let folder = guestbook::folder();
    let plan = ["plan", &folder, "--tenant", &tenant, "--tier", "pro", "--target", TARGET, "--image", &image];
    let plan = site.freehold.run(plan)?.succeeded()?.stdout;
    let plan = plan.split_whitespace().collect::<Vec<_>>().join(" ");
    for shown in ["namespace", "deployment", "route", "database", "quota", "network policies"] {
        assert!(plan.contains(shown), "the plan has no {shown}:\n{plan}");
    }
    assert_eq!(site.left(&tenant)?, [] as [&str; 0], "a plan makes nothing");

    let deployed = site.deploy(&tenant, &["--tier", "pro", "--image", &image])?.succeeded()?.last_json()?;
    assert_eq!((&deployed["state"], &deployed["revision"]), (&"succeeded".into(), &1.into()));
    let url = format!("http://{}:{HTTP_PORT}", host(&tenant));
    assert_eq!(deployed["outputs"]["routes"]["web"]["url"], url);
    // Verified means that it answers, now.
    let (status, page) = site.get(&tenant, "/")?;
    assert_eq!(status, 200, "{page}");
    let entry = site.write_entry(&tenant, "from outside")?;
    assert!(site.get(&tenant, "/api/entries")?.1.contains("from outside"));
    assert!(entry["id"].is_u64(), "{entry}");

    let again = site.deploy(&tenant, &[])?.succeeded()?.last_json()?;
    assert_eq!((&again["state"], &again["revision"]), (&"unchanged".into(), &1.into()), "{again}");
    site.is_well()?;

    // Everything that is there bears the mark; the destroy takes all of it.
    assert!(!site.left(&tenant)?.is_empty());
    site.destroy(&tenant)?.succeeded()?;
    assert_eq!(site.left(&tenant)?, [] as [&str; 0]);
    let gone = site.cluster().kubectl(&["get", "namespace", &namespace(&tenant)]).unwrap_err().to_string();
    assert!(gone.contains("NotFound"), "{gone}");
    assert_ne!(site.get(&tenant, "/")?.0, 200);
    assert_eq!(site.freehold.run(["list", "--json"])?.succeeded()?.json()?, serde_json::json!([]));
    site.is_well()
}

#[test]
fn a_changed_setting_rolls_out_and_a_rollback_brings_the_old_one_back() -> Result<()> {
    let name = "a_changed_setting_rolls_out_and_a_rollback_brings_the_old_one_back";
    let Some(node) = Node::for_test(name) else { return Ok(()) };
    let site = Site::start(Place::Node(node))?;
    let tenant = ControlPlane::unique("acme");
    let app = guestbook::copy()?;
    site.deploy_folder(&app.argument(), &tenant, &["--tier", "free", "--image", &site.place.guestbook()?])?
        .succeeded()?;
    let pods = |site: &Site<'_>| -> Result<Vec<String>> {
        let selector = "app.kubernetes.io/name=web";
        let names =
            site.cluster().kubectl(&["get", "pods", "-n", &namespace(&tenant), "-l", selector, "-o", "name"])?;
        Ok(names.lines().map(str::to_owned).collect())
    };
    let first = pods(&site)?;

    app.redefine("LOG_LEVEL    = \"info\"", "LOG_LEVEL    = \"debug\"")?;
    let second = site.deploy_folder(&app.argument(), &tenant, &[])?.succeeded()?.last_json()?;
    assert_eq!((&second["state"], &second["revision"]), (&"succeeded".into(), &2.into()), "{second}");
    let rolled = eventually("the old pod has gone", || pods(&site).ok().filter(|names| names.len() == 1));
    assert_ne!(rolled, first, "another pod serves");
    site.get(&tenant, "/")?;
    let log = ["logs", "--tenant", &tenant, "--service", "web"];
    eventually("a line of level debug is logged", || {
        let run = site.freehold.run(log).ok()?;
        run.stdout.contains(r#""level":"debug""#).then_some(())
    });

    site.freehold.run(["rollback", "--tenant", &tenant, "--yes"])?.succeeded()?;
    let environment = site.cluster().kubectl(&["get", "configmap", "web", "-n", &namespace(&tenant), "-o", "json"])?;
    assert!(environment.contains(r#""LOG_LEVEL": "info""#), "{environment}");
    assert_eq!(site.get(&tenant, "/")?.0, 200);
    site.destroy(&tenant)?.succeeded()?;
    assert_eq!(site.left(&tenant)?, [] as [&str; 0]);
    Ok(())
}
