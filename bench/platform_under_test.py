"""A Freehold of its own for a benchmark: data directory, ports, the running `freehold up`."""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time

TOP = pathlib.Path(os.environ["FREEHOLD_TOP"])
BINARY = os.environ["FREEHOLD_BINARY"]
GUESTBOOK = TOP / "examples" / "guestbook"
GUESTBOOK_BINARY = GUESTBOOK / "target" / "release" / "guestbook"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Platform:
    def __init__(self, **environment):
        """`environment`: what it and its commands run with besides."""
        self.more = environment

    def __enter__(self):
        self.directory = tempfile.mkdtemp(prefix="freehold-bench-", dir="/var/tmp")
        os.chmod(self.directory, 0o711)
        self.router = free_port()
        self.environment = {
            **os.environ,
            "FREEHOLD_DATA_DIR": f"{self.directory}/data",
            "XDG_CACHE_HOME": f"{self.directory}/cache",
            **self.more,
        }
        self.environment.pop("CARGO_TARGET_DIR", None)
        self.log = open(f"{self.directory}/up.log", "w", encoding="utf-8")
        self.start()
        return self

    def start(self):
        announced = pathlib.Path(self.directory, "data", "server.json")
        # One that was killed leaves it.
        before = announced.stat().st_mtime_ns if announced.exists() else None
        self.process = subprocess.Popen(
            # Benchmarks have many tenants, whoever runs them.
            [BINARY, "up", "--port", str(self.router), "--insecure-shared-user"], env=self.environment, stdout=self.log, stderr=self.log
        )
        deadline = time.monotonic() + 60
        while not announced.exists() or announced.stat().st_mtime_ns == before:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(pathlib.Path(self.log.name).read_text(encoding="utf-8"))
            time.sleep(0.01)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.log.close()
        # The folders of artifacts are read-only, which stops everybody but root.
        subprocess.run(["chmod", "-R", "u+rwX", self.directory], stderr=subprocess.DEVNULL, check=False)
        shutil.rmtree(self.directory, ignore_errors=True)

    def command(self, *arguments):
        return [BINARY, *map(str, arguments)]

    def run(self, *arguments, check=True, stdin=None):
        result = subprocess.run(
            self.command(*arguments), env=self.environment, input=stdin, capture_output=True, text=True, check=False
        )
        if check and result.returncode != 0:
            raise SystemExit(f"{arguments}: exit code {result.returncode}\n{result.stdout}\n{result.stderr}")
        return result

    def deploy(self, tenant, tier="pro", directory=GUESTBOOK):
        return self.run("deploy", directory, "--tenant", tenant, "--tier", tier, "--yes", "--no-settle", "--json")

    def superuser_url(self):
        settings = json.loads(pathlib.Path(self.directory, "data", "settings.json").read_text(encoding="utf-8"))
        password = pathlib.Path(self.directory, "data", "postgres", "password").read_text(encoding="utf-8").strip()
        return f"postgresql://postgres:{password}@127.0.0.1:{settings['postgres_port']}/postgres"

    def resident(self):
        """Resident memory of the Freehold process, in MB (2^20 bytes)."""
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise SystemExit("no VmRSS")

    def cpu_seconds(self):
        return cpu_seconds(self.process.pid)[0]

    def database_cpu_seconds(self):
        """Of its own PostgreSQL, with sessions that have ended."""
        try:
            record = next(pathlib.Path(self.directory, "data", "postgres").rglob("postmaster.pid"))
            postmaster = int(record.read_text(encoding="utf-8").splitlines()[0])
            children = pathlib.Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text(encoding="utf-8").split()
            return sum(cpu_seconds(postmaster)) + sum(sum(cpu_seconds(int(child))) for child in children)
        except (OSError, ValueError, StopIteration):
            return 0.0


def cpu_seconds(process):
    """Of a process itself, and of its children that have ended."""
    fields = pathlib.Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    own, ended = int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])
    return own / os.sysconf("SC_CLK_TCK"), ended / os.sysconf("SC_CLK_TCK")
