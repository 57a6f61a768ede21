"""How every program of the pipeline starts, parses its arguments and ends.

A program is a module with ``main(arguments)`` and ends with ``raise SystemExit(cli.run(main))``. Errors that the user
can act on become one line on standard error and exit code 2; anything else is a bug and keeps its traceback.
"""

from __future__ import annotations

import argparse
import errno
import logging
import sys
from collections.abc import Callable, Sequence

from workflow_scripts.errors import PipelineError

USER_ERROR = 2
INTERRUPTED = 130
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
}


def run(main: Callable[[Sequence[str] | None], None], arguments: Sequence[str] | None = None) -> int:
    """Run ``main`` and turn expected errors into one line; returns the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        main(arguments)
    except PipelineError as error:
        return report(str(error))
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        return report(f"{error.filename or 'output'}: {DISK_ERRORS[error.errno]}")
    except KeyboardInterrupt:
        print("stopped; run the same command again to go on", file=sys.stderr)
        return INTERRUPTED
    return 0


def report(message: str) -> int:
    """Print one error line and return the exit code for user errors."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return USER_ERROR


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
