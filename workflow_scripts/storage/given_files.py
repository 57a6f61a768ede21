"""The files that a program was given, found by the end of their path; a file that was not given is not read.

Programs that join many files get them as one list, so that a rule can declare each of them as an input. Which is which
is said by their names: ``scores.parquet``, ``pocket-1m/metrics.csv``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePath

from workflow_scripts.errors import ConfigError, MissingInputError


class GivenFiles:
    """Files by the end of their path.

    >>> GivenFiles([Path("results/training/pocket-1m/metrics.csv")]).find("pocket-1m/metrics.csv").as_posix()
    'results/training/pocket-1m/metrics.csv'
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        """Index ``paths`` by their names; the same path twice counts once."""
        self.by_name: dict[str, dict[Path, None]] = defaultdict(dict)
        for path in paths:
            self.by_name[path.name][path] = None

    def find(self, end: str) -> Path | None:
        """The file whose path ends in ``end``, ``None`` when none was given; raises ConfigError for more than one."""
        wanted = PurePath(end).parts
        found = [path for path in self.by_name.get(wanted[-1], ()) if path.parts[-len(wanted) :] == wanted]
        if len(found) > 1:
            raise ConfigError(f"more than one {end} given: {', '.join(map(str, found[:3]))}; give exactly one")
        return found[0] if found else None

    def need(self, end: str, remedy: str) -> Path:
        """The same; raises MissingInputError with ``remedy`` when it was not given or does not exist."""
        path = self.find(end)
        if path is None:
            raise MissingInputError(f"{end}: not among the given files; {remedy}")
        if not path.is_file():
            raise MissingInputError(f"{path}: no such file; {remedy}")
        return path
