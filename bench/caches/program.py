"""A stack of the benchmark of caches: it asks its own cache and says how long that takes, or floods it."""

import http.server
import json
import os
import socket
import subprocess
import time
import urllib.parse

URL = urllib.parse.urlsplit(os.environ["REDIS_URL"])
VALUE = b"x" * 100


def command(*words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def measure(seconds):
    """The milliseconds of one request after the other, each a SET."""
    connection = socket.create_connection((URL.hostname, URL.port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(command(b"AUTH", URL.username.encode(), URL.password.encode()))
    assert connection.recv(100) == b"+OK\r\n"
    times, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        begin = time.perf_counter()
        connection.sendall(command(b"SET", b"key", VALUE))
        assert connection.recv(100) == b"+OK\r\n"
        times.append((time.perf_counter() - begin) * 1000)
        time.sleep(0.002)
    return times


def flood():
    """What a careless or hostile neighbour does: many connections, many requests at once, large and small, until it is ended."""
    where = ["-h", URL.hostname, "-p", str(URL.port), "--user", URL.username, "-a", URL.password]
    return subprocess.Popen(
        ["redis-benchmark", *where, "-c", "100", "-P", "32", "-n", "2000000000", "-r", "1000000", "-t", "set,get", "-q"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


class Handler(http.server.BaseHTTPRequestHandler):
    flooding = None

    def do_GET(self):
        path, _, argument = self.path.partition("?")
        answer = None
        if path == "/measure":
            answer = measure(float(argument))
        elif path == "/flood":
            Handler.flooding = flood()
        elif path == "/flooding":
            answer = Handler.flooding is not None and Handler.flooding.poll() is None
        elif path == "/calm":
            Handler.flooding.kill()
            Handler.flooding.wait()
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
