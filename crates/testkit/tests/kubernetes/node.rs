//! The real node: one test after another, since they share it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use freehold_testkit::kubernetes::{ControlPlane, HTTP_PORT, Node};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(180);

/// The example `web`, which cargo builds beside the tests.
pub(crate) fn web() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.parent().and_then(|folder| folder.parent()).unwrap().join("examples/web");
    assert!(program.exists(), "{} is missing: cargo build -p freehold-testkit --examples", program.display());
    program
}

fn apply(node: &Node, items: &[Value]) {
    node.cluster().apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()).unwrap();
}

/// A namespace in which Pod Security is `restricted`.
fn namespace(node: &Node) -> String {
    let name = ControlPlane::unique("node");
    let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    apply(node, &[json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})]);
    name
}

fn deployment(namespace: &str, name: &str, image: &str, variables: &Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {
                "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [{
                    "name": "web", "image": image, "env": variables,
                    "ports": [{"containerPort": 8080}],
                    "readinessProbe": {"httpGet": {"path": "/health", "port": 8080}, "periodSeconds": 1},
                    "securityContext": {
                        "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
                    },
                }],
            }},
        },
    })
}

fn route(namespace: &str, host: &str) -> [Value; 2] {
    let parent = json!({"name": Node::GATEWAY, "namespace": Node::GATEWAY_NAMESPACE, "sectionName": "wildcard"});
    [
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": namespace},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
        }),
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {"name": "web", "namespace": namespace},
            "spec": {
                "parentRefs": [parent], "hostnames": [host],
                "rules": [{"backendRefs": [{"name": "web", "port": 80}], "timeouts": {"request": "500ms"}}],
            },
        }),
    ]
}

/// Status and body of a request through the gateway.
fn request(host: &str, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect((Node::ADDRESS, HTTP_PORT))?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    Ok((status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()))
}

#[test]
fn a_deployment_answers_through_the_gateway() {
    let Some(node) = Node::for_test("a_deployment_answers_through_the_gateway") else { return };
    let namespace = namespace(node);
    let host = format!("{namespace}.test.localhost");
    let image = node.push_program("web", &web()).unwrap();
    let greeting = json!([{"name": "GREETING", "value": "good day"}]);
    apply(node, &[deployment(&namespace, "web", &image, &greeting)]);
    apply(node, &route(&namespace, &host));
    let answers = || Ok(request(&host, "/").is_ok_and(|answer| answer == (200, "good day".to_owned())));
    node.cluster().wait("an answer", SOON, answers).unwrap();
    assert_eq!(request(&host, "/slow/3000").unwrap().0, 504, "the route's timeout holds");

    let log = node.cluster().kubectl(&["logs", "deployment/web", "--namespace", &namespace]).unwrap();
    assert!(log.lines().any(|line| line == "/ 200 OK"), "{log}");
    node.cluster().kubectl(&["delete", "namespace", &namespace, "--timeout=60s"]).unwrap();
}

#[test]
fn a_pod_that_crashes_and_one_without_image_show_why() {
    let Some(node) = Node::for_test("a_pod_that_crashes_and_one_without_image_show_why") else { return };
    let namespace = namespace(node);
    let image = node.push_program("web", &web()).unwrap();
    let missing = format!("{}/absent:1", node.registry().address());
    let private = format!("{}/absent:1", node.private_registry().address());
    apply(
        node,
        &[
            deployment(&namespace, "crashes", &image, &json!([{"name": "CRASH", "value": "no database"}])),
            deployment(&namespace, "missing", &missing, &json!([])),
            deployment(&namespace, "private", &private, &json!([])),
        ],
    );
    let waiting = |app: &str| {
        let pods = node.cluster().get(&["pods", "--namespace", &namespace, "--selector", &format!("app={app}")])?;
        let waiting = pods.pointer("/items/0/status/containerStatuses/0/state/waiting").cloned().unwrap_or_default();
        anyhow::Ok((waiting["reason"].as_str().unwrap_or_default().to_owned(), waiting.to_string()))
    };
    node.cluster().wait("a crash loop", SOON, || Ok(waiting("crashes")?.0 == "CrashLoopBackOff")).unwrap();
    let log = node.cluster().kubectl(&["logs", "deployment/crashes", "--namespace", &namespace]).unwrap();
    assert!(log.contains("fatal: no database"), "{log}");
    for (app, said) in [("missing", "not found"), ("private", "401 Unauthorized")] {
        let so = || waiting(app).map(|(reason, text)| reason == "ImagePullBackOff" && text.contains(said));
        let result = node.cluster().wait(app, SOON, so);
        result.unwrap_or_else(|error| panic!("{error:#}: {:?}", waiting(app)));
    }
    node.cluster().kubectl(&["delete", "namespace", &namespace, "--timeout=90s"]).unwrap();
}

#[test]
fn a_pod_reaches_a_port_of_this_machine_through_a_forward() {
    let Some(node) = Node::for_test("a_pod_reaches_a_port_of_this_machine_through_a_forward") else { return };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let forward = node.forward(listener.local_addr().unwrap().port()).unwrap();
    let namespace = namespace(node);
    // Envoy is the Pod that asks here.
    let host = format!("{namespace}.test.localhost");
    let [mut service, route] = route(&namespace, &host);
    service["spec"] = json!({"ports": [{"port": 80, "targetPort": forward.address().port()}]});
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "web", "namespace": namespace, "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "endpoints": [{"addresses": [forward.address().ip().to_string()]}],
        "ports": [{"port": forward.address().port()}],
    });
    apply(node, &[service, route, slice]);
    let server = std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\noutside");
        }
    });
    let answers = || Ok(request(&host, "/").is_ok_and(|answer| answer == (200, "outside".to_owned())));
    node.cluster().wait("an answer from outside", SOON, answers).unwrap();
    assert!(!server.is_finished());
    node.cluster().kubectl(&["delete", "namespace", &namespace, "--wait=false"]).unwrap();
}
