//! When jobs run, on both targets.

use std::collections::BTreeSet;

use freehold_graph::expand::{LocalTarget, PostgresServer, expand};
use freehold_graph::{Due, ResourceId, Target};

use crate::fixture::{GUESTBOOK, app, rich, tenant};

#[test]
fn jobs_have_their_order_and_no_deploy_runs_what_is_for_people() {
    let job = |name: &str, more: &str| {
        let env = "env = { KEY = \"${secret.session-key}\" }";
        format!("[job.{name}]\nservice = \"web\"\ncommand = [\"j\"]\n{env}\n{more}\n")
    };
    let seed = job("seed", "when = \"once\"\nafter = [\"migrate\"]");
    let app = app(&format!("{GUESTBOOK}\n{seed}{}", job("repair", "when = \"demand\"")));
    let machine = LocalTarget {
        name: "local".parse().unwrap(),
        domain: "localhost".to_owned(),
        router_port: 7080,
        postgres: PostgresServer::new("127.0.0.1", 5432, 15),
    };
    let id = |name: &str| ResourceId::new("job", name);
    let tier = app.tiers.keys().next().map(|tier| tier.as_str());
    for target in [Target::Kubernetes(Box::new(rich())), Target::Local(machine)] {
        let graph = expand(&app, &tenant(&app, "acme", tier), &target).unwrap();
        let run = |name: &str| &graph.runs[&id(name)];
        let due = ["migrate", "seed", "repair"].map(|name| run(name).due);
        assert_eq!(due, [Due::Revision, Due::Once, Due::Demand]);
        assert!(run("seed").depends_on.contains(&id("migrate")));
        assert!(!run("repair").depends_on.contains(&id("migrate")));
        assert!(run("repair").depends_on.contains(&ResourceId::new("secret", "session-key")));
        let again = graph.runs_of_deploy(&BTreeSet::from([id("seed")]));
        assert_eq!(again.into_keys().collect::<Vec<_>>(), [id("migrate")]);
    }
}
