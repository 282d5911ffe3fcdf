"""The clusters: a control plane whose Pods and gateway kwok simulates, and a real node. Each with a registry."""

import base64
import json
import os
import pathlib
import signal
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request

from platform_under_test import TOP, free_port

PARTS = pathlib.Path(os.environ["FREEHOLD_KUBERNETES"])
SIMULATED_GATEWAY = TOP / "tests" / "src" / "simulated"
GATEWAY = "freehold-gateway"
# Where the API has kinds.
API = {
    "pods": "/api/v1", "persistentvolumeclaims": "/api/v1", "resourcequotas": "/api/v1", "events": "/api/v1", "configmaps": "/api/v1",
    "deployments": "/apis/apps/v1", "replicasets": "/apis/apps/v1", "jobs": "/apis/batch/v1",
    "horizontalpodautoscalers": "/apis/autoscaling/v2", "httproutes": "/apis/gateway.networking.k8s.io/v1",
}


def eventually(what, condition, seconds=120):
    """Waits until a condition holds; what it gives."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise SystemExit(f"not in {seconds} s: {what}")
        time.sleep(0.05)
    return found


class Cluster:
    """What both have: a testbed of crates/testkit in the foreground, which ends with its standard input.

    Where the variable that the tests know has the kubeconfig of one that runs, that one is used, and left running.
    """

    command = variable = None
    # How requests reach the gateway, where it is real.
    address = port = None

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="freehold-bench-")
        self.testbed, self.kubeconfig = None, os.environ.get(self.variable)
        self.credentials, self.reading = None, threading.Lock()
        if not self.kubeconfig:
            self.start()
        try:
            self.furnish()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.dismantle()
        if self.testbed:
            self.testbed.stdin.close()
            self.testbed.wait()
        self.folder.cleanup()

    def start(self):
        self.testbed = subprocess.Popen(
            [TOP / "scripts" / "kubernetes", self.command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for line in self.testbed.stdout:
            if line.startswith("export KUBECONFIG="):
                self.kubeconfig = line.strip().split("=", 1)[1]
                return
        raise SystemExit(f"scripts/kubernetes {self.command} has ended with {self.testbed.wait()}")

    def furnish(self):
        """What comes on top of the testbed."""

    def dismantle(self):
        """And goes before it."""

    def environment(self):
        return {**os.environ, "KUBECONFIG": self.kubeconfig, "KUBECACHEDIR": f"{self.folder.name}/kubectl"}

    def call(self, *command, stdin=None, codes=(0,)):
        """A program on this cluster, which has to end with one of these codes; what it prints."""
        result = subprocess.run(
            [str(word) for word in command], input=stdin, env=self.environment(), capture_output=True, text=True, check=False
        )
        if result.returncode not in codes:
            raise SystemExit(f"{command[:6]}: exit code {result.returncode}\n{result.stdout[-2000:]}\n{result.stderr[-3000:]}")
        return result.stdout

    def kubectl(self, *arguments, stdin=None, codes=(0,)):
        return self.call(PARTS / "bin" / "kubectl", *arguments, stdin=stdin, codes=codes)

    def attempt(self, *arguments):
        """What kubectl says of something that may be refused."""
        command = [PARTS / "bin" / "kubectl", *arguments]
        result = subprocess.run(command, env=self.environment(), capture_output=True, text=True, check=False)
        return result.stdout + result.stderr

    def get(self, *arguments):
        return json.loads(self.kubectl("get", "--output", "json", *arguments))

    def read(self, path):
        """The answer to a GET, or `None` where there is none: a process for each look would be more work than the cluster's."""
        return self.exchange(path)

    def write(self, path, change):
        """A merge patch. Whether it was taken is seen by the next look."""
        self.exchange(path, json.dumps(change).encode(), {"Content-Type": "application/merge-patch+json"}, "PATCH")

    def exchange(self, path, body=None, headers=None, method="GET"):
        with self.reading:
            if self.credentials is None:
                config = json.loads(self.kubectl("config", "view", "--raw", "--output=json"))
                cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
                authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
                self.credentials = (cluster["server"], user["token"], ssl.create_default_context(cadata=authority))
        server, token, context = self.credentials
        headers = {**(headers or {}), "Authorization": f"Bearer {token}"}
        request = urllib.request.Request(server + path, body, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10, context=context) as answer:
                return answer.read().decode()
        except (urllib.error.URLError, OSError):
            return None

    def requests(self):
        """How many requests the API server has had, by (verb, resource, dry run), watches and probes left out."""
        counted = {}
        for line in self.kubectl("get", "--raw", "/metrics").splitlines():
            if not line.startswith("apiserver_request_total{"):
                continue
            labels, value = line[len("apiserver_request_total{") :].rsplit("} ", 1)
            known = dict(label.split("=", 1) for label in labels.split(",") if "=" in label)
            known = {name: text.strip('"') for name, text in known.items()}
            if known.get("verb") not in ("WATCH", "CONNECT"):
                key = (known.get("verb"), known.get("resource"), bool(known.get("dry_run")))
                counted[key] = counted.get(key, 0) + float(value)
        return counted


class Simulated(Cluster):
    command, variable = "up", "FREEHOLD_TEST_CONTROL_PLANE"
    registry = "not started"

    def furnish(self):
        # The controller of a gateway: a second kwok, which looks after no Pods.
        self.log = open(f"{self.folder.name}/log", "w", encoding="utf-8")
        self.daemons = [
            subprocess.Popen(
                [
                    PARTS / "bin" / "kwok",
                    f"--kubeconfig={self.kubeconfig}",
                    "--manage-all-nodes=false",
                    "--manage-single-node=none",
                    f"--config={SIMULATED_GATEWAY / 'stages.yaml'}",
                ],
                stdout=self.log,
                stderr=self.log,
            )
        ]
        self.registry = f"127.0.0.1:{free_port()}"
        config = pathlib.Path(self.folder.name, "registry.json")
        storage = {"filesystem": {"rootdirectory": f"{self.folder.name}/registry"}}
        log = {"level": "warn", "accesslog": {"disabled": True}}
        config.write_text(json.dumps({"version": "0.1", "log": log, "storage": storage, "http": {"addr": self.registry}}))
        self.daemons.append(
            subprocess.Popen([PARTS / "bin" / "registry", "serve", config], stdout=self.log, stderr=self.log)
        )
        self.kubectl("apply", "--server-side", "-f", SIMULATED_GATEWAY / "gateway.yaml")
        self.kubectl(
            "wait", "--namespace", GATEWAY, f"gateway/{GATEWAY}", "--for=condition=Programmed", "--timeout=60s"
        )

    def dismantle(self):
        for daemon in getattr(self, "daemons", []):
            daemon.terminate()
            daemon.wait()
        self.log.close()

    def more_of_target(self):
        return ["--data-plane-namespace", GATEWAY]


class Node(Cluster):
    command, variable = "node-up", "FREEHOLD_TEST_NODE"
    address, port = "10.244.77.1", 30080
    registry, private_registry = f"{address}:5000", f"{address}:5001"

    @property
    def place(self):
        """The testbed's folder: its daemons work there, with a record of each below `pids`."""
        return pathlib.Path(self.kubeconfig).parent

    def daemon(self, name):
        """The number and the command of a daemon."""
        for record in (self.place / "pids").iterdir():
            try:
                command = pathlib.Path("/proc", record.name, "cmdline").read_bytes().decode().split("\0")[:-1]
            except OSError:
                continue
            if command and pathlib.Path(command[0]).name == name:
                return int(record.name), command
        raise SystemExit(f"{name} does not run")

    def kill_kubelet(self):
        number, self.kubelet = self.daemon("kubelet")
        os.kill(number, signal.SIGKILL)

    def start_kubelet(self):
        """The same command again, which the testbed ends with its others."""
        with open(self.place / "kubelet.log", "a", encoding="utf-8") as log:
            started = subprocess.Popen(
                self.kubelet, cwd=self.place, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        (self.place / "pids" / str(started.pid)).touch()
        self.kubectl("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=90s")

    def more_of_target(self):
        return ["--port", self.port]
