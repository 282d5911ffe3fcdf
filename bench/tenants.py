"""Whole tenants of the guestbook, one after another, each against a bare script that does the same by hand."""

import pathlib
import subprocess
import time

import load
import manifests
from clusters import PARTS
from platform_under_test import GUESTBOOK, TOP
from report import percentile
from target import DOMAIN, TARGET

SAMPLE = "sample-of-the-benchmark"


class Floor:
    """scripts/floor-kubernetes, with the manifests of a plan of ours."""

    def __init__(self, site):
        self.site = site
        self.folder = pathlib.Path(site.cluster.folder.name, "floor")
        self.folder.mkdir(exist_ok=True)
        definition = (GUESTBOOK / "freehold.toml").read_text(encoding="utf-8")
        request = {
            "definition": definition, "target": TARGET, "kind": "tenant", "name": SAMPLE, "tier": "pro",
            "images": {"web": site.image},
        }
        bodies = manifests.of(site.api.call("POST", "/plans", request)["plan"], SAMPLE)
        late = ("Deployment", "CronJob", "Service", "PodDisruptionBudget", "HTTPRoute", "HorizontalPodAutoscaler")
        parts = {
            "before.json": [body for body in bodies if body["kind"] not in (*late, "Job")],
            "job.json": [body for body in bodies if body["kind"] == "Job"],
            "after.json": [body for body in bodies if body["kind"] in late],
        }
        for name, part in parts.items():
            (self.folder / name).write_text(manifests.as_list(part), encoding="utf-8")
        print(f"    a tenant is {len(bodies)} objects", flush=True)

    def run(self, name):
        """Milliseconds for one tenant."""
        environment = {
            **self.site.cluster.environment(),
            "FLOOR_KUBECTL": str(PARTS / "bin" / "kubectl"),
            "FLOOR_DATABASE_URL": self.site.server.url(),
            "FLOOR_DATABASE": self.site.server.address,
            "FLOOR_MANIFESTS": str(self.folder),
        }
        if self.site.cluster.address:
            environment["FLOOR_GATEWAY"] = f"{self.site.cluster.address}:{self.site.cluster.port}"
        script = [TOP / "scripts" / "floor-kubernetes", name]
        result = subprocess.run(script, env=environment, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise SystemExit(f"scripts/floor-kubernetes: {result.stdout}\n{result.stderr}")
        return float(result.stdout.split()[-1])


def simulated(report, site, arguments):
    floor = Floor(site)
    ours, bare = in_turn(site, floor, arguments.repeat, lambda tenant: None)
    for share, name in ((0.5, "p50"), (0.95, "p95")):
        limit = 3000 if name == "p95" else None
        report.add(f"a tenant of the guestbook, deploy to verified, {name} of {len(ours)}", percentile(ours, share), "ms", limit)
        report.add(f"the bare script, {name}", percentile(bare, share), "ms")
        report.add(f"a tenant against the bare script, {name}", percentile(ours, share) / percentile(bare, share), "ratio")


def real(report, site, arguments):
    floor = Floor(site)
    count = max(3, arguments.repeat // 2)
    ours, bare = in_turn(site, floor, count, lambda tenant: first_answer(site, tenant))
    for share, name in ((0.5, "p50"), (0.95, "p95")):
        mine, theirs = percentile(ours, share), percentile(bare, share)
        report.add(f"a new tenant, deploy to first good answer, {name} of {count}", mine, "ms")
        report.add(f"the bare script, {name}", theirs, "ms")
        report.add(f"a new tenant against the bare script, {name}", mine / theirs, "ratio", 1.2, "scripts/floor-kubernetes")


def in_turn(site, floor, count, then):
    """Milliseconds of our tenants and of the script's. The first of each warms up caches and isn't counted."""
    ours, bare = [], []
    for number in range(count + 1):
        tenant = f"t{number}"
        begin = time.monotonic()
        site.deploy(tenant)
        then(tenant)
        ours.append((time.monotonic() - begin) * 1000)
        # Nobody needs the grace that its Pods have.
        site.cluster.kubectl("delete", "deployments", "--all", "--namespace", f"{tenant}--guestbook")
        site.cluster.kubectl("delete", "pods", "--all", "--force", "--namespace", f"{tenant}--guestbook")
        site.platform.run("destroy", "--tenant", tenant, "--confirm", tenant, "--no-dump")
        bare.append(floor.run(f"f{number}"))
    return ours[1:], bare[1:]


def first_answer(site, tenant):
    cluster = site.cluster
    while load.ask(cluster.port, f"{tenant}.{DOMAIN}", "/health/ready", cluster.address) != 200:
        time.sleep(0.005)
