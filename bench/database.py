"""A PostgreSQL server for the stacks of a cluster: on loopback, and where Pods are real also on the bridge that they reach."""

import glob
import os
import pwd
import shutil
import subprocess
import tempfile

from clusters import eventually
from platform_under_test import free_port


def programs():
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: int(path.split("/")[4]))
    return found[-1] if found else os.path.dirname(shutil.which("initdb") or "initdb")


class Server:
    def __init__(self, address=None):
        self.listen = ["127.0.0.1"] + ([address] if address else [])
        self.port = free_port()
        # Simulated Pods connect to nothing; the address is one that is nobody's.
        self.address = f"{address or '192.0.2.1'}:{self.port}"

    def __enter__(self):
        self.directory = tempfile.mkdtemp(prefix="freehold-bench-postgres-", dir="/var/tmp")
        # PostgreSQL refuses to run as root.
        self.user = pwd.getpwnam("postgres") if os.geteuid() == 0 else None
        if self.user:
            os.chown(self.directory, self.user.pw_uid, self.user.pw_gid)
        self.data, bin_ = f"{self.directory}/data", programs()
        self.execute(f"{bin_}/initdb", "--no-sync", "-D", self.data, "-U", "postgres", "--auth=trust", "--encoding=UTF8")
        with open(f"{self.data}/pg_hba.conf", "w", encoding="utf-8") as file:
            file.write("host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
            file.write("host all all 10.244.77.0/24 scram-sha-256\n")
        settings = {
            "listen_addresses": ",".join(self.listen),
            "port": self.port,
            "max_connections": 2000,
            "unix_socket_directories": self.directory,
        }
        command = [f"{bin_}/postgres", "-D", self.data]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        self.log = open(f"{self.directory}/log", "w", encoding="utf-8")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, **self.identity())
        ready = [f"{bin_}/pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        eventually("PostgreSQL answers", lambda: subprocess.run(ready, check=False).returncode == 0)
        return self

    def __exit__(self, *_):
        # Fast shutdown, which ends open sessions.
        self.process.send_signal(2)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def identity(self):
        return {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []} if self.user else {}

    def execute(self, *command):
        result = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False, **self.identity())
        if result.returncode != 0:
            raise SystemExit(f"{command[0]}: {result.stdout}\n{result.stderr}")

    def url(self):
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
