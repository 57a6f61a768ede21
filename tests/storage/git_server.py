"""A git server with git LFS on the loopback interface for tests: real ``git http-backend``, our own LFS batch API.

Counts requests and injects faults into the LFS half. Asks for user and password when ``password`` is set, and sends to
another place what has ``moved``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from tests.storage.loopback_server import LoopbackServer, QuietHandler, Served
from workflow_scripts.git_process import git_environment

JSON = {"Content-Type": "application/vnd.git-lfs+json"}


@dataclass
class LfsFault:
    """What goes wrong with the first ``times`` requests of its kind."""

    batch_status: int = 0
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    times: int = 10**9
    corrupt: bool = False
    drop: int = 0
    missing: bool = False


class GitServer(Served):
    """Bare repositories under ``root``, served over HTTP."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.fault = LfsFault()
        self.password = ""
        # Start of a path, and where its requests are sent instead.
        self.moved: tuple[str, str] | None = None
        self.requests: list[tuple[str, str, str | None, str | None]] = []
        self.failed = 0
        self.guard = threading.Lock()
        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.git = self
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def due(self) -> bool:
        """True while the fault is to happen."""
        with self.guard:
            self.failed += 1
            return self.failed <= self.fault.times

    def count(self, part: str) -> int:
        """Requests whose path contains ``part``."""
        return sum(part in path for _, path, _, _ in self.requests)


def git(folder: Path, *arguments: str) -> str:
    """Output of a git command with a fixed author."""
    who = {"GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@e", "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@e"}
    return subprocess.run(
        ["git", "-C", str(folder), *arguments],
        check=True,
        capture_output=True,
        text=True,
        env={**git_environment(), **who},
    ).stdout.strip()


def publish(root: Path, name: str, large: dict[str, bytes], small: dict[str, bytes], branch: str = "main") -> str:
    """Commit pointers and small files to ``root/name.git`` and store the objects; returns the commit. No git-lfs."""
    bare, work = root / f"{name}.git", root / "work" / name
    if not bare.is_dir():
        bare.mkdir(parents=True)
        git(bare, "init", "--bare", "--quiet", "--initial-branch=main")
        git(root, "clone", "--quiet", str(bare), str(work))
    git(work, "checkout", "--quiet", "-B", branch)
    for path, content in large.items():
        oid = hashlib.sha256(content).hexdigest()
        store = bare / "lfs" / "objects" / oid[:2] / oid[2:4] / oid
        store.parent.mkdir(parents=True, exist_ok=True)
        store.write_bytes(content)
        small = {**small, path: pointer(oid, len(content))}
    for path, content in small.items():
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        (work / path).write_bytes(content)
    git(work, "-c", "filter.lfs.clean=cat", "-c", "filter.lfs.process=", "-c", "filter.lfs.required=false", "add", "-A")
    git(work, "commit", "--quiet", "-m", "files")
    git(work, "push", "--quiet", "--no-verify", str(bare), branch)
    return git(work, "rev-parse", "HEAD")


def pointer(oid: str, size: int) -> bytes:
    """Pointer text by the specification."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n".encode()


class Server(LoopbackServer):
    """Knows the state that its handlers share."""

    git: GitServer


class Handler(QuietHandler):
    """Answers one connection."""

    server: Server

    def do_GET(self) -> None:
        self.answer(b"")

    def do_POST(self) -> None:
        self.answer(self.body())

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def answer(self, body: bytes) -> None:
        server, token = self.server.git, self.headers.get("Authorization")
        with server.guard:
            server.requests.append((self.command, self.path, self.headers.get("Range"), token))
        path = urlsplit(self.path).path
        expected = "Basic " + base64.b64encode(server.password.encode()).decode()
        moved = server.moved
        if match := re.fullmatch(r"/objects/(.+\.git)/([0-9a-f]{64})", path):
            self.send_object(match[1], match[2])
        elif moved and self.path.startswith(moved[0]):
            self.reply(307, b"", {"Location": moved[1] + self.path.removeprefix(moved[0])})
        elif server.password and token != expected:
            self.reply(401, b"", {"WWW-Authenticate": 'Basic realm="git"'})
        elif match := re.fullmatch(r"/(.+\.git)/info/lfs/objects/batch", path):
            self.batch(match[1], json.loads(body))
        elif path.endswith("/info/lfs/locks/verify"):
            self.reply(404, b"{}", JSON)
        else:
            self.backend(body)

    def batch(self, repository: str, question: dict[str, list[dict[str, object]]]) -> None:
        fault = self.server.git.fault
        if fault.batch_status and self.server.git.due():
            self.reply(fault.batch_status, b'{"message":"fault"}', {**JSON, **fault.headers})
            return
        objects = [self.item(repository, str(item["oid"]), item["size"]) for item in question["objects"]]
        answer = {"transfer": "basic", "hash_algo": "sha256", "objects": objects}
        self.reply(200, json.dumps(answer).encode(), JSON)

    def item(self, repository: str, oid: str, size: object) -> dict[str, object]:
        if self.server.git.fault.missing or not self.stored(repository, oid).is_file():
            return {"oid": oid, "size": size, "error": {"code": 404, "message": "Object does not exist"}}
        # Another host name than the git server's, as storage hosts have.
        url = f"http://localhost:{self.server.server_address[1]}/objects/{repository}/{oid}?signature=secret"
        return {"oid": oid, "size": size, "actions": {"download": {"href": url, "expires_in": 900}}}

    def stored(self, repository: str, oid: str) -> Path:
        return self.server.git.root / repository / "lfs" / "objects" / oid[:2] / oid[2:4] / oid

    def send_object(self, repository: str, oid: str) -> None:
        fault, content = self.server.git.fault, self.stored(repository, oid).read_bytes()
        cuttable = 0 < fault.drop < len(content)
        due = self.server.git.due() if fault.status or fault.corrupt or cuttable else False
        if fault.status and due:
            self.reply(fault.status, b"fault", fault.headers)
            return
        if fault.corrupt and due:
            content = content[:-1] + bytes([content[-1] ^ 1])
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        start = int(wanted[1]) if wanted else 0
        end = min(int(wanted[2]) + 1, len(content)) if wanted and wanted[2] else len(content)
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(end - start))
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(content)}")
        self.end_headers()
        cut = fault.drop if fault.drop and due else end - start
        self.wfile.write(content[start : min(start + cut, end)])
        if cut < end - start:
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()

    def backend(self, body: bytes) -> None:
        url = urlsplit(self.path)
        gateway = {
            "GIT_PROJECT_ROOT": str(self.server.git.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": url.path,
            "QUERY_STRING": url.query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REMOTE_ADDR": "127.0.0.1",
        }
        done = subprocess.run(
            ["git", "http-backend"], input=body, env={**git_environment(), **gateway}, capture_output=True, check=True
        )
        head, _, rest = done.stdout.partition(b"\r\n\r\n")
        pairs = [line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line]
        headers = {name: value for name, value in pairs if name.lower() not in ("status", "content-length")}
        status = next((int(value.split()[0]) for name, value in pairs if name == "Status"), 200)
        self.reply(status, rest, headers)

    def reply(self, code: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
