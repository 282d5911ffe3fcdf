"""Puts images into a registry, without an engine: one layer, made here."""

import base64
import hashlib
import http.client
import io
import json
import tarfile

CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
# `USER:PASSWORD` of the registries that ask for it, by their address.
CREDENTIALS = {}


def push(registry, name, tag, files, folders=("tmp",)):
    """An image of `files` (path in the image → file of this machine); its reference by tag."""
    layer = archive(files, folders)
    runtime = {"Env": ["PATH=/"], "User": "65532:65532", "WorkingDir": "/"}
    rootfs = {"type": "layers", "diff_ids": [digest(layer)]}
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": runtime, "rootfs": rootfs}).encode()
    for blob in (layer, config):
        put_blob(registry, name, blob)
    described = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": digest(config), "size": len(config)},
        "layers": [{"mediaType": LAYER, "digest": digest(layer), "size": len(layer)}],
    }
    exchange(registry, "PUT", f"/v2/{name}/manifests/{tag}", json.dumps(described).encode(), MANIFEST, 201)
    return f"{registry}/{name}:{tag}"


def digest(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def archive(files, folders):
    """A tar archive of regular files that everybody may run, and of folders for everybody."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for folder in folders:
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777
            tar.addfile(entry)
        for path, source in files.items():
            text = source.read_bytes()
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.size, entry.mode = len(text), 0o755
            tar.addfile(entry, io.BytesIO(text))
    return content.getvalue()


def put_blob(registry, name, blob):
    answer = exchange(registry, "POST", f"/v2/{name}/blobs/uploads/", b"", None, 202)
    path = answer["location"].removeprefix(f"http://{registry}")
    separator = "&" if "?" in path else "?"
    exchange(registry, "PUT", f"{path}{separator}digest={digest(blob)}", blob, "application/octet-stream", 201)


def exchange(registry, method, path, body, kind, expected):
    """One request, which has to be answered with this status; the answer's headers."""
    connection = http.client.HTTPConnection(registry, timeout=60)
    headers = {"Content-Type": kind} if kind else {}
    if registry in CREDENTIALS:
        headers["Authorization"] = "Basic " + base64.b64encode(CREDENTIALS[registry].encode()).decode()
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != expected:
        raise SystemExit(f"the registry answers {answer.status} to {method} {path}: {text[:500]!r}")
    headers = {key.lower(): value for key, value in answer.getheaders()}
    connection.close()
    return headers
