"""Load on a guestbook: constant GETs and POSTs, and event streams that reconnect where they left off."""

import asyncio
import http.client
import json
import shutil
import threading
import time
import uuid


def ask(port, host, path, address="127.0.0.1"):
    """The status of one GET; 0 if there is no answer."""
    try:
        connection = http.client.HTTPConnection(address, port, timeout=10)
        connection.request("GET", path, headers={"Host": host})
        return connection.getresponse().status
    except OSError:
        return 0


def copy_of_the_guestbook(source, binary, target):
    """The app with its built binary and no build of its own, so that each redeploy ships another artifact at once."""
    target.mkdir()
    shutil.copytree(source / "static", target / "static")
    shutil.copy2(binary, target / "guestbook")


def mark(copy, definition, number):
    """Makes the copy another version."""
    lines = []
    for line in definition.splitlines():
        if line.startswith("build"):
            # Streams are cut after a second instead of half a minute, so that their clients have to reconnect.
            line = 'build = { artifact = ["guestbook", "static"] }\ndrain = "1s"'
        lines.append(line)
    (copy / "freehold.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (copy / "static" / "version.txt").write_text(str(number), encoding="utf-8")


class Result:
    requests = failed = doubled = lost_posts = lost_events = reconnects = 0
    rate = 0.0

    def __init__(self):
        self.problems = []

    def tell(self, report, least_rate, least_reconnects=None):
        report.add("requests a second", self.rate, "1/s", least=least_rate)
        report.add("requests", self.requests, "")
        report.add("failed requests", self.failed, "", 0)
        report.add("POSTs done twice", self.doubled, "", 0)
        report.add("POSTs lost", self.lost_posts, "", 0)
        report.add("events lost", self.lost_events, "", 0)
        report.add("reconnects of event streams", self.reconnects, "", least=least_reconnects)
        for problem in self.problems[:10]:
            print(f"    {problem}", flush=True)


class Load:
    """Runs in a thread of its own."""

    def __init__(self, port, host, rate, streams=4, address="127.0.0.1"):
        self.address, self.port, self.host, self.rate, self.streams = address, port, host, rate, streams
        self.result = Result()
        self.posted = []
        self.seen = [set() for _ in range(streams)]
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self.work()))

    def start(self):
        self.begin = time.monotonic()
        self.thread.start()
        time.sleep(1)

    def stop(self):
        self.stopping.set()
        self.thread.join()
        return self.result

    async def work(self):
        streams = [asyncio.create_task(self.stream(number)) for number in range(self.streams)]
        await asyncio.sleep(0.5)
        pending, number = set(), 0
        begin = time.monotonic()
        while not self.stopping.is_set():
            # An open loop: requests are sent when they are due, whether or not earlier ones were answered.
            due = int((time.monotonic() - begin) * self.rate)
            while number < due:
                task = asyncio.create_task(self.post() if number % 5 == 0 else self.get())
                pending.add(task)
                task.add_done_callback(pending.discard)
                number += 1
            await asyncio.sleep(0.004)
        if pending:
            await asyncio.wait(pending)
        self.result.requests = number
        self.result.rate = number / (time.monotonic() - begin)
        await self.check()
        for task in streams:
            task.cancel()
        await asyncio.gather(*streams, return_exceptions=True)

    async def exchange(self, method, path, body=b"", headers=()):
        reader, writer = await asyncio.open_connection(self.address, self.port)
        try:
            head = [f"{method} {path} HTTP/1.1", f"Host: {self.host}", "Connection: close", *headers]
            if body:
                head.append(f"Content-Length: {len(body)}")
            writer.write("\r\n".join([*head, "", ""]).encode() + body)
            await writer.drain()
            answer = await asyncio.wait_for(reader.read(), 30)
        finally:
            writer.close()
        head, _, content = answer.partition(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1]) if head else 0
        if b"transfer-encoding: chunked" in head.lower():
            content = unchunk(content)
        return status, content

    async def get(self):
        await self.counted("GET", "/api/entries?limit=1")

    async def post(self):
        key = str(uuid.uuid4())
        body = json.dumps({"author": "load", "message": key}).encode()
        headers = ("Content-Type: application/json",)
        if await self.counted("POST", "/api/entries", body, headers):
            self.posted.append(key)

    async def counted(self, method, path, body=b"", headers=()):
        try:
            status, content = await self.exchange(method, path, body, headers)
        except (OSError, ValueError, IndexError, asyncio.TimeoutError) as problem:
            self.result.failed += 1
            self.result.problems.append(f"{method} {path}: {problem!r}")
            return False
        if status not in (200, 201):
            self.result.failed += 1
            self.result.problems.append(f"{method} {path}: {status} {content[:200]!r}")
            return False
        return True

    async def stream(self, number):
        last = None
        while True:
            try:
                reader, writer = await asyncio.open_connection(self.address, self.port)
                head = ["GET /events HTTP/1.1", f"Host: {self.host}", "Accept: text/event-stream", "Connection: close"]
                if last is not None:
                    head.append(f"Last-Event-ID: {last}")
                writer.write("\r\n".join([*head, "", ""]).encode())
                while line := await reader.readline():
                    text = line.decode(errors="replace").strip()
                    if text.startswith("id:"):
                        last = text[3:].strip()
                    elif text.startswith("data:") and '"load"' in text:
                        self.seen[number].add(json.loads(text[5:])["message"])
                writer.close()
            except (OSError, ValueError, KeyError):
                pass
            self.result.reconnects += 1
            await asyncio.sleep(0.05)

    async def check(self):
        """Every acknowledged POST is there once, and every stream has seen it."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and any(set(self.posted) - seen for seen in self.seen):
            await asyncio.sleep(0.1)
        self.result.lost_events = sum(len(set(self.posted) - seen) for seen in self.seen)
        kept = {}
        before = None
        while True:
            path = "/api/entries?limit=500" + (f"&before={before}" if before else "")
            _, content = await self.exchange("GET", path)
            page = json.loads(content)
            entries = page["entries"] if isinstance(page, dict) else page
            if not entries:
                break
            for entry in entries:
                kept[entry["message"]] = kept.get(entry["message"], 0) + 1
            before = min(entry["id"] for entry in entries)
        self.result.doubled = sum(1 for count in kept.values() if count > 1)
        self.result.lost_posts = len(set(self.posted) - set(kept))


def unchunk(content):
    whole = b""
    while content:
        size, _, content = content.partition(b"\r\n")
        length = int(size.split(b";")[0] or b"0", 16)
        if length == 0:
            break
        whole, content = whole + content[:length], content[length + 2 :]
    return whole
