//! Objects that a definition delivers as they are.

use std::fs;

use anyhow::Result;
use freehold_end_to_end::guestbook;
use freehold_end_to_end::site::TARGET;

use crate::Setting;

const KIND: &str = "poddisruptionbudgets.policy";

fn manifests(greeting: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: dashboards, labels: {{ grafana_dashboard: '1' }} }}\n\
         data: {{ greeting: {greeting:?} }}\n---\napiVersion: policy/v1\nkind: PodDisruptionBudget\n\
         metadata: {{ name: extra }}\nspec: {{ maxUnavailable: 1, selector: {{ matchLabels: {{ app: none }} }} }}\n"
    )
}

#[test]
fn a_manifest_is_delivered_as_it_stands_where_the_target_allows_its_kinds() -> Result<()> {
    let name = "a_manifest_is_delivered_as_it_stands_where_the_target_allows_its_kinds";
    let Some(Setting { site, tenant, namespace, image }) = Setting::of(name)? else { return Ok(()) };
    let app = guestbook::copy()?;
    app.redefine("[route.web]", "[manifest.extra]\nfile = \"deploy/extra.yaml\"\n\n[route.web]")?;
    let folder = app.argument();
    let missing = site.freehold.run(["check", &folder])?;
    assert!(missing.code == 2 && missing.stdout.contains("there is no file deploy/extra.yaml"), "{missing:#?}");
    let file = app.path().join("deploy/extra.yaml");
    fs::create_dir_all(app.path().join("deploy"))?;
    fs::write(&file, manifests("hello"))?;
    site.freehold.run(["check", &folder])?.succeeded()?;

    let deploy = ["--tier", "pro", "--image", &image];
    let refused = site.deploy_folder(&folder, &tenant, &deploy)?;
    assert!(refused.code != 0 && refused.stdout.contains("FH1227"), "{refused:#?}");
    assert!(refused.stdout.contains("deploy/extra.yaml:6"), "{refused:#?}");
    let kubeconfig = site.kubeconfig()?;
    let unknown = site.add_target_and(TARGET, &kubeconfig, &["--allow-kind", "secrets"])?;
    assert!(unknown.code != 0, "{unknown:#?}");
    site.add_target_and(TARGET, &kubeconfig, &["--allow-kind", KIND])?.succeeded()?;

    let first = site.deploy_folder(&folder, &tenant, &deploy)?.succeeded()?.last_json()?;
    assert_eq!((&first["state"], &first["revision"]), (&"succeeded".into(), &1.into()), "{first}");
    let greeting = || -> Result<String> {
        let found = site.cluster().get(&["configmap", "dashboards", "-n", &namespace])?;
        assert_eq!(found["metadata"]["labels"]["grafana_dashboard"], "1");
        Ok(found["data"]["greeting"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(greeting()?, "hello");
    assert_eq!(site.cluster().get(&["poddisruptionbudget", "extra", "-n", &namespace])?["spec"]["maxUnavailable"], 1);
    let again = site.deploy_folder(&folder, &tenant, &[])?.succeeded()?.last_json()?;
    assert_eq!((&again["state"], &again["revision"]), (&"unchanged".into(), &1.into()), "{again}");

    // The file is part of the definition: a change of it is a revision, and a rollback has the former one.
    fs::write(&file, manifests("goodbye"))?;
    let second = site.deploy_folder(&folder, &tenant, &[])?.succeeded()?.last_json()?;
    assert_eq!(second["revision"], 2, "{second}");
    assert_eq!(greeting()?, "goodbye");
    site.freehold.run(["rollback", "--tenant", &tenant, "--yes"])?.succeeded()?;
    assert_eq!(greeting()?, "hello");
    site.is_well()?;

    site.destroy(&tenant)?.succeeded()?;
    assert_eq!(site.left(&tenant)?, [] as [&str; 0]);
    site.is_well()
}
