//! What admission denies our own account: everything outside of the namespaces that bear a stack's mark.
//!
//! Permissions can't say this. They name namespaces or mean all of them, stacks' namespaces come and go, and who may bind roles in any
//! namespace binds itself in `kube-system`. So beside the permissions goes a ValidatingAdmissionPolicy, which an administrator applies
//! and our account has no right to change. It sees writes alone: what the permissions let us read, we can read everywhere.

use serde_json::json;

use super::Manifest;
use crate::mark::MARK;
use crate::target::{SCRATCH_MARK, SCRATCH_NAMESPACE};

/// The label with which an administrator lets an existing namespace be taken over. Our account can't set it.
pub const ADOPTABLE: &str = "freehold.dev/adoptable";
/// What Pods of a namespace are held to.
const SECURITY: &str = "pod-security.kubernetes.io/enforce";
/// Stands in each refusal.
pub(crate) const OURS: &str = "Freehold's account may";

/// A condition, and what is said where it isn't met.
struct Rule {
    expression: String,
    message: String,
}

/// What has to hold for each request of our account. In CEL, whose variables are those of [`policy`].
fn rules() -> Vec<Rule> {
    let rule = |expression: String, message: &str| Rule { expression, message: format!("{OURS} {message}") };
    let taken = format!("to take over one that exists, an administrator labels it {ADOPTABLE}=true");
    vec![
        rule(
            "variables.isNamespace || request.namespace == '' || variables.isOurs".to_owned(),
            &format!("write only in namespaces with the label {MARK}, and in {SCRATCH_NAMESPACE}"),
        ),
        rule(
            "variables.isNamespace || request.namespace != '' || variables.isQuestion".to_owned(),
            "write no objects outside of namespaces, but for namespaces themselves",
        ),
        rule(
            "!variables.isNamespace || object == null || variables.marked != '' || variables.isScratch".to_owned(),
            &format!("make only namespaces with the label {MARK}"),
        ),
        rule(
            "!variables.isNamespace || oldObject == null || variables.wasMarked != '' || variables.wasScratch || \
             (object != null && variables.wasAdoptable)"
                .to_owned(),
            &format!("change and delete only namespaces that have the label {MARK} already; {taken}"),
        ),
        rule(
            "!variables.isNamespace || object == null || oldObject == null || variables.wasMarked == '' || \
             variables.marked == variables.wasMarked"
                .to_owned(),
            &format!("not change the label {MARK}"),
        ),
        rule(
            "!variables.isNamespace || object == null || variables.adoptable == variables.wasAdoptable".to_owned(),
            &format!("not set the label {ADOPTABLE}"),
        ),
        rule(
            "!variables.isNamespace || object == null || variables.security == 'restricted' || \
             (oldObject != null && variables.security == variables.wasSecurity)"
                .to_owned(),
            &format!("make only namespaces whose Pods are held to {SECURITY}=restricted"),
        ),
        rule(
            "!(request.resource.group == '' && request.resource.resource == 'secrets') || object == null || \
             !has(object.type) || object.type != 'kubernetes.io/service-account-token'"
                .to_owned(),
            "not make tokens of service accounts",
        ),
        rule(
            "!(request.resource.group == '' && request.resource.resource == 'services') || object == null || \
             !has(object.spec) || !has(object.spec.externalIPs) || size(object.spec.externalIPs) == 0"
                .to_owned(),
            "not have other hosts' addresses led to a service (externalIPs)",
        ),
    ]
}

/// The value of a label of an object, or nothing.
fn label(object: &str, name: &str) -> String {
    let labels = format!("{object}.metadata.labels");
    format!("{object} != null && has({labels}) && '{name}' in {labels} ? {labels}['{name}'] : ''")
}

fn is_scratch(object: &str) -> String {
    let annotations = format!("{object}.metadata.annotations");
    format!(
        "{object} != null && {object}.metadata.name == '{SCRATCH_NAMESPACE}' && has({annotations}) && '{SCRATCH_MARK}' in {annotations}"
    )
}

fn variables() -> Vec<(&'static str, String)> {
    let is_namespace = "request.resource.group == '' && request.resource.resource == 'namespaces'";
    // Made to be answered, and never kept.
    let is_question =
        "request.operation == 'CREATE' && request.resource.group in ['authorization.k8s.io', 'authentication.k8s.io']";
    let space = "namespaceObject";
    let is_ours =
        format!("({}) != '' || ({}) == 'true' || ({})", label(space, MARK), label(space, ADOPTABLE), is_scratch(space));
    vec![
        ("isNamespace", is_namespace.to_owned()),
        ("isQuestion", is_question.to_owned()),
        ("isOurs", is_ours),
        ("marked", label("object", MARK)),
        ("wasMarked", label("oldObject", MARK)),
        ("isScratch", is_scratch("object")),
        ("wasScratch", is_scratch("oldObject")),
        ("adoptable", format!("({}) == 'true'", label("object", ADOPTABLE))),
        ("wasAdoptable", format!("({}) == 'true'", label("oldObject", ADOPTABLE))),
        ("security", label("object", SECURITY)),
        ("wasSecurity", label("oldObject", SECURITY)),
    ]
}

/// The policy and its binding.
pub(super) fn policy(service_account: &str, namespace: &str) -> [Manifest; 2] {
    let api = "admissionregistration.k8s.io/v1";
    let user = format!("request.userInfo.username == 'system:serviceaccount:{namespace}:{service_account}'");
    let variable = |(name, expression)| json!({ "name": name, "expression": expression });
    let validation =
        |Rule { expression, message }| json!({ "expression": expression, "message": message, "reason": "Forbidden" });
    let policy = Manifest::new(json!({
        "apiVersion": api,
        "kind": "ValidatingAdmissionPolicy",
        "metadata": { "name": service_account },
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {
                "resourceRules": [{
                    "apiGroups": ["*"],
                    "apiVersions": ["*"],
                    "operations": ["CREATE", "UPDATE", "DELETE", "CONNECT"],
                    "resources": ["*/*"],
                }],
            },
            "matchConditions": [{ "name": "account", "expression": user }],
            "variables": variables().into_iter().map(variable).collect::<Vec<_>>(),
            "validations": rules().into_iter().map(validation).collect::<Vec<_>>(),
        },
    }));
    let comment = "Keeps that account out of every namespace that isn't a stack's: its permissions are for all namespaces, since stacks' come and go.";
    let binding = Manifest::new(json!({
        "apiVersion": api,
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": { "name": service_account },
        "spec": { "policyName": service_account, "validationActions": ["Deny"] },
    }));
    [policy.comment(comment), binding]
}
