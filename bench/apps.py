"""Many small apps, as Flux would have them: a namespace, what belongs to it, and a Deployment without Pods.

The other sides make the very same objects.
"""

import time

import manifests
import rivals
from target import TARGET, Shares, together

# Freehold and the bare loop take turns, so that both meet the cluster when it is as full; each time with enough to do at once.
ROUNDS, LEAST = 10, 50
DESTROYED = 100
SAMPLE = "sample-of-the-benchmark"

DEFINITION = """
[app]
name = "flux"

[service.web]
image    = "ghcr.io/acme/flux"
command  = ["/guestbook", "serve"]
port     = 8080
replicas = 0

[service.web.env]
LOG_LEVEL = "info"
"""


def request(site, tenant):
    return {
        "definition": DEFINITION, "target": TARGET, "kind": "tenant", "name": tenant, "images": {"web": site.image},
    }


def deploy(report, site, arguments):
    plan = site.api.call("POST", "/plans", request(site, SAMPLE))["plan"]
    objects = manifests.of(plan, SAMPLE)
    kinds = ", ".join(body["kind"] for body in objects)
    print(f"    an app is {len(objects)} objects: {kinds}", flush=True)
    loop = rivals.BareLoop(site.cluster, objects)
    shares, sides = Shares(), {OURS: Side(), LOOP: Side()}
    for number, names in enumerate(rounds(arguments.apps)):
        work = {OURS: lambda names=names: put(site, names, shares), LOOP: lambda names=names: loop.apply(names)}
        for side in (OURS, LOOP) if number % 2 == 0 else (LOOP, OURS):
            sides[side].measure(site, work[side])
    count, ours = arguments.apps * len(objects), sides[OURS]
    rate = count / ours.seconds
    report.add(f"{arguments.apps} apps: objects", count, "")
    report.add(f"{arguments.apps} apps, to verified", ours.seconds, "s")
    report.add("Freehold", rate, "obj/s")
    for name, side in sides.items():
        report.add(f"requests for each object while {name} works, controllers' included", side.requests / count, "")
        report.add("  of these dry runs", side.trials / count, "")
    report.add("CPU of Freehold for each app", 1000 * ours.cpu / arguments.apps, "ms")
    report.add("  of its PostgreSQL", 1000 * ours.database / arguments.apps, "ms")
    whole = sum(shares.seconds.values())
    for name in Shares.NAMES:
        report.add(f"  share of {WORDS[name]}", 100 * shares.seconds[name] / whole, "%")
    report.add("the bare loop (dry run, apply; 16 connections)", count / loop.seconds, "obj/s")
    report.add("Freehold against the bare loop", rate * loop.seconds / count, "ratio", least=0.8, against="bare-loop")
    report.add("resident memory", site.platform.resident(), "MB", 128 if arguments.apps <= 1000 else None)
    compare(report, site, arguments, objects, rate)


OURS, LOOP = "Freehold", "the bare loop"


class Side:
    """What one of the two has used, over all of its turns."""

    def __init__(self):
        self.seconds = self.cpu = self.database = self.requests = self.trials = 0.0

    def measure(self, site, work):
        before, cpu, database = site.cluster.requests(), site.platform.cpu_seconds(), site.platform.database_cpu_seconds()
        begin = time.monotonic()
        work()
        self.seconds += time.monotonic() - begin
        self.cpu += site.platform.cpu_seconds() - cpu
        self.database += site.platform.database_cpu_seconds() - database
        asked = difference(before, site.cluster.requests())
        self.requests += sum(asked.values())
        self.trials += sum(count for key, count in asked.items() if key[2])


WORDS = {
    "plan": "plan with dry run, and its place in the queue",
    "queue": "waiting in the queue",
    "apply": "apply",
    "verify": "verify",
    "journal": "journal, and what lies between the steps",
}


def compare(report, site, arguments, objects, rate):
    sample = min(100, arguments.apps)
    kubectl = rivals.kubectl(site.cluster, objects, sample)
    report.add(f"kubectl diff + apply --server-side, {sample} apps in one file", kubectl, "obj/s")
    report.add("Freehold against kubectl", rate / kubectl, "ratio", least=2, against="kubectl")
    each = rivals.kubectl_each(site.cluster, objects, sample)
    report.add(f"the same, {sample} apps in a loop", each, "obj/s")
    report.add("Freehold against kubectl in a loop", rate / each, "ratio", least=10, against="kubectl-loop")
    helm = rivals.helm(site.cluster, objects, sample)
    report.add(f"helm upgrade --install, {sample} apps in a loop", helm, "obj/s")
    report.add("Freehold against helm", rate / helm, "ratio", least=7, against="helm")


def rounds(count):
    names = [f"a{number:04}" for number in range(count)]
    size = max(LEAST, (count + ROUNDS - 1) // ROUNDS)
    return [names[begin : begin + size] for begin in range(0, count, size)]


def put(site, names, shares=None):
    """Deploys these apps, all at once as far as the clients go."""
    for done in together(lambda name: site.api.deploy(request(site, name)), names):
        if shares:
            shares.add(done)
    site.apps.extend(names)


def filled(site, arguments):
    """The apps are there, also where this part runs alone."""
    missing = [name for names in rounds(arguments.apps) for name in names if name not in site.apps]
    if missing:
        print(f"    deploying {len(missing)} apps first", flush=True)
        put(site, missing)


def noop(report, site, arguments):
    filled(site, arguments)
    before, cpu = site.cluster.requests(), site.platform.cpu_seconds()
    begin = time.monotonic()
    answers = together(lambda name: site.api.call("POST", "/plans", request(site, name))["noop"], site.apps)
    seconds = time.monotonic() - begin
    after = site.cluster.requests()
    apps, trials = len(site.apps), dry_runs(before, after)
    reads = sum(
        count - before.get((verb, resource, dry_run), 0)
        for (verb, resource, dry_run), count in after.items()
        if verb == "GET" and resource in RESOURCES
    )
    report.add(f"no-op plan of {apps} apps", seconds, "s", 6 if apps == 1000 else None)
    report.add("no-op plans: CPU of Freehold for each app", 1000 * (site.platform.cpu_seconds() - cpu) / apps, "ms")
    report.add("no-op plans: of them not empty", answers.count(False), "", 0)
    report.add("no-op plans: dry runs", int(trials), "")
    report.add("no-op plans: reads of objects (of everybody in that time)", int(reads), "")
    report.add("no-op plans: requests of Freehold for each app", (trials + reads) / apps, "")
    report.add(f"resident memory, {apps} stacks", site.platform.resident(), "MB", 128 if apps <= 1000 else None)


# What lists may ask of the API server, however many stacks there are: a page of each kind of object, and the same again for what
# isn't ready. And how long one may take for a person who waits.
ASKED, PATIENCE = 60, 2.0
LOOKS = 5


def lists(report, site, arguments):
    """What people look at all day, with many stacks there."""
    filled(site, arguments)
    stack, count = ["--tenant", site.apps[0], "--app", "flux", "--target", TARGET], len(site.apps)
    for name, command in (("list", ["list", "--target", TARGET]), ("status", ["status", *stack]), ("doctor", ["doctor"])):
        seconds, requests = [], []
        for _ in range(1 if name == "doctor" else LOOKS):
            before, begin = site.cluster.requests(), time.monotonic()
            site.platform.run(*command, check=False)
            seconds.append(time.monotonic() - begin)
            requests.append(reads(before, site.cluster.requests()))
        is_list = name != "doctor"
        report.add(f"{name} with {count} stacks", sorted(seconds)[len(seconds) // 2], "s", PATIENCE if is_list else None)
        report.add(f"{name} with {count} stacks: reads of objects", int(min(requests)), "", ASKED if is_list else None)


def reads(before, after):
    """Of everybody, in that time."""
    return sum(
        count - before.get((verb, resource, dry_run), 0)
        for (verb, resource, dry_run), count in after.items()
        if verb in ("GET", "LIST") and resource in RESOURCES | LOOKED_INTO
    )


def dry_runs(before, after):
    return sum(count for key, count in difference(before, after).items() if key[2])


def difference(before, after):
    return {key: count - before.get(key, 0) for key, count in after.items()}


# What an app consists of.
RESOURCES = {
    "namespaces", "limitranges", "serviceaccounts", "networkpolicies", "configmaps", "deployments", "services",
}
# What is looked at besides, where one of these isn't ready.
LOOKED_INTO = {"endpointslices", "replicasets", "pods", "events"}


def destroy(report, site, arguments):
    filled(site, arguments)
    chosen = site.apps[:DESTROYED]
    stacks = together(lambda name: find(site, name), chosen)
    before, begin = site.cluster.requests(), time.monotonic()
    together(lambda stack: take_away(site, stack), stacks)
    seconds = time.monotonic() - begin
    asked = sum(difference(before, site.cluster.requests()).values())
    left = residue(site.cluster, {stack["id"] for stack in stacks})
    for name in left[:10]:
        print(f"    left: {name}", flush=True)
    site.apps = site.apps[DESTROYED:]
    report.add(f"destroy of {len(chosen)} stacks", seconds, "s", 15 if len(chosen) == DESTROYED else None)
    report.add("destroy: requests for each stack, controllers' included", asked / len(chosen), "")
    report.add("destroy: objects left, of any type", len(left), "", 0)


def find(site, name):
    found = site.api.call("GET", f"/stacks?app=flux&kind=tenant&name={name}")["items"]
    return found[0]


def take_away(site, stack):
    operation = site.api.call("DELETE", f"/stacks/{stack['id']}?confirm={stack['name']}&dump=false")
    site.api.events(operation["id"])


def residue(cluster, stacks):
    """Every object of every type that bears the mark of one of these stacks, or lies in a namespace that does."""
    kinds = cluster.kubectl("api-resources", "--verbs=list", "-o", "name").split()
    left = []
    for kind in kinds:
        listed = cluster.get(kind, "--all-namespaces", "--selector", "freehold.dev/stack")
        for item in listed.get("items", []):
            if item["metadata"]["labels"]["freehold.dev/stack"] in stacks:
                left.append(f"{kind} {item['metadata'].get('namespace', '')}/{item['metadata']['name']}")
    return left
