//! A tenant's life in a cluster.

use anyhow::Result;
use freehold_end_to_end::guestbook;
use freehold_end_to_end::site::TARGET;

use crate::Setting;

#[test]
fn a_deploy_is_planned_applied_repeated_changed_rolled_back_and_destroyed() -> Result<()> {
    let name = "a_deploy_is_planned_applied_repeated_changed_rolled_back_and_destroyed";
    let Some(Setting { site, tenant, namespace, image }) = Setting::of(name)? else { return Ok(()) };
    let app = guestbook::copy()?;
    let folder = app.argument();

    let plan = ["plan", &folder, "--tenant", &tenant, "--tier", "pro", "--target", TARGET, "--image", &image];
    let plan = site.freehold.run(plan)?.succeeded()?.stdout;
    assert!(plan.contains("namespace"), "{plan}");
    assert_eq!(site.left(&tenant)?, [] as [&str; 0], "a plan makes nothing");

    let first =
        site.deploy_folder(&folder, &tenant, &["--tier", "pro", "--image", &image])?.succeeded()?.last_json()?;
    assert_eq!((&first["state"], &first["revision"]), (&"succeeded".into(), &1.into()), "{first}");
    let deployment = site.cluster().get(&["deployment", "web", "-n", &namespace])?;
    assert_eq!(deployment["spec"]["replicas"], 2, "tier pro");
    let reference = deployment["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
    assert!(reference.contains("/guestbook@sha256:"), "an image is a digest: {reference}");

    let second = site.deploy_folder(&folder, &tenant, &[])?.succeeded()?.last_json()?;
    assert_eq!((&second["state"], &second["revision"]), (&"unchanged".into(), &1.into()), "{second}");

    app.redefine("LOG_LEVEL    = \"info\"", "LOG_LEVEL    = \"debug\"")?;
    let third = site.deploy_folder(&folder, &tenant, &[])?.succeeded()?.last_json()?;
    assert_eq!(third["revision"], 2, "{third}");
    site.freehold.run(["rollback", "--tenant", &tenant, "--yes"])?.succeeded()?;
    let config = site.cluster().get(&["configmap", "web", "-n", &namespace])?;
    assert_eq!(config["data"]["LOG_LEVEL"], "info");
    site.is_well()?;

    // Somebody's change is drift, which a deploy mends.
    let patch = r#"{"data":{"LOG_LEVEL":"error"}}"#;
    site.cluster().kubectl(&["patch", "configmap", "web", "-n", &namespace, "--type=merge", "--patch", patch])?;
    assert!(site.is_well().is_err(), "doctor sees drift");

    site.destroy(&tenant)?.succeeded()?;
    assert_eq!(site.left(&tenant)?, [] as [&str; 0]);
    site.is_well()
}

/// Keys of a service that the guestbook has no use for.
const MORE: &str = r#"
[quota]
cpu    = "4..8"
memory = "4Gi..8Gi"

[secret.token]
generate = {}

[service.web.ports]
admin = { port = 9000, protocol = "tcp" }

[service.web.files]
conf  = { path = "/etc/guestbook/guestbook.conf", text = "route = ${route.web.url}\n" }
token = { path = "/run/guestbook/token", text = "${secret.token}", mode = "0400" }

[service.web.init.warm-up]
service = "web"
command = ["guestbook", "--help"]

[service.web.sidecar.second]
service = "web"
port    = 9001
reads   = ["DATABASE_URL", "SESSION_KEY", "LOG_LEVEL?"]
[service.web.sidecar.second.env]
DATABASE_URL = "${database.main.url}"
SESSION_KEY  = "${secret.session-key}"

[service.orders]
image      = "IMAGE"
command    = ["guestbook", "serve"]
port       = 50051
protocol   = "grpc"
health     = { ready = { grpc = "shop.Orders", period = "2s" }, live = { command = ["guestbook", "ping"], timeout = "2s", failures = 5 }, start = { http = "/", port = "web" } }
prometheus = { port = 9464 }
[service.orders.ports]
web = { port = 8080 }

[job.report]
service = "web"
command = ["guestbook", "--help"]
when    = "demand"
[job.report.env]
ORDERS = "${service.orders.url}"
WEB    = "${service.orders.web.url}"
"#;

#[test]
fn what_a_service_says_is_what_the_cluster_keeps() -> Result<()> {
    let name = "what_a_service_says_is_what_the_cluster_keeps";
    let Some(Setting { site, tenant, namespace, image }) = Setting::of(name)? else { return Ok(()) };
    let app = guestbook::copy()?;
    let reference = image.trim_start_matches("web=");
    let repository = reference.rsplit_once(':').map_or(reference, |(repository, _)| repository);
    let before = std::fs::read_to_string(app.definition())?;
    let before = before.split("[tier.free]").next().unwrap_or_default();
    app.define(&format!("{before}{}", MORE.replace("IMAGE", repository)))?;
    let orders = format!("orders={reference}");
    let arguments = ["--image", &image, "--image", &orders];
    site.deploy_folder(&app.argument(), &tenant, &arguments)?.succeeded()?;
    let second = site.deploy_folder(&app.argument(), &tenant, &[])?.succeeded()?.last_json()?;
    assert_eq!((&second["state"], &second["revision"]), (&"unchanged".into(), &1.into()), "{second}");
    site.is_well()?;
    let pods = site.cluster().get(&["deployment", "web", "-n", &namespace])?["spec"]["template"]["spec"].clone();
    assert_eq!(pods["initContainers"][0]["image"], pods["containers"][0]["image"]);

    // A file that changes restarts who has it, and no other.
    let rollout = |name: &str| -> Result<String> {
        Ok(site.cluster().get(&["deployment", name, "-n", &namespace])?["spec"]["template"].to_string())
    };
    let (web, orders) = (rollout("web")?, rollout("orders")?);
    app.redefine("route = ", "at = ")?;
    site.deploy_folder(&app.argument(), &tenant, &[])?.succeeded()?;
    assert!(rollout("web")? != web && rollout("orders")? == orders);
    site.destroy(&tenant)?.succeeded()?;
    assert_eq!(site.left(&tenant)?, [] as [&str; 0]);
    Ok(())
}

#[test]
fn a_namespace_of_a_stack_is_as_hard_as_it_can_be() -> Result<()> {
    let name = "a_namespace_of_a_stack_is_as_hard_as_it_can_be";
    let Some(Setting { site, tenant, namespace, image }) = Setting::of(name)? else { return Ok(()) };
    site.deploy(&tenant, &["--tier", "free", "--image", &image])?.succeeded()?;

    let found = site.cluster().get(&["namespace", &namespace])?;
    assert_eq!(found["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted");
    let quota = site.cluster().get(&["resourcequota", "freehold", "-n", &namespace])?;
    assert_eq!(quota["spec"]["hard"]["pods"], "8", "the tier's figure");
    let policies = site.cluster().get(&["networkpolicies", "-n", &namespace])?.to_string();
    for policy in ["deny-all", "allow-dns"] {
        assert!(policies.contains(policy), "{policies}");
    }
    let pods = site.cluster().get(&["pods", "-n", &namespace])?;
    for pod in pods["items"].as_array().into_iter().flatten() {
        assert_eq!(pod["spec"]["automountServiceAccountToken"], false, "{pod}");
        for container in pod["spec"]["containers"].as_array().into_iter().flatten() {
            assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true, "{container}");
            assert!(container["resources"]["limits"]["memory"].is_string(), "{container}");
        }
    }
    // No secret stands where everybody with a view of configuration reads it.
    let visible = site.cluster().get(&["deployments,configmaps,cronjobs,jobs", "-n", &namespace])?.to_string();
    assert!(!visible.contains("postgresql://"), "a database's URL is readable: {visible}");
    site.destroy(&tenant)?.succeeded()?;
    assert_eq!(site.left(&tenant)?, [] as [&str; 0]);
    Ok(())
}
