"""A Hub on the loopback interface for tests: counts requests and injects faults.

It answers what huggingface_hub 2.4.0 asks: model and dataset info at a revision with blobs, refs, and ``resolve``
addresses, which redirect for large files to a "CDN" under another host name (localhost instead of 127.0.0.1).
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.storage.loopback_server import LoopbackServer, QuietHandler, Served

LARGE = 1000  # bytes from which a file counts as an LFS file
SHA1 = {"usedforsecurity": False}


def git_blob(content: bytes) -> str:
    """Git's name of a content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, **SHA1).hexdigest()


def sha256(content: bytes) -> str:
    """The hash of a large file."""
    return hashlib.sha256(content).hexdigest()


def commit_of(files: dict[str, bytes]) -> str:
    """A commit name that changes with the content."""
    text = "".join(f"{path} {git_blob(content)}\n" for path, content in sorted(files.items()))
    return hashlib.sha1(text.encode(), **SHA1).hexdigest()


@dataclass
class Fault:
    """What goes wrong with one path (``*`` for every API call); ``times`` is how often, counted per request."""

    status: int = 0
    cdn_status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    times: int = 10**9
    corrupt: bool = False
    short: int = 0
    long: int = 0
    html: bool = False
    drop: int = 0  # bytes after which the line breaks
    stall: float = 0.0  # seconds of silence in the middle
    no_range: bool = False
    rate: float = 0.0  # bytes per second
    compress: bool = False
    no_length: bool = False  # neither a length nor a range is told
    redirect: str = ""


@dataclass
class Request:
    """One request as the server saw it."""

    method: str
    path: str
    host: str
    range: str | None
    token: str | None


class FaultHub(Served):
    """State of the server: repositories, faults, and the log of requests."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, dict[str, bytes]]] = {}
        self.old: dict[str, dict[str, bytes]] = {}
        # As a mirror site that names files only, takes no slash in a revision, and so many files a page of a tree.
        self.names_only, self.tree_page = False, 0
        # Repositories (models/org/name) whose lists are open and whose files are not, and the token that opens them.
        self.gated: dict[str, str] = {}
        self.faults: dict[str, Fault] = {}
        self.requests: list[Request] = []
        self.guard = threading.Lock()
        self.connections = 0
        self.seen: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.hub = self
        self.port = self.server.server_address[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"

    def add(self, name: str, files: dict[str, bytes], revision: str = "main", kind: str = "models") -> str:
        """Publish files as a revision; returns the commit. Older commits stay reachable, as on the Hub."""
        branches = self.repositories.setdefault(f"{kind}/{name}", {})
        if revision in branches:
            self.old[commit_of(branches[revision])] = branches[revision]
        branches[revision] = files
        return commit_of(files)

    def find(self, key: str, revision: str) -> dict[str, bytes] | None:
        """Files of a branch or commit."""
        branches = self.repositories[key]
        if revision in branches:
            return branches[revision]
        for files in branches.values():
            if commit_of(files) == revision:
                return files
        return self.old.get(revision)

    def due(self, path: str) -> Fault:
        """Fault for a request of ``path``; an empty one when it has happened often enough."""
        fault = self.faults.get(path)
        if fault is None:
            return Fault()
        with self.guard:
            self.seen[path] += 1
            return fault if self.seen[path] <= fault.times else Fault()

    def count(self, part: str) -> int:
        """Number of requests whose path contains ``part``."""
        return sum(part in request.path for request in self.requests)

    def bytes_sent(self, path: str) -> int:
        """Bytes of a file's content that were sent, over all requests."""
        return self.sent[path]


class Server(LoopbackServer):
    """Knows the state that its handlers share."""

    hub: FaultHub


class Handler(QuietHandler):
    """Answers one connection."""

    server: Server

    def setup(self) -> None:
        super().setup()
        with self.server.hub.guard:
            self.server.hub.connections += 1

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        hub, url = self.server.hub, urlsplit(self.path)
        path = unquote(url.path)
        with hub.guard:
            host, token = self.headers.get("Host", ""), self.headers.get("Authorization")
            hub.requests.append(Request(self.command, self.path, host, self.headers.get("Range"), token))
        if match := re.fullmatch(
            r"/api/(models|datasets)/([^/]+/[^/]+)/(revision|refs|tree|auth-check)(?:/(.+))?", path
        ):
            self.api(f"{match[1]}/{match[2]}", match[3], match[4])
        elif match := re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self.resolve(f"{match[1] or 'models/'}{match[2]}", match[3], match[4])
        elif match := re.fullmatch(r"/cdn/(.+)", path):
            query = parse_qs(url.query)
            self.content(hub.find(query["repository"][0], query["revision"][0])[match[1]], match[1], "cdn")
        else:
            self.reply(404, b"{}")

    def api(self, key: str, what: str, revision: str | None) -> None:
        hub, fault = self.server.hub, self.server.hub.due("*")
        if fault.status:
            self.reply(fault.status, b'{"error":"fault"}', fault.headers)
        elif fault.html:
            self.reply(200, b"<html><body>please log in</body></html>", {"Content-Type": "text/html"})
        elif key not in hub.repositories:
            self.reply(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif what == "refs":
            branches = [
                {"name": name, "ref": f"refs/heads/{name}", "targetCommit": commit_of(files)}
                for name, files in hub.repositories[key].items()
            ]
            self.json({"branches": branches, "tags": [], "converts": []})
        elif (what == "tree" and not hub.tree_page) or (hub.names_only and "/" in (revision or "")):
            self.reply(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif (files := hub.find(key, revision or "main")) is None and hub.names_only:
            self.reply(401, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif files is None:
            self.reply(404, b"{}", {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Invalid rev id"})
        elif what == "auth-check":
            allowed = self.headers.get("Authorization") == f"Bearer {hub.gated.get(key)}"
            self.reply(200 if allowed else 403, b"{}", {} if allowed else {"X-Error-Code": "GatedRepo"})
        elif what == "tree":
            self.tree(files)
        else:
            siblings = [sibling(path, content) for path, content in files.items()]
            if hub.names_only:
                siblings = [{"rfilename": path} for path in files]
            self.json(
                {"id": key.partition("/")[2], "sha": commit_of(files), "siblings": siblings, "gated": key in hub.gated}
            )

    def tree(self, files: dict[str, bytes]) -> None:
        url, size = urlsplit(self.path), self.server.hub.tree_page
        start = int(parse_qs(url.query).get("cursor", ["0"])[0])
        items: list[dict[str, object]] = [{"type": "directory", "oid": "0" * 40, "size": 0, "path": "folder"}]
        for known in [sibling(path, content) for path, content in files.items()][start : start + size]:
            items.append({"type": "file", "path": known["rfilename"], "size": known["size"], "oid": known["blobId"]})
            if lfs := known.get("lfs"):
                items[-1]["lfs"] = {"oid": lfs["sha256"], "size": lfs["size"]}
        following = f'<http://elsewhere.invalid{url.path}?recursive=true&cursor={start + size}>; rel="next"'
        self.json(items, {"Link": following} if start + size < len(files) else {})

    def resolve(self, key: str, revision: str, path: str) -> None:
        hub = self.server.hub
        files = hub.find(key, revision) if key in hub.repositories else None
        if files is None or path not in files:
            self.reply(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        fault = hub.faults.get(path, Fault())
        if fault.redirect:
            self.reply(302, b"", {"Location": fault.redirect})
        elif len(files[path]) >= LARGE:
            query = f"repository={key}&revision={revision}&X-Signature=secret"
            told = {"X-Linked-Size": str(len(files[path])), "X-Linked-Etag": f'"{sha256(files[path])}"'}
            self.reply(302, b"", {"Location": f"http://localhost:{hub.port}/cdn/{path}?{query}", **told})
        else:
            self.content(files[path], path, "hub")

    def content(self, content: bytes, path: str, place: str) -> None:
        fault = self.server.hub.due(path)
        status = fault.cdn_status if place == "cdn" and fault.cdn_status else fault.status
        if status:
            self.reply(status, b"fault", fault.headers)
        elif fault.html:
            self.reply(200, b"<!DOCTYPE html><html>please log in</html>", {"Content-Type": "text/html; charset=utf-8"})
        else:
            self.send_content(damaged(content, fault), path, fault)

    def send_content(self, content: bytes, path: str, fault: Fault) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        start, end, headers = 0, len(content), {"Accept-Ranges": "bytes", "ETag": f'"{git_blob(content)}"'}
        if wanted and not fault.no_range and not fault.no_length:
            start = int(wanted[1])
            if start >= len(content):
                self.reply(416, b"", {"Content-Range": f"bytes */{len(content)}"})
                return
            end = min(int(wanted[2]) + 1, len(content)) if wanted[2] else len(content)
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
        if fault.compress:
            headers["Content-Encoding"] = "gzip"
        self.send_response(206 if "Content-Range" in headers else 200)
        self.close_connection = self.close_connection or fault.no_length
        length = {"Connection": "close"} if fault.no_length else {"Content-Length": str(end - start)}
        for name, value in {**headers, **length}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.send_body(content[start:end], path, fault)

    def send_body(self, body: bytes, path: str, fault: Fault) -> None:
        step = 1 << 16
        limit = fault.drop or (len(body) // 2 if fault.stall else len(body))
        for position in range(0, min(limit, len(body)), step):
            piece = body[position : min(position + step, limit)]
            self.wfile.write(piece)
            self.server.hub.sent[path] += len(piece)
            if fault.rate:
                time.sleep(len(piece) / fault.rate)
        self.wfile.flush()
        if limit < len(body):
            time.sleep(fault.stall)
            self.close_connection = True
            self.connection.close()

    def json(self, value: object, headers: dict[str, str] | None = None) -> None:
        self.reply(200, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})

    def reply(self, code: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def sibling(path: str, content: bytes) -> dict[str, Any]:
    """One file as the Hub's API tells of it."""
    entry: dict[str, object] = {"rfilename": path, "size": len(content), "blobId": git_blob(content)}
    if len(content) >= LARGE:
        entry["lfs"] = {"sha256": sha256(content), "size": len(content), "pointerSize": 130}
    return entry


def damaged(content: bytes, fault: Fault) -> bytes:
    """Content with the fault applied."""
    if fault.corrupt:
        middle = len(content) // 2
        content = content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]
    if fault.short:
        content = content[: -fault.short]
    return content + b"x" * fault.long
