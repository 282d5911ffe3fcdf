"""A Freehold with a cluster as its target, spoken to as a product's sign-up flow would: over HTTP, many at once."""

import datetime
import functools
import http.client
import json
import os
import pathlib
import threading
import time
import urllib.parse
import uuid
from concurrent.futures import ThreadPoolExecutor

import database
import image
from platform_under_test import GUESTBOOK, Platform

TARGET, DOMAIN = "prod", "test.localhost"
# How many sign-ups there are at once.
TOGETHER = 48


class Site:
    """The platform, its API, a PostgreSQL server for the stacks, the target, and the guestbook's image."""

    def __init__(self, cluster, **environment):
        self.cluster = cluster
        self.server = database.Server(cluster.address)
        self.platform = Platform(**environment)
        self.apps = []

    def __enter__(self):
        self.server.__enter__()
        self.platform.__enter__()
        try:
            announced = pathlib.Path(self.platform.directory, "data", "server.json").read_text(encoding="utf-8")
            self.api = Api(json.loads(announced))
            self.add_target()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.platform.__exit__()
        self.server.__exit__()

    def add_target(self):
        arguments = [
            "target", "add", TARGET, "--kubeconfig", self.cluster.kubeconfig, "--domain", DOMAIN,
            "--gateway", "freehold-gateway/freehold-gateway", "--listener", "wildcard",
            "--insecure-registry", self.cluster.registry,
            "--database-address", self.server.address, *self.cluster.more_of_target(),
        ]
        environment = {"FREEHOLD_TARGET_DATABASE_URL": self.server.url()}
        self.platform.environment.update(environment)
        self.platform.run(*arguments)

    @functools.cached_property
    def image(self):
        return self.push("1")

    def push(self, tag):
        """The guestbook's image under a tag of its own."""
        files = {"/guestbook": pathlib.Path(os.environ["FREEHOLD_GUESTBOOK_IMAGE"])}
        for file in (GUESTBOOK / "static").iterdir():
            files[f"/static/{file.name}"] = file
        return image.push(self.cluster.registry, "guestbook", tag, files)

    def deploy(self, tenant, directory=GUESTBOOK):
        """`freehold deploy` of the guestbook as a person would call it; its last event."""
        arguments = ["--tenant", tenant, "--tier", "pro", "--target", TARGET, "--image", f"web={self.image}"]
        result = self.platform.run("deploy", directory, *arguments, "--yes", "--json")
        return json.loads(result.stdout.splitlines()[-1])


class Api:
    def __init__(self, announced):
        self.host = urllib.parse.urlparse(announced["url"]).netloc
        self.headers = {"Authorization": f"Bearer {announced['token']}", "Content-Type": "application/json"}
        self.kept = threading.local()

    def call(self, method, path, body=None, headers=None):
        """An answer's JSON. A kept connection that was closed meanwhile is made anew once."""
        for again in (True, False):
            connection = getattr(self.kept, "connection", None)
            if connection is None:
                connection = self.kept.connection = http.client.HTTPConnection(self.host, timeout=300)
            try:
                text = json.dumps(body) if body is not None else None
                connection.request(method, f"/api/v1{path}", text, {**self.headers, **(headers or {})})
                answer = connection.getresponse()
                text = answer.read()
                break
            except (http.client.HTTPException, ConnectionError):
                connection.close()
                self.kept.connection = None
                if not again:
                    raise
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {text.decode(errors='replace')[:1500]}")
        return json.loads(text)

    def events(self, operation):
        """All events of an operation, as they come, to its end."""
        connection = http.client.HTTPConnection(self.host, timeout=600)
        connection.request("GET", f"/api/v1/operations/{operation}/events", headers=self.headers)
        answer = connection.getresponse()
        events = []
        while line := answer.readline():
            if line.startswith(b"data:"):
                events.append(json.loads(line[5:]))
                if events[-1]["event"] == "finished":
                    break
        connection.close()
        if not events or events[-1].get("state") != "succeeded":
            raise RuntimeError(f"operation {operation}: {json.dumps(events[-1:])[:2000]}")
        return events

    def deploy(self, request):
        """Plans and applies, waits until it is verified; where the time went."""
        begin = time.monotonic()
        operation = self.call("POST", "/stacks", request, {"Idempotency-Key": str(uuid.uuid4())})
        posted = time.monotonic()
        events = self.events(operation["id"])
        return Shares.of(operation, posted - begin, events)


class Shares:
    """Where the seconds of a deploy went. Steps that run at the same time count once."""

    NAMES = ("plan", "queue", "apply", "verify", "journal")

    def __init__(self):
        self.seconds = dict.fromkeys(self.NAMES, 0.0)

    @classmethod
    def of(cls, operation, plan, events):
        shares = cls()
        taken = next(instant(event) for event in events if event["event"] == "taken")
        started, steps, verified = {}, [], taken
        for event in events:
            if event["event"] == "step-started":
                started.setdefault(event["step"], instant(event))
            elif event["event"] == "step-done" and event["verb"] == "verify":
                verified = instant(event)
            elif event["event"] == "step-done":
                steps.append((started[event["step"]], instant(event)))
        total = instant(events[-1]) - taken
        apply = covered(steps)
        # It begins when all else is done.
        verify = max(0.0, verified - max([end for _, end in steps], default=taken))
        queue = max(0.0, taken - moment(operation["created_at"]))
        journal = max(0.0, total - apply - verify)
        shares.seconds = {"plan": plan, "queue": queue, "apply": apply, "verify": verify, "journal": journal}
        return shares

    def add(self, other):
        for name, seconds in other.seconds.items():
            self.seconds[name] += seconds


def instant(event):
    return moment(event["at"])


def moment(text):
    return datetime.datetime.fromisoformat(text).timestamp()


def covered(spans):
    """How long at least one of the spans lasts."""
    total, until = 0.0, float("-inf")
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, until))
        until = max(until, end)
    return total


def together(work, items, at_once=TOGETHER):
    """Does the work for each item, so many at once; the results in order."""
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(work, items))
