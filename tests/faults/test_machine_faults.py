"""Faults 72 to 90, of the machine that a run lives on, that the first list forgot."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.fetching import BIG, SIZE, SMALL, arguments, get, lock_of, names, program, wait_for_part
from tests.faults.running import ROOT, environment, error_line, file_system, run
from tests.storage.fault_hub import Fault, FaultHub
from workflow_scripts import cli
from workflow_scripts.errors import StorageError
from workflow_scripts.storage import atomic, download, leftovers, locks, verify
from workflow_scripts.storage.http import pauses
from workflow_scripts.storage.http.http_reader import retry_after
from workflow_scripts.workflow.tools import check

Said = Callable[[], str]


@pytest.fixture
def said(capfd: pytest.CaptureFixture[str]) -> Said:
    return lambda: capfd.readouterr().err


@pytest.fixture
def few_inodes(tmp_path: Path) -> Iterator[Path]:
    """A file system that holds two files; needs root."""
    with file_system(tmp_path / "disk", "size=1m,nr_inodes=3") as folder:
        yield folder


def test_fault_72_the_clock_is_set_back(fault_hub: FaultHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server asked for a pause, then the clock went back a day: nobody waits longer than fifteen minutes. Waits and
    patience are counted by the clock that only runs forward."""
    pauses.note("host", 60.0)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 86_400)
    assert pauses.remaining("host") == pauses.LONGEST_PAUSE
    monkeypatch.setattr(time, "time", lambda: now + 86_400)
    assert pauses.remaining("host") == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("locale", ["C", "tr_TR.UTF-8", "de_DE.ISO-8859-1"])
def test_fault_73_another_locale(locale: str, tmp_path: Path) -> None:
    """Under a locale without UTF-8, or one in which I and i are no pair, files are read and written as UTF-8 and the
    bytes are those of every other machine."""
    text = "İstanbul ıI ş Straße 数据 1,5\n"
    (tmp_path / "x.jsonl").write_text(json.dumps({"text": text}, ensure_ascii=False) + "\n", encoding="utf-8")
    more = ["--corpus", "x.jsonl", "--vocab-size", "300", "--output"]
    for name, value in (("mine", locale), ("plain", "C.UTF-8")):
        done = run(tmp_path, "workflow_scripts.dataset.train_tokenizer", *more, name, LC_ALL=value, LANG=value)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "mine").read_bytes() == (tmp_path / "plain").read_bytes()


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/St_Johns", "UTC"])
def test_fault_74_another_time_zone(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server names a moment to wait for: it is understood as GMT wherever this machine stands."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        monkeypatch.setattr(time, "time", lambda: 784111777.0)  # the example date of RFC 9110
        assert retry_after({"Retry-After": "Sun, 06 Nov 1994 08:49:47 GMT"}) == 10.0
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(("mask", "mode"), [(0o077, 0o600), (0o022, 0o644), (0o002, 0o664)])
def test_fault_75_a_strict_umask(mask: int, mode: int, hub: FaultHub, tmp_path: Path) -> None:
    """Outputs are readable for whom the umask says, neither fewer (as temporary files are) nor more."""
    before = os.umask(mask)
    try:
        atomic.write_text(tmp_path / "out.txt", "x")
        get(hub, tmp_path / "fetched")
    finally:
        os.umask(before)
    for path in (tmp_path / "out.txt", tmp_path / "fetched" / "big.bin"):
        assert stat.S_IMODE(path.stat().st_mode) == mode, path


def test_fault_76_a_read_only_folder(small_disk: Path, said: Said) -> None:
    """The results lie on a disk that is mounted read-only: refused before anything starts, and in one line by each
    program."""
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(StorageError, match="is read-only; run from a folder you may write to"):
        check.require_writable(small_disk)
    line = error_line(lambda arguments: atomic.write_text(small_disk / "x", "x"), [], said)
    assert "the file system is read-only" in line


def test_fault_77_no_inode_is_left(few_inodes: Path, said: Said) -> None:
    """The disk has room but no inode for another file: one line, and nothing half-made."""
    for number in range(2):
        (few_inodes / f"{number}").touch()
    line = error_line(lambda arguments: atomic.write_text(few_inodes / "x", "x"), [], said)
    assert "the disk is full" in line
    assert names(few_inodes) == {"0", "1"}


def test_fault_78_the_quota_is_used_up(
    hub: FaultHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Said
) -> None:
    """The system answers EDQUOT in the middle of a file: one line, the part is kept, the next run goes on from it."""
    with monkeypatch.context() as patch:
        patch.setattr(
            "workflow_scripts.storage.fetching.partial_file.Part.write",
            lambda self, block: (_ for _ in ()).throw(OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))),
        )
        assert "quota" in error_line(download.main, arguments(hub, tmp_path / "out"), said).lower()
    download.main(arguments(hub, tmp_path / "out"))
    assert (tmp_path / "out" / "big.bin").read_bytes() == BIG


def test_fault_79_results_are_a_link_to_another_disk(hub: FaultHub, small_disk: Path, tmp_path: Path) -> None:
    """The folder is a link to another file system: temporary files are made beside their target, so that every rename
    stays on one disk."""
    (tmp_path / "results").symlink_to(small_disk)
    atomic.write_text(tmp_path / "results" / "deep" / "out.txt", "x")
    assert (small_disk / "deep" / "out.txt").read_text() == "x"
    assert names(small_disk / "deep") == {"out.txt"}


@pytest.mark.slow
def test_fault_80_nobody_reads_the_output() -> None:
    """The output goes to a program that has ended, as with `| head`: no traceback, and the code a shell expects."""
    process = subprocess.Popen(
        [sys.executable, "-m", "workflow_scripts.workflow.tools.check"],
        cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    process.stdout.close()
    error = process.stderr.read()
    process.stderr.close()
    assert process.wait() == cli.NOBODY_LISTENS
    assert error == ""


def test_fault_81_a_folder_stands_where_an_output_should_be(tmp_path: Path, said: Said) -> None:
    """One line that names it; the folder and what it holds stay, and no temporary file is left."""
    (tmp_path / "out.txt" / "precious").mkdir(parents=True)
    line = error_line(lambda arguments: atomic.write_text(tmp_path / "out.txt", "x"), [], said)
    assert "is a folder, expected a file" in line
    assert names(tmp_path) == {"out.txt"}
    assert (tmp_path / "out.txt" / "precious").is_dir()


@pytest.mark.slow
def test_fault_82_sigterm_in_the_middle(hub: FaultHub, tmp_path: Path) -> None:
    """A time limit or a shutdown sends SIGTERM: one line, code 143, temporary files are tidied up, the part is kept and
    the next run goes on from it."""
    hub.faults["big.bin"] = Fault(rate=1e6)
    process = program(hub, tmp_path / "out")
    wait_for_part(tmp_path / "out" / ".big.bin.part", 300_000)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate()
    assert process.returncode == cli.TERMINATED, error
    assert error.strip().splitlines()[-1] == "interrupted; rerun the same command to resume"
    assert names(tmp_path / "out") <= {".big.bin.part", "config.json"}


def test_fault_83_no_file_handle_is_left(tmp_path: Path, said: Said) -> None:
    """The process may open no more files: one line with the remedy."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        code = cli.run(lambda arguments: atomic.write_text(tmp_path / "x", "x"))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert code == cli.USER_ERROR
    assert "raise the limit (ulimit -n" in said()


@pytest.mark.parametrize("device", ["/dev/zero", "pipe", "folder"])
def test_fault_84_a_device_a_pipe_or_a_folder_for_a_file(device: str, tmp_path: Path, said: Said) -> None:
    """A configuration or a list of files that never ends, never starts or is none: refused at once."""
    path = Path(device) if device.startswith("/") else tmp_path / device
    if device == "pipe":
        os.mkfifo(path)
    elif device == "folder":
        path.mkdir()
    for main, option in ((check.main, "--config"), (verify.main, "--lock")):
        more = [] if main is check.main else ["--folder", str(tmp_path)]
        assert "regular file" in error_line(main, [option, str(path), *more], said)


def test_fault_85_a_link_planted_for_an_unfinished_file(hub: FaultHub, tmp_path: Path) -> None:
    """In a folder that others may write to, `.big.bin.part` is a link to a file of the user: it is not written through,
    and the target stays as it was."""
    (tmp_path / "diary").write_text("mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".big.bin.part").symlink_to(tmp_path / "diary")
    with pytest.raises(StorageError, match="is a link, expected a partial file"):
        get(hub, tmp_path / "out")
    assert (tmp_path / "diary").read_text() == "mine"


@pytest.mark.slow
def test_fault_86_kill_9_between_the_file_and_its_receipt(hub: FaultHub, tmp_path: Path) -> None:
    """The files have their names and the process dies before the receipt is written: the next run reads them, asks for
    no byte again, and writes the same receipt as an undisturbed run."""
    command = (
        "import os, sys\nfrom workflow_scripts.storage import download\n"
        "download.write_json = lambda *arguments: os.kill(os.getpid(), 9)\n"
        "download.main(sys.argv[1:])\n"
    )
    more = [sys.executable, "-c", command, *arguments(hub, tmp_path / "out")]
    done = subprocess.run(more, env=environment(), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (tmp_path / "receipt.json").exists()
    download.main(arguments(hub, tmp_path / "out"))
    assert hub.bytes_sent("big.bin") == SIZE
    first = (tmp_path / "receipt.json").read_bytes()
    (tmp_path / "receipt.json").unlink()
    download.main(arguments(hub, tmp_path / "out"))
    assert (tmp_path / "receipt.json").read_bytes() == first


def test_fault_87_a_lock_file_of_a_process_that_is_gone(hub: FaultHub, tmp_path: Path) -> None:
    """A lock file of another machine, or of a number that now belongs to another process, lies about: the kernel's lock
    counts and not the file, so the fetch goes on and removes it."""
    (tmp_path / ".big.bin.lock").write_text('{"pid": 1, "host": "elsewhere"}')
    assert "process 1 on elsewhere" in locks.holder(tmp_path / ".big.bin.lock")
    get(hub, tmp_path)
    assert names(tmp_path) == {"big.bin", "config.json"}


def test_fault_88_what_a_killed_writer_left(tmp_path: Path) -> None:
    """Temporary files of a process that was killed are removed when their target is written again; those of a living
    process, of another machine or of another target are not touched."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    mine = leftovers.MACHINE
    (tmp_path / f".out.txt.{mine}-{gone.pid}-0.tmp").touch()
    (tmp_path / f".folder.{mine}-{gone.pid}-3.tmp").mkdir()
    kept = {
        f".out.txt.{mine}-{os.getpid()}-99.tmp",
        f".out.txt.zzzz-{gone.pid}-0.tmp",
        f".other.{mine}-{gone.pid}-0.tmp",
    }
    for name in kept:
        (tmp_path / name).touch()
    atomic.write_text(tmp_path / "out.txt", "x")
    leftovers.remove_leftovers(tmp_path / "folder")
    assert names(tmp_path) == kept | {"out.txt"}


def test_fault_89_a_path_that_is_too_long(tmp_path: Path, said: Said) -> None:
    """A name longer than the file system allows: one line that says so."""
    line = error_line(lambda arguments: atomic.write_text(tmp_path / ("x" * 300), "x"), [], said)
    assert "too long for this file system" in line


@pytest.mark.slow
@pytest.mark.parametrize(
    "odd",
    [
        {"PYTHONOPTIMIZE": "2"},
        {"HF_HOME": "/proc/nowhere", "HF_HUB_CACHE": "/proc/nowhere"},
        {"HOME": "/nonexistent", "XDG_CACHE_HOME": "relative"},
        {"COLUMNS": "0", "TERM": "dumb", "NO_COLOR": "1"},
    ],
    ids=lambda odd: next(iter(odd)),
)
def test_fault_90_a_strange_environment(odd: dict[str, str], hub: FaultHub, tmp_path: Path) -> None:
    """Python without docstrings and asserts, caches that cannot be made, no home, no terminal: a fetch works."""
    process = program(hub, tmp_path / "out", "--lock", str(lock_of(tmp_path)), **odd)
    _, error = process.communicate()
    assert process.returncode == 0, error
    assert (tmp_path / "out" / "big.bin").read_bytes() == BIG
    assert (tmp_path / "out" / "config.json").read_bytes() == SMALL
