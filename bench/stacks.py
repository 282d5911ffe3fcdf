"""Tenants of the small app of bench/truth, what commands say of them, and what is true of them: asked of the cluster, not of Freehold."""

import json
import pathlib
import random
import re
import subprocess
import tempfile
import threading
import time

import clusters
import image
from platform_under_test import TOP
from target import TARGET

APP = TOP / "bench" / "truth" / "freehold.toml"
# A service that isn't started: jobs run from its image, which says how they go.
TOOL = """
[service.tool]
image    = "@REGISTRY@/truth/tool"
command  = ["tool"]
replicas = 0
cpu      = "10m..100m"
memory   = "16Mi..64Mi"
"""
# How often the cluster is asked whether it shows the cause yet.
LOOK = 0.25
# Names of this run's own, in a cluster that is kept.
RUN = "".join(random.choices("bcdfghjklmnpqrstvwxz", k=3))
# Lines that one sentence may be broken into.
BROKEN = 4


class Said:
    """What a command printed, each line with when, and how it ended."""

    def __init__(self, command, environment):
        self.begun, self.code = time.monotonic(), None
        self.lines = []
        environment = {**environment, "COLUMNS": "200"}
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            self.lines.append((time.monotonic(), line.rstrip("\n")))

    def wait(self, seconds=900):
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.reader.join()
        self.code = self.process.wait()
        return self

    @property
    def text(self):
        """In one line: the output is broken for a terminal's width, and what a program said stands behind a bar."""
        return plain(line for _, line in self.lines)

    def first(self, pattern, since=0.0):
        """When something was printed first."""
        for number, (when, _) in enumerate(self.lines):
            near = [line for _, line in self.lines[max(0, number - BROKEN + 1) : number + 1]]
            if when >= since and re.search(pattern, plain(near)):
                return when
        return None


def plain(lines):
    return re.sub(r"[\s│]+", " ", " ".join(lines))


class Witness(threading.Thread):
    """Asks the cluster for objects of one kind until one of them shows the cause; `when` is that moment."""

    def __init__(self, stack, said, kind, pattern):
        super().__init__()
        self.stack, self.said, self.when = stack, said, None
        self.path, self.pattern = f"{clusters.API[kind]}/namespaces/{stack.namespace}/{kind}", re.compile(pattern)
        self.start()

    def run(self):
        while self.when is None and self.said.process.poll() is None:
            found = self.stack.cluster.read(self.path)
            if found is not None and self.pattern.search(found):
                self.when = time.monotonic()
            else:
                time.sleep(LOOK)


class Stack:
    """A tenant of the small app, on one of the clusters."""

    number, lock = 0, threading.Lock()

    def __init__(self, site):
        with Stack.lock:
            Stack.number += 1
            number = Stack.number
        self.site, self.cluster, self.target = site, site.cluster, TARGET
        self.name = f"{RUN}{number}"
        self.namespace = f"{self.name}--truth"
        self.folder = tempfile.TemporaryDirectory(prefix="freehold-truth-", dir="/var/tmp")
        self.release, self.pods, self.more, self.changed = 1, 20, "", []
        self.way = self.tool = self.witness = self.last = None

    def define(self):
        text = APP.read_text(encoding="utf-8") + self.more
        for place, word in (("REGISTRY", self.cluster.registry), ("RELEASE", self.release), ("PODS", self.pods)):
            text = text.replace(f"@{place}@", str(word))
        for before, after in self.changed:
            text = text.replace(before, after)
        pathlib.Path(self.folder.name, "freehold.toml").write_text(text, encoding="utf-8")

    def begin(self, *arguments):
        self.last = Said(self.site.platform.command(*arguments), self.site.platform.environment)
        return self.last

    def start_deploy(self, *arguments, shown=None):
        """Of the image that behaves in the stack's way. `shown`: kind and pattern of what shows the cause in the cluster."""
        self.define()
        chosen = ["--tenant", self.name, "--tier", "small", "--target", self.target]
        if not any(word.startswith("web=") for word in arguments):
            name = f"truth/fail-{self.way}" if self.way else "truth/web"
            chosen += ["--image", f"web={pushed(self.cluster, name)}"]
        if "[service.tool]" in self.more:
            name = f"truth/fail-{self.tool}" if self.tool else "truth/tool"
            chosen += ["--image", f"tool={pushed(self.cluster, name)}"]
        said = self.begin("deploy", self.folder.name, *chosen, "--yes", *arguments)
        self.witness = Witness(self, said, *shown) if shown else None
        return said

    def deploy(self, *arguments, shown=None):
        return self.start_deploy(*arguments, shown=shown).wait()

    def first(self, *arguments):
        """The version that has to serve before something happens to it."""
        said = self.deploy(*arguments)
        assert said.code == 0, f"the first version has to run: {said.text}"
        self.release += 1

    def start_destroy(self):
        return self.begin("destroy", "--tenant", self.name, "--target", self.target, "--confirm", self.name, "--no-dump")

    def destroy(self):
        return self.start_destroy().wait()

    def status(self):
        return self.begin("status", "--tenant", self.name, "--target", self.target).wait()

    def kubectl(self, *arguments, codes=(0,), stdin=None):
        return self.cluster.kubectl(*arguments, "--namespace", self.namespace, codes=codes, stdin=stdin)

    def get(self, *arguments):
        return self.cluster.get(*arguments, "--namespace", self.namespace)

    def pods_of(self, component="service"):
        return [pod for pod in self.items("pods") if pod["metadata"].get("labels", {}).get("freehold.dev/component") == component]

    def items(self, kind):
        text = self.cluster.read(f"{clusters.API[kind]}/namespaces/{self.namespace}/{kind}")
        return json.loads(text)["items"] if text else []

    # What is true.

    def is_there(self):
        """Whether the Deployments are of this release, as their specifications say by their own status, and scaled where that is asked."""
        scaling = [one.get("status", {}).get("conditions", []) for one in self.items("horizontalpodautoscalers")]
        if not all(any(one["type"] == "ScalingActive" and one["status"] == "True" for one in conditions) for conditions in scaling):
            return False
        found = self.items("deployments")
        releases = [one.get("data", {}).get("RELEASE") for one in self.items("configmaps") if one["metadata"]["name"] == "web"]
        return bool(found) and releases == [str(self.release)] and all(is_rolled_out(deployment) for deployment in found)

    def serves(self):
        """Whether any Pod is ready."""
        return any(is_ready(pod) for pod in self.pods_of())

    def clean(self):
        if self.last:
            self.last.wait()
        said = self.destroy()
        self.cluster.kubectl("delete", "namespace", self.namespace, "--ignore-not-found", "--wait=false")
        self.folder.cleanup()
        return said


def is_rolled_out(deployment):
    status, wanted = deployment.get("status", {}), deployment["spec"].get("replicas", 1)
    seen = status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
    return seen and all(status.get(of, 0) == wanted for of in ("replicas", "updatedReplicas", "availableReplicas"))


def is_ready(pod):
    conditions = pod.get("status", {}).get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


PUSHING = threading.Lock()


def pushed(cluster, name, tag="1"):
    """An image of that name in the cluster's registry; on the simulated node it needs nothing in it."""
    with PUSHING:
        known = cluster.__dict__.setdefault("pushed", {})
        if (name, tag) not in known:
            known[name, tag] = image.push(cluster.registry, name, tag, {"/web": program(cluster)})
        return known[name, tag]


def program(cluster):
    """What the image starts: only a real node runs it."""
    if cluster.command == "up":
        return pathlib.Path("/bin/true")
    built = pathlib.Path(cluster.folder.name, "web")
    if not built.exists():
        flags = ["-O", "-C", "target-feature=+crt-static", "-C", "strip=symbols"]
        subprocess.run(["rustc", *flags, "-o", built, TOP / "bench" / "truth" / "web.rs"], check=True)
    return built
