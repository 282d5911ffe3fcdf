"""A tenant's program: answers, and does its worst when asked to."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECONDS = 6


def forks(_):
    """As many processes as it gets, up to 4,000, each of which sleeps."""
    children = []
    try:
        for _ in range(4000):
            child = os.fork()
            if child == 0:
                signal.pause()
                os._exit(0)
            children.append(child)
    except OSError:
        pass
    time.sleep(SECONDS)
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def logs(_):
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        os.write(1, b"a line that nobody wants to read, again and again and again\n" * 1000)


def connections(router):
    held = []
    for _ in range(1100):
        try:
            one = socket.create_connection(("127.0.0.1", router), timeout=1)
            one.sendall(b"GET / HTTP/1.1\r\nX: ")
            held.append(one)
        except OSError:
            break
    time.sleep(SECONDS)


def ports(_):
    held = []
    for port in range(10000, 12000):
        try:
            one = socket.socket()
            one.bind(("127.0.0.1", port))
            one.listen(1)
            held.append(one)
        except OSError:
            one.close()
    time.sleep(SECONDS)


def folder(_):
    """Up to 1 GiB into its home."""
    path = os.path.expanduser("~/fill")
    try:
        with open(path, "wb") as file:
            for _ in range(256):
                file.write(b"\0" * (4 << 20))
                file.flush()
    except OSError:
        pass
    time.sleep(1)
    os.remove(path)


def ask(statement, copies=1):
    command = ["psql", "-Xqw", os.environ["DATABASE_URL"], "-c", statement]
    running = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(copies)]
    time.sleep(SECONDS)
    for one in running:
        one.kill()
        one.wait()


def database(_):
    ask("INSERT INTO hoard SELECT repeat(md5(n::text), 30) FROM generate_series(1, 400000) n")


def queries(_):
    """A query for each connection that it may have, each of which takes a core as long as it is let."""
    ask("SELECT count(*) FROM generate_series(1, 300000000) a", 8)


def burn(_):
    """As many busy threads as there are cores, four times."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4 * os.cpu_count())]
    time.sleep(SECONDS)
    for one in busy:
        one.kill()
        one.wait()


WORST = {one.__name__: one for one in (forks, logs, connections, ports, folder, database, queries, burn)}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # It writes head and body one after the other. Else the body would wait until the head has been acknowledged, which takes 40 ms where
    # a connection is used again: most of what would be measured.
    disable_nagle_algorithm = True

    def do_GET(self):
        parts = self.path.split("/")
        if parts[1] == "worst":
            if os.fork() == 0:
                os.setsid()
                WORST[parts[2]](int(parts[3]))
                os._exit(0)
        body = b"ok"
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


# What waits to be taken up is not what is measured.
ThreadingHTTPServer.request_queue_size = 512
server = ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
signal.sigwait([signal.SIGTERM])
