"""Every git starts in one place, in an environment that binds it to no repository."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from workflow_scripts.git_process import REPOSITORY_VARIABLES, git_environment, run_git

ROOT = Path(__file__).resolve().parents[1]
needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@needs_git
def test_the_variables_are_those_that_git_itself_names() -> None:
    said = subprocess.run(["git", "rev-parse", "--local-env-vars"], capture_output=True, text=True, check=True).stdout
    assert set(said.split()) <= REPOSITORY_VARIABLES


@needs_git
def test_no_child_inherits_one_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in REPOSITORY_VARIABLES:
        monkeypatch.setenv(name, "9")
    monkeypatch.setenv("GIT_SSH_COMMAND", "ssh -v")
    assert not REPOSITORY_VARIABLES & set(git_environment())
    assert git_environment()["GIT_SSH_COMMAND"] == "ssh -v"
    seen = run_git(tmp_path, "-c", "alias.seen=!env", "seen").stdout.decode()
    # git itself sets some for an alias; none has the value from here.
    assert not re.findall(r"^(GIT_\w+)=9$", seen, re.MULTILINE)
    assert run_git(tmp_path, "init", "--quiet").returncode == 0
    assert (tmp_path / ".git").is_dir()


def test_a_child_never_waits_for_input(tmp_path: Path) -> None:
    assert run_git(tmp_path, "hash-object", "--stdin", timeout=20).stdout.strip() == (
        b"e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    )


@needs_git
def test_a_git_that_takes_too_long_is_ended_with_its_helpers(tmp_path: Path) -> None:
    """git-remote-https would otherwise go on reading from a server that never ends."""
    script = f"alias.slow=!sleep 60 & echo $! > {tmp_path}/child; wait"
    with pytest.raises(subprocess.TimeoutExpired):
        run_git(tmp_path, "-c", script, "slow", timeout=2)
    status = Path(f"/proc/{int((tmp_path / 'child').read_text())}/stat")
    deadline = time.monotonic() + 10
    while status.exists() and status.read_text().split()[2] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_nothing_else_starts_git() -> None:
    files = [*(ROOT / "workflow_scripts").rglob("*.py"), *(ROOT / "rules").rglob("*.smk"), ROOT / "Snakefile"]
    files += [*(ROOT / "benchmarks").glob("*.py"), ROOT / "bootstrap.py"]
    starts = re.compile(r"""\[\s*["'](?:\S*/)?git["']|(?:run|Popen|check_output)\(\s*["']git """)
    found = {path.name for path in files if starts.search(path.read_text(encoding="utf-8"))}
    assert found == {"git_process.py"}
