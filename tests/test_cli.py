"""How programs end: expected errors are one line and exit code 2, bugs keep their traceback."""

import errno
import importlib.util
import io
import os
import re
import resource
import shlex
import signal
import subprocess
import sys

import pytest

from workflow_scripts import cli
from workflow_scripts.errors import ConfigError, UnknownNameError
from workflow_scripts.progress import Progress
from workflow_scripts.storage import atomic


def raising(error):
    def main(arguments):
        raise error

    return main


def test_an_expected_error_is_one_line(capsys):
    assert cli.run(raising(ConfigError("first\nsecond"))) == 2
    assert capsys.readouterr().err == "error: first second\n"


# A reader that has gone is no error: tests/faults/test_machine_faults.py has it with real pipes.
REFUSALS = sorted(set(errno.errorcode) - {errno.EPIPE, errno.ESHUTDOWN})


@pytest.mark.parametrize("number", REFUSALS, ids=errno.errorcode.get)
@pytest.mark.parametrize("name", ["results/x", None])
def test_whatever_the_operating_system_refuses_is_one_line(capsys, number, name):
    """Every error number: one line that names the file where it is known, and code 2."""
    assert cli.run(raising(OSError(number, os.strerror(number), name))) == 2
    message = capsys.readouterr().err
    assert re.fullmatch(rf"error: {name or 'output'}: \S.+\n", message)
    said = os.strerror(number) if number not in cli.REMEDIES else cli.REMEDIES[number]
    assert said in message
    assert number in cli.REMEDIES or f"({errno.errorcode[number]}), in test_cli.py line " in message


@pytest.mark.parametrize("number", REFUSALS, ids=errno.errorcode.get)
def test_a_write_that_is_refused_names_its_file_and_leaves_nothing(capsys, tmp_path, monkeypatch, number):
    """The file system refuses when the bytes are forced to the disk, which happens after the last write."""

    def refuse(handle):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    assert cli.run(lambda arguments: atomic.write_text(tmp_path / "out.txt", "x")) == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'out.txt'}: ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (RuntimeError("Error while serializing: I/O error: File too large (os error 27)"), "ulimit -f"),
        (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"), "disk may be full"),
        (OSError("100000 requested and 125 written"), "output: incomplete write"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"), "out of memory; "),
        (OSError("a reason without a number"), "output: a reason without a number (OSError), in test_cli.py line "),
        (TimeoutError(), "output: no reason given (TimeoutError), in test_cli.py line "),
        (OSError(errno.EIO, "x", b"bytes\xff.txt"), "error: bytes"),
    ],
)
def test_what_libraries_make_of_a_refusal_is_one_line_too(capsys, error, line):
    assert cli.run(raising(error)) == 2
    message = capsys.readouterr().err
    assert line in message
    assert message.count("\n") == 1


@pytest.mark.parametrize("error", [ZeroDivisionError(), RuntimeError("shapes do not match"), KeyError("x")])
def test_a_bug_keeps_its_traceback(error):
    with pytest.raises(type(error)):
        cli.run(raising(error))


PROGRAM = """
import os, sys
from pathlib import Path
from workflow_scripts import cli
def main(arguments):
    with Path("out.txt").open("w") as file:
        if "library" in sys.argv:
            os.write(1, b"from a library")
        file.write("whole")
    print("the answer")
raise SystemExit(cli.run(main))
"""


@pytest.mark.parametrize(
    ("streams", "code", "said"),
    [
        (">&-", 0, ""),
        ("library >&-", 0, ""),
        ("2>&-", 0, ""),
        ("<&- >&- 2>&-", 0, ""),
        (">/dev/full", 2, "error: output: the disk is full; free some space and rerun\n"),
        (">/dev/full 2>/dev/full", 2, ""),
    ],
)
def test_standard_streams_that_are_closed_or_full(root, tmp_path, streams, code, said):
    """Nobody wants the answer (``>&-``): the work is done, the code is 0 and no output file takes what is printed."""
    (tmp_path / "program.py").write_text(PROGRAM)
    command = f"{shlex.quote(sys.executable)} program.py {streams}"
    environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONUNBUFFERED": ""}
    done = subprocess.run(command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (code, said)
    assert (tmp_path / "out.txt").read_text() == "whole"


WRITERS = """
import sys
from pathlib import Path
import numpy as np
from workflow_scripts import cli
from workflow_scripts.storage.atomic import atomic_path
def main(arguments):
    content = np.zeros(100_000)
    with atomic_path(Path("out.bin")) as path:
        {write}
raise SystemExit(cli.run(main))
"""


@pytest.mark.parametrize(
    "write",
    [
        "path.write_bytes(content.tobytes())",
        "content.tofile(path)",
        "import torch; torch.save(torch.from_numpy(content), path)",
        "from safetensors.numpy import save_file; save_file({'a': content}, path)",
        "import pyarrow as pa, pyarrow.parquet as pq; pq.write_table(pa.table({'a': np.random.rand(9999)}), path)",
    ],
)
def test_a_file_that_grows_beyond_ulimit_is_one_line_by_every_writer(root, tmp_path, write):
    if "torch" in write and importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed")
    (tmp_path / "program.py").write_text(WRITERS.replace("{write}", write))

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))

    environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "program.py"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, preexec_fn=limit, timeout=240
    )
    assert done.returncode == 2, done.stderr
    assert re.fullmatch(r"error: .*\(ulimit -f\).*\n", done.stderr)
    assert {path.name for path in tmp_path.iterdir()} == {"program.py"}


def test_a_lack_of_memory_is_one_line(capsys):
    assert cli.run(raising(MemoryError())) == 2
    assert capsys.readouterr().err.startswith("error: out of memory; ")


def test_a_program_under_pytest_leaves_a_handler_of_sigterm_alone(monkeypatch):
    mine = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        cli.run(lambda arguments: None)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, mine)


def test_interruption_says_how_to_go_on(capsys):
    assert cli.run(raising(KeyboardInterrupt())) == 130
    assert "rerun the same command" in capsys.readouterr().err


def test_success_is_silent(capsys):
    assert cli.run(lambda arguments: None) == 0
    assert capsys.readouterr().err == ""


def test_unknown_names_without_a_near_one_list_what_is_known():
    assert "known are: a, b" in str(UnknownNameError("thing", "zzz", ["a", "b"]))
    assert str(UnknownNameError("thing", "zzz", [])) == "unknown thing 'zzz'; none exist yet"


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_progress_in_a_log_is_a_line_every_5_percent_or_30_seconds():
    stream, clock = io.StringIO(), Clock()
    with Progress("copy", 1000, "B", stream=stream, clock=clock) as progress:
        for _ in range(1000):
            clock.now += 0.01
            progress.advance(1)
    lines = stream.getvalue().splitlines()
    assert 20 <= len(lines) <= 21
    assert lines[-1].startswith("copy: 100% 1000 B")
    with Progress("wait", 1000, stream=(slow := io.StringIO()), clock=clock) as progress:
        for _ in range(4):
            clock.now += 31
            progress.advance(1)
    assert len(slow.getvalue().splitlines()) == 4


def test_progress_on_a_terminal_is_one_moving_line():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream, clock = Terminal(), Clock()
    with Progress("train", 10, "steps", stream=stream, clock=clock) as progress:
        for _ in range(10):
            clock.now += 1
            progress.advance(1)
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert text.count("\r") == 10
    assert "0 s left" in text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_lost_login_ends_a_program_as_sigterm_does(number):
    code = (
        "import os, time; from workflow_scripts import cli\n"
        f"def main(arguments):\n    os.kill(os.getpid(), {int(number)}); time.sleep(30)\n"
        "raise SystemExit(cli.run(main))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == cli.TERMINATED
    assert len(done.stderr.splitlines()) == 1


def test_nohup_stays_in_force():
    mine = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        cli.run(lambda arguments: os.kill(os.getpid(), signal.SIGHUP))
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, mine)


def test_help_says_what_must_be_given_and_only_defaults_that_say_something():
    parser = cli.parser("What it does.")
    parser.add_argument("--table", required=True, help="table to read")
    parser.add_argument("--limit", type=int, help="rows to read")
    parser.add_argument("--first", type=int, default=0, help="first row")
    parser.add_argument("--steps", nargs="+", default=[1, 2], help="steps to read")
    parser.add_argument("--seed", type=int, help="seed; default: the run's")
    parser.add_argument("--place", default="", help="place to read")
    parser.add_argument("--quick", action="store_true", help="be quick")
    lines = {line.split()[0]: " ".join(line.split()) for line in parser.format_help().splitlines() if "  --" in line}
    assert lines["--table"].endswith("table to read (required)")
    assert lines["--limit"].endswith("rows to read")
    assert lines["--first"].endswith("first row (default: 0)")
    assert lines["--steps"].endswith("steps to read (default: 1 2)") or "(default: 1 2)" in parser.format_help()
    assert lines["--seed"].endswith("seed; default: the run's")
    assert lines["--place"].endswith("place to read")
    assert lines["--quick"].endswith("be quick")


@pytest.mark.parametrize("words", [["--save-path", "a_b"], ["--save_path", "a_b"], ["--save_path=a_b"]])
def test_the_originals_underscores_are_understood(words):
    parser = cli.parser("What it does.")
    parser.add_argument("--save-path")
    assert parser.parse_args(words).save_path == "a_b"
