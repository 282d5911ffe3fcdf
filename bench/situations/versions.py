"""Versions that get ready, versions that fail, and what is said of them afterwards."""

import time

from situations.making import THREE, TWO, SlowNode, apply, condition, evict, pods, status_of, wait
from stacks import TOOL, Said, pushed
from target import Site
from truth import Judged, situation

# The simulated node's ways to fail: where the cluster shows it, and what names it.
WAYS = {
    "image-pull": ("ImagePullBackOff", r"the image can't be pulled", r"FH0607"),
    "config": ("CreateContainerConfigError", r"secret \"missing\" not found", r"FH1221"),
    "crash-loop": ("CrashLoopBackOff", r"keeps failing.*exit code 1", r"FH0706"),
    "oom": ("OOMKilled", r"OOMKilled|memory"),
    "not-ready": (r'"started":true', r"Readiness probe failed"),
}


def fails(way, before, then):
    """A version that fails in this way: as the first one, or where another serves; left so, or followed by a good one."""

    def function(stack):
        if before:
            stack.first()
        shown, *causes = WAYS[way]
        stack.way, stack.release = way, 2
        # Of a simulated Pod that serves, too: only of a Pod that isn't ready is it a cause.
        said = stack.deploy(shown=("pods", shown if way != "not-ready" else r'"ready":false[^}]*"started":true'))
        judged = Judged(stack, said, False, causes).judge()
        if then and not judged.faults:
            stack.way, stack.release = None, 3
            after = Judged(stack, stack.deploy(), True).judge()
            judged.faults += after.faults
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
    stack.first()
    return Judged(stack, stack.deploy(), True).judge()


@situation()
def the_same_again_changes_nothing(stack):
    stack.first()
    stack.release = 1
    return Judged(stack, stack.deploy(), True, (r"[Nn]othing to change|unchanged",)).judge()


@situation()
def three_copies_get_ready_one_after_another(stack):
    stack.changed = [THREE]
    stack.first()
    return Judged(stack, stack.deploy(), True).judge()


@situation()
def a_version_that_somebody_scales_to_nothing_comes_back_with_the_next_deploy(stack):
    stack.first()
    stack.kubectl("scale", "deployment", "web", "--replicas=0")
    return Judged(stack, stack.deploy(), True).judge()


@situation()
def pod_security_refuses_nothing_of_ours(stack):
    stack.first()
    stack.cluster.kubectl("label", "namespace", stack.namespace, "pod-security.kubernetes.io/audit=restricted", "--overwrite")
    return Judged(stack, stack.deploy(), True).judge()


EVICTED = {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}


def disturbed(stack, disturb):
    """A rollout of three copies, one after another, in which something happens to a Pod again and again."""
    stack.changed = [THREE]
    with SlowNode(stack, 2):
        stack.first()
        said = stack.start_deploy()
        for _ in range(4):
            time.sleep(1.5)
            for pod in pods(stack)[-1:]:
                disturb(pod)
        return Judged(stack, said.wait(), True).judge()


@situation()
def pods_that_are_deleted_in_mid_rollout_come_back(stack):
    return disturbed(stack, lambda pod: stack.kubectl("delete", "pod", pod, "--wait=false", codes=(0, 1)))


@situation()
def pods_that_are_evicted_in_mid_rollout_come_back(stack):
    return disturbed(stack, lambda pod: evict(stack, pod))


@situation()
def pods_that_a_node_ends_for_lack_of_memory_in_mid_rollout_come_back(stack):
    return disturbed(stack, lambda pod: status_of(stack, pod, EVICTED))


@situation()
def a_version_that_takes_its_time_gets_ready(stack):
    stack.changed = [TWO]
    with SlowNode(stack, 20):
        return Judged(stack, stack.deploy(), True).judge()


@situation()
def pods_that_a_node_ended_are_no_reason_against_a_stack_that_serves(stack):
    stack.changed = [TWO]
    stack.first()
    status_of(stack, pods(stack)[0], EVICTED)
    wait(lambda: len(pods(stack)) == 3)
    wait(lambda: stack.items("deployments")[0]["status"].get("availableReplicas") == 2)
    said = stack.status()
    return Judged(stack, said, True).judge(deployed=False).fault('false "failed"', "degraded" in said.text)


@situation()
def readiness_that_goes_away_is_said_by_status(stack):
    stack.first()
    for pod in stack.pods_of():
        name = pod["metadata"]["name"]
        status_of(stack, name, {"conditions": condition(pod, "Ready", False, reason="ContainersNotReady", message="503")})
    wait(lambda: stack.items("deployments")[0]["status"].get("availableReplicas", 0) == 0)
    said = stack.status()
    judged = Judged(stack, said, None, (r"0 of 1 ready",)).judge(deployed=False)
    return judged.fault('false "ready"', said.code == 0 or "degraded" not in said.text)


@situation()
def a_deployment_that_somebody_deletes_is_not_ready(stack):
    stack.first()
    stack.kubectl("delete", "deployment", "web")
    judged = Judged(stack, stack.status(), None, (r"it does not exist",)).judge(deployed=False)
    return judged.fault('false "ready"', "degraded" not in judged.said.text)


@situation()
def a_namespace_that_somebody_deletes_is_not_ready(stack):
    stack.first()
    stack.cluster.kubectl("delete", "namespace", stack.namespace)
    judged = Judged(stack, stack.status(), None, (r"it does not exist",)).judge(deployed=False)
    return judged.fault('false "ready"', "degraded" not in judged.said.text)


@situation()
def a_schedule_whose_runs_fail_is_not_ready(stack):
    stack.tool = "job-failed"
    stack.more = TOOL + """
[job.nightly]
service  = "tool"
command  = ["nightly"]
schedule = "* * * * *"
"""
    stack.first()
    failed = lambda: [job for job in stack.items("jobs") if job.get("status", {}).get("failed")]
    wait(failed, 150)
    # Its CronJob notes it, and the next look sees it.
    said = stack.status()
    judged = Judged(stack, said, None, (r"nightly.*fail",)).judge(deployed=False)
    return judged.fault('false "ready"', "degraded" not in said.text)


@situation()
def a_policy_that_says_no_is_named(stack):
    stack.first()
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
    apply(stack, policy, binding)
    change = ["annotate", "deployment/web", "a=b", "--overwrite", "--dry-run=server", "--namespace", stack.namespace]
    wait(lambda: "no more of these" in stack.cluster.attempt(*change))
    said = stack.deploy()
    for one in ("validatingadmissionpolicybinding", "validatingadmissionpolicy"):
        stack.cluster.kubectl("delete", one, name)
    return Judged(stack, said, False, (r"no more of these, please", r"FH1206")).judge()


@situation()
def somebody_elses_service_is_named(stack):
    stack.cluster.kubectl("create", "namespace", stack.namespace)
    return Judged(stack, stack.deploy(), False, (r"without an ownership label of Freehold", r"FH0801")).judge()


@situation()
def an_autoscaler_of_somebody_else_that_changes_nothing(stack):
    stack.first()
    stack.kubectl("autoscale", "deployment", "web", "--max=3")
    said = stack.deploy()
    # It has changed nothing yet, and nothing is taken from it.
    return Judged(stack, said, True).judge(deployed=False)


@situation()
def variables_that_no_object_can_hold_are_named(stack):
    variables = "".join(f'BIG{number} = "{"x" * 120_000}"\n' for number in range(10))
    stack.changed = [("[service.web.env]", f"[service.web.env]\n{variables}")]
    said = stack.deploy()
    return Judged(stack, said, False, (r"FH0020\]: the definition has \d+ bytes",)).judge()


@situation()
def secrets_that_no_object_can_hold_together_are_named_by_the_plan(stack):
    names = [f"key-{number}" for number in range(17)]
    stack.changed = [("[service.web.env]", "[service.web.env]\n" + "".join(f'{name.replace("-", "_").upper()} = "${{secret.{name}}}"\n' for name in names))]
    stack.more = "".join(f"[secret.{name}]\n" for name in names)
    for name in names:
        arguments = ["secret", "set", name, "--tenant", stack.name, "--app", "truth", "--target", stack.target, "--force"]
        stack.site.platform.run(*arguments, stdin="x" * 65_536)
    said = stack.deploy()
    return Judged(stack, said, False, (r"FH1215", r"Secret \S+/web would hold 1114112 bytes")).judge()


@situation()
def the_one_of_two_services_that_fails_is_the_only_cause(stack):
    stack.more = """
[service.api]
image         = "@REGISTRY@/truth/web"
command       = ["web"]
port          = 8080
start_timeout = "1s"
cpu           = "10m..100m"
memory        = "16Mi..64Mi"
"""
    stack.way = "crash-loop"
    said = stack.deploy("--image", f"api={pushed(stack.cluster, 'truth/web')}", shown=("pods", "CrashLoopBackOff"))
    judged = Judged(stack, said, False, (r"keeps failing", r"deployment.web: FH0706")).judge()
    # That the other isn't ready yet may be named in a line behind, without a reason.
    ending = said.text[said.text.rfind("FH0706") :]
    return judged.fault("names what has nothing to do with it", "no answer yet" in said.text or "deployment.api:" in ending)


@situation()
def a_rollback_brings_the_version_before_back(stack):
    stack.first()
    stack.way, stack.release = "not-ready", 2
    stack.deploy()
    said = stack.begin("rollback", "--tenant", stack.name, "--target", stack.target, "--yes").wait()
    stack.release = 1
    return Judged(stack, said, True).judge()


@situation()
def two_freeholds_with_one_domain(stack):
    host = f"shared-{stack.name}.test.localhost"
    stack.changed = [("${stack.name}.${target.domain}", host)]
    stack.first()
    with Site(stack.cluster) as other:
        stack.define()
        chosen = ["--tenant", f"other-{stack.name}", "--tier", "small", "--target", stack.target, "--yes"]
        arguments = ["deploy", stack.folder.name, *chosen, "--image", f"web={pushed(stack.cluster, 'truth/web')}"]
        said = Said(other.platform.command(*arguments), other.platform.environment).wait()
        other.platform.run(
            "destroy", "--tenant", f"other-{stack.name}", "--target", stack.target, "--confirm", f"other-{stack.name}", "--no-dump", check=False
        )
    # The gateway gives a host to the route that was there first.
    judged = Judged(stack, said, None, (host + r".*" + stack.namespace + "|" + stack.namespace + r".*" + host,))
    return judged.judge(deployed=False).fault('false "ready"', said.code == 0)
