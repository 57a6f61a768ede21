"""The list of evaluation data that is known beforehand: ``config/suites/locks/tasks.tsv``.

One line for each parquet file on the Hub: data set, configuration and split that it is a part of, commit and path in
the repository, rows, bytes and sha256. ``make lock-data`` fills it.
"""

from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from workflow_scripts.errors import DataError, MissingInputError
from workflow_scripts.storage.atomic import write_text
from workflow_scripts.storage.lockfile import FileEntry, checked_path, checked_sha256, checked_size
from workflow_scripts.storage.sources.source import COMMIT


@dataclass(frozen=True, order=True)
class LockedFile:
    """One parquet file of one split; ``size`` in bytes."""

    dataset: str
    config: str
    split: str
    commit: str
    path: str
    rows: int
    size: int
    sha256: str

    def entry(self) -> FileEntry:
        """The file as storage knows it."""
        return FileEntry(self.path, self.size, self.sha256)


COLUMNS = tuple(field.name for field in fields(LockedFile))


def read_task_lock(path: Path) -> list[LockedFile]:
    """Lines of the lock at ``path``; raises MissingInputError or DataError that names the line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise MissingInputError(f"{path}: there is no such lock; `make lock-data` writes one") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 at byte {error.start}") from None
    said = [(number, line) for number, line in enumerate(lines, start=1) if line and not line.startswith("#")]
    if not said or tuple(said[0][1].split("\t")) != COLUMNS:
        raise DataError(f"{path}: expected the columns {' '.join(COLUMNS)} with tabs between")
    return [parse_line(line, f"{path}:{number}") for number, line in said[1:]]


def parse_line(line: str, where: str) -> LockedFile:
    """One line of the lock."""
    parts = line.split("\t")
    if len(parts) != len(COLUMNS):
        raise DataError(f"{where}: {len(parts)} fields, expected {len(COLUMNS)} with tabs between")
    dataset, config, split, commit, path, rows, size, sha256 = parts
    numbers, digest = [checked_size(text, where) for text in (rows, size)], checked_sha256(sha256, where)
    if numbers[0] is None or numbers[1] is None or digest is None or not COMMIT.fullmatch(commit):
        raise DataError(f"{where}: commit, rows, size and sha256 must all be known")
    return LockedFile(dataset, config, split, commit, checked_path(path, where), numbers[0], numbers[1], digest)


def write_task_lock(target: Path, files: Iterable[LockedFile]) -> None:
    """Write the lock, sorted."""
    lines = ["\t".join(COLUMNS), *("\t".join(map(str, astuple(file))) for file in sorted(files))]
    write_text(target, "\n".join(lines) + "\n")


def locked_files(files: Iterable[LockedFile], dataset: str, config: str) -> list[LockedFile]:
    """Those of ``files`` that belong to one configuration of a data set."""
    return sorted(file for file in files if (file.dataset, file.config) == (dataset, config))
