"""Rollouts of the guestbook on a real node, under load through the gateway, with event streams that reconnect."""

import pathlib
import time

import load
from platform_under_test import GUESTBOOK
from report import percentile
from target import DOMAIN

RATE = 330


def measure(report, site, arguments):
    tenant, folder = "rollouts", pathlib.Path(site.platform.directory, "guestbook")
    folder.mkdir()
    definition = (GUESTBOOK / "freehold.toml").read_text(encoding="utf-8")
    version(folder, definition, 0)
    site.deploy(tenant, folder)
    generator = load.Load(site.cluster.port, f"{tenant}.{DOMAIN}", RATE, address=site.cluster.address)
    generator.start()
    took = []
    for number in range(1, arguments.repeat + 1):
        version(folder, definition, number)
        begin = time.monotonic()
        site.deploy(tenant, folder)
        took.append((time.monotonic() - begin) * 1000)
        # Old Pods go on for a while after the deploy is done: requests that they lose count, too.
        time.sleep(3)
    time.sleep(10)
    result = generator.stop()
    report.add("rollouts of 2 copies under load", len(took), "", least=20)
    report.add("a rollout, p50", percentile(took, 0.5), "ms")
    result.tell(report, least_rate=300, least_reconnects=1)


def version(folder, definition, number):
    """The definition with a variable that says which version it is, and streams that are cut soon."""
    lines = []
    for line in definition.splitlines():
        lines.append(line)
        if line.startswith("build"):
            lines.append('drain = "2s"')
        if line.startswith("[service.web.env]"):
            lines.append(f'RELEASE = "{number}"')
    (folder / "freehold.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
