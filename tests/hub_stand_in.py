"""A stand-in for the Hugging Face Hub on this machine: the routes that huggingface_hub uses for files and commits."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml

TOKEN = "hf_of_the_tests"


class Hub:
    """What the stand-in has and does. cut: bytes after which the next file is cut. corrupt: files are sent with their
    last byte changed. ranges: Range headers that were seen."""

    def __init__(self) -> None:
        self.url = ""
        self.commits: dict[str, dict[str, dict[str, bytes]]] = {}
        self.refs: dict[str, dict[str, str]] = {}
        self.blobs: dict[str, bytes] = {}
        self.cut: int | None = None
        self.corrupt = False
        self.ranges: list[str] = []
        self.cards: list[str] = []

    def commit(self, repository: str, files: dict[str, bytes], branch: str = "main") -> str:
        """Put ``files`` (all there are then) into a repository; returns the commit."""
        name = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        self.commits.setdefault(repository, {})[name] = files
        self.refs.setdefault(repository, {})[branch] = name
        return name


def wrong_in(card: str) -> list[dict[str, str]]:
    """What the hub's documentation of model cards forbids: front matter that is not a YAML mapping, or a field of
    another type."""
    parts = card.split("---\n", 2)
    try:
        front = yaml.safe_load(parts[1]) if len(parts) == 3 and not parts[0] else {}
    except yaml.YAMLError as error:
        return [{"message": str(error)}]
    if not isinstance(front, dict):
        return [{"message": "front matter: expected a mapping"}]
    types = {
        "license": str,
        "library_name": str,
        "pipeline_tag": str,
        "tags": list,
        "datasets": list,
        "model-index": list,
    }
    return [
        {"message": f"{key}: expected {kind.__name__}"}
        for key, kind in types.items()
        if not isinstance(front.get(key, kind()), kind)
    ]


class Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        found = re.fullmatch(r"/([\w.-]+/[\w.-]+)/resolve/([^/]+)/(.+)", self.path)
        if not found:
            return self._fail(404, "")
        repository, revision, name = found.groups()
        if repository not in self.hub.commits:
            return self._fail(401, "RepoNotFound")
        commit = self.hub.refs[repository].get(revision, revision)
        if commit not in self.hub.commits[repository]:
            return self._fail(404, "RevisionNotFound")
        files = self.hub.commits[repository][commit]
        if name not in files:
            return self._fail(404, "EntryNotFound", commit)
        self._send_file(files[name], commit)

    def _send_file(self, data: bytes, commit: str) -> None:
        etag = f'"{hashlib.sha256(data).hexdigest()}"'
        start, wanted = 0, self.headers.get("Range")
        if wanted:
            self.hub.ranges.append(wanted)
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
        body = data[:-1] + bytes([data[-1] ^ 1]) if self.hub.corrupt else data
        self.send_response(206 if wanted else 200)
        headers = {
            "X-Repo-Commit": commit, "ETag": etag, "X-Linked-Etag": etag, "X-Linked-Size": len(data),
            "Content-Length": len(data) - start, "Accept-Ranges": "bytes",
        }  # fmt: skip
        if wanted:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        for key, value in headers.items():
            self.send_header(key, str(value))
        self.end_headers()
        if self.command == "GET":
            cut, self.hub.cut = self.hub.cut, None
            self.wfile.write(body[start : None if cut is None else start + cut])
            self.close_connection = cut is not None

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == "/api/validate-yaml":
            content = json.loads(body)["content"]
            self.hub.cards.append(content)
            wrong = wrong_in(content)
            return self._json({"errors": wrong, "warnings": []}, 400 if wrong else 200)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._fail(401, "")
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            self.hub.commit(name, {})
            return self._json({"url": f"{self.hub.url}/{name}", "id": name})
        if "/preupload/" in self.path:
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                    "oid": None,
                }
                for file in json.loads(body)["files"]
            ]
            return self._json({"files": files})
        if self.path.endswith("/info/lfs/objects/batch"):
            return self._json(
                {"transfer": "basic", "objects": [*map(self._upload, json.loads(body)["objects"])]}
            )
        found = re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/(\w+)", self.path)
        if not found:
            return self._fail(404, "")
        commit = self.hub.commit(found[1], self._committed(body), found[2])
        url = f"{self.hub.url}/{found[1]}/commit/{commit}"
        self._json({"commitOid": commit, "commitUrl": url, "success": True})

    def _upload(self, asked: dict[str, Any]) -> dict[str, Any]:
        return asked | {"actions": {"upload": {"href": f"{self.hub.url}/lfs/{asked['oid']}"}}}

    def _committed(self, body: bytes) -> dict[str, bytes]:
        files = {}
        for entry in map(json.loads, body.splitlines()):
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.hub.blobs[value["oid"]]
        return files

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        self.hub.blobs[self.path.rsplit("/", 1)[1]] = data
        self._json({})

    def _json(self, document: Any, status: int = 200) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _fail(self, status: int, code: str, commit: str = "") -> None:
        self.send_response(status)
        for key, value in (("X-Error-Code", code), ("X-Repo-Commit", commit), ("Content-Length", "0")):
            if value:
                self.send_header(key, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    handler = type("OfThisHub", (Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        running.daemon_threads = True
        threading.Thread(target=running.serve_forever, daemon=True).start()
        hub.url = f"http://127.0.0.1:{running.server_port}"
        yield hub
        running.shutdown()
