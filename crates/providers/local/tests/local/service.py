#!/usr/bin/env python3
"""A service that does as it is told: MODE says how it behaves."""
import json, os, signal, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODE = os.environ.get("MODE", "serve")
MARKER = os.path.join(os.environ["HOME"], "broken")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, status, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.do_GET()

    def do_GET(self):
        if self.path == "/ready":
            bad = MODE == "never-ready"
            self.reply(503 if bad else 200, '{"status":"unhealthy"}' if bad else "ok")
        elif self.path == "/env":
            self.reply(200, json.dumps(dict(os.environ)))
        elif self.path == "/who":
            self.reply(200, json.dumps({"pid": os.getpid(), "uid": os.getuid(), "gid": os.getgid(), "groups": os.getgroups(), "cwd": os.getcwd(), "version": os.environ.get("VERSION", "")}))
        elif self.path == "/print":
            print("line from", os.environ.get("VERSION", ""), flush=True)
            self.reply(200, "printed")
        elif self.path == "/flood":
            print("drop\n" * 10000, end="", flush=True)
            self.reply(200, "flooded")
        elif self.path == "/break":
            open(MARKER, "w").close()
            self.reply(200, "broken")
            threading.Timer(0.05, lambda: os._exit(7)).start()
        elif self.path == "/fork":
            if os.fork() == 0:
                os.setsid()
                os.execvp("sleep", ["sleep", "600"])
            self.reply(200, "forked")
        elif self.path == "/escape":
            # A daemon as daemons are: two forks, a session, a title and an environment of its own.
            if os.fork() == 0:
                os.setsid()
                pid = os.fork()
                if pid == 0:
                    os.execve("/bin/sleep", ["kworker/0:1", "600"], {})
                with open(os.path.join(os.environ["HOME"], "escaped"), "w") as file:
                    file.write(str(pid))
                os._exit(0)
            self.reply(200, "escaped")
        elif self.path == "/slow":
            time.sleep(0.5)
            self.reply(200, "slow")
        else:
            self.reply(200, os.environ.get("VERSION", "?"))


class Server(ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True


if MODE == "exit" or (MODE == "serve" and os.path.exists(MARKER)):
    print("the table is missing", flush=True)
    sys.exit(3)
if MODE == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
if MODE == "worker":
    while True:
        time.sleep(1)
if MODE == "late":
    with open(os.path.join(os.environ["HOME"], "port"), "w") as file:
        file.write(os.environ["PORT"])
    while not os.path.exists(os.path.join(os.environ["HOME"], "go")):
        time.sleep(0.02)
if MODE == "six":
    class Six(ThreadingHTTPServer):
        address_family = __import__("socket").AF_INET6
    Six(("::1", int(os.environ["PORT"])), Handler).serve_forever()
print("listening on", os.environ["PORT"], flush=True)
Server((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
