"""What the language has words for: which needs of real apps, these apps deployed, and a cache beside a neighbour who floods its own."""

import json
import pathlib
import shutil
import tempfile
import time
import urllib.request

import needs
from platform_under_test import TOP, Platform
from report import percentile

CACHES = TOP / "bench" / "caches"
# A server for the apps that says it is ready.
PROGRAM = """
import http.server, os

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

http.server.ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""
# Each so many times, in turn, so that a machine that is busy otherwise is so for both.
ROUNDS, SECONDS = 3, 5


def run(report, arguments):
    parts = {"needs": needs.run, "apps": apps, "cache": cache}
    for name, part in parts.items():
        if arguments.only in (None, name):
            print(f"{name}:", flush=True)
            part(report)


def apps(report):
    """The time from the plan of a new tenant to its proof, of each of the apps, on one machine."""
    with Platform() as platform:
        for definition in sorted(needs.APPS.glob("*.toml")):
            with tempfile.TemporaryDirectory() as folder:
                for file in needs.APPS.iterdir():
                    shutil.copy(file, folder)
                shutil.copy(definition, f"{folder}/freehold.toml")
                pathlib.Path(folder, "version").write_text("1", encoding="utf-8")
                pathlib.Path(folder, "program.py").write_text(PROGRAM, encoding="utf-8")
                began = time.monotonic()
                platform.run("deploy", folder, "--tenant", "acme", "--yes", "--json")
                report.add(f"{definition.stem}: from the plan of a tenant to its proof", time.monotonic() - began, "s")
                platform.run("destroy", "--app", definition.stem, "--tenant", "acme", "--confirm", "acme", "--no-dump")


def cache(report):
    """The p99 of requests of one stack to its cache, while nobody else does anything and while a neighbour floods its own."""
    with Platform() as platform:
        for tenant in ("acme", "noisy"):
            platform.run("deploy", CACHES, "--tenant", tenant, "--yes", "--no-settle", "--json")

        def ask(tenant, path):
            request = urllib.request.Request(f"http://127.0.0.1:{platform.router}{path}", headers={"Host": f"{tenant}.localhost"})
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)

        ask("acme", "/measure?1")
        quiet, beside = [], []
        for _ in range(ROUNDS):
            quiet += ask("acme", f"/measure?{SECONDS}")
            ask("noisy", "/flood")
            beside += ask("acme", f"/measure?{SECONDS}")
            if not ask("noisy", "/flooding"):
                raise SystemExit("the neighbour floods nothing: its redis-benchmark has ended")
            ask("noisy", "/calm")
        still = percentile(quiet, 0.99)
        report.add("p50 of a cache, quiet", percentile(quiet, 0.5), "ms")
        report.add("p99 of a cache, quiet", still, "ms")
        report.add("p50 of a cache beside a neighbour who floods its own", percentile(beside, 0.5), "ms")
        limit = round(max(still * 3, 5), 1)
        report.add("p99 of a cache beside a neighbour who floods its own", percentile(beside, 0.99), "ms", limit, "3 × its quiet value, or 5 ms")
