"""What api and web have in common: answers, health, and a clean end."""

import json
import signal
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

VERSION = "1.0.0"
BODY_LIMIT = 32 * 1024
STARTED = time.monotonic()

# Raises where the dependency doesn't answer.
Check = Callable[[], None]


class Problem(Exception):
    """A request that can't be answered as it was meant."""

    def __init__(self, status: int, detail: str):
        super().__init__(detail)
        self.status, self.detail = status, detail


class Handler(BaseHTTPRequestHandler):
    """Answers by method and path. Speaks HTTP/1.0: one request for each connection, so that none is idle at the end."""

    server_version = f"noticeboard/{VERSION}"
    # Seconds to wait for a client that says nothing.
    timeout = 30
    # Dependencies without which it can't answer, by name.
    checks: dict[str, Check] = {}
    # "GET /path" → method of the handler.
    routes: dict[str, Callable[[Any], None]] = {}

    def do_GET(self) -> None:
        self._dispatch()

    def do_POST(self) -> None:
        self._dispatch()

    def _dispatch(self) -> None:
        path = self.path.split("?", 1)[0]
        if self.command == "GET" and path in ("/health/live", "/health/ready"):
            self.health(self.checks if path == "/health/ready" else {})
            return
        try:
            route = self.routes.get(f"{self.command} {path}")
            if route is None:
                raise Problem(404, "there is nothing here")
            route(self)
        except Problem as problem:
            self.problem(problem)

    def body(self) -> bytes:
        """The request's body."""
        try:
            length = int(self.headers.get("Content-Length") or 0)
        except ValueError as error:
            raise Problem(400, "Content-Length is not a number") from error
        if not 0 <= length <= BODY_LIMIT:
            raise Problem(413, f"a request has at most {BODY_LIMIT} bytes")
        return self.rfile.read(length)

    def answer(self, status: int, kind: str, content: bytes, headers: dict[str, str] | None = None) -> None:
        """Answers with some content."""
        self.send_response(status)
        all_headers = {"Content-Type": kind, "Content-Length": str(len(content)), "Cache-Control": "no-store"}
        for name, value in (all_headers | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def json(self, status: int, value: Any, kind: str = "application/json") -> None:
        """Answers with JSON."""
        self.answer(status, kind, json.dumps(value).encode())

    def problem(self, problem: Problem) -> None:
        """Answers with application/problem+json."""
        value = {"type": "about:blank", "status": problem.status, "detail": problem.detail}
        self.json(problem.status, value, "application/problem+json")

    def health(self, checks: dict[str, Check]) -> None:
        """Runs the checks and answers 200, or 503 where one fails."""
        results: list[dict[str, Any]] = []
        for name, check in checks.items():
            begin = time.monotonic()
            result = {"name": name, "status": "healthy", "critical": True}
            try:
                check()
            except Exception as error:  # Whatever it is, it isn't healthy.
                result |= {"status": "unhealthy", "error": str(error)}
            results.append(result | {"latencyMs": round((time.monotonic() - begin) * 1000)})
        healthy = all(result["status"] == "healthy" for result in results)
        value = {
            "status": "ok" if healthy else "unhealthy",
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "uptime": int(time.monotonic() - STARTED),
            "version": VERSION,
            "checks": results,
        }
        self.json(200 if healthy else 503, value)

    def log_message(self, format: str, *arguments: Any) -> None:
        # Probes come every few seconds and say nothing new.
        if not self.path.startswith("/health/"):
            print(f"{self.command} {self.path} {' '.join(str(argument) for argument in arguments[1:])}", flush=True)


class Server(ThreadingHTTPServer):
    """Waits at its end for the requests that it has begun."""

    daemon_threads = False
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that went away is no error of ours.
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


def serve(handler: type[Handler], host: str, port: str) -> None:
    """Answers requests until SIGTERM or SIGINT; then finishes those that have begun."""
    try:
        server = Server((host, int(port)), handler)
    except (OSError, ValueError, OverflowError) as error:
        sys.exit(f"error: {host}:{port} can't be listened on: {error}")

    def end(*_: Any) -> None:
        # shutdown() waits for the loop below, which runs in this very thread.
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    print(f"listening on {host}:{port}", flush=True)
    # Looks for the end this often, in seconds.
    server.serve_forever(poll_interval=0.05)
    server.server_close()
    print("ended", flush=True)
