# What stands before each attack's script. It has got through where it calls broken(); what it raises is the guard's answer.
import ctypes, glob, json, os, re, signal, socket, subprocess, sys, time

P = json.loads(FACTS)
INSIDE = P["inside"]
APP = os.environ["DATABASE_URL"] if INSIDE else P["superuser"]
MIGRATOR = open(os.environ["HOME"] + "/migrator").read() if INSIDE else P["superuser"]
libc = ctypes.CDLL(None, use_errno=True)


def broken(what=""):
    print("BROKEN", what, flush=True)
    os._exit(0)


def in_database(url, database):
    return re.sub(r"^(postgres(?:ql)?://[^/]*)/[^?]*", lambda found: found[1] + "/" + database, url)


def as_role(url, role, password=None):
    """The URL with another role, and another password or none; in both forms that there are."""
    secret = f"&password={password}" if password else ""
    url = re.sub(r"://[^/@]*@", "://", re.sub(r"&?\b(user|password)=[^&]*", "", url)).replace("?&", "?")
    return url.rstrip("?&") + ("&" if "?" in url else "?") + f"user={role}" + secret


def password_of(url):
    found = re.search(r"\bpassword=([^&]*)", url) or re.search(r"://[^:/]*:([^@]*)@", url)
    return found[1]


def sql(url, *statements, database=None, extra=""):
    url = in_database(url, database) if database else url
    url += ("&" if "?" in url else "?") + extra if extra else ""
    commands = [part for statement in statements for part in ("-c", statement)]
    done = subprocess.run(["psql", "-XAtqw", "-v", "ON_ERROR_STOP=1", url, *commands], capture_output=True, text=True, timeout=20)
    if done.returncode:
        raise PermissionError(done.stderr.strip())
    return done.stdout.strip()


def processes(part):
    """The processes with that text in their command line, without this one and its parents."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            command = open(f"/proc/{pid}/cmdline", "rb").read()
        except OSError:
            continue
        if part.encode() in command.replace(b"\0", b" ") and int(pid) not in (os.getpid(), os.getppid()):
            found.append(int(pid))
    return found


def background(work):
    """Does it in a process of its own, in a session of its own, and returns once that has begun: called begun(), run another program, or ended."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.setsid()

        def begun():
            for descriptor in (0, 1, 2, writing):
                os.close(descriptor)
        work(begun)
        os._exit(0)
    os.close(writing)
    os.read(reading, 1)
    os.close(reading)


def until(holds, seconds=30):
    """Whether it came to hold within that time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if holds():
                return True
        except OSError:
            pass
        time.sleep(0.02)
    return False


def victims():
    return [pid for pid in processes("victim.py") if b"python3" in open(f"/proc/{pid}/cmdline", "rb").read()]


def call(name, *arguments):
    if libc[name](*arguments) == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def talk(data, port=None, wait=1.0):
    """Sends bytes and reads until nothing comes any more."""
    with socket.create_connection(("127.0.0.1", port or P["entrance"]), timeout=wait) as client:
        client.sendall(data)
        found = b""
        try:
            while part := client.recv(65536):
                found += part
        except TimeoutError:
            pass
        return found


def get(path="/echo", *headers, host=None, method="GET", body=b"", port=None, wait=1.0):
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host or P['host']}", *headers, "", ""]
    if not any(line.lower().startswith("connection") for line in headers):
        lines.insert(2, "Connection: close")
    return talk("\r\n".join(lines).encode("latin-1") + body, port, wait)


def told(answer):
    """What the tenant's program says that it got; none if the request didn't come to it."""
    head, _, text = answer.partition(b"\r\n\r\n")
    try:
        return json.loads(text) if b" 200 " in head.split(b"\r\n")[0] else None
    except ValueError:
        return None


def values(answer, name):
    """The values of a header or trailer as the tenant's program got it."""
    found = told(answer) or {"headers": [], "trailers": []}
    return [value for key, value in found["headers"] + found["trailers"] if key == name]


def seen(part):
    answer = get("/seen")
    return part in answer.decode("latin-1")
