"""Destroys, and what holds them."""

import json
import time

from situations.making import apply, dead_webhook, wait, without_webhook
from truth import Judged, situation

KEEP = "example.org/keep"


def deleted(stack, hold, release, cause):
    """A destroy that something holds, and lets go a while after it was told."""
    stack.first()
    hold()
    made = time.monotonic()
    said = stack.start_destroy()
    wait(lambda: said.first(cause) or said.process.poll() is not None or time.monotonic() > made + 25)
    status = stack.status().text
    release()
    judged = Judged(stack, said.wait(), True, (cause,), made).judge(deployed=False)
    return judged.fault('false "ready"', f"{stack.name} ready" in status)


def finalizers(stack, what, kept):
    for name in stack.kubectl("get", what, "--output=name", codes=(0, 1)).split():
        patch = json.dumps({"metadata": {"finalizers": kept}})
        stack.kubectl("patch", name, "--type=merge", "--patch", patch, codes=(0, 1))


def held(what):
    """A destroy that a foreign finalizer on objects of this kind holds."""

    def function(stack):
        kind = what.split("/")[0].removesuffix("s").removeprefix("http")
        cause = rf"{kind} [^ ]*( is being deleted: it)? is held by its finalizer {KEEP}"
        return deleted(stack, lambda: finalizers(stack, what, [KEEP]), lambda: finalizers(stack, what, None), cause)

    function.__name__ = f"a_foreign_finalizer_on_{what.split('/')[0]}_holds_a_destroy"
    return function


for what in ("pods", "replicasets", "configmap/web", "services", "httproutes", "deployments"):
    situation()(held(what))


@situation()
def a_dead_webhook_on_delete(stack):
    webhook = dead_webhook(stack, "DELETE", "apps", "deployments")
    return deleted(stack, lambda: apply(stack, webhook), lambda: without_webhook(stack), r"admission webhook policy.example.org is unreachable")


@situation()
def an_object_that_is_being_deleted_tells_its_holder_in_status(stack):
    stack.first()
    finalizers(stack, "pods", [KEEP])
    stack.kubectl("delete", "deployment", "web", "--cascade=foreground", "--wait=false")
    wait(lambda: any(pod["metadata"].get("deletionTimestamp") for pod in stack.pods_of()))
    status = stack.status()
    finalizers(stack, "pods", None)
    return Judged(stack, status, None, (rf"held by its finalizer {KEEP}", r"it is being deleted, since")).judge(deployed=False)


@situation()
def a_deploy_meets_an_object_that_is_being_deleted(stack):
    stack.first()
    finalizers(stack, "pods", [KEEP])
    made = time.monotonic()
    stack.kubectl("delete", "deployment", "web", "--cascade=foreground", "--wait=false")
    said = stack.start_deploy()
    wait(lambda: said.first(KEEP) or said.process.poll() is not None or time.monotonic() > made + 40)
    finalizers(stack, "pods", None)
    return Judged(stack, said.wait(), None, (KEEP,), made).judge(deployed=said.code == 0)


@situation()
def a_deployment_that_somebody_deletes_comes_back_with_the_next_deploy(stack):
    stack.first()
    stack.kubectl("delete", "deployment", "web")
    return Judged(stack, stack.deploy(), True).judge()


@situation()
def a_namespace_that_somebody_deletes_comes_back_with_the_next_deploy(stack):
    stack.first()
    stack.cluster.kubectl("delete", "namespace", stack.namespace)
    return Judged(stack, stack.deploy(), True).judge()


@situation()
def a_namespace_that_is_gone_makes_a_destroy_no_harder(stack):
    stack.first()
    stack.cluster.kubectl("delete", "namespace", stack.namespace)
    return Judged(stack, stack.destroy(), True).judge(deployed=False)


@situation()
def an_autoscaler_of_somebody_else_makes_a_destroy_no_harder(stack):
    stack.first()
    stack.kubectl("autoscale", "deployment", "web", "--max=3")
    return Judged(stack, stack.destroy(), True).judge(deployed=False)


@situation()
def an_app_that_failed_is_destroyed(stack):
    stack.way = "crash-loop"
    assert stack.deploy().code != 0, "it has to fail"
    return Judged(stack, stack.destroy(), True).judge(deployed=False)
