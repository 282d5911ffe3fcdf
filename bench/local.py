"""The figures of the embedded platform."""

import os
import pathlib
import re
import subprocess
import time

import load
import routing
from platform_under_test import GUESTBOOK, GUESTBOOK_BINARY, TOP, Platform
from report import percentile

TENANTS = 30
TOGETHER = 50
REDEPLOYS = 20


def run(report, arguments):
    only = arguments.only
    parts = {"plan": plan, "deploy": deploy, "redeploy": redeploy, "router": router, "matrix": matrix}
    for name, part in parts.items():
        if only in (None, name):
            print(f"{name}:", flush=True)
            part(report)


def first_answer(port, host, since):
    """Milliseconds from `since` to the first good answer through the router."""
    while load.ask(port, host, "/health/ready") != 200:
        time.sleep(0.002)
    return (time.monotonic() - since) * 1000


def floor(platform, *arguments):
    """The bare script: milliseconds for one tenant, or for all of several at once."""
    environment = {
        **os.environ,
        "FLOOR_DATABASE_URL": platform.superuser_url(),
        "FLOOR_GUESTBOOK": str(GUESTBOOK_BINARY),
    }
    result = subprocess.run(
        [TOP / "scripts" / "floor", *map(str, arguments)], env=environment, capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        raise SystemExit(f"scripts/floor: {result.stdout}\n{result.stderr}")
    return float(result.stdout.split()[-1])


def plan(report):
    result = subprocess.run([os.environ["FREEHOLD_HUNDRED"]], capture_output=True, text=True, check=True)
    report.add("plan of 100 resources, pure part, p95", float(result.stdout.split()[-1]), "ms", 20)


def deploy(report):
    with Platform() as platform:
        report.add("resident memory, 0 tenants", platform.resident(), "MB", 60)
        # Builds and caches, so that what is measured is the deploy.
        platform.deploy("warm")
        floor(platform)
        ours, bare = [], []
        for number in range(TENANTS):
            begin = time.monotonic()
            platform.deploy(f"t{number}")
            ours.append(first_answer(platform.router, f"t{number}.localhost", begin))
            bare.append(floor(platform))
        for share, name in ((0.5, "p50"), (0.95, "p95")):
            mine, theirs = percentile(ours, share), percentile(bare, share)
            report.add(f"first deploy to first answer, {name}", mine, "ms")
            report.add(f"the bare script, {name}", theirs, "ms")
            report.add(f"first deploy against the bare script, {name}", mine / theirs, "ratio", 1.3, "scripts/floor")
        noop = []
        for _ in range(30):
            begin = time.monotonic()
            platform.deploy("t0")
            noop.append((time.monotonic() - begin) * 1000)
        report.add("no-op deploy, p95", percentile(noop, 0.95), "ms", 150)
        together(report, platform)


def together(report, platform):
    """50 tenants at once, with as many calls at once as there are tenants, against the script with the same parallelism."""
    begin = time.monotonic()
    tenants = [f"m{number}" for number in range(TOGETHER)]
    calls = [
        subprocess.Popen(
            platform.command("deploy", GUESTBOOK, "--tenant", tenant, "--tier", "pro", "--yes", "--no-settle", "--json"),
            env=platform.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for tenant in tenants
    ]
    for tenant, call in zip(tenants, calls):
        _, problem = call.communicate()
        if call.returncode != 0:
            raise SystemExit(f"{tenant}: {problem.decode()}")
    for tenant in tenants:
        first_answer(platform.router, f"{tenant}.localhost", begin)
    ours = (time.monotonic() - begin) * 1000
    bare = floor(platform, TOGETHER, "--parallel", TOGETHER)
    report.add(f"{TOGETHER} tenants at once", ours, "ms")
    report.add(f"{TOGETHER} tenants at once, the bare script", bare, "ms")
    report.add(f"{TOGETHER} tenants at once against the bare script", ours / bare, "ratio", 1.3, "scripts/floor")
    report.add(f"resident memory, {TOGETHER + TENANTS + 1} tenants", platform.resident(), "MB", 60)
    time.sleep(5)
    before, seconds = platform.cpu_seconds(), 20
    time.sleep(seconds)
    report.add("CPU when idle, with those tenants", (platform.cpu_seconds() - before) / seconds * 100, "%", 1)


def redeploy(report):
    """Redeploys under constant load: GET, POST with a key each, and event streams whose client reconnects."""
    with Platform() as platform:
        platform.deploy("acme")
        generator = load.Load(platform.router, "acme.localhost", rate=260)
        generator.start()
        definition = pathlib.Path(GUESTBOOK, "freehold.toml").read_text(encoding="utf-8")
        copy = pathlib.Path(platform.directory, "guestbook")
        load.copy_of_the_guestbook(GUESTBOOK, GUESTBOOK_BINARY, copy)
        for number in range(REDEPLOYS):
            load.mark(copy, definition, number)
            platform.deploy("acme", directory=copy)
            time.sleep(1.5)
        result = generator.stop()
        report.add("redeploys under load", REDEPLOYS, "")
        result.tell(report, least_rate=200)


def router(report):
    with Platform() as platform:
        platform.deploy("acme")
        routing.measure(report, platform)


def matrix(report):
    """What the tests count: the simulator's schedules, the generated failure matrix, real kills of the real program."""
    cargo("build", "-p", "freehold-cli")
    engine = cargo("test", "-p", "freehold-engine", "--", "--nocapture")
    kills = cargo("test", "-p", "freehold-end-to-end", "killed_at_any_moment", "--", "--nocapture")
    counted = {
        "simulator": r"^simulator: (?P<schedules>\d+) schedules.* (?P<kills>\d+) kills",
        "failure matrix": r"^failure matrix: (?P<cases>\d+) cases",
        "real kills": r"^kills: (?P<kills>\d+) real kills, (?P<resumed>\d+) operations resumed",
    }
    for part, pattern in counted.items():
        found = re.search(pattern + r".*orphans (\d+), duplicates (\d+), runs done twice (\d+)", engine + kills, re.MULTILINE)
        if not found:
            raise SystemExit(f"the tests don't tell of the {part}:\n{engine[-2000:]}\n{kills[-2000:]}")
        for name, value in found.groupdict().items():
            report.add(f"{part}: {name}", int(value), "")
        for name, value in zip(("orphans", "duplicates", "runs done twice"), found.groups()[-3:]):
            report.add(f"{part}: {name}", int(value), "", 0)


def cargo(*arguments):
    """Runs cargo, which has to succeed, and returns what it printed."""
    command = ["cargo", arguments[0], "--locked", *arguments[1:]]
    result = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise SystemExit(f"{command}: {result.stdout[-3000:]}\n{result.stderr[-3000:]}")
    return result.stdout + result.stderr
