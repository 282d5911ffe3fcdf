"""What is waited for: a quota, room, a volume, a webhook, an autoscaler, somebody who has paused it."""

import json
import time

from situations.making import THREE, TWO, SlowNode, apply, dead_webhook, full, patch, wait, without_webhook
from truth import Judged, situation


@situation()
def a_quota_that_has_room_again_while_the_cluster_pauses(stack):
    stack.first()
    apply_here(stack, full("0"))
    said = stack.start_deploy(shown=("replicasets", "exceeded quota: others"))
    time.sleep(6)
    stack.kubectl("delete", "resourcequota", "others")
    return Judged(stack, said.wait(), True).judge()


def apply_here(stack, one):
    stack.kubectl("apply", "-f", "-", stdin=json.dumps(one))


@situation()
def a_quota_that_never_has_room(stack):
    stack.first()
    made = time.monotonic()
    apply_here(stack, full("0"))
    said = stack.deploy(shown=("replicasets", "exceeded quota: others"))
    return Judged(stack, said, False, (r"quota lets no pod in.*exceeded quota: others",), made).judge()


@situation()
def a_quota_that_is_short_then_grows(stack):
    stack.changed = [TWO]
    stack.first()
    apply_here(stack, full("2"))
    said = stack.start_deploy(shown=("replicasets", "exceeded quota: others"))
    wait(lambda: stack.witness.when)
    time.sleep(4)
    apply_here(stack, full("3"))
    return Judged(stack, said.wait(), True).judge()


@situation()
def a_quota_that_grows_after_a_failure_lets_the_next_deploy_in(stack):
    stack.first()
    apply_here(stack, full("0"))
    judged = Judged(stack, stack.deploy(), None, (r"quota lets no pod in.*exceeded quota: others",))
    apply_here(stack, full("10"))
    stack.release = 3
    after = Judged(stack, stack.deploy(), True).judge()
    return after.fault("without a named cause", judged.said.first(judged.causes[0]) is None)


@situation()
def no_node_has_room(stack):
    stack.changed = [("10m..100m", "900..900"), ('cpu    = "4"', 'cpu    = "2000"')]
    said = stack.deploy(shown=("pods", "Unschedulable"))
    return Judged(stack, said, False, (r"no node fits its pod",)).judge()


@situation()
def an_autoscaler_without_a_metrics_api(stack):
    stack.changed = [("[service.web.env]", "autoscale = { max = 3 }\n\n[service.web.env]")]
    said = stack.deploy(shown=("horizontalpodautoscalers", "FailedGetResourceMetric"))
    return Judged(stack, said, False, (r"FH1226|no metrics API",)).judge()


VOLUME = ("[service.web.env]", 'update = "recreate"\n\n[service.web.volumes]\ndata = { path = "/data", size = "1Gi" }\n\n[service.web.env]')


@situation()
def a_volume_without_a_storage_class(stack):
    stack.changed = [VOLUME]
    return Judged(stack, stack.deploy(), False, (r"storage class",)).judge()


@situation(alone=True)
def a_volume_that_nobody_makes(stack):
    stack.changed = [VOLUME]
    kind = {
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": "example.org/nobody",
        "metadata": {"name": "nobody", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
    }
    apply(stack, kind)
    try:
        said = stack.deploy(shown=("persistentvolumeclaims", '"phase":"Pending"'))
        return Judged(stack, said, False, (r"no volume is bound to it yet",)).judge()
    finally:
        stack.cluster.kubectl("delete", "storageclass", "nobody")


@situation()
def a_paused_deployment_is_told_while_it_waits(stack):
    stack.first()
    patch(stack, "deployment/web", {"spec": {"paused": True}})
    said = stack.deploy(shown=("deployments", '"paused":true'))
    return Judged(stack, said, False, (r"paused",)).judge()


@situation()
def a_paused_deployment_that_goes_on_gets_ready(stack):
    stack.first()
    patch(stack, "deployment/web", {"spec": {"paused": True}})
    said = stack.start_deploy()
    wait(lambda: said.first("paused") or said.process.poll() is not None)
    patch(stack, "deployment/web", {"spec": {"paused": False}})
    return Judged(stack, said.wait(), True, (r"paused",)).judge()


@situation()
def a_webhook_for_creations_that_is_down_for_a_while(stack):
    made = time.monotonic()
    apply(stack, dead_webhook(stack, "CREATE", "apps", "deployments"))
    said = stack.start_deploy()
    wait(lambda: said.first("policy.example.org") or time.monotonic() > made + 25)
    without_webhook(stack)
    return Judged(stack, said.wait(), True, (r"policy.example.org",)).judge()


@situation()
def a_webhook_for_creations_that_stays_down(stack):
    apply(stack, dead_webhook(stack, "CREATE", "apps", "deployments"))
    try:
        return Judged(stack, stack.deploy(), False, (r"policy.example.org",)).judge()
    finally:
        without_webhook(stack)


@situation()
def a_webhook_for_pods_that_is_down_for_a_while(stack):
    stack.first()
    made = time.monotonic()
    apply(stack, dead_webhook(stack, "CREATE", "", "pods"))
    said = stack.start_deploy(shown=("replicasets", "policy.example.org"))
    wait(lambda: said.first("policy.example.org") or said.process.poll() is not None)
    without_webhook(stack)
    return Judged(stack, said.wait(), None, (r"policy.example.org",), made).judge()


@situation()
def a_webhook_for_updates_that_is_down_is_named_by_the_plan(stack):
    stack.first()
    apply(stack, dead_webhook(stack, "UPDATE", "apps", "deployments"))
    change = ["annotate", "deployment/web", "a=b", "--overwrite", "--dry-run=server", "--namespace", stack.namespace]
    wait(lambda: "policy.example.org" in stack.cluster.attempt(*change))
    try:
        return Judged(stack, stack.deploy(), False, (r"policy.example.org",)).judge()
    finally:
        without_webhook(stack)


@situation()
def a_namespace_that_somebody_deletes_in_mid_rollout(stack):
    stack.changed = [THREE]
    with SlowNode(stack, 3):
        stack.first()
        said = stack.start_deploy()
        time.sleep(4)
        made = time.monotonic()
        stack.cluster.kubectl("delete", "namespace", stack.namespace, "--wait=false")
        said.wait()
    return Judged(stack, said, False, (r"does not exist|is being deleted|is gone",), made).judge()
