"""What may be relied on while others do their worst: attacks tried and held, a hostile neighbour, many services, stops."""

import asyncio
import contextlib
import json
import os
import pathlib
import re
import resource
import shutil
import subprocess
import tempfile
import time

import load
from platform_under_test import TOP, Platform
from report import percentile

RATE = 200
QUIET = 6
WORST = 7
# Each with what it is called in the report.
WORSTS = {
    "forks": "fork bomb",
    "logs": "log flood",
    "connections": "connection flood",
    "ports": "port grab",
    "folder": "disk fill through its folder",
    "database": "disk fill through its database",
    "queries": "queries that take all cores",
    "burn": "processes that take all cores",
}
SERVICES, REPLICAS, DESCRIPTORS = 1000, 50, 1024


def run(report, arguments):
    parts = {"attacks": attacks, "worst": worst, "thousand": thousand, "stops": stops}
    for name, part in parts.items():
        if arguments.only in (None, name):
            print(f"{name}:", flush=True)
            part(report)


def tests(binary, part, **environment):
    """Runs tests of the end-to-end crate against the release program, and gives what they printed."""
    command = ["cargo", "test", "--quiet", "--locked", "--workspace", "--test", binary, "--", "--nocapture", part]
    result = subprocess.run(
        command, cwd=TOP, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    for line in (result.stdout + result.stderr).splitlines():
        if "not held" in line or line.startswith("attack: "):
            print(f"    {line}", flush=True)
    return result


def attacks(report):
    with tempfile.TemporaryDirectory() as folder:
        told = pathlib.Path(folder, "attacks")
        told.touch()
        result = tests("attacks", "no_tenant_gets_through", FREEHOLD_ATTACKS_REPORT=str(told))
        rows = [json.loads(line) for line in told.read_text(encoding="utf-8").splitlines()]
    if not rows:
        raise SystemExit(result.stdout + result.stderr)
    for who in dict.fromkeys(row["who"] for row in rows):
        own = [row for row in rows if row["who"] == who]
        for boundary in dict.fromkeys(row["boundary"] for row in own):
            some = [row for row in own if row["boundary"] == boundary]
            held = sum(row["held"] for row in some)
            report.add(f"attacks held as {who}: {boundary}", held, f"of {len(some)}", least=len(some))
        held = sum(row["held"] for row in own)
        report.add(f"attacks held as {who}", held, f"of {len(own)}", least=len(own))
        proved = sum(row["proved"] for row in own)
        report.add(f"attacks that get through without their guard, as {who}", proved, f"of {len(own)}", least=len(own))
        for row in own:
            if not row["held"]:
                why = row["known"] or "not known before"
                print(f"    not held as {who}: {row['boundary']}: {row['name']} ({why})", flush=True)


@contextlib.contextmanager
def elsewhere():
    """Lets this process run before all others, as customers do who sit at another machine: what they wait for is the platform alone."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    except PermissionError:
        print("    not root: the customers share the processors with what is measured", flush=True)
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


async def ticks(seconds):
    """How late a clock is that ticks each 5 ms, in ms: what this machine itself keeps everybody waiting."""
    late, due, end = [], time.monotonic(), time.monotonic() + seconds
    while due < end:
        due += 0.005
        await asyncio.sleep(max(0, due - time.monotonic()))
        late.append((time.monotonic() - due) * 1000)
    return late


async def customers(port, host, seconds):
    """An open loop of requests: the times of those that were answered, in ms, how many were not, and how late a clock beside it was."""
    times, failed, pending = [], [], set()

    async def one():
        begin = time.monotonic()
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            answer = await asyncio.wait_for(reader.read(), 30)
            writer.close()
            if not answer.startswith(b"HTTP/1.1 200"):
                raise OSError(answer[:100])
            times.append((time.monotonic() - begin) * 1000)
        except (OSError, asyncio.TimeoutError) as problem:
            failed.append(repr(problem))

    clock = asyncio.create_task(ticks(seconds))
    begin, number = time.monotonic(), 0
    while time.monotonic() - begin < seconds:
        due = int((time.monotonic() - begin) * RATE)
        while number < due:
            task = asyncio.create_task(one())
            pending.add(task)
            task.add_done_callback(pending.discard)
            number += 1
        await asyncio.sleep(0.003)
    if pending:
        await asyncio.wait(pending)
    return times, failed, await clock


def worst(report):
    """One tenant at its worst while another is served."""
    with Platform() as platform:
        for tenant in ("hostile", "served"):
            platform.run("deploy", TOP / "bench" / "hostile", "--tenant", tenant, "--yes", "--json")

        def measure(seconds):
            with elsewhere():
                return asyncio.run(customers(platform.router, "served.localhost", seconds))

        measure(1)
        times, failed, late = measure(QUIET)
        quiet = percentile(times, 0.99)
        report.add("p99 of a quiet machine", quiet, "ms")
        report.add("p99 of how late a clock is on a quiet machine", percentile(late, 0.99), "ms")
        report.add("failed requests of a quiet machine", len(failed), "", 0)
        for worst, name in WORSTS.items():
            load.ask(platform.router, "hostile.localhost", f"/worst/{worst}/{platform.router}")
            times, failed, late = measure(WORST)
            for problem in failed[:3]:
                print(f"    {problem}", flush=True)
            report.add(f"failed requests of another during a {name}", len(failed), "", 0)
            report.add(f"p99 of another during a {name}", percentile(times, 0.99) if times else 1e9, "ms", round(quiet * 3, 1), "3 × its quiet value")
            report.add(f"p99 of how late a clock is during a {name}", percentile(late, 0.99), "ms")
            time.sleep(3)


def descriptors():
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def thousand(report):
    """Many small services, where the soft limit of descriptors is the one that most machines have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    descriptors()
    try:
        with Platform() as platform:
            app = pathlib.Path(platform.directory, "tiny")
            shutil.copytree(TOP / "bench" / "tiny", app)
            command = ["rustc", "-O", "-C", "strip=symbols", "-o", app / "tiny", app / "tiny.rs"]
            subprocess.run(command, check=True)
            os.remove(app / "tiny.rs")
            begin = time.monotonic()
            tenants = [f"t{number}" for number in range(SERVICES // REPLICAS)]
            deploys = [platform.run("deploy", app, "--tenant", tenant, "--yes", "--json", check=False) for tenant in tenants]
            for deploy in deploys:
                if deploy.returncode != 0:
                    print(f"    {deploy.stderr.strip()[:500]}", flush=True)
            report.add("deploys that failed", sum(deploy.returncode != 0 for deploy in deploys), "", 0)
            report.add(f"time until {SERVICES} services are ready", time.monotonic() - begin, "s")
            first = processes(platform)
            report.add("services that run", len(first), "", least=SERVICES)
            time.sleep(20)
            after = processes(platform)
            report.add("services that were killed within 20 s", len(first - after), "", 0)
            answering = sum(load.ask(platform.router, f"{tenant}.localhost", "/") == 200 for tenant in tenants)
            report.add("tenants that answer", answering, f"of {len(tenants)}", least=len(tenants))
            report.add(f"resident memory, {SERVICES} services", platform.resident(), "MB")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def processes(platform):
    """The processes of the tiny services of this platform, with when each began."""
    found = set()
    for entry in pathlib.Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cmdline").read_bytes().split(b"\0")[0].endswith(b"/tiny"):
                if platform.directory.encode() in (entry / "environ").read_bytes():
                    found.add((entry.name, (entry / "stat").read_text().rsplit(")", 1)[1].split()[19]))
        except OSError:
            pass
    return found


def stops(report):
    """Kills and stops of the real program in the middle of operations and jobs."""
    for test, words in (("killed_at_any_moment", "kills"), ("stopped_at_any_moment", "stops")):
        result = tests("end_to_end", test)
        line = re.search(rf"{words}: .*", result.stdout + result.stderr)
        if not line:
            raise SystemExit(result.stdout + result.stderr)
        print(f"    {line.group(0)}", flush=True)
        report.add(f"{words} of the real program", int(re.search(r"\d+", line.group(0)).group(0)), "")
        for what, number in re.findall(r"(orphans|duplicates|runs done twice|work lost) (\d+)", line.group(0)):
            report.add(f"{words}: {what}", int(number), "", 0)
