//! What belongs to others: left alone, unless it is named.

use anyhow::Result;
use freehold_end_to_end::guestbook;
use serde_json::{Value, json};

use crate::Setting;

fn deployment(namespace: &str) -> Value {
    let labels = json!({"app": "theirs"});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": namespace},
        "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": {
            "containers": [{"name": "theirs", "image": "registry.test/theirs:1"}]}}},
    })
}

#[test]
fn a_foreign_namespace_and_what_is_in_it_is_left_alone_until_it_is_adopted_by_name() -> Result<()> {
    let name = "a_foreign_namespace_and_what_is_in_it_is_left_alone_until_it_is_adopted_by_name";
    let Some(Setting { site, tenant, namespace, image }) = Setting::of(name)? else { return Ok(()) };
    let theirs =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": {"team": "them"}}});
    site.cluster().apply(&theirs.to_string())?;
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": namespace},
        "spec": {"selector": {"app": "theirs"}, "ports": [{"name": "theirs", "port": 81}]}});
    site.cluster().apply(&service.to_string())?;
    let uid = |kind: &str, name: &str| -> Result<Value> {
        Ok(site.cluster().get(&[kind, name, "-n", &namespace])?["metadata"]["uid"].clone())
    };
    let before = (uid("namespace", &namespace)?, uid("service", "web")?);

    let handle = format!("namespace/{namespace}");
    let refused = site.deploy(&tenant, &["--tier", "free", "--image", &image])?;
    let refused = refused.failed_with(1, &handle)?;
    assert!(refused.stderr.contains("--adopt") || refused.stdout.contains("--adopt"), "{refused:#?}");
    let service_handle = format!("service/{namespace}/web");
    site.deploy(&tenant, &["--tier", "free", "--image", &image, "--adopt", &handle])?
        .failed_with(1, &service_handle)?;
    assert_eq!(site.left(&tenant)?, [] as [&str; 0], "nothing was made");
    assert_eq!(
        site.cluster().get(&["service", "web", "-n", &namespace])?["spec"]["selector"],
        json!({"app": "theirs"})
    );

    // The admission policy that comes with the account's permissions lets it take over what an administrator has released, and no more.
    let adopted = ["--tier", "free", "--image", &image, "--adopt", &handle, "--adopt", &service_handle];
    site.deploy(&tenant, &adopted)?.failed_with(1, "freehold.dev/adoptable=true")?;
    site.cluster().kubectl(&["label", "namespace", &namespace, "freehold.dev/adoptable=true"])?;
    site.deploy(&tenant, &adopted)?.succeeded()?;
    assert_eq!((uid("namespace", &namespace)?, uid("service", "web")?), before, "nothing was made anew");
    let namespace_now = site.cluster().get(&["namespace", &namespace])?;
    assert_eq!(namespace_now["metadata"]["labels"]["team"], "them", "what others have said stays");
    assert_eq!(namespace_now["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted");
    let again = site.deploy(&tenant, &[])?.succeeded()?.last_json()?;
    assert_eq!(again["state"], "unchanged", "{again}");

    // What else is in it would go along: the plan says so, before anything is gone.
    site.cluster().kubectl(&["create", "configmap", "settings", "-n", &namespace])?;
    site.destroy(&tenant)?.failed_with(1, "FH1214")?.failed_with(1, "configmap settings")?;
    site.cluster().get(&["deployment", "web", "-n", &namespace])?;
    site.cluster().kubectl(&["delete", "configmap", "settings", "-n", &namespace])?;
    site.destroy(&tenant)?.succeeded()?;
    assert_eq!(site.left(&tenant)?, [] as [&str; 0]);
    Ok(())
}

#[test]
fn a_foreign_deployment_with_another_selector_is_never_recreated_silently() -> Result<()> {
    let name = "a_foreign_deployment_with_another_selector_is_never_recreated_silently";
    let Some(Setting { site, tenant, namespace, image }) = Setting::of(name)? else { return Ok(()) };
    site.cluster().kubectl(&["create", "namespace", &namespace])?;
    site.cluster().kubectl(&["label", "namespace", &namespace, "freehold.dev/adoptable=true"])?;
    site.cluster().apply(&deployment(&namespace).to_string())?;
    let uid = site.cluster().get(&["deployment", "web", "-n", &namespace])?["metadata"]["uid"].clone();
    let (of_namespace, of_deployment) = (format!("namespace/{namespace}"), format!("deployment/{namespace}/web"));
    let adopt = ["--tier", "free", "--image", &image, "--adopt", &of_namespace];
    site.deploy(&tenant, &adopt)?.failed_with(1, &of_deployment)?;
    // Its selector can't be changed, and adopting never means deleting.
    let both = [&adopt[..], &["--adopt", &of_deployment]].concat();
    site.deploy(&tenant, &both)?.failed_with(1, "FH0808")?.failed_with(1, "spec.selector")?;
    let now = site.cluster().get(&["deployment", "web", "-n", &namespace])?;
    assert_eq!((&now["metadata"]["uid"], &now["spec"]["replicas"]), (&uid, &0.into()));
    assert_eq!(site.left(&tenant)?, [] as [&str; 0], "nothing was made");
    site.cluster().kubectl(&["delete", "namespace", &namespace, "--wait=false"])?;
    Ok(())
}

#[test]
fn a_field_that_another_manager_has_taken_is_a_conflict_by_its_name() -> Result<()> {
    let name = "a_field_that_another_manager_has_taken_is_a_conflict_by_its_name";
    let Some(Setting { site, tenant, namespace, image }) = Setting::of(name)? else { return Ok(()) };
    let app = guestbook::copy()?;
    let folder = app.argument();
    site.deploy_folder(&folder, &tenant, &["--tier", "free", "--image", &image])?.succeeded()?;
    let theirs = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web", "namespace": namespace},
        "data": {"LOG_LEVEL": "error"}});
    let file = site.write("theirs.json", &theirs.to_string())?.display().to_string();
    let apply = ["apply", "--server-side", "--force-conflicts", "--field-manager=argocd", "-f", &file];
    site.cluster().kubectl(&apply)?;

    app.redefine("LOG_LEVEL    = \"info\"", "LOG_LEVEL    = \"debug\"")?;
    let refused = site.deploy_folder(&folder, &tenant, &[])?.failed_with(1, "FH0807")?;
    assert!(refused.stderr.contains("argocd") || refused.stdout.contains("argocd"), "{refused:#?}");
    let config = || site.cluster().get(&["configmap", "web", "-n", &namespace]);
    assert_eq!(config()?["data"]["LOG_LEVEL"], "error", "not forced");

    let handle = format!("configmap/{namespace}/web");
    site.deploy_folder(&folder, &tenant, &["--adopt", &handle])?.succeeded()?;
    assert_eq!(config()?["data"]["LOG_LEVEL"], "debug", "forced by name");
    site.destroy(&tenant)?.succeeded()?;
    assert_eq!(site.left(&tenant)?, [] as [&str; 0]);
    Ok(())
}
