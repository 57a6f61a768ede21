"""How every program of the pipeline starts, parses its arguments and ends.

A program is a module with ``main(arguments)`` and ends with ``raise SystemExit(cli.run(main))``. Errors that the user
can act on become one line on standard error and exit code 2; anything else is a bug and keeps its traceback. SIGTERM
and SIGHUP end a program as Control-C does, so that what it began is tidied up. It must never print what could drive a
terminal.
"""

from __future__ import annotations

import argparse
import errno
import logging
import os
import signal
import sys
import unicodedata
from collections.abc import Callable, Sequence
from types import FrameType
from typing import NoReturn

from workflow_scripts.errors import PipelineError

USER_ERROR = 2
INTERRUPTED = 130
TERMINATED = 143
NOBODY_LISTENS = 141  # what a shell says of a program that SIGPIPE ended
# What the file system says when the user, not the program, has to do something.
DISK_ERRORS = {
    errno.ENOSPC: "the disk is full; free some space and run again",
    errno.EDQUOT: "the disk quota is used up; free some space and run again",
    errno.EROFS: "the file system is read-only; choose another output folder",
    errno.EACCES: "permission denied; choose a folder you may write to",
    errno.ENOENT: "no such file or folder",
    errno.ENOTDIR: "not a folder",
    errno.EEXIST: "is in the way, a folder was expected",
    errno.EISDIR: "is a folder, a file was expected",
    errno.EIO: "the disk reports an error in reading or writing; look after the disk before anything else",
    errno.ENAMETOOLONG: "the name is too long for this file system; work in a folder with a shorter path",
    errno.EMFILE: "too many open files for this process; raise the limit (ulimit -n 1024) and run again",
    errno.ENFILE: "too many open files on this machine; end other programs and run again",
}


class Terminated(KeyboardInterrupt):
    """Somebody sent SIGTERM or SIGHUP: a cluster at its time limit, a shutdown, kill, or a login that was lost."""


def run(main: Callable[[Sequence[str] | None], None], arguments: Sequence[str] | None = None) -> int:
    """Run ``main`` and turn expected errors into one line; returns the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        heed_termination()
        main(arguments)
        sys.stdout.flush()
    except PipelineError as error:
        return report(str(error))
    except BrokenPipeError:
        return nobody_listens()
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        return report(f"{error.filename or 'output'}: {DISK_ERRORS[error.errno]}")
    except MemoryError:
        return report("out of memory; give the job more (mem_mb in a profile), or let it do less at a time")
    except KeyboardInterrupt as stop:
        print("stopped; run the same command again to go on", file=sys.stderr)
        return TERMINATED if isinstance(stop, Terminated) else INTERRUPTED
    return 0


def heed_termination() -> None:
    """Let SIGTERM and SIGHUP raise Terminated, unless somebody handles them or this is no main thread.

    Under nohup SIGHUP is ignored, and stays so.
    """
    try:
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, terminate)
    except ValueError:
        return  # only the main thread may set handlers


def terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    """Handle SIGTERM and SIGHUP."""
    raise Terminated


def nobody_listens() -> int:
    """Whoever read our standard output has gone, as ``head`` does; nothing is wrong and nothing more can be said."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return NOBODY_LISTENS


def report(message: str) -> int:
    """Print one error line and return the exit code for user errors."""
    print(f"error: {one_line(message)}", file=sys.stderr)
    return USER_ERROR


def one_line(text: str) -> str:
    r"""``text`` on one line without control characters: a file name from a stranger could hold a terminal's commands.

    >>> one_line("first\n\x1b[2Jsecond\u202e")
    'first \\x1b[2Jsecond\\u202e'
    """
    words = " ".join(text.split())
    return "".join(
        letter.encode("unicode_escape").decode() if unicodedata.category(letter) in ("Cc", "Cf", "Cs") else letter
        for letter in words
    )


def parser(description: str | None, epilog: str | None = None) -> argparse.ArgumentParser:
    """Argument parser whose help keeps the layout of the module docstring and shows defaults."""
    return argparse.ArgumentParser(
        description=description, epilog=epilog, formatter_class=HelpFormatter, allow_abbrev=False
    )


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keep line breaks of descriptions and print each default."""


def say(text: str) -> None:
    """Print a program's answer on standard output."""
    print(text)
