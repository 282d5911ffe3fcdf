"""What situations are made with."""

import json
import threading
import time

TWO = ("[service.web.env]", "replicas = 2\n\n[service.web.env]")
THREE = ("[service.web.env]", "replicas = 3\n\n[service.web.env]")


def wait(condition, seconds=120):
    """Until it holds; what it gives."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "what the situation needs does not come"
        time.sleep(0.2)
    return found


def pods(stack, component="service"):
    return [pod["metadata"]["name"] for pod in stack.pods_of(component)]


def patch(stack, what, change, *more):
    stack.kubectl("patch", what, "--type=merge", "--patch", json.dumps(change), *more)


def status_of(stack, pod, change):
    """What only a node or a controller writes."""
    stack.cluster.write(f"/api/v1/namespaces/{stack.namespace}/pods/{pod}/status", {"status": change})


def condition(pod, kind, holds, **more):
    """The Pod's conditions, with this one as it is now."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    others = [one for one in pod["status"].get("conditions", []) if one["type"] != kind]
    return [*others, {"type": kind, "status": str(holds), "lastTransitionTime": now, **more}]


class SlowNode(threading.Thread):
    """The simulated node of a stack that goes the way `slow`: a Pod of it is ready so many seconds after it was made."""

    def __init__(self, stack, seconds):
        super().__init__(daemon=True)
        self.stack, self.seconds, self.made, self.stopped = stack, seconds, {}, threading.Event()
        stack.way = "slow"
        self.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.join()

    def run(self):
        while not self.stopped.wait(0.3):
            for pod in self.stack.pods_of():
                made = self.made.setdefault(pod["metadata"]["uid"], time.monotonic())
                is_starting = pod["status"].get("phase") == "Pending" and not pod["metadata"].get("deletionTimestamp")
                if is_starting and time.monotonic() >= made + self.seconds:
                    run(self.stack, pod)


def run(stack, pod):
    """What a node writes when all containers of a Pod run and are ready."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    kept = [one for one in pod["status"].get("conditions", []) if one["type"] not in ("Ready", "ContainersReady")]
    ready = [{"type": kind, "status": "True", "lastTransitionTime": now} for kind in ("Ready", "ContainersReady")]
    before = {one["name"]: one for one in pod["status"].get("containerStatuses", [])}
    containers = [
        {
            "restartCount": 0, "imageID": "", **before.get(one["name"], {}), "name": one["name"], "image": one["image"],
            "ready": True, "started": True, "state": {"running": {"startedAt": now}},
        }
        for one in pod["spec"]["containers"]
    ]
    address = {"podIP": "192.0.2.9", "podIPs": [{"ip": "192.0.2.9"}], "startTime": now}
    change = {"phase": "Running", "conditions": kept + ready, "containerStatuses": containers, **address}
    path = f"/api/v1/namespaces/{stack.namespace}/pods/{pod['metadata']['name']}/status"
    stack.cluster.write(path, {"status": change})


def mended(stack):
    """What was missing is put back and deployed: what the old Pod says is older than that, and whoever mends it takes longer."""
    time.sleep(12)
    stack.pods = 19
    said = stack.start_deploy()
    time.sleep(12)
    for pod in stack.pods_of():
        run(stack, pod)
    return said.wait()


def full(pods):
    """A quota of somebody else's."""
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "others"}, "spec": {"hard": {"pods": pods}}}


def apply(stack, *objects):
    for one in objects:
        stack.cluster.kubectl("apply", "-f", "-", stdin=json.dumps(one))


def evict(stack, pod):
    """Through the API, as a drain does."""
    name = {"name": pod, "namespace": stack.namespace}
    stack.cluster.kubectl(
        "create", "--raw", f"/api/v1/namespaces/{stack.namespace}/pods/{pod}/eviction", "-f", "-",
        stdin=json.dumps({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": name}), codes=(0, 1),
    )


def dead_webhook(stack, operation, group, resource):
    """An admission webhook for the stack's namespace that nobody answers for."""
    return {
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": stack.name},
        "webhooks": [{
            "name": "policy.example.org", "clientConfig": {"url": "https://127.0.0.1:9/policy"}, "sideEffects": "None",
            "rules": [{"apiGroups": [group], "apiVersions": ["v1"], "operations": [operation], "resources": [resource]}],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": stack.namespace}},
            "admissionReviewVersions": ["v1"], "timeoutSeconds": 2,
        }],
    }


def without_webhook(stack):
    stack.cluster.kubectl("delete", "validatingwebhookconfiguration", stack.name, "--ignore-not-found")
