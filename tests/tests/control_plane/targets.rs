//! Clusters as targets: which one it is, and what Freehold may do there.

use std::thread;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use freehold_end_to_end::site::{DOMAIN, TARGET, namespace};
use freehold_end_to_end::{Place, Proxy, Run, Simulated, Site, eventually, guestbook};
use freehold_testkit::kubernetes::{ControlPlane, Options};
use serde_json::{Value, json};

use crate::Setting;
use crate::limits::DeadWebhook;

const TOKEN: &str = "the-same-token-on-both";

/// Two clusters of one's own that take the same token.
fn two(test: &str) -> Option<(Simulated, Simulated)> {
    let options = || Options { users: vec![format!(r#"{TOKEN},freehold,7,"system:masters""#)], ..Options::default() };
    thread::scope(|scope| {
        let other = scope.spawn(|| Simulated::own_for_test(test, &options()));
        let one = Simulated::own_for_test(test, &options());
        one.zip(other.join().ok().flatten())
    })
}

/// A kubeconfig for an address that leads to one of them or the other.
fn kubeconfig(proxy: &Proxy, clusters: [&ControlPlane; 2]) -> String {
    // The check of certificates can't tell them apart, as behind one authority of a company.
    let authorities = clusters.map(|cluster| cluster.admin().authority.as_str()).join("\n");
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": {
            "server": format!("https://{}", proxy.address()), "certificate-authority-data": STANDARD.encode(authorities)}}],
        "users": [{"name": "test", "user": {"token": TOKEN}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    });
    config.to_string()
}

fn address(cluster: &ControlPlane) -> &str {
    cluster.server().trim_start_matches("https://")
}

#[test]
fn two_targets_hold_stacks_of_the_same_name_and_another_cluster_behind_an_address_is_refused() -> Result<()> {
    let name = "two_targets_hold_stacks_of_the_same_name_and_another_cluster_behind_an_address_is_refused";
    let Some((one, other)) = two(name) else { return Ok(()) };
    let (site, elsewhere) =
        (Site::without_target(Place::Simulated(&one))?, Site::without_target(Place::Simulated(&other))?);
    let proxy = Proxy::start(address(one.cluster()))?;
    let config = site.write("proxy.kubeconfig", &kubeconfig(&proxy, [one.cluster(), other.cluster()]))?;
    site.add_target(TARGET, &config)?.succeeded()?;
    let direct = site.write("other.kubeconfig", &other.cluster().kubeconfig()?)?;
    // Each target has a database server of its own.
    let server = format!("{}\n", elsewhere.database_url());
    let (direct, registry) = (direct.display().to_string(), other.registry().address());
    let add = ["target", "add", "second", "--kubeconfig", &direct, "--domain", DOMAIN, "--database-url-stdin"];
    let more = ["--gateway", "freehold-gateway/freehold-gateway", "--insecure-registry", registry];
    let more =
        [&more[..], &["--data-plane-namespace", "freehold-gateway", "--database-address", "192.0.2.2:5432"]].concat();
    site.freehold.run_with_input([&add[..], &more].concat(), &server)?.succeeded()?;

    let (folder, tenant) = (guestbook::folder(), "acme");
    let first = site.place.guestbook()?;
    site.deploy(tenant, &["--tier", "free", "--image", &first])?.succeeded()?;
    let second = Place::Simulated(&other).guestbook()?;
    let deploy = ["deploy", &folder, "--tenant", tenant, "--tier", "free", "--yes", "--json", "--target", "second"];
    site.freehold.run([&deploy[..], &["--image", &second]].concat())?.succeeded()?;
    for cluster in [one.cluster(), other.cluster()] {
        cluster.get(&["deployment", "web", "-n", &namespace(tenant)])?;
    }
    let stacks = site.freehold.run(["list", "--json"])?.succeeded()?.json()?;
    assert_eq!(stacks.as_array().map(Vec::len), Some(2), "{stacks}");

    // A target with stacks stays.
    let refused = site.freehold.run(["target", "remove", "second", "--yes"])?;
    assert_ne!(refused.code, 0, "{refused:#?}");

    // The same address, the same token, another cluster, where a stack of that name is.
    let before = other.cluster().get(&["deployment", "web", "-n", &namespace(tenant)])?;
    proxy.lead_to(address(other.cluster()));
    let deploy: &[&str] = &["deploy", &folder, "--tenant", tenant, "--yes", "--image", &first, "--target", TARGET];
    let destroy: &[&str] = &["destroy", "--tenant", tenant, "--confirm", tenant, "--target", TARGET];
    let identity = other.cluster().get(&["namespace", "kube-system"])?["metadata"]["uid"].clone();
    let identity = identity.as_str().unwrap_or_default();
    for command in [deploy, destroy] {
        // That it is the right cluster is known for some seconds; until they are over, what is there is another stack's.
        eventually("the cluster is named", || {
            let run = site.freehold.run(command).ok()?;
            assert_ne!(run.code, 0, "{run:#?}");
            (run.stderr.contains(identity) || run.stdout.contains(identity)).then_some(())
        });
    }
    // Nothing of the stack is taken for gone.
    for command in [&["status", "--tenant", tenant, "--target", TARGET][..], &["list", "--target", TARGET]] {
        let run = site.freehold.run(command)?;
        let told = run.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(told.contains("this is another cluster than the target's"), "{run:#?}");
    }
    let after = other.cluster().get(&["deployment", "web", "-n", &namespace(tenant)])?;
    assert_eq!(after["metadata"]["resourceVersion"], before["metadata"]["resourceVersion"], "nothing was touched");
    proxy.lead_to(address(one.cluster()));

    for target in [TARGET, "second"] {
        site.freehold.run(["destroy", "--tenant", tenant, "--confirm", tenant, "--target", target])?.succeeded()?;
        site.freehold.run(["target", "remove", target, "--yes"])?.succeeded()?;
    }
    for cluster in [one.cluster(), other.cluster()] {
        let marked =
            cluster.kubectl(&["get", "namespaces", "-l", "app.kubernetes.io/managed-by=freehold", "-o", "name"])?;
        assert_eq!(marked, "", "the scratch namespace goes with the target");
    }
    Ok(())
}

#[test]
fn a_token_that_is_not_good_any_more_is_told_and_a_new_one_goes_on() -> Result<()> {
    let name = "a_token_that_is_not_good_any_more_is_told_and_a_new_one_goes_on";
    let Some(Setting { site, tenant, image, .. }) = Setting::of(name)? else { return Ok(()) };
    let app = guestbook::copy()?;
    let folder = app.argument();
    site.deploy_folder(&folder, &tenant, &["--tier", "free", "--image", &image])?.succeeded()?;
    // A token ends with its service account.
    let (account, space) = site.account()?;
    site.cluster().kubectl(&["delete", "serviceaccount", &account, "-n", &space])?;
    eventually("the API server has noticed", || {
        (site.freehold.run(["target", "check", TARGET]).ok()?.code != 0).then_some(())
    });
    app.redefine("LOG_LEVEL    = \"info\"", "LOG_LEVEL    = \"debug\"")?;
    let run = site.deploy_folder(&folder, &tenant, &[])?;
    assert_ne!(run.code, 0, "{run:#?}");
    let said = format!("{}{}", run.stdout, run.stderr);
    assert!(said.contains("401") || said.contains("nauthorized") || said.contains("credentials"), "{said}");

    site.add_target(TARGET, &site.kubeconfig()?)?.succeeded()?;
    site.deploy_folder(&folder, &tenant, &[])?.succeeded()?;
    site.destroy(&tenant)?.succeeded()?;
    Ok(())
}

#[test]
fn a_permission_that_is_missing_is_named_with_its_verb_and_resource() -> Result<()> {
    let name = "a_permission_that_is_missing_is_named_with_its_verb_and_resource";
    let Some(Setting { site, tenant, image, .. }) = Setting::of(name)? else { return Ok(()) };
    let (account, _) = site.account()?;
    let mut role = site.cluster().get(&["clusterrole", &account])?;
    let rules = role["rules"].as_array_mut().context("a role without rules")?;
    let before = rules.len();
    rules.retain(|rule| rule["resources"] != json!(["networkpolicies"]));
    assert_eq!(rules.len(), before - 1);
    let patch = json!({"rules": rules}).to_string();
    site.cluster().kubectl(&["patch", "clusterrole", &account, "--type=merge", "--patch", &patch])?;

    let check = site.freehold.run(["target", "check", TARGET, "--json"])?;
    assert_ne!(check.code, 0);
    let findings = check.json()?;
    let bad: Vec<&Value> = findings.as_array().into_iter().flatten().filter(|one| one["level"] == "error").collect();
    let said = format!("{bad:?}");
    assert!(said.contains("create") && said.contains("networkpolicies"), "{said}");

    let run = site.deploy(&tenant, &["--tier", "free", "--image", &image])?;
    assert_ne!(run.code, 0, "{run:#?}");
    let said = format!("{}{}", run.stdout, run.stderr);
    assert!(said.contains("networkpolicies"), "{said}");
    assert_eq!(site.left(&tenant)?, [] as [&str; 0], "known before anything was made");
    Ok(())
}

#[test]
fn a_cluster_without_the_definitions_that_are_needed_is_not_taken_and_it_says_what_to_install() -> Result<()> {
    let name = "a_cluster_without_the_definitions_that_are_needed_is_not_taken_and_it_says_what_to_install";
    if let Some(reason) = ControlPlane::missing() {
        println!("skipped: {name}: kubernetes: {reason}");
        return Ok(());
    }
    let cluster = ControlPlane::start_with(&Options { bare: true, ..Options::default() })?;
    let Some(simulated) = Simulated::for_test(name) else { return Ok(()) };
    let site = Site::without_target(Place::Simulated(simulated))?;
    let config = site.write("bare.kubeconfig", &cluster.kubeconfig()?)?;
    let run = site.add_target(TARGET, &config)?;
    assert_ne!(run.code, 0, "{run:#?}");
    assert!(run.stderr.contains("Gateway API") && run.stderr.contains("install"), "{run:#?}");
    let targets = site.freehold.run(["target", "list", "--json"])?.json()?.to_string();
    assert!(!targets.contains("\"prod\""), "{targets}");
    let marked =
        cluster.kubectl(&["get", "namespaces", "-l", "app.kubernetes.io/managed-by=freehold", "-o", "name"])?;
    assert_eq!(marked, "", "nothing was made there");
    Ok(())
}

/// The steps of all operations of a site.
#[derive(PartialEq)]
struct Steps {
    under_way: i64,
    begun: i64,
}

fn steps(site: &Site<'_>) -> Result<Steps> {
    let of = |records: &str| {
        let count =
            format!("SELECT count(DISTINCT record->>'step') FROM journal WHERE record->>'record' IN ({records})");
        Ok::<i64, anyhow::Error>(site.freehold.sql("freehold", &count)?.parse()?)
    };
    let begun = of("'step-started'")?;
    Ok(Steps { under_way: begun - of("'step-done', 'step-failed'")?, begun })
}

#[test]
fn a_job_that_can_not_start_says_why_and_goes_on_with_a_new_token_when_its_own_is_withdrawn() -> Result<()> {
    let name = "a_job_that_can_not_start_says_why_and_goes_on_with_a_new_token_when_its_own_is_withdrawn";
    let Some(Setting { site, tenant, namespace, image }) = Setting::of(name)? else { return Ok(()) };
    let app = guestbook::copy()?;
    app.redefine("retry   = \"safe\"", "retry   = \"ask\"")?;
    // The tenant's namespace isn't there yet: that the webhook is asked is seen in another one.
    let probe = ControlPlane::unique("probe");
    site.cluster().kubectl(&["create", "namespace", &probe])?;
    let webhook = DeadWebhook { namespaces: &[&namespace, &probe], operation: "CREATE", resource: "pods" };
    let nobody = json!({"url": "https://127.0.0.1:9/policy"});
    webhook.reaches(&site, &nobody, &["run", "probe", "--image=probe", "-n", &probe, "--dry-run=server"])?;
    site.cluster().kubectl(&["delete", "namespace", &probe, "--wait=false"])?;
    let folder = app.argument();
    let deploy =
        ["deploy", &folder, "--tenant", &tenant, "--tier", "free", "--target", TARGET, "--image", &image, "--yes"];
    let deploying = site.freehold.start_run(deploy)?;
    let says = |words: &str| {
        let run = site.freehold.run(["status", "--tenant", &tenant, "--target", TARGET]).ok()?;
        let told = run.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        told.contains(words).then_some(())
    };
    eventually("the status says why the migration doesn't start", || says("it waits for job migrate: no pod can be"));
    // Every other step that is under way would fail with the token.
    let mut looks = Vec::new();
    eventually("nothing else is under way", || {
        looks.push(steps(&site).ok()?);
        looks.iter().rev().take_while(|look| Some(*look) == looks.last() && look.under_way == 1).nth(4).map(|_| ())
    });

    let (account, space) = site.account()?;
    site.cluster().kubectl(&["delete", "serviceaccount", &account, "-n", &space])?;
    eventually("it says that it can't see the run any more", || says("the run can't be observed"));
    site.add_target(TARGET, &site.kubeconfig()?)?.succeeded()?;
    eventually("it is looked at with the new token", || says("it waits for job migrate: no pod can be"));
    site.cluster().kubectl(&["delete", "validatingwebhookconfiguration", &namespace])?;
    let run = Run::from(deploying.wait_with_output()?).succeeded()?;
    let told = run.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    for why in ["policy.example.org", "the run can't be observed"] {
        assert!(told.contains(why), "{run:#?}");
    }
    let jobs = site.cluster().get(&["jobs", "-n", &namespace, "-l", "app.kubernetes.io/name=migrate"])?;
    assert_eq!(jobs["items"].as_array().map(Vec::len), Some(1), "it ran once: {jobs}");
    site.destroy(&tenant)?.succeeded()?;
    Ok(())
}
