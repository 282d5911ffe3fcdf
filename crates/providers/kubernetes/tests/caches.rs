//! Caches: their manifests as the API server takes them, and real servers in real Pods.

use std::collections::BTreeMap;
use std::path::Path;

use freehold_engine::{Lookup, Provider, Readiness};
use freehold_graph::expand::names::{cache_credential, namespace};
use freehold_graph::expand::{KubernetesTarget, Request, Target, expand};
use freehold_graph::{Graph, Resource, ResourceId, StackKey, StackKind};
use freehold_testkit::kubernetes::{ControlPlane, Image, Node};
use tokio::time::Instant;

use crate::fixture::SOON;
use crate::stage::Stage;

const CACHES: &str = r#"
    [app]
    name = "shop"

    [cache.sessions]
    memory = "16Mi"

    [cache.queue]
    memory  = "16Mi"
    persist = true

    [service.web]
    image   = "example.test/web"
    command = ["redis-server", "--port", "7000", "--save", ""]

    [service.web.env]
    SESSIONS = "${cache.sessions.url}"
"#;

/// The app as it is expanded for the stage, which gets the stack's namespace.
fn expanded(stage: &mut Stage, image: &str) -> Graph {
    let app = freehold_spec::decode(CACHES).unwrap();
    let key = StackKey {
        target: "prod".parse().unwrap(),
        app: app.name.value.clone(),
        kind: StackKind::Tenant,
        name: ControlPlane::unique("cache").parse().unwrap(),
    };
    stage.namespace = namespace(&key);
    for cache in ["sessions", "queue"] {
        stage.secrets.set(&cache_credential(&cache.parse().unwrap()), &format!("password-of-{cache}"));
    }
    let request = Request {
        key,
        id: stage.stack,
        tier: None,
        stage: None,
        artifacts: BTreeMap::from([("web".parse().unwrap(), image.to_owned())]),
        containers: BTreeMap::new(),
        rotations: BTreeMap::new(),
        former_ports: BTreeMap::new(),
        revision: 0,
    };
    let facts = KubernetesTarget { cache_image: Some(image.to_owned()), ..stage.facts.clone() };
    expand(&app, &request, &Target::Kubernetes(Box::new(facts))).unwrap()
}

/// In the order in which they need each other.
fn ordered(graph: &Graph) -> Vec<&Resource> {
    let mut done: Vec<&Resource> = Vec::new();
    while done.len() < graph.resources.len() {
        let is_done = |id: &ResourceId| done.iter().any(|one| one.id == *id);
        let next = graph.resources.values().find(|one| !is_done(&one.id) && one.depends_on.iter().all(is_done));
        done.push(next.unwrap());
    }
    done
}

#[tokio::test]
async fn what_a_cache_consists_of_comes_out_as_it_was_foretold_and_is_settled() {
    let test = "what_a_cache_consists_of_comes_out_as_it_was_foretold_and_is_settled";
    let Some(mut stage) = Stage::new(test).await else { return };
    let graph = expanded(&mut stage, "example.test/cache@sha256:0000");
    let resources = ordered(&graph);
    for resource in &resources {
        stage.deploy(resource).await;
    }
    assert!(resources.iter().filter(|resource| resource.id.0.contains("cache-")).count() >= 9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_server_in_a_hardened_pod_lets_its_app_in_and_nobody_without_the_password() {
    let test = "a_real_server_in_a_hardened_pod_lets_its_app_in_and_nobody_without_the_password";
    let Some(node) = Node::for_test(test) else { return };
    let [server, client] = ["/usr/bin/redis-server", "/usr/bin/redis-cli"].map(Path::new);
    if !server.exists() {
        println!("skipped: {test}: redis-server is not installed here");
        return;
    }
    let image = Image::of_program(server).unwrap().file("/redis-cli", client).environment("PATH=/");
    let image = node.registry().push("cache", "1", &image).unwrap();
    let mut stage = Stage::on(node.cluster()).await;
    let graph = expanded(&mut stage, &image);
    // The node's own storage isn't this test's business.
    let resources: Vec<&Resource> = ordered(&graph).into_iter().filter(|one| !one.id.0.contains("queue")).collect();
    for resource in &resources {
        let planned = stage.plan(resource).await;
        stage.apply(resource, &planned).await.unwrap();
    }
    for resource in resources.iter().filter(|one| one.id.word() == "deployment") {
        let limit = Instant::now() + SOON;
        loop {
            let readiness = stage.provider.readiness(stage.stack, &Lookup::from(*resource)).await.unwrap();
            if readiness == Readiness::Ready {
                break;
            }
            assert!(Instant::now() < limit, "{} is still {readiness:?}", resource.id);
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    }
    let service = resources.iter().find(|one| one.id.0 == "service.cache-sessions").unwrap();
    let address = stage.live(service)["spec"]["clusterIP"].as_str().unwrap().to_owned();
    let ask = |user: &str, words: &[&str]| {
        let url = format!("redis://{user}@{address}:6379");
        let asked = ["exec", "deployment/web", "--", "redis-cli", "--no-auth-warning", "-u", url.as_str()];
        stage.control.kubectl(&[&["--namespace", stage.namespace.as_str()], asked.as_slice(), words].concat()).unwrap()
    };
    assert_eq!(ask("app:password-of-sessions", &["SET", "a", "1"]).trim(), "OK");
    assert_eq!(ask("app:password-of-sessions", &["GET", "a"]).trim(), "1");
    assert!(ask("app:guess", &["GET", "a"]).contains("NOAUTH"));
    assert!(ask("app:password-of-sessions", &["CONFIG", "GET", "*"]).contains("NOPERM"));
    let pod =
        stage.control.get(&["pods", "--namespace", &stage.namespace, "-l", "freehold.dev/component=cache"]).unwrap();
    let status = &pod["items"][0]["status"]["containerStatuses"][0];
    assert_eq!((&status["restartCount"], &status["ready"]), (&0.into(), &true.into()), "{status}");
    let memory = resources.iter().find(|one| one.id.0 == "deployment.cache-sessions").unwrap();
    assert!(memory.body.to_string().contains("\"88Mi\""), "16Mi of data, half as much again and 64Mi");
}
