"""Whether what people are told of a cluster is true: situations, each judged by the cluster's own view.

A situation is one function in bench/situations.py. It makes something happen, and gives back what a command said and what has to stand in
it. What is true is asked of the cluster with kubectl, never through Freehold:

  false "failed"          a deploy was called failed, and the same objects got ready without any change
  false "ready"           a deploy was called done, and the cluster doesn't have it so
  false "still serving"   it was said that a revision serves, and no Pod of it was ready
  without a named cause   a failure, or a wait, without the words that name its cause
"""

import json
import os
import pathlib
import re
import subprocess
import tempfile
import threading
import time

import clusters
import image
from platform_under_test import TOP
from report import percentile
from target import TARGET, Site, together

APP = TOP / "bench" / "truth" / "freehold.toml"
# How long after a verdict of failure the cluster may still prove it wrong.
PROVED_WRONG = 20
# How many situations there are at once.
TOGETHER = 6
INTERRUPTIONS = 500
SITUATIONS = []


def situation(place="simulated"):
    """Registers a function as a situation: its name is what the table says."""

    def register(function):
        SITUATIONS.append((place, function))
        return function

    return register


class Said:
    """What a command printed, each line with when, and how it ended."""

    def __init__(self, command, environment):
        self.begun = time.monotonic()
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
        self.code = self.process.returncode
        return self

    @property
    def text(self):
        """In one line: the output is broken for a terminal's width, and what a program said stands behind a bar."""
        return plain(line for _, line in self.lines)

    def first(self, pattern):
        """When something was printed first."""
        for number, (when, _) in enumerate(self.lines):
            near = [line for _, line in self.lines[max(0, number - 3) : number + 1]]
            if re.search(pattern, plain(near)):
                return when
        return None


def plain(lines):
    return re.sub(r"[\s│]+", " ", " ".join(lines))


class Stack:
    """A tenant of the small app, on one of the clusters."""

    number = 0

    def __init__(self, site):
        Stack.number += 1
        self.site, self.cluster = site, site.cluster
        self.name = f"s{Stack.number}"
        self.namespace = f"{self.name}--truth"
        self.folder = tempfile.TemporaryDirectory(prefix="freehold-truth-", dir="/var/tmp")
        self.release, self.pods, self.more, self.changed = 1, 20, "", []
        self.way = None

    def define(self):
        text = APP.read_text(encoding="utf-8")
        for place, word in (("REGISTRY", self.cluster.registry), ("RELEASE", self.release), ("PODS", self.pods)):
            text = text.replace(f"@{place}@", str(word))
        for before, after in self.changed:
            text = text.replace(before, after)
        pathlib.Path(self.folder.name, "freehold.toml").write_text(text + self.more, encoding="utf-8")

    def begin(self, *arguments):
        return Said(self.site.platform.command(*arguments), self.site.platform.environment)

    def start_deploy(self, *arguments):
        """Of the image that behaves in the stack's way."""
        self.define()
        name = f"truth/fail-{self.way}" if self.way else "truth/web"
        chosen = ["--tenant", self.name, "--tier", "small", "--target", TARGET, "--image", f"web={pushed(self.cluster, name)}"]
        return self.begin("deploy", self.folder.name, *chosen, "--yes", *arguments)

    def deploy(self, *arguments):
        return self.start_deploy(*arguments).wait()

    def start_destroy(self):
        return self.begin("destroy", "--tenant", self.name, "--target", TARGET, "--confirm", self.name, "--no-dump")

    def destroy(self):
        return self.start_destroy().wait()

    def status(self):
        return self.begin("status", "--tenant", self.name, "--target", TARGET).wait()

    def kubectl(self, *arguments, codes=(0,), stdin=None):
        return self.cluster.kubectl(*arguments, "--namespace", self.namespace, codes=codes, stdin=stdin)

    def get(self, *arguments):
        return self.cluster.get(*arguments, "--namespace", self.namespace)

    # What is true.

    def is_there(self):
        """Whether the Deployment is as its specification says, by its own status."""
        answer = self.cluster.call(
            clusters.PARTS / "bin" / "kubectl", "get", "deployment", "web", "--namespace", self.namespace, "--output", "json",
            codes=(0, 1),
        )
        if not answer.strip():
            return False
        found = json.loads(answer)
        status, wanted = found.get("status", {}), found["spec"].get("replicas", 1)
        seen = status.get("observedGeneration", 0) >= found["metadata"]["generation"]
        return seen and all(status.get(of, 0) == wanted for of in ("replicas", "updatedReplicas", "availableReplicas"))

    def serves(self):
        """Whether any Pod is ready."""
        pods = self.get("pods", "--selector", "freehold.dev/component=service")["items"]
        conditions = [condition for pod in pods for condition in pod.get("status", {}).get("conditions", [])]
        return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)

    def clean(self):
        self.destroy()
        self.cluster.kubectl("delete", "namespace", self.namespace, "--ignore-not-found", "--wait=false")
        self.folder.cleanup()


def pushed(cluster, name):
    """An image of that name in the cluster's registry; on the simulated node it needs nothing in it."""
    known = cluster.__dict__.setdefault("pushed", {})
    if name not in known:
        known[name] = image.push(cluster.registry, name, "1", {"/web": program(cluster)})
    return known[name]


def program(cluster):
    """What the image starts: only a real node runs it."""
    if cluster.command == "up":
        return pathlib.Path("/bin/true")
    built = pathlib.Path(cluster.folder.name, "web")
    if not built.exists():
        flags = ["-O", "-C", "target-feature=+crt-static", "-C", "strip=symbols"]
        subprocess.run(["rustc", *flags, "-o", built, TOP / "bench" / "truth" / "web.rs"], check=True)
    return built


class Judged:
    """What a situation came to."""

    def __init__(self, stack, said, good, causes=(), waited=None):
        """`good`: whether it has to succeed. `causes`: patterns that have to be printed. `waited`: when the cause began."""
        self.stack, self.said, self.good, self.causes, self.waited = stack, said, good, causes, waited
        self.faults = []

    def judge(self, deployed=True):
        stack, said = self.stack, self.said
        if deployed and said.code == 0 and not stack.is_there():
            self.faults.append('false "ready"')
        if "is still serving" in said.text and not stack.serves():
            self.faults.append('false "still serving"')
        if deployed and said.code != 0:
            deadline = time.monotonic() + PROVED_WRONG
            while time.monotonic() < deadline and self.good:
                if stack.is_there():
                    self.faults.append('false "failed"')
                    break
                time.sleep(0.5)
        if self.good is True and said.code != 0 and 'false "failed"' not in self.faults:
            self.faults.append('false "failed"')
        if self.good is False and said.code == 0 and deployed:
            self.faults.append('false "ready"')
        if any(not re.search(cause, said.text) for cause in self.causes):
            self.faults.append("without a named cause")
        return self

    def reason_after(self):
        """Seconds from the cause to the first line that names it."""
        if self.waited is None or not self.causes:
            return None
        when = self.said.first(self.causes[0])
        return None if when is None else max(0.0, when - self.waited)


KINDS = ('false "failed"', 'false "ready"', 'false "still serving"', "without a named cause")


def run(report, arguments):
    import situations  # noqa: F401: registers them

    only = arguments.only.split(",") if arguments.only else None
    rows, reasons = [], []
    for place, cluster in (("simulated", clusters.Simulated), ("node", clusters.Node)):
        chosen = [function for where, function in SITUATIONS if where == place]
        if only:
            chosen = [function for function in chosen if place in only or function.__name__ in only]
        if not chosen:
            continue
        with cluster() as running, Site(running) as site:
            # Each has a namespace of its own, and most of the time is waiting. A real node has one processor's work to do.
            at_once = TOGETHER if place == "simulated" else 1
            rows += together(lambda function: tried(site, place, function, reasons), chosen, at_once)
    report.add("situations", len(rows), "", least=None if only else 60)
    report.add("situations that could not be made", sum("not made" in faults for _, _, faults in rows), "", 0)
    for kind in KINDS:
        report.add(f"verdicts: {kind}", sum(kind in faults for _, _, faults in rows), "", 0)
    if only is None or "runs" in only:
        runs(report)
    if reasons:
        report.add("from cause to a printed reason, p95", percentile(reasons, 0.95), "s", 10)


def runs(report):
    """Runs of jobs whose platform, credentials or API server go away at any request: a test of the provider counts."""
    command = ["cargo", "test", "--quiet", "--locked", "-p", "freehold-provider-kubernetes", "--test", "main", "--", "--nocapture"]
    environment = {**os.environ, "FREEHOLD_RUN_INTERRUPTIONS": str(INTERRUPTIONS)}
    result = subprocess.run(
        [*command, "interruptions::"], cwd=TOP, env=environment, capture_output=True, text=True, check=False
    )
    line = re.search(r"interruptions: .*", result.stdout + result.stderr)
    if not line:
        raise SystemExit(result.stdout + result.stderr)
    print(f"    {line.group(0)}", flush=True)
    report.add("interruptions of runs", int(re.search(r"\d+", line.group(0)).group(0)), "", least=INTERRUPTIONS)
    report.add("jobs run twice unasked", int(line.group(0).split()[-1]), "", 0)


def tried(site, place, function, reasons):
    """One situation; its line of the table."""
    name, begin = function.__name__.replace("_", " "), time.monotonic()
    stack = Stack(site)
    lines = []
    try:
        judged = function(stack)
        faults = judged.faults
        if (seconds := judged.reason_after()) is not None:
            reasons.append(seconds)
        if faults:
            lines = [f"      {line}" for _, line in judged.said.lines[-25:]]
    except (AssertionError, SystemExit) as problem:
        # The situation itself could not be made: that is a fault, too.
        faults, lines = ["not made"], [f"      {problem}"]
    finally:
        stack.clean()
    told = f"    {place:<9} {time.monotonic() - begin:6.1f} s  {name}: {', '.join(faults) or 'true'}"
    print("\n".join([told, *lines]), flush=True)
    return place, name, faults
