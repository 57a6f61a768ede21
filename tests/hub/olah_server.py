"""Git repositories with real git LFS, and olah, a Hub server that others wrote, which serves them as the Hub would.

olah knows a folder ``<mirrors>/{models,datasets}/<org>/<name>`` per repository. Offline it asks no other Hub.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

from workflow_scripts.git_process import git_environment

WHO = {"GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@e", "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@e"}
# What the Hub's own repositories keep in git LFS, of the kinds of files that are served here.
LARGE = ("*.bin", "*.safetensors", "*.parquet", "*.idx", "*.bin.*")
ATTRIBUTES = "".join(f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in LARGE)
START_SECONDS = 60.0


def reason_to_skip(folder: Path) -> str:
    """Why there can be no server here; empty when there can. ``folder`` is where olah is installed."""
    if shutil.which("git-lfs") is None:
        return "git-lfs is not installed"
    return "" if (folder / "olah").is_dir() else f"olah is not in {folder.name}: make setup-hub-tests"


class OlahServer:
    """Repositories under ``folder``, served inside a ``with`` block."""

    def __init__(self, packages: Path, folder: Path) -> None:
        """``packages`` is the folder that olah is installed in, ``folder`` an empty one."""
        self.packages, self.folder = packages, folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.log = folder / "olah.log"
        self.process: subprocess.Popen[bytes] | None = None

    def add(self, name: str, files: dict[str, bytes], revision: str = "main", kind: str = "models") -> str:
        """Commit ``files``, and nothing else, as a branch, or as a ref with a slash in it; returns the commit."""
        work = self.folder / "mirrors" / kind / name
        if not work.is_dir():
            work.mkdir(parents=True)
            self.git(work, "init", "--quiet", "--initial-branch=main")
            self.git(work, "lfs", "install", "--local", "--skip-repo")
        self.git(work, "checkout", "--quiet", "--orphan", "next")
        self.git(work, "rm", "-r", "--quiet", "--force", "--ignore-unmatch", ".")
        for path, content in {".gitattributes": ATTRIBUTES.encode(), **files}.items():
            (work / path).parent.mkdir(parents=True, exist_ok=True)
            (work / path).write_bytes(content)
        self.git(work, "add", "--all")
        self.git(work, "commit", "--quiet", "--message", "files")
        ref = revision if revision.startswith("refs/") else f"refs/heads/{revision}"
        self.git(work, "update-ref", ref, "HEAD")
        self.git(work, "checkout", "--quiet", "--detach", ref)
        self.git(work, "branch", "--quiet", "-D", "next")
        return self.git(work, "rev-parse", ref)

    def git(self, folder: Path, *arguments: str) -> str:
        """Output of a git command that reads no configuration of this machine."""
        environment = {**git_environment(), **WHO, "HOME": str(self.folder)}
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.strip()

    def __enter__(self) -> Self:
        """Start the server and wait until it answers."""
        mirrors = self.folder / "mirrors"
        mirrors.mkdir(exist_ok=True)
        settings = self.folder / "olah.toml"
        settings.write_text(
            f'[basic]\nhost = "127.0.0.1"\nport = {self.port}\nrepos-path = "{self.folder / "cache"}"\n'
            f'mirrors-path = ["{mirrors}"]\n[accessibility]\noffline = true\n'
        )
        command = [sys.executable, "-c", "from olah.server import cli; cli()", "--config", str(settings)]
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "PYTHONPATH": str(self.packages)}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--log-path", str(self.folder / "logs")],
                cwd=self.folder, env=environment, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        until = time.monotonic() + START_SECONDS
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > until:
                self.stop()
                raise RuntimeError(f"olah did not start:\n{self.log.read_text(encoding='utf-8', errors='replace')}")
            time.sleep(0.1)
        return self

    def answers(self) -> bool:
        """True when somebody answers at the endpoint."""
        try:
            urllib.request.urlopen(f"{self.endpoint}/repos", timeout=5).close()
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def stop(self) -> None:
        """End the server."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the server."""
        self.stop()
