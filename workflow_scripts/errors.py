"""The one tree of errors that the pipeline raises on purpose.

    PipelineError                something the user can act on; printed as one line, exit code 2
    ├── ConfigError              a run, a suite or an argument says something impossible
    │   └── UnknownNameError     a name that is not in the list of allowed ones; suggests the nearest
    ├── MissingInputError        a file or folder that should be there is not
    ├── DataError                a file is there and its content is not what its format promises
    │   └── IntegrityError       size or sha256 differ from what was known beforehand
    ├── StorageError             the disk is full, read-only or locked by another run
    ├── TransferError            a source of bytes did not deliver (network, Hub, git LFS)
    ├── ModelError               weights, recipes or checkpoints that do not fit together
    └── EvaluationError          plans, scores or results that must not be used

A message is one line that says what was seen, where, what is allowed and what to do. What the operating system refuses
becomes such a line in ``cli.run``; anything else that is raised is a bug and keeps its traceback.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

LINE_ENDS = re.compile(r"\s*[\r\n\v\f\x85\u2028\u2029]+\s*")


class PipelineError(Exception):
    """Base of every error that is reported to the user as one line, whatever names and texts went into it."""

    def __str__(self) -> str:
        r"""Return the message with its line ends taken out.

        >>> str(PipelineError("first\n  second"))
        'first second'
        """
        return LINE_ENDS.sub(" ", super().__str__())


class ConfigError(PipelineError):
    """A run configuration, a suite file or an argument is not usable as it stands."""


class UnknownNameError(ConfigError):
    """A name that is not among the known ones.

    >>> print(UnknownNameError("model", "pythia-410", ["pythia-410m", "pythia-70m"]))
    unknown model 'pythia-410'; did you mean 'pythia-410m'?
    """

    def __init__(self, kind: str, name: object, known: Iterable[object], where: str = "") -> None:
        """Name the offender, the kind of thing it should have been and the nearest known name, if any is near."""
        names = [str(item) for item in known]
        near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
        known_ones = f"known are: {shorten(names)}" if names else "none exist yet"
        hint = f"did you mean '{near[0]}'?" if near else known_ones
        super().__init__(f"{where + ': ' if where else ''}unknown {kind} '{name}'; {hint}")


class MissingInputError(PipelineError):
    """A file or folder that the step needs is not there."""


class DataError(PipelineError):
    """A file's content breaks the rules of its format."""


class IntegrityError(DataError):
    """A file's size or hash is not the one that was known beforehand."""


class StorageError(PipelineError):
    """The file system does not allow what the step must do."""


class TransferError(PipelineError):
    """A remote or local source did not deliver the bytes that were asked for."""


class ModelError(PipelineError):
    """Weights, a recipe or a checkpoint cannot be used as asked."""


class EvaluationError(PipelineError):
    """An evaluation plan, a score file or a result must not be used."""


def shorten(names: list[str], limit: int = 12) -> str:
    """Comma-separated names, cut with a count after ``limit`` of them.

    >>> shorten(["a", "b", "c"], limit=2)
    'a, b and 1 more'
    """
    if len(names) <= limit:
        return ", ".join(names)
    return f"{', '.join(names[:limit])} and {len(names) - limit} more"
