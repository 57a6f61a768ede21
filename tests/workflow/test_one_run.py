"""One run in a folder: the second is told who was first."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from workflow_scripts.errors import StorageError
from workflow_scripts.workflow.tools import one_run

RUN = ["/env/bin/snakemake", "-c1"]


@pytest.fixture(autouse=True)
def let_go():
    yield
    while one_run.HELD:
        os.close(one_run.HELD.pop())


def test_the_second_run_names_the_first(tmp_path):
    one_run.claim(tmp_path, RUN)
    with pytest.raises(
        StorageError, match=rf"a run is active here \(process {os.getpid()} on .*, started 20..-"
    ) as caught:
        one_run.claim(tmp_path, RUN)
    assert "\n" not in str(caught.value)
    with pytest.raises(StorageError, match="active"):
        one_run.refuse_while_held(tmp_path)


@pytest.mark.parametrize("words", [["-n"], ["-np"], ["--unlock"], ["--report", "r.html"], ["--nolock"], ["--lint"]])
def test_who_runs_no_job_is_let_through(tmp_path, words):
    one_run.claim(tmp_path, RUN)
    one_run.claim(tmp_path, ["/env/lib/snakemake/__main__.py", *words])
    one_run.claim(tmp_path, ["/env/bin/pytest"])
    assert len(one_run.HELD) == 2  # of the folder and of its results, by the first


def test_the_lock_ends_with_its_process_and_a_killed_run_is_named(tmp_path):
    code = (
        "import os, sys, pathlib; from workflow_scripts.workflow.tools import one_run;"
        f"one_run.claim(pathlib.Path({str(tmp_path)!r}), {RUN!r}); os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", code], check=False)
    assert killed.returncode == -9
    name = json.loads((tmp_path / one_run.LOCK).read_text())["process"]
    one_run.refuse_while_held(tmp_path)
    (tmp_path / one_run.SNAKEMAKE_LOCKS).mkdir()
    (tmp_path / one_run.SNAKEMAKE_LOCKS / "0.output.lock").write_text("")
    with pytest.raises(StorageError, match=re.escape(f"a run was killed here (process {name} on ")):
        one_run.claim(tmp_path, RUN)
    (tmp_path / one_run.SNAKEMAKE_LOCKS / "0.output.lock").unlink()
    one_run.claim(tmp_path, RUN)


def test_a_folder_that_cannot_be_written_is_left_to_snakemake(tmp_path):
    (tmp_path / ".snakemake").write_text("")
    one_run.claim(tmp_path, RUN)
    assert one_run.HELD == []


def test_a_file_system_without_locks_is_no_obstacle(tmp_path, monkeypatch):
    def refused(handle, kind):
        raise OSError(errno.ENOLCK, "no locks available")

    handles = Path("/proc/self/fd")
    before = len(list(handles.iterdir()))
    monkeypatch.setattr(one_run.fcntl, "flock", refused)
    one_run.claim(tmp_path, RUN)
    assert one_run.HELD == []
    assert len(list(handles.iterdir())) == before


def test_a_file_that_says_nothing_is_no_obstacle(tmp_path):
    (tmp_path / ".snakemake").mkdir()
    (tmp_path / one_run.LOCK).write_text("[1]")
    assert one_run.read_holder(tmp_path) is None
    one_run.claim(tmp_path, RUN)
    assert one_run.read_holder(tmp_path).process == os.getpid()


def test_two_checkouts_that_share_one_results_folder_exclude_each_other(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    (first / "results").mkdir(parents=True)
    second.mkdir()
    (second / "results").symlink_to(first / "results")
    one_run.claim(first, RUN)
    with pytest.raises(StorageError) as caught:
        one_run.claim(second, RUN)
    assert f"{first / 'results'}: a run is active here (process {os.getpid()} on " in str(caught.value)
    assert f", in {first})" in re.sub(r"started [-0-9]+ [:0-9]+ in", "started, in", str(caught.value))
    with pytest.raises(StorageError, match="active"):
        one_run.refuse_while_held(second)
    while one_run.HELD:
        os.close(one_run.HELD.pop())
    one_run.claim(second, RUN)


@pytest.mark.parametrize(("ignored", "ending"), [(False, -signal.SIGTERM), (True, 0)])
def test_a_lost_login_ends_a_run_as_sigterm_does_but_not_under_nohup(tmp_path, ignored, ending):
    code = (
        "import os, signal, pathlib; from workflow_scripts.workflow.tools import one_run;"
        f"{ignored} and signal.signal(signal.SIGHUP, signal.SIG_IGN);"
        f"one_run.claim(pathlib.Path({str(tmp_path)!r}), {RUN!r}); os.kill(os.getpid(), signal.SIGHUP)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == ending


def test_a_folder_that_takes_no_byte_is_refused_in_one_line(tmp_path, monkeypatch):
    """Snakemake ends in a traceback when it cannot write to .snakemake, so its folder is tried first."""

    def refuse(handle, content, offset):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", refuse)
    with pytest.raises(StorageError, match=r"^\.snakemake: the disk is full; free some space"):
        one_run.claim(tmp_path, RUN)
