use super::*;

const TWO: &str = r#"
apiVersion: v1
kind: Config
current-context: kind-dev
contexts:
- {name: kind-dev, context: {cluster: dev, user: dev}}
- {name: production, context: {cluster: prod, user: robot, namespace: somewhere}}
- {name: cloud, context: {cluster: prod, user: cloud}}
- {name: broken, context: {cluster: prod, user: nobody}}
clusters:
- {name: dev, cluster: {server: "https://127.0.0.1:6443", certificate-authority: ca.crt}}
- {name: prod, cluster: {server: "https://10.0.0.5:6443", certificate-authority-data: Q0E=, tls-server-name: kubernetes}}
users:
- {name: dev, user: {client-certificate: pki/dev.crt, client-key: pki/dev.key}}
- {name: robot, user: {tokenFile: robot.token}}
- {name: cloud, user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: aws, args: [eks, get-token]}}}
"#;

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("pki")).unwrap();
    let files = [("config", TWO), ("ca.crt", "authority"), ("pki/dev.crt", "certificate"), ("pki/dev.key", "the key")];
    for (name, text) in files.into_iter().chain([("robot.token", "secret-token\n")]) {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn read(folder: &tempfile::TempDir, context: Option<&str>) -> CommandResult<Context> {
    Context::read(Some(&folder.path().join("config")), context)
}

fn shown(failure: &CommandError) -> String {
    anstream::adapter::strip_str(&failure.render()).to_string()
}

/// As the platform reads it, wherever it runs.
fn sent(context: &Context) -> Json {
    serde_json::to_value(Kubeconfig::from_yaml(&context.text).unwrap()).unwrap()
}

#[test]
fn certificates_and_keys_are_taken_out_of_their_files() {
    let folder = folder();
    let context = read(&folder, None).unwrap();
    drop(folder);
    assert_eq!((context.name.as_str(), context.server.as_str()), ("kind-dev", "https://127.0.0.1:6443"));
    let sent = sent(&context);
    let text = |pointer: &str| {
        let encoded = sent.pointer(pointer).and_then(Json::as_str).unwrap();
        String::from_utf8(STANDARD.decode(encoded).unwrap()).unwrap()
    };
    assert_eq!(text("/clusters/0/cluster/certificate-authority-data"), "authority");
    assert_eq!(text("/users/0/user/client-certificate-data"), "certificate");
    assert_eq!(text("/users/0/user/client-key-data"), "the key");
    for file in ["/clusters/0/cluster/certificate-authority", "/users/0/user/client-key"] {
        assert_eq!(sent.pointer(file), None);
    }
}

#[test]
fn exactly_the_context_that_is_named_is_taken() {
    let context = read(&folder(), Some("production")).unwrap();
    let sent = sent(&context);
    assert_eq!(sent.pointer("/current-context"), Some(&json!("production")));
    assert_eq!(sent.pointer("/users/0/user/token"), Some(&json!("secret-token")));
    assert_eq!(sent.pointer("/clusters/0/cluster/tls-server-name"), Some(&json!("kubernetes")));
    let count = |list: &str| sent.pointer(list).and_then(Json::as_array).map(Vec::len);
    assert_eq!([count("/contexts"), count("/clusters"), count("/users")], [Some(1); 3]);
    assert!(!context.text.contains("https://127.0.0.1"), "another cluster's address is sent");
    assert!(!format!("{context:?}").contains("secret-token"));
}

#[test]
fn an_unknown_context_is_answered_with_those_that_there_are() {
    let failure = read(&folder(), Some("porduction")).unwrap_err();
    insta::assert_snapshot!(shown(&failure), @r"
    error[FH1251]: the kubeconfig has no context porduction
      it has kind-dev, production, cloud, broken
      next: did you mean --context production?
    ");
    let failure = read(&folder(), Some("broken")).unwrap_err();
    assert_eq!(failure.problem.detail, "context broken names the user nobody, which does not exist");
}

#[test]
fn without_a_current_context_one_has_to_be_named() {
    let folder = folder();
    std::fs::write(folder.path().join("config"), TWO.replace("current-context: kind-dev", "")).unwrap();
    let failure = read(&folder, None).unwrap_err();
    assert_eq!(failure.problem.code, Code::UnknownContext);
    assert_eq!(failure.problem.help.as_deref(), Some("choose one with --context NAME"));
}

#[test]
fn credentials_from_a_program_are_refused_with_the_way_out() {
    let failure = read(&folder(), Some("cloud")).unwrap_err();
    insta::assert_snapshot!(shown(&failure), @r"
    error[FH1250]: user cloud of context cloud gets its credentials by running aws
      next: give the platform a service account of its own:
            `freehold target rbac | kubectl apply -f -`, then a kubeconfig with its
            token; docs/kubernetes.md has the commands
    ");
}

#[test]
fn a_file_that_is_missing_is_named() {
    let folder = folder();
    std::fs::remove_file(folder.path().join("pki/dev.key")).unwrap();
    let failure = read(&folder, None).unwrap_err();
    assert!(failure.problem.detail.contains("client-key of context kind-dev"), "{}", failure.problem.detail);
    assert!(failure.problem.detail.contains("pki/dev.key"), "{}", failure.problem.detail);
    let failure = Context::read(Some(Path::new("/nowhere/at/all")), None).unwrap_err();
    assert!(failure.problem.detail.contains("/nowhere/at/all"), "{}", failure.problem.detail);
}

#[test]
fn a_file_that_cannot_be_read_is_not_repeated() {
    let folder = folder();
    std::fs::write(folder.path().join("config"), "users:\n- name: x\n  user: {token: [hush-hush}\n").unwrap();
    let failure = read(&folder, None).unwrap_err();
    assert_eq!(failure.problem.code, Code::KubeconfigUnreadable);
    assert!(!shown(&failure).contains("hush"), "{}", shown(&failure));
}
