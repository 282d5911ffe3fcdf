//! Quotas, namespaces that don't go, Pods that don't start.

use std::time::{Duration, Instant};

use anyhow::Result;
use freehold_end_to_end::site::TARGET;
use freehold_end_to_end::{Run, Site, eventually, guestbook};
use serde_json::{Value, json};

use crate::Setting;

#[test]
fn a_quota_that_is_too_small_is_an_error_of_the_plan_with_the_sum() -> Result<()> {
    let name = "a_quota_that_is_too_small_is_an_error_of_the_plan_with_the_sum";
    let Some(Setting { site, tenant, image, .. }) = Setting::of(name)? else { return Ok(()) };
    let app = guestbook::copy()?;
    app.redefine("memory = \"2Gi\", pods = 8", "memory = \"2Gi\", pods = 1")?;
    let run = site.deploy_folder(&app.argument(), &tenant, &["--tier", "free", "--image", &image])?;
    let run = run.failed_with(2, "FH0202").or_else(|_| {
        site.deploy_folder(&app.argument(), &tenant, &["--tier", "free", "--image", &image])?.failed_with(1, "FH0202")
    })?;
    assert!(run.stderr.contains('+') || run.stdout.contains('+'), "the sum is shown: {run:#?}");
    assert_eq!(site.left(&tenant)?, [] as [&str; 0]);
    Ok(())
}

#[test]
fn nothing_is_deployed_into_a_namespace_that_goes_away_and_a_destroy_waits_for_what_holds_it() -> Result<()> {
    let name = "nothing_is_deployed_into_a_namespace_that_goes_away_and_a_destroy_waits_for_what_holds_it";
    let Some(Setting { site, tenant, namespace, image }) = Setting::of(name)? else { return Ok(()) };
    site.deploy(&tenant, &["--tier", "free", "--image", &image])?.succeeded()?;
    let held = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: held\n  namespace: {namespace}\n  finalizers: [example.test/hold]\n"
    );
    site.cluster().apply(&held)?;
    site.cluster().kubectl(&["delete", "namespace", &namespace, "--wait=false"])?;
    let run = site.deploy(&tenant, &["--tier", "pro"])?;
    assert_ne!(run.code, 0, "{run:#?}");
    let said = format!("{}{}", run.stdout, run.stderr);
    assert!(said.contains("being deleted") || said.contains("terminat") || said.contains("Terminat"), "{said}");

    let destroy = ["destroy", "--tenant", &tenant, "--confirm", &tenant, "--json"];
    let mut destroying = site.freehold.start_run(destroy)?;
    let conditions = || site.cluster().get(&["namespace", &namespace]).map(|found| found["status"].to_string());
    eventually("only what is held remains", || {
        conditions().ok().filter(|status| status.contains("example.test/hold in 1 resource instances"))
    });
    assert!(destroying.try_wait()?.is_none(), "it waits");
    let found = site.cluster().get(&["configmap", "held", "-n", &namespace])?;
    assert_eq!(found["metadata"]["finalizers"][0], "example.test/hold", "nobody stripped it");
    let free = r#"{"metadata":{"finalizers":null}}"#;
    site.cluster().kubectl(&["patch", "configmap", "held", "-n", &namespace, "--type=merge", "--patch", free])?;
    assert!(destroying.wait()?.success());
    assert_eq!(site.left(&tenant)?, [] as [&str; 0]);
    Ok(())
}

#[test]
fn a_pod_that_fits_on_no_node_is_waited_for_and_then_told_with_what_it_needs() -> Result<()> {
    let name = "a_pod_that_fits_on_no_node_is_waited_for_and_then_told_with_what_it_needs";
    let Some(Setting { site, tenant, image, .. }) = Setting::of(name)? else { return Ok(()) };
    let app = guestbook::copy()?;
    app.redefine("cpu     = \"100m..500m\"", "cpu     = \"100..100\"")?;
    for (cpu, memory) in [("2", "2Gi"), ("4", "8Gi"), ("2", "1Gi")] {
        let quota = |cpu: &str| format!("{{ cpu = \"{cpu}\", memory = \"{memory}\"");
        app.redefine(&quota(cpu), &quota("1000"))?;
    }
    // Its migration already doesn't fit. A node may be added at any time, so the job's own time is waited for.
    app.redefine("timeout = \"10m\"", "timeout = \"10s\"")?;
    let begin = Instant::now();
    let run = site.deploy_folder(&app.argument(), &tenant, &["--tier", "free", "--image", &image])?;
    let run = run.failed_with(1, "FH1222")?;
    assert!(run.stdout.contains("cpu") || run.stderr.contains("cpu"), "{run:#?}");
    assert!(begin.elapsed() < Duration::from_secs(300), "long before an operation's own limit: {:?}", begin.elapsed());
    site.destroy(&tenant)?.succeeded()?;
    assert_eq!(site.left(&tenant)?, [] as [&str; 0]);
    Ok(())
}

/// A webhook that has to be asked before something is done in namespaces, and never answers: nobody is where it is said to be.
pub(crate) struct DeadWebhook<'a> {
    /// The first gives it its name.
    pub(crate) namespaces: &'a [&'a str],
    pub(crate) operation: &'a str,
    pub(crate) resource: &'a str,
}

impl DeadWebhook<'_> {
    /// With the address where nobody is.
    pub(crate) fn manifest(&self, client: &Value) -> String {
        let here = json!({"key": "kubernetes.io/metadata.name", "operator": "In", "values": self.namespaces});
        let (operation, resource) = (self.operation, self.resource);
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": self.namespaces.first()},
            "webhooks": [{
                "name": "policy.example.org",
                "clientConfig": client,
                "rules": [{"apiGroups": ["*"], "apiVersions": ["*"], "operations": [operation], "resources": [resource]}],
                "namespaceSelector": {"matchExpressions": [here]},
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
                "timeoutSeconds": 2,
            }],
        })
        .to_string()
    }

    /// Makes it, and waits until the API server asks it: until then it lets everything through. `trial` is what it has to hinder, as a
    /// dry run.
    pub(crate) fn reaches(&self, site: &Site<'_>, client: &Value, trial: &[&str]) -> Result<()> {
        site.cluster().apply(&self.manifest(client))?;
        eventually("the webhook is asked", || {
            let refused = site.cluster().kubectl(trial).err()?;
            format!("{refused:#}").contains("policy.example.org").then_some(())
        });
        Ok(())
    }
}

#[test]
fn a_webhook_that_holds_a_deletion_is_named_everywhere_while_it_does() -> Result<()> {
    let name = "a_webhook_that_holds_a_deletion_is_named_everywhere_while_it_does";
    let Some(Setting { site, tenant, namespace, image }) = Setting::of(name)? else { return Ok(()) };
    site.deploy(&tenant, &["--tier", "free", "--image", &image])?.succeeded()?;
    let service = json!({"service": {"name": "nobody", "namespace": namespace}});
    let webhook = DeadWebhook { namespaces: &[&namespace], operation: "DELETE", resource: "*" };
    webhook.reaches(&site, &service, &["delete", "configmap", "web", "-n", &namespace, "--dry-run=server"])?;

    // The platform reaches the cluster as before, and so does everybody else: only deletions wait.
    let destroying = site.freehold.start_run(["destroy", "--tenant", &tenant, "--confirm", &tenant])?;
    let said = |command: &[&str], words: &str| {
        let run = site.freehold.run(command).ok()?;
        let text = format!("{}{}", run.stdout, run.stderr);
        // Lines are broken where they are too long.
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        (text.contains("policy.example.org") && text.contains(words)).then_some(())
    };
    let status = ["status", "--tenant", &tenant, "--target", TARGET];
    eventually("the status says why", || said(&status, "service \"nobody\" not found"));
    eventually("the list says why", || said(&["list", "--target", TARGET], "it waits for"));
    eventually("the doctor says why", || said(&["doctor"], "an operation works on it, and waits for"));
    let elsewhere = json!({"url": "https://127.0.0.1:9/policy"});
    site.cluster().apply(&webhook.manifest(&elsewhere))?;
    eventually("the status says why it is now", || said(&status, "127.0.0.1:9"));

    site.cluster().kubectl(&["delete", "validatingwebhookconfiguration", &namespace])?;
    let run = Run::from(destroying.wait_with_output()?).succeeded()?;
    let told = run.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    for why in ["service \"nobody\" not found", "127.0.0.1:9", "policy.example.org", ", for "] {
        assert!(told.contains(why), "{run:#?}");
    }
    assert_eq!(site.left(&tenant)?, [] as [&str; 0]);
    Ok(())
}
