"""How programs end: expected errors are one line and exit code 2, bugs keep their traceback."""

import errno
import io
import os
import signal
import subprocess
import sys

import pytest

from workflow_scripts import cli
from workflow_scripts.errors import ConfigError, UnknownNameError
from workflow_scripts.progress import Progress


def raising(error):
    def main(arguments):
        raise error

    return main


def test_an_expected_error_is_one_line(capsys):
    assert cli.run(raising(ConfigError("first\nsecond"))) == 2
    assert capsys.readouterr().err == "error: first second\n"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_what_the_disk_says_is_one_line_with_a_remedy(capsys, number):
    assert cli.run(raising(OSError(number, os.strerror(number), "results/x"))) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: results/x: ")
    assert message.count("\n") == 1


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        cli.run(raising(ZeroDivisionError()))
    with pytest.raises(OSError, match="loop"):
        cli.run(raising(OSError(errno.ELOOP, "loop")))


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
    assert "run the same command again" in capsys.readouterr().err


def test_success_is_silent(capsys):
    assert cli.run(lambda arguments: None) == 0
    assert capsys.readouterr().err == ""


def test_unknown_names_without_a_near_one_list_what_is_known():
    assert "known are: a, b" in str(UnknownNameError("thing", "zzz", ["a", "b"]))


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
