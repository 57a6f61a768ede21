r"""The ledger: what a repository serves at each revision, written down so that every later fetch can be held to it.

One tab-separated table with the header ``model step commit file size sha256``, sorted by model, step and file, so that
a diff of two ledgers reads like a list of what changed. ``step`` is the N of a revision ``step<N>``, or the name of a
revision that is called otherwise, such as ``main``; ``commit`` is git's name of the revision, or for a mirror the
sha256 of its list of files. Lines that start with ``#`` are for people. Names in a
ledger may come from a stranger and are checked before they name anything. Nothing here asks a server.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from workflow_scripts.errors import DataError, MissingInputError
from workflow_scripts.storage.atomic import write_text
from workflow_scripts.storage.lockfile import FileEntry, checked_path, checked_sha256, checked_size
from workflow_scripts.storage.sources.source import COMMIT, NAME
from workflow_scripts.suite.revision_names import DEFAULT, PLAIN, ledger_text, step_named
from workflow_scripts.table_columns import read_columns

HEADER = "model\tstep\tcommit\tfile\tsize\tsha256"
MAIN = "main"
NAMED = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,150}", re.ASCII)
FILL = "python -m workflow_scripts.checkpoints.ledger --suite SUITE --source hub --ledger FILE"
EMPTY_NOTE = f"# Empty: nothing is pinned yet. Fill it where the Hub can be reached:\n#   {FILL}\n"


@dataclass(frozen=True)
class Revision:
    """One revision of one model: its commit and its files, sorted by path, each with size (bytes) and sha256."""

    commit: str
    files: tuple[FileEntry, ...]


@dataclass
class Ledger:
    """Revisions by (model, revision name), the names as the repository has them."""

    revisions: dict[tuple[str, str], Revision] = field(default_factory=dict)

    def get(self, model: str, revision: str) -> Revision | None:
        """One revision, or ``None`` when the ledger does not have it."""
        return self.revisions.get((model, revision))

    def put(self, model: str, revision: str, found: Revision) -> None:
        """Enter or replace one revision."""
        self.revisions[model, revision] = found

    def of(self, model: str) -> dict[str, Revision]:
        """Revisions of one model by name."""
        return {name: found for (owner, name), found in self.revisions.items() if owner == model}


def is_revision(name: str, pattern: str = DEFAULT) -> bool:
    """True for the branches that a ledger lists of models whose revisions are called like ``pattern``.

    >>> is_revision("step1000"), is_revision("main"), is_revision("step01"), is_revision("test")
    (True, True, False, False)
    >>> is_revision("ckpt_007", "ckpt_{index:03}"), is_revision("step7", "ckpt_{index:03}")
    (True, False)
    """
    return name == MAIN or step_named(pattern, name) is not None


def revision_of(step: str, where: str) -> str:
    """Revision that a ``step`` field stands for; raises DataError."""
    if PLAIN.fullmatch(step):
        return f"step{step}"
    if not NAMED.fullmatch(step) or ".." in step or ledger_text(step) != step:
        raise DataError(f"{where}: step '{step[:40]}' is neither a number nor the name of a revision")
    return step


def order(key: tuple[str, str]) -> tuple[str, bool, tuple[int, ...], str]:
    """Sort by model, then by the numbers in the revision's name, ``main`` last."""
    model, revision = key
    return model, revision == MAIN, tuple(map(int, re.findall(r"[0-9]+", revision))), revision


def format_ledger(ledger: Ledger) -> str:
    """Text of a ledger; an empty one says how to fill it."""
    lines = [
        "\t".join((model, ledger_text(revision), found.commit, file.path, str(file.size), str(file.sha256)))
        for model, revision in sorted(ledger.revisions, key=order)
        for found in (ledger.revisions[model, revision],)
        for file in found.files
    ]
    return "\n".join([HEADER, *lines]) + "\n" + ("" if lines else EMPTY_NOTE)


def write_ledger(path: Path, ledger: Ledger) -> None:
    """Write a ledger atomically."""
    write_text(path, format_ledger(ledger))


def read_ledger(path: Path, models: Collection[str] | None = None) -> Ledger:
    """Ledger at ``path``, only of ``models`` when given.

    Raises MissingInputError when it is not there and DataError, with the line, when it is not a ledger.
    """
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise MissingInputError(f"{path}: no such ledger; create one with {FILL}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not UTF-8 text, so not a ledger") from None
    return parse_ledger(text, str(path), models)


def parse_ledger(text: str, where: str, models: Collection[str] | None = None) -> Ledger:
    """Ledger in ``text``; ``where`` names it in messages."""
    lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line and line[0] != "#"]
    if not lines or lines[0][1] != HEADER:
        raise DataError(f"{where}: does not start with the header {HEADER!r}, so it is not a ledger")
    ledger = Ledger()
    for key, commit, files in grouped(lines[1:], where, models):
        if key in ledger.revisions:
            raise DataError(f"{where}: the lines of {key[0]} {key[1]} are not adjacent; sort the ledger")
        ledger.revisions[key] = Revision(commit, tuple(sorted(files)))
    return ledger


def grouped(
    lines: list[tuple[int, str]], where: str, models: Collection[str] | None
) -> Iterator[tuple[tuple[str, str], str, list[FileEntry]]]:
    """Key, commit and files of each run of lines that belong together."""
    key, commit, files = ("", ""), "", list[FileEntry]()
    for number, line in lines:
        if models is not None and line.partition("\t")[0] not in models:
            continue
        now, now_commit, file = parse_line(line, f"{where}:{number}")
        if now != key:
            if files:
                yield key, commit, files
            key, commit, files = now, now_commit, []
        if now_commit != commit or any(file.path == other.path for other in files):
            raise DataError(f"{where}:{number}: {now[0]} {now[1]} has two commits, or lists {file.path} twice")
        files.append(file)
    if files:
        yield key, commit, files


def parse_line(line: str, where: str) -> tuple[tuple[str, str], str, FileEntry]:
    """Key, commit and file of one line."""
    fields = line.split("\t")
    if len(fields) != 6:
        raise DataError(f"{where}: {len(fields)} fields, expected {HEADER.count(chr(9)) + 1} with tabs between")
    model, step, commit, path, size, sha256 = fields
    if not NAME.fullmatch(model):
        raise DataError(f"{where}: '{model[:80]}' is not the name of a model")
    if not COMMIT.fullmatch(commit):
        raise DataError(f"{where}: commit '{commit[:70]}' is not 40 or 64 hexadecimal digits")
    entry = FileEntry(checked_path(path, where), checked_size(size, where), checked_sha256(sha256, where))
    if entry.size is None or entry.sha256 is None:
        raise DataError(f"{where}: {path} has no size or no sha256; required in a ledger")
    return (model, revision_of(step, where)), commit, entry


def pinned_commits(path: str) -> dict[tuple[str, str], str]:
    """Commit by (model, step as text) in the ledger at ``path``; empty when there is no ledger."""
    if not Path(path).is_file():
        return {}
    return {(model, step): commit for model, step, commit in read_columns(Path(path), ("model", "step", "commit"))}
