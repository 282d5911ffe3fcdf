"""Others that put the same objects into the same cluster: a bare loop, kubectl, helm."""

import json
import os
import pathlib
import shutil
import subprocess
import time
import uuid

import manifests
from clusters import PARTS


def copies(objects, names, owner):
    """The manifests of so many apps; each a stack of its own as far as labels tell."""
    return [manifests.copy(objects, name, str(uuid.uuid4()), owner) for name in names]


class BareLoop:
    """Dry-runs and applies, 16 at a time, and does nothing else."""

    OWNER = "bare-loop"

    def __init__(self, cluster, objects):
        self.cluster, self.objects = cluster, objects
        self.seconds = 0.0

    def apply(self, names):
        apps = copies(self.objects, [f"b{name}" for name in names], self.OWNER)
        lines = "\n".join(json.dumps(body) for app in apps for body in app)
        result = json.loads(self.cluster.call(os.environ["FREEHOLD_BARE_LOOP"], self.cluster.kubeconfig, stdin=lines))
        # Without the start of its process.
        self.seconds += result["namespaces_seconds"] + result["dry_run_seconds"] + result["apply_seconds"]


def kubectl(cluster, objects, count):
    """Objects a second of `kubectl diff` and `kubectl apply --server-side` of one file with all apps.

    The namespaces are made before, which isn't counted: diff can't do without them.
    """
    apps = in_namespaces(cluster, objects, "k", count)
    whole = pathlib.Path(cluster.folder.name, "kubectl.json")
    whole.write_text(manifests.as_list([body for app in apps for body in app]), encoding="utf-8")
    return count * len(objects) / diff_and_apply(cluster, [whole])


def kubectl_each(cluster, objects, count):
    """The same, with a file and two calls for each app, one after another, as a pipeline for each app would do it."""
    apps = in_namespaces(cluster, objects, "l", count)
    files = []
    for number, app in enumerate(apps):
        files.append(pathlib.Path(cluster.folder.name, f"kubectl-{number}.json"))
        files[-1].write_text(manifests.as_list(app), encoding="utf-8")
    return count * len(objects) / diff_and_apply(cluster, files)


def in_namespaces(cluster, objects, prefix, count):
    """The manifests of so many apps, whose namespaces are there."""
    apps = copies(objects, [f"{prefix}{number:04}" for number in range(count)], "kubectl")
    spaces = [body for app in apps for body in app if body["kind"] == "Namespace"]
    cluster.kubectl("apply", "--server-side", "-f", "-", stdin=manifests.as_list(spaces))
    return apps


def diff_and_apply(cluster, files):
    """Seconds."""
    begin = time.monotonic()
    for file in files:
        cluster.kubectl("diff", "--server-side", "-f", file, codes=(0, 1))
        cluster.kubectl("apply", "--server-side", "-f", file)
    return time.monotonic() - begin


def helm(cluster, objects, count):
    """Objects a second of `helm upgrade --install`, one app after another; the namespace is helm's own to make."""
    chart = pathlib.Path(cluster.folder.name, "chart")
    shutil.rmtree(chart, ignore_errors=True)
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: flux\nversion: 1.0.0\n", encoding="utf-8")
    places = {manifests.TENANT: "{{ .Values.tenant }}", manifests.STACK: "{{ .Values.stack }}", manifests.OWNER: "Helm"}
    bodies = [body for body in objects if body["kind"] != "Namespace"]
    text = "\n---\n".join(json.dumps(body) for body in bodies)
    for place, word in places.items():
        text = text.replace(place, word)
    (chart / "templates" / "all.yaml").write_text(text, encoding="utf-8")
    environment = {**cluster.environment(), "HELM_CACHE_HOME": f"{cluster.folder.name}/helm"}
    namespace = next(body["metadata"]["name"] for body in objects if body["kind"] == "Namespace")
    begin = time.monotonic()
    for number in range(count):
        tenant = f"h{number:04}"
        command = [
            PARTS / "bin" / "helm", "upgrade", "--install", "flux", chart, "--create-namespace",
            "--namespace", namespace.replace(manifests.TENANT, tenant),
            "--set", f"tenant={tenant},stack={uuid.uuid4()}",
        ]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise SystemExit(f"helm: {result.stdout[-1000:]}\n{result.stderr[-2000:]}")
    return count * len(objects) / (time.monotonic() - begin)

