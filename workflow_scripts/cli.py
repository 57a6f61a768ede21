"""How every program of the pipeline starts, parses its arguments and ends.

A program is a module with ``main(arguments)`` and ends with ``raise SystemExit(cli.run(main))``. Errors that the user
can act on, and whatever the operating system refuses (every OSError, a lack of memory), become one line on standard
error and exit code 2; anything else is a bug and keeps its traceback. SIGTERM and SIGHUP end a program as Control-C
does, so that what it began is tidied up. It must not print what could drive a terminal.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import logging
import os
import re
import signal
import sys
import traceback
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn, TextIO

from workflow_scripts.errors import PipelineError

USER_ERROR = 2
INTERRUPTED = 130
TERMINATED = 143
NOBODY_LISTENS = 141  # what a shell says of a program that SIGPIPE ended
OUT_OF_MEMORY = "out of memory; give the job more (mem_mb in a profile), or process less at a time"
# What to do about a refusal of the operating system. Any other is reported by its own name, see `refusal`.
REMEDIES = {
    errno.ENOSPC: "the disk is full; free some space and rerun",
    errno.EDQUOT: "disk quota exceeded; free some space and rerun",
    errno.EROFS: "the file system is read-only; choose another output folder",
    errno.EACCES: "permission denied; choose a folder you may write to",
    errno.ENOENT: "no such file or folder",
    errno.ENOTDIR: "not a folder",
    errno.EEXIST: "exists and is not a folder",
    errno.EISDIR: "is a folder, expected a file",
    errno.EIO: "disk I/O error; check the disk first",
    errno.ENAMETOOLONG: "the name is too long for this file system; work in a folder with a shorter path",
    errno.EMFILE: "too many open files for this process; raise the limit (ulimit -n 1024) and rerun",
    errno.ENFILE: "too many open files on this machine; stop other programs and rerun",
    errno.EFBIG: "file too large; raise the limit (ulimit -f) or use another file system",
    errno.EPERM: "operation not permitted; the file may be immutable or belong to another user",
    errno.ELOOP: "too many levels of symbolic links, possibly a loop; fix the link",
    errno.EBUSY: "in use by another program or mounted; stop that program and rerun",
    errno.ETXTBSY: "in use by another program or mounted; stop that program and rerun",
    errno.ENOMEM: OUT_OF_MEMORY,
    errno.ESTALE: "stale file handle: the server replaced or removed it; rerun",
    errno.ENOTCONN: "the network file system is not connected; remount it and rerun",
    errno.ETIMEDOUT: "timed out: no response from the network or the file server; rerun when it responds",
    errno.EINVAL: "the file system does not support this operation on it; choose a folder on another file system",
    errno.EAGAIN: "a limit of this machine is reached (processes, threads or locks); stop other programs and rerun",
}
if sys.platform == "linux":
    REMEDIES[errno.EREMOTEIO] = "I/O error on the file server; rerun when it is repaired"
# How libraries in Rust (safetensors, tokenizers) write an error of the operating system into their messages.
RUST_ERROR = re.compile(r"\(os error (\d+)\)")
# What PyTorch, with an exception of its own, and NumPy, without an error number, say of the same conditions.
CUT_SHORT = "incomplete write; the disk may be full, or the file too large (ulimit -f)"
LIBRARY_ERRORS = (
    (re.compile(r"inline_container\.cc.*(unexpected pos|write failed)|\d+ requested and \d+ written"), CUT_SHORT),
    (re.compile(r"can't allocate memory|not enough memory|out of memory", re.IGNORECASE), OUT_OF_MEMORY),
)


class Terminated(KeyboardInterrupt):
    """Somebody sent SIGTERM or SIGHUP: a cluster at its time limit, a shutdown, kill, or a login that was lost."""


def run(main: Callable[[Sequence[str] | None], None], arguments: Sequence[str] | None = None) -> int:
    """Run ``main`` and turn expected errors into one line; returns the exit code."""
    occupy_standard_streams()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        heed_termination()
        main(arguments)
        sys.stdout.flush()
    except PipelineError as error:
        return report(str(error))
    except BrokenPipeError:
        return nobody_listens()
    except KeyboardInterrupt as stop:
        print("interrupted; rerun the same command to resume", file=sys.stderr)
        return TERMINATED if isinstance(stop, Terminated) else INTERRUPTED
    except Exception as error:
        # Libraries hide what the operating system said in classes of their own, so each error is looked at.
        if (line := refusal(error)) is not None:
            discard_if_stuck(sys.stdout)
            return report(line)
        raise
    return 0


def occupy_standard_streams() -> None:
    """Put /dev/null where a standard stream was closed, as by ``>&-``.

    A flush would fail, and the next file that is opened would get the number of the stream, so that what a library
    prints lands in an output.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # a new file gets the lowest free number, which is that of the stream
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123 - as long as we live


def refusal(error: Exception) -> str | None:
    """What the operating system refused, on which file, and what to do; None for an error that says something else.

    >>> refusal(OSError(errno.ENOSPC, "No space left on device", "results/x"))
    'results/x: the disk is full; free some space and rerun'
    >>> refusal(OSError(errno.EDOM, "Numerical argument out of domain", "results/x"))
    'results/x: Numerical argument out of domain (EDOM)'
    >>> refusal(RuntimeError("I/O error: File too large (os error 27)"))
    'output: file too large; raise the limit (ulimit -f) or use another file system'
    """
    if isinstance(error, MemoryError):
        return OUT_OF_MEMORY
    if found := RUST_ERROR.search(str(error)):
        error = OSError(int(found[1]), os.strerror(int(found[1])))
    remedy = next((remedy for pattern, remedy in LIBRARY_ERRORS if pattern.search(str(error))), None)
    if not isinstance(error, OSError):
        return remedy
    name = "output" if error.filename is None else os.fsdecode(error.filename)
    return f"{name}: {REMEDIES.get(error.errno or 0) or remedy or unremedied(error)}"


def unremedied(error: OSError) -> str:
    """The error's own words, its name and where it was raised, for what has no remedy here."""
    kind = errno.errorcode.get(error.errno or 0, type(error).__name__)
    return f"{error.strerror or str(error) or 'no reason given'} ({kind}){place_of(error)}"


def place_of(error: BaseException) -> str:
    """File and line that raised ``error``; empty for an error that was not raised."""
    frames = traceback.extract_tb(error.__traceback__)
    return f", in {Path(frames[-1].filename).name} line {frames[-1].lineno}" if frames else ""


def heed_termination() -> None:
    """Let SIGTERM and SIGHUP raise Terminated, unless somebody handles them or this is not the main thread.

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
    """The reader of our standard output has gone, as ``head`` does; nothing is wrong and nothing more can be said."""
    discard(sys.stdout)
    return NOBODY_LISTENS


def discard_if_stuck(stream: TextIO) -> None:
    """Discard what ``stream`` cannot take, as on a full disk: Python would try again at its end, and exit with 120."""
    try:
        stream.flush()
    except OSError:
        discard(stream)


def discard(stream: TextIO) -> None:
    """Let what is still in the buffer of a standard stream go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def report(message: str) -> int:
    """Print one error line and return the exit code for user errors, also where the line itself cannot be written."""
    with contextlib.suppress(OSError):
        print(f"error: {one_line(message)}", file=sys.stderr)
    discard_if_stuck(sys.stderr)
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


called_as: str | None = None  # the words before a program's arguments where they are not its file: pythia scores


def parser(description: str | None, epilog: str | None = None) -> argparse.ArgumentParser:
    """Argument parser whose help keeps the layout of the module docstring and shows defaults."""
    return Parser(
        prog=called_as, description=description, epilog=epilog, formatter_class=HelpFormatter, allow_abbrev=False
    )


class Parser(argparse.ArgumentParser):
    """Takes the original programs' underscores too: ``--start_iteration`` is ``--start-iteration``."""

    def parse_known_args(  # type: ignore[override]  # the overloads of argparse differ in the namespace alone
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse with each option in its one spelling; what follows ``--`` or ``=`` is left alone."""
        return super().parse_known_args(with_dashes(sys.argv[1:] if args is None else args), namespace)


def with_dashes(words: Sequence[str]) -> list[str]:
    """``words`` with dashes in the names of options.

    >>> with_dashes(["--save_path", "my_batches", "--conf_dir=a_b", "--", "--a_b"])
    ['--save-path', 'my_batches', '--conf-dir=a_b', '--', '--a_b']
    """
    end = list(words).index("--") if "--" in words else len(words)
    dashed = [re.sub("^--[^=]+", lambda name: name[0].replace("_", "-"), word) for word in words[:end]]
    return [*dashed, *words[end:]]


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keep line breaks of descriptions; print each default that says something, and what must be given."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help or ""
        if action.required and action.option_strings:
            return f"{text} (required)"
        default = typed(action.default)
        return text if "default" in text or not default or not action.option_strings else f"{text} (default: {default})"


def typed(default: object) -> str:
    """A default as one would type it; empty for a switch and for what has none."""
    if default is None or isinstance(default, bool) or default == argparse.SUPPRESS:
        return ""
    return " ".join(str(value) for value in default) if isinstance(default, list | tuple) else str(default)


def say(text: str) -> None:
    """Print a program's answer on standard output."""
    print(text)
