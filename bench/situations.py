"""The situations of `scripts/bench truth`, each a function: how it is made, what is true, what has to be printed."""

import json
import time

from truth import Judged, situation

# The simulated node's ways to fail, each with what names it.
WAYS = {
    "image-pull": (r"FH0607", r"the image can't be pulled"),
    "config": (r"FH1221", r"secret \"missing\" not found"),
    "crash-loop": (r"FH0706", r"fails again and again.*exit code 1"),
    "oom": (r"OOMKilled",),
    "not-ready": (r"Readiness probe failed",),
}


def fails(way, before, then):
    """A version that fails in this way: as the first one, or where another serves; left so, or followed by a good one."""

    def function(stack):
        if before:
            said = stack.deploy().code
            assert said == 0, "the first version has to run"
        stack.way, stack.release = way, 2
        said = stack.deploy()
        judged = Judged(stack, said, False, WAYS[way]).judge()
        if then and not judged.faults:
            stack.way, stack.release = None, 3
            judged = Judged(stack, stack.deploy(), True).judge()
        return judged

    past = "where another version serves" if before else "as the first version"
    function.__name__ = f"{way.replace('-', '_')} {past}{', then a good one' if then else ''}".replace(" ", "_")
    return function


for way in WAYS:
    for before, then in ((False, False), (True, False), (True, True), (False, True)):
        situation()(fails(way, before, then))


@situation()
def a_first_version_gets_ready(stack):
    return Judged(stack, stack.deploy(), True).judge()


@situation()
def a_second_version_gets_ready(stack):
    stack.deploy()
    stack.release = 2
    return Judged(stack, stack.deploy(), True).judge()


@situation()
def the_same_again_changes_nothing(stack):
    stack.deploy()
    return Judged(stack, stack.deploy(), True, (r"[Nn]othing to change|unchanged",)).judge()


@situation()
def three_copies_get_ready_one_after_another(stack):
    stack.changed = [("[service.web.env]", "replicas = 3\n\n[service.web.env]")]
    stack.deploy()
    stack.release = 2
    return Judged(stack, stack.deploy(), True).judge()


def quota(stack, pods):
    stack.kubectl("patch", "resourcequota", "freehold", "--type=merge", "--patch", json.dumps({"spec": {"hard": {"pods": pods}}}))


@situation()
def a_quota_that_has_room_again_while_the_cluster_pauses(stack):
    stack.deploy()
    stack.kubectl("apply", "-f", "-", stdin=json.dumps(full("0")))
    stack.release = 2
    said = stack.start_deploy()
    time.sleep(6)
    stack.kubectl("delete", "resourcequota", "others")
    return Judged(stack, said.wait(), True).judge()


def full(pods):
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "others"}, "spec": {"hard": {"pods": pods}}}


@situation()
def a_quota_that_never_has_room(stack):
    stack.deploy()
    stack.kubectl("apply", "-f", "-", stdin=json.dumps(full("0")))
    stack.release = 2
    return Judged(stack, stack.deploy(), False, (r"quota lets no pod in.*exceeded quota: others",)).judge()


@situation()
def no_node_has_room(stack):
    stack.changed = [("10m..100m", "900..900"), ('cpu    = "4"', 'cpu    = "2000"')]
    return Judged(stack, stack.deploy(), False, (r"no node takes its pod",)).judge()


@situation()
def an_autoscaler_without_a_metrics_api(stack):
    stack.changed = [("[service.web.env]", "autoscale = { max = 3 }\n\n[service.web.env]")]
    return Judged(stack, stack.deploy(), False, (r"FH1226|no metrics API",)).judge()


def deleted(stack, hold, release, causes):
    """A destroy that something holds, and lets go after a while."""
    stack.deploy()
    hold()
    begun = time.monotonic()
    said = stack.start_destroy()
    time.sleep(15)
    status = stack.status().text
    release()
    judged = Judged(stack, said.wait(), True, causes, waited=begun).judge(deployed=False)
    if said.code != 0:
        judged.faults.append('false "failed"')
    return judged


def finalizers(stack, what, kept):
    names = stack.kubectl("get", what, "--output=name").split()
    for name in names:
        patch = json.dumps({"metadata": {"finalizers": kept}})
        stack.kubectl("patch", name, "--type=merge", "--patch", patch, codes=(0, 1))


@situation()
def a_pod_with_a_foreign_finalizer_holds_a_destroy(stack):
    keep = ["example.org/keep"]
    return deleted(
        stack, lambda: finalizers(stack, "pods", keep), lambda: finalizers(stack, "pods", None),
        (r"pods? .*is held by its finalizer example.org/keep",),
    )


@situation()
def a_replica_set_with_a_foreign_finalizer_holds_a_destroy(stack):
    keep = ["example.org/keep"]
    return deleted(
        stack, lambda: finalizers(stack, "replicasets", keep), lambda: finalizers(stack, "replicasets", None),
        (r"replicasets? .*is held by its finalizer example.org/keep",),
    )


@situation()
def a_configmap_with_a_foreign_finalizer_holds_a_destroy(stack):
    keep = ["example.org/keep"]
    return deleted(
        stack, lambda: finalizers(stack, "configmap/web", keep), lambda: finalizers(stack, "configmap/web", None),
        (r"configmaps? .*is held by its finalizer example.org/keep",),
    )


@situation()
def a_dead_webhook_on_delete(stack):
    webhook = {
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": stack.name},
        "webhooks": [{
            "name": "policy.example.org", "clientConfig": {"url": "https://127.0.0.1:9/policy"}, "sideEffects": "None",
            "rules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["DELETE"], "resources": ["deployments"]}],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": stack.namespace}},
            "admissionReviewVersions": ["v1"], "timeoutSeconds": 2,
        }],
    }
    return deleted(
        stack,
        lambda: stack.cluster.kubectl("apply", "-f", "-", stdin=json.dumps(webhook)),
        lambda: stack.cluster.kubectl("delete", "validatingwebhookconfiguration", stack.name),
        (r"the admission webhook policy.example.org can't be asked",),
    )


JOB = """
[job.migrate]
service = "web"
command = ["migrate"]
timeout = "60s"
[job.migrate.env]
RELEASE = "1"
"""


def jobs(stack):
    """The Jobs that have run."""
    found = stack.get("jobs")["items"]
    return sorted(job["metadata"]["name"] for job in found if job.get("status", {}).get("startTime"))


@situation()
def a_job_runs_once_for_each_revision(stack):
    stack.more = JOB
    stack.deploy()
    stack.release = 2
    judged = Judged(stack, stack.deploy(), True).judge()
    if jobs(stack) != ["migrate-r1", "migrate-r2"]:
        judged.faults.append(f"jobs that ran: {jobs(stack)}")
    return judged


@situation()
def a_job_that_fails_keeps_the_old_version(stack):
    stack.deploy()
    stack.more, stack.way, stack.release = JOB, "job-failed", 2
    return Judged(stack, stack.deploy(), False, (r"FH0701", r"job migrate failed", r"exit code 1")).judge()


@situation()
def a_job_whose_image_is_not_there(stack):
    stack.more, stack.way = JOB, "image-pull"
    return Judged(stack, stack.deploy(), False, (r"FH0607", r"the image can't be pulled")).judge()


@situation()
def a_job_that_somebody_deletes_in_the_middle(stack):
    stack.more, stack.way = JOB, "stuck"
    said = stack.start_deploy()
    wait(lambda: stack.cluster.kubectl("get", "pods", "--namespace", stack.namespace, "--output=name", codes=(0, 1)).strip())
    stack.kubectl("delete", "job", "migrate-r1", "--wait=false")
    return Judged(stack, said.wait(), False, (r"FH0705", r"nobody knows how it ended")).judge()


def wait(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "what the situation needs does not come"
        time.sleep(0.2)


def pods(stack):
    return stack.kubectl("get", "pods", "--output=name").split()


def repaired(stack):
    """What the node writes when it has looked again and the container runs."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    conditions = [{"type": kind, "status": "True", "lastTransitionTime": now} for kind in ("Ready", "ContainersReady")]
    for pod in pods(stack):
        status = stack.get(pod)["status"]
        containers = [{**one, "ready": True, "started": True, "state": {"running": {"startedAt": now}}} for one in status["containerStatuses"]]
        kept = [one for one in status["conditions"] if one["type"] not in ("Ready", "ContainersReady")]
        address = {"podIP": "192.0.2.9", "podIPs": [{"ip": "192.0.2.9"}]}
        change = {"status": {**address, "phase": "Running", "conditions": kept + conditions, "containerStatuses": containers}}
        stack.kubectl("patch", pod, "--subresource=status", "--type=merge", "--patch", json.dumps(change))


def repair(way):
    """What was missing is put back, and the deploy changes nothing of the Pod: its node looks again after a while."""

    def function(stack):
        stack.way = way
        assert stack.deploy().code != 0, "the first version has to fail"
        # Whoever mends it takes longer than that.
        time.sleep(12)
        stack.pods = 19
        said = stack.start_deploy()
        time.sleep(12)
        repaired(stack)
        return Judged(stack, said.wait(), True).judge()

    function.__name__ = f"what_was_missing_is_put_back_after_{way.replace('-', '_')}"
    return function


for way in ("config", "image-pull", "crash-loop"):
    situation()(repair(way))


@situation()
def a_paused_deployment_is_told_while_it_waits(stack):
    stack.deploy()
    stack.kubectl("patch", "deployment", "web", "--type=merge", "--patch", '{"spec":{"paused":true}}')
    stack.release = 2
    return Judged(stack, stack.deploy(), None, (r"paused",)).judge()


@situation()
def pod_security_refuses_nothing_of_ours(stack):
    stack.deploy()
    stack.cluster.kubectl("label", "namespace", stack.namespace, "pod-security.kubernetes.io/audit=restricted", "--overwrite")
    stack.release = 2
    return Judged(stack, stack.deploy(), True).judge()


@situation()
def a_pod_that_is_deleted_in_mid_rollout_comes_back(stack):
    stack.changed = [("[service.web.env]", "replicas = 3\n\n[service.web.env]")]
    stack.deploy()
    stack.release = 2
    said = stack.start_deploy()
    time.sleep(2)
    stack.kubectl("delete", "pod", pods(stack)[0].split("/")[1], "--wait=false", codes=(0, 1))
    return Judged(stack, said.wait(), True).judge()


@situation()
def a_deployment_that_somebody_deletes_is_not_ready(stack):
    stack.deploy()
    stack.kubectl("delete", "deployment", "web")
    judged = Judged(stack, stack.status(), None, (r"it does not exist",)).judge(deployed=False)
    if "degraded" not in judged.said.text:
        judged.faults.append('false "ready"')
    return judged


@situation()
def a_deployment_that_somebody_deletes_comes_back_with_the_next_deploy(stack):
    stack.deploy()
    stack.kubectl("delete", "deployment", "web")
    return Judged(stack, stack.deploy(), True).judge()


@situation()
def a_namespace_that_somebody_deletes_comes_back_with_the_next_deploy(stack):
    stack.deploy()
    stack.cluster.kubectl("delete", "namespace", stack.namespace)
    return Judged(stack, stack.deploy(), True).judge()


@situation()
def an_object_that_is_being_deleted_tells_its_holder_in_status(stack):
    stack.deploy()
    finalizers(stack, "pods", ["example.org/keep"])
    stack.kubectl("delete", "deployment", "web", "--cascade=foreground", "--wait=false")
    time.sleep(2)
    status = stack.status()
    finalizers(stack, "pods", None)
    return Judged(stack, status, None, (r"it is being deleted, since", r"held by its finalizer example.org/keep")).judge(deployed=False)


@situation()
def a_policy_that_says_no_is_named(stack):
    stack.deploy()
    api, name = "admissionregistration.k8s.io/v1", stack.namespace
    rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["deployments"]}
    policy = {
        "apiVersion": api, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": [rule]},
            "matchConditions": [{"name": "here", "expression": f"request.namespace == '{name}'"}],
            "validations": [{"expression": "false", "message": "no more of these, please"}],
        },
    }
    binding = {
        "apiVersion": api, "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"]},
    }
    for one in (policy, binding):
        stack.cluster.kubectl("apply", "-f", "-", stdin=json.dumps(one))
    time.sleep(3)
    stack.release = 2
    said = stack.deploy()
    for one in ("validatingadmissionpolicybinding", "validatingadmissionpolicy"):
        stack.cluster.kubectl("delete", one, name)
    return Judged(stack, said, None, (r"FH1206", r"no more of these, please")).judge()


@situation()
def somebody_elses_service_is_named(stack):
    stack.cluster.kubectl("create", "namespace", stack.namespace)
    return Judged(stack, stack.deploy(), None, (r"FH0801", r"without a mark of Freehold")).judge()


def two_services(stack):
    text = """
[service.api]
image         = "@REGISTRY@/truth/web"
command       = ["web"]
port          = 8080
start_timeout = "1s"
cpu           = "10m..100m"
memory        = "16Mi..64Mi"
"""
    stack.more = text.replace("@REGISTRY@", stack.cluster.registry)


@situation()
def the_one_of_two_services_that_fails_is_the_only_cause(stack):
    from truth import pushed

    two_services(stack)
    stack.way = "crash-loop"
    said = stack.deploy("--image", f"api={pushed(stack.cluster, 'truth/web')}")
    judged = Judged(stack, said, False, (r"deployment.web: FH0706",)).judge()
    if "no answer yet" in said.text or "deployment.api:" in said.text:
        judged.faults.append("names what has nothing to do with it")
    return judged


@situation()
def a_rollback_brings_the_version_before_back(stack):
    stack.deploy()
    stack.way, stack.release = "not-ready", 2
    stack.deploy()
    said = stack.begin("rollback", "--tenant", stack.name, "--target", "prod", "--yes").wait()
    return Judged(stack, said, True).judge()


@situation()
def a_namespace_that_is_gone_makes_a_destroy_no_harder(stack):
    stack.deploy()
    stack.cluster.kubectl("delete", "namespace", stack.namespace)
    said = stack.destroy()
    judged = Judged(stack, said, None).judge(deployed=False)
    if said.code != 0:
        judged.faults.append('false "failed"')
    return judged


# On a real node: what a simulated one only pretends.


@situation("node")
def a_real_version_and_the_next_get_ready(stack):
    stack.changed = [("[service.web.env]", "replicas = 2\n\n[service.web.env]")]
    stack.deploy()
    stack.release = 2
    return Judged(stack, stack.deploy(), True).judge()


@situation("node")
def old_copies_that_take_30_s_to_end_fill_the_tiers_quota(stack):
    stack.pods = 3
    stack.changed = [("[service.web.env]", "replicas = 2\n\n[service.web.env]"), ('stop_timeout  = "1s"', 'stop_timeout  = "30s"')]
    stack.deploy()
    stack.release = 2
    return Judged(stack, stack.deploy(), True).judge()


def starts_as(way, causes):
    def function(stack):
        stack.deploy()
        stack.changed, stack.release = [('["web"]', f'["web", "{way}"]')], 2
        return Judged(stack, stack.deploy(), False, causes).judge()

    function.__name__ = f"a_real_version_that_is_{way}_where_another_serves"
    return function


situation("node")(starts_as("crash", (r"FH0706", r"exit code 3", r"this version can't start")))
situation("node")(starts_as("deaf", (r"probe failed", r"is not ready")))


@situation("node")
def a_secret_that_was_missing_is_put_back(stack):
    stack.more = '\n[secret.key]\ngenerate = { bytes = 32, as = "hex" }\n'
    stack.changed = [("[service.web.env]", '[service.web.env]\nKEY = "${secret.key}"')]
    stack.deploy()
    secret = next(name for name in stack.kubectl("get", "secrets", "--output=name").split() if "key" in name or "web" in name)
    stack.kubectl("delete", secret)
    stack.kubectl("delete", "pods", "--all", "--force")
    wait(lambda: "CreateContainerConfigError" in stack.kubectl("get", "pods"))
    time.sleep(12)
    return Judged(stack, stack.deploy(), True).judge()


@situation("node")
def the_only_node_is_cordoned_in_mid_rollout(stack):
    stack.deploy()
    node = stack.cluster.kubectl("get", "nodes", "--output=name").split()[0]
    stack.cluster.kubectl("cordon", node)
    try:
        stack.release = 2
        said = stack.deploy()
    finally:
        stack.cluster.kubectl("uncordon", node)
    return Judged(stack, said, None, (r"no node takes its pod.*unschedulable",)).judge()
