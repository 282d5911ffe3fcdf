"""A tenant's program. It runs what it is sent (its tenant controls its code), says what requests came to it, and reads them as
leniently as the worst server would: names with white space or underscores, bare line feeds, trailers."""

import json, os, socket, subprocess, sys, threading

SEEN = []
LOCK = threading.Lock()


def line(reader):
    return reader.readline(1 << 20).rstrip(b"\r\n")


def fields(reader):
    found = []
    while text := line(reader):
        if text[:1] in b" \t" and found:
            found[-1][1] += " " + text.decode("latin-1").strip()
            continue
        name, _, value = text.decode("latin-1").partition(":")
        found.append([name.strip().lower().replace("_", "-"), value.strip()])
    return found


def body(reader, headers):
    coding = [value for name, value in headers if name == "transfer-encoding"]
    if any("chunked" in value.lower() for value in coding):
        data = b""
        while size := int(line(reader).split(b";")[0].strip() or b"0", 16):
            data += reader.read(size)
            line(reader)
        return data, fields(reader)
    lengths = [value for name, value in headers if name == "content-length"]
    return reader.read(max(0, int(lengths[0].split(",")[0]))) if lengths else b"", []


def run(code):
    try:
        # Not as an argument: what it is told stands in no command line.
        done = subprocess.run([sys.executable, "-IS", "-"], input=code.encode(), capture_output=True, timeout=25)
        return done.stdout + done.stderr
    except subprocess.TimeoutExpired:
        return b"held: it took too long"


def answer(method, path, headers, data, trailers):
    if path == "/run" and os.environ.get("MAY_RUN"):
        return run(data.decode())
    if path.startswith("/env/"):
        return os.environ.get(path[5:], "").encode()
    if path == "/say":
        os.write(1, data + b"\n")
    if path == "/flood":
        for _ in range(120):
            os.write(1, b"." * 500000)
        os.write(1, b"\n")
    if path == "/crash":
        os._exit(9)
    if path == "/seen":
        with LOCK:
            return json.dumps(SEEN).encode()
    if path in ("/health", "/"):
        return os.environ.get("NAME", "?").encode()
    with LOCK:
        SEEN.append(f"{method} {path}")
    told = {"path": path, "headers": headers, "trailers": trailers, "body": data.decode("latin-1")}
    return json.dumps(told).encode()


def serve(client):
    reader = client.makefile("rb")
    try:
        while first := line(reader):
            method, path = first.decode("latin-1").split()[:2]
            headers = fields(reader)
            data, trailers = body(reader, headers)
            text = answer(method, path, headers, data, trailers)
            client.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(text) + (b"" if method == "HEAD" else text))
            if any(name == "connection" and "close" in value.lower() for name, value in headers):
                break
    except (OSError, ValueError, IndexError):
        pass
    finally:
        client.close()


server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("127.0.0.1", int(os.environ["PORT"])))
server.listen(512)
while True:
    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
