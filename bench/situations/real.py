"""On a real node: what a simulated one only pretends."""

import http.client
import json
import os
import pathlib
import signal
import time

import image
from situations.jobs import job, ran
from situations.making import TWO, evict, pods, wait
from stacks import is_ready, program
from truth import Judged, situation

HEALTH = 'health = { ready = "/ready", live = "/live" }\n\n[service.web.env]'
GATEWAY = ("gateway/freehold-gateway", "--namespace", "freehold-gateway")


def starts_as(stack, way):
    stack.changed = [*stack.changed, ('["web"]', f'["web", "{way}"]'), ("[service.web.env]", HEALTH)]


@situation("node")
def a_real_version_and_the_next_get_ready(stack):
    stack.changed = [TWO]
    stack.first()
    return Judged(stack, stack.deploy(), True).judge()


@situation("node")
def old_copies_that_take_30_s_to_end_fill_the_tiers_quota(stack):
    stack.pods = 3
    stack.changed = [TWO, ('stop_timeout  = "1s"', 'stop_timeout  = "30s"')]
    stack.first()
    said = stack.deploy(shown=("replicasets", "exceeded quota: freehold"))
    return Judged(stack, said, True).judge()


@situation("node")
def a_real_version_that_starts_slowly_gets_ready(stack):
    stack.first()
    stack.changed = [('start_timeout = "1s"', 'start_timeout = "30s"')]
    starts_as(stack, "slow")
    return Judged(stack, stack.deploy(), True).judge()


def fails(way, shown, *causes):
    def function(stack):
        stack.first()
        starts_as(stack, way)
        return Judged(stack, stack.deploy(shown=("pods", shown)), False, causes).judge()

    function.__name__ = f"a_real_version_that_is_{way}_where_another_serves"
    return function


situation("node")(fails("crash", r'"exitCode":3', r"exit code 3", r"FH0706", r"this version can't start"))
situation("node")(fails("deaf", r'"restartCount":1', r"[Ss]tartup probe failed"))
situation("node")(fails("greedy", r"OOMKilled", r"OOMKilled|memory"))


def not_ready(stack):
    return not any(is_ready(pod) for pod in stack.pods_of())


@situation("node")
def readiness_that_comes_and_goes_is_what_status_says(stack):
    starts_as(stack, "flaps")
    stack.first()
    wait(lambda: not_ready(stack))
    gone = stack.status()
    wait(lambda: not not_ready(stack))
    wait(lambda: stack.items("deployments")[0]["status"].get("availableReplicas") == 1)
    back = stack.status()
    judged = Judged(stack, gone, None, (r"Readiness probe failed",)).judge(deployed=False)
    judged.fault('false "ready"', "degraded" not in gone.text)
    return judged.fault('false "failed"', "degraded" in back.text)


@situation("node")
def readiness_that_is_lost_in_mid_rollout(stack):
    stack.changed = [TWO]
    starts_as(stack, "fades")
    said = stack.deploy()
    if said.code == 0:
        # It was ready when that was said. Now status has to say what became of it.
        wait(lambda: not_ready(stack))
        said = stack.status()
        judged = Judged(stack, said, None, (r"Readiness probe failed",)).judge(deployed=False)
        return judged.fault('false "ready"', "degraded" not in said.text)
    return Judged(stack, said, None, (r"Readiness probe failed",)).judge()


@situation("node")
def a_liveness_probe_that_fails_after_it_was_ready_is_named(stack):
    starts_as(stack, "dies")
    stack.first()
    again = lambda: not_ready(stack) and any(
        one["restartCount"] for pod in stack.pods_of() for one in pod["status"].get("containerStatuses", [])
    )
    # It is ready again a second or two after it was killed: whoever asks has to be quick.
    for _ in range(4):
        wait(again)
        said = stack.status()
        if "degraded" in said.text:
            break
    judged = Judged(stack, said, None, (r"[Ll]iveness probe failed",)).judge(deployed=False)
    return judged.fault('false "ready"', "degraded" not in said.text)


@situation("node")
def a_real_job_runs_once_for_each_revision(stack):
    stack.more = job().replace('["migrate"]', '["web", "migrate"]')
    stack.first()
    judged = Judged(stack, stack.deploy(), True).judge()
    return judged.fault(f"jobs that ran: {ran(stack)}", ran(stack) != ["migrate-r1", "migrate-r2"])


@situation("node")
def a_real_job_that_fails_keeps_the_old_version(stack):
    stack.first()
    stack.more = job().replace('["migrate"]', '["web", "crash"]')
    said = stack.deploy(shown=("pods", '"exitCode":3'))
    return Judged(stack, said, False, (r"job migrate failed.*exit code 3", r"FH0701", r"this version can't start")).judge()


@situation("node")
def a_secret_that_was_missing_is_put_back(stack):
    stack.more = '\n[secret.key]\ngenerate = { bytes = 32, as = "hex" }\n'
    stack.changed = [("[service.web.env]", '[service.web.env]\nKEY = "${secret.key}"')]
    stack.first()
    stack.release = 1
    secret = next(name for name in stack.kubectl("get", "secrets", "--output=name").split() if "key" in name or "web" in name)
    stack.kubectl("delete", secret)
    stack.kubectl("delete", "pods", "--all", "--force")
    wait(lambda: "CreateContainerConfigError" in stack.kubectl("get", "pods"))
    time.sleep(12)
    return Judged(stack, stack.deploy(), True).judge()


@situation("node")
def real_pods_that_are_evicted_in_mid_rollout_come_back(stack):
    stack.changed = [TWO]
    stack.first()
    said = stack.start_deploy()
    wait(lambda: len(pods(stack)) > 2 or said.process.poll() is not None)
    for pod in pods(stack):
        evict(stack, pod)
    return Judged(stack, said.wait(), True).judge()


@situation("node")
def the_node_is_drained_in_mid_rollout_with_a_disruption_budget(stack):
    stack.changed = [TWO]
    stack.first()
    said = stack.start_deploy()
    wait(lambda: len(pods(stack)) > 2 or said.process.poll() is not None)
    made, node = time.monotonic(), "real-0"
    try:
        # The budget keeps one copy: the drain does not end before its time.
        stack.cluster.attempt(
            "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--pod-selector=freehold.dev/stack", "--timeout=25s"
        )
        serves = stack.serves()
    finally:
        stack.cluster.kubectl("uncordon", node)
    judged = Judged(stack, said.wait(), True, (r"unschedulable|cordoned",) if not said.code and said.first("unschedulable") else (), made)
    return judged.judge().fault("the budget did not hold", not serves)


@situation("node")
def the_only_node_is_cordoned_in_mid_rollout(stack):
    stack.first()
    stack.cluster.kubectl("cordon", "real-0")
    try:
        said = stack.deploy(shown=("pods", "Unschedulable"))
        return Judged(stack, said, False, (r"no node fits its pod.*unschedulable",)).judge()
    finally:
        stack.cluster.kubectl("uncordon", "real-0")


@situation("node")
def the_kubelet_is_killed_in_mid_rollout_and_started_again(stack):
    stack.changed = [TWO]
    stack.first()
    said = stack.start_deploy()
    wait(lambda: len(pods(stack)) > 2 or said.process.poll() is not None)
    stack.cluster.kill_kubelet()
    time.sleep(25)
    stack.cluster.start_kubelet()
    return Judged(stack, said.wait(), True).judge()


@situation("node")
def the_kubelet_stays_away(stack):
    stack.changed = [TWO]
    stack.first()
    stack.cluster.kill_kubelet()
    try:
        # It takes the cluster 50 s to notice.
        said = stack.deploy(shown=("pods", r"NodeNotReady|NodeLost"))
        return Judged(stack, said, False, (r"node real-0",)).judge()
    finally:
        stack.cluster.start_kubelet()


@situation("node")
def the_api_server_is_frozen_for_15_s_in_mid_rollout(stack):
    stack.changed = [TWO]
    stack.first()
    said = stack.start_deploy()
    wait(lambda: len(pods(stack)) > 2 or said.process.poll() is not None)
    number, _ = stack.cluster.daemon("kube-apiserver")
    os.kill(number, signal.SIGSTOP)
    try:
        time.sleep(15)
    finally:
        os.kill(number, signal.SIGCONT)
    return Judged(stack, said.wait(), True).judge()


@situation("node")
def a_route_whose_listener_no_longer_fits(stack):
    stack.first()
    listeners = stack.cluster.get(*GATEWAY)["spec"]["listeners"]
    change = [{**one, "hostname": "*.other.localhost"} if one["name"] == "wildcard" else one for one in listeners]
    set_listeners(stack, change)
    try:
        said = stack.deploy()
        # The version is rolled out, and no request reaches it: that is what is false about "ready".
        return Judged(stack, said, None, (r"listener wildcard",)).judge(deployed=False).fault('false "ready"', said.code == 0)
    finally:
        set_listeners(stack, listeners)


@situation("node")
def a_route_whose_listener_fits_again(stack):
    listeners = stack.cluster.get(*GATEWAY)["spec"]["listeners"]
    change = [{**one, "hostname": "*.other.localhost"} if one["name"] == "wildcard" else one for one in listeners]
    stack.first()
    said = stack.start_deploy()
    set_listeners(stack, change)
    time.sleep(2)
    set_listeners(stack, listeners)
    return Judged(stack, said.wait(), True).judge()


def set_listeners(stack, listeners):
    change = json.dumps({"spec": {"listeners": listeners}})
    stack.cluster.kubectl("patch", *GATEWAY, "--type=merge", "--patch", change)


PATHS = """
paths   = [
    { prefix = "/retried", retries = 3 }, { prefix = "/brief", timeout = "1s" },
    { prefix = "/brief/retried", timeout = "1s", retries = 2 }, { prefix = "/" },
]
"""


def asked(stack, method, path):
    """What the gateway answers: status and text."""
    connection = http.client.HTTPConnection(stack.cluster.address, stack.cluster.port, timeout=30)
    connection.request(method, path, headers={"Host": f"{stack.name}.test.localhost"})
    answer = connection.getresponse()
    status, text = answer.status, answer.read().decode()
    connection.close()
    return status, text


@situation("node")
def each_path_has_its_timeout_and_is_tried_again_only_where_that_is_harmless(stack):
    stack.changed = [('hosts   = ["${stack.name}.${target.domain}"]', 'hosts   = ["${stack.name}.${target.domain}"]' + PATHS)]
    stack.first()
    stack.release = 1
    judged = Judged(stack, stack.deploy(), True, (r"[Nn]othing to change|unchanged",)).judge()
    wait(lambda: asked(stack, "GET", "/")[0] == 200)
    expected = {
        # The third try is answered.
        ("GET", "/retried/flaky"): (200, "3"),
        # Nobody knows what a POST has done.
        ("POST", "/retried/post/flaky"): (503, "1"),
        ("GET", "/flaky"): (503, "1"),
        ("GET", "/brief/slow"): 504,
        ("GET", "/slow"): (200, "1"),
        # All tries together have the path's time.
        ("GET", "/brief/retried/slow"): 504,
        ("GET", "/brief/retried/flaky"): (200, "3"),
    }
    for (method, path), answer in expected.items():
        status, text = asked(stack, method, path)
        judged.fault(f"{method} {path}: {status} {text}", answer not in (status, (status, text)))
    return judged


# Pull credentials.


def users(stack, name):
    """From now on the private registry knows this user alone; the password stays."""
    file = stack.cluster.place / "private-registry" / "htpasswd"
    file.write_text(f"{name}:{file.read_text().split(':', 1)[1]}")


def private(stack, user, tag):
    """The target's credentials for the private registry are this user's; an image that no node has yet."""
    registry = stack.cluster.private_registry
    image.CREDENTIALS[registry] = f"{user}:password-of-a-test"
    word = image.base64.b64encode(image.CREDENTIALS[registry].encode()).decode()
    file = pathlib.Path(stack.folder.name, "registry.json")
    file.write_text(json.dumps({"auths": {registry: {"auth": word}}}))
    insecure = [word for address in (stack.cluster.registry, registry) for word in ("--insecure-registry", address)]
    stack.site.platform.run("target", "add", stack.target, "--registry-config", file, *insecure)
    mark = pathlib.Path(stack.folder.name, "mark")
    mark.write_text(f"{stack.name} {tag}")
    return image.push(registry, f"truth/{stack.name}", tag, {"/web": program(stack.cluster), "/mark": mark})


@situation("node")
def pull_credentials_that_expire_between_plan_and_pull_then_new_ones(stack):
    users(stack, "puller")
    try:
        first = private(stack, "puller", "1")
        stack.first("--image", f"web={first}")
        second = private(stack, "puller", "2")
        stack.cluster.kubectl("cordon", "real-0")
        said = stack.start_deploy("--image", f"web={second}", shown=("pods", r"ErrImagePull|ImagePullBackOff"))
        wait(lambda: len(pods(stack)) > 1 or said.process.poll() is not None)
        users(stack, "somebody")
        stack.cluster.kubectl("uncordon", "real-0")
        judged = Judged(stack, said.wait(), False, (r"image can't be pulled|registry .*(refuses|let)|FH0609|authori",)).judge()
        users(stack, "renewed")
        stack.release = 3
        after = Judged(stack, stack.deploy("--image", f"web={private(stack, 'renewed', '3')}"), True).judge()
        judged.faults += after.faults
        return judged
    finally:
        users(stack, "puller")
        stack.cluster.kubectl("uncordon", "real-0")


@situation("node")
def pull_credentials_that_are_no_longer_right_are_named_by_the_plan(stack):
    users(stack, "puller")
    try:
        reference = private(stack, "puller", "1")
        stack.first("--image", f"web={reference}")
        reference = private(stack, "puller", "2")
        users(stack, "somebody")
        return Judged(stack, stack.deploy("--image", f"web={reference}"), False, (r"FH0609|registry.*(refuses|lets|unauthor)",)).judge()
    finally:
        users(stack, "puller")


# The last one: it ends everybody's Pods.


@situation("node")
def real_memory_pressure_in_mid_rollout(stack):
    """The kubelet evicts for real: it is told that the node's memory is short much earlier than it would find."""
    # Time enough for a node that is short of memory for a minute.
    stack.changed = [TWO, ('start_timeout = "1s"', 'start_timeout = "60s"')]
    stack.first()
    file = stack.cluster.place / "kubelet.json"
    kept = file.read_text()
    config = json.loads(kept)
    config["evictionHard"]["memory.available"] = "99%"
    file.write_text(json.dumps(config))
    stack.cluster.kill_kubelet()
    stack.cluster.start_kubelet()
    made = time.monotonic()
    # New ones don't get onto a node that is short of memory, in the scheduler's words.
    short = r"Evicted|low on resource|no node fits its pod.*taint"
    said = stack.start_deploy(shown=("pods", '"reason":"Evicted"'))
    try:
        wait(lambda: stack.witness.when or said.process.poll() is not None, 180)
        wait(lambda: said.first(short) or said.process.poll() is not None or time.monotonic() > made + 120)
    finally:
        file.write_text(kept)
        stack.cluster.kill_kubelet()
        stack.cluster.start_kubelet()
    said.wait()
    assert stack.witness.when, "the kubelet has evicted nothing"
    judged = Judged(stack, said, True, (short,)).judge()
    for namespace in ("envoy-gateway-system",):
        stack.cluster.kubectl("wait", "--for=condition=Available", "deployments", "--all", "--namespace", namespace, "--timeout=120s")
    return judged
