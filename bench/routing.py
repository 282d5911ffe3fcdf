"""The router against the app directly, and against nginx in front of the same app. All three in turn, several times."""

import pathlib
import re
import shutil
import statistics
import subprocess
import time

from load import ask
from platform_under_test import free_port

ROUNDS = 5
SECONDS = 4
PATH = "/health/live"

NGINX = """
daemon off;
worker_processes 2;
error_log {directory}/error.log;
pid {directory}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    upstream app {{ server 127.0.0.1:{app}; keepalive 64; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://app;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
        }}
    }}
}}
"""


def wrk(port, host):
    """Requests a second and the 99th percentile in milliseconds."""
    result = subprocess.run(
        ["wrk", "-t1", "-c32", f"-d{SECONDS}s", "--latency", "-H", f"Host: {host}", f"http://127.0.0.1:{port}{PATH}"],
        capture_output=True, text=True, check=True,
    ).stdout
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", result).group(1))
    value, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", result).groups()
    return rate, float(value) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


def port_of_the_app(platform):
    """Where the tenant's one process listens: its PORT."""
    for entry in pathlib.Path("/proc").iterdir():
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if any(v.startswith(b"FREEHOLD_STACK=") for v in variables) and platform.directory.encode() in b"".join(variables):
            for variable in variables:
                if variable.startswith(b"PORT="):
                    return int(variable[5:])
    raise SystemExit("the app's port was not found")


def measure(report, platform):
    if not shutil.which("wrk"):
        return
    app = port_of_the_app(platform)
    sides = {"app": (app, "acme.localhost"), "router": (platform.router, "acme.localhost")}
    nginx = None
    if shutil.which("nginx"):
        directory, port = pathlib.Path(platform.directory, "nginx"), free_port()
        directory.mkdir()
        (directory / "nginx.conf").write_text(NGINX.format(directory=directory, port=port, app=app), encoding="utf-8")
        nginx = subprocess.Popen(["nginx", "-e", f"{directory}/error.log", "-c", f"{directory}/nginx.conf"])
        while ask(port, "acme.localhost", PATH) != 200:
            time.sleep(0.05)
        sides["nginx"] = (port, "acme.localhost")
    figures = {side: [] for side in sides}
    for _ in range(ROUNDS):
        for side, (port, host) in sides.items():
            figures[side].append(wrk(port, host))
    if nginx:
        nginx.terminate()
        nginx.wait()
    middle = {
        side: (statistics.median(rate for rate, _ in runs), statistics.median(tail for _, tail in runs))
        for side, runs in figures.items()
    }
    for side, (rate, tail) in middle.items():
        report.add(f"{side}: requests a second", rate, "1/s")
        report.add(f"{side}: p99", tail, "ms")
    for peer in ("app", "nginx"):
        if peer in middle:
            report.add(f"router's throughput against {peer}", middle["router"][0] / middle[peer][0], "ratio", None, peer)
            report.add(f"router's p99 against {peer}", middle["router"][1] / middle[peer][1], "ratio", None, peer)
