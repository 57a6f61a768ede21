"""Where a file comes from: the graph of records behind it, down to raw inputs.

A record beside an output (``storage/records.py``) names its inputs with paths and hashes; each of them may have a
record of its own. Folders and files that a program writes together share one record, the receipt; a file that was
copied from a mirror on this machine goes on where the mirror was filled. Nothing is made or changed here.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from workflow_scripts.errors import DataError, MissingInputError
from workflow_scripts.json_values import JsonMapping, read_object
from workflow_scripts.report.page.report_inputs import read_json
from workflow_scripts.storage.hashing import sha256_file
from workflow_scripts.storage.records import RECORD_SUFFIX, record_path

# Programs that write many files at once record them under one of these names.
RECEIPTS = ("fetched.json", "published.json", "run.json", "downloaded.json", "index_maps.json", "sha256.txt")
LARGEST_HASHED = 64 << 20  # bytes; larger files are not read again to see whether they are as recorded
FROM_ELSEWHERE = ("fetched.json", "downloaded.json")  # receipts that name the source of the bytes
FOLDERS_UP = 2  # how far above a file its receipt may lie


@dataclass(frozen=True)
class Node:
    """A file or folder, the record that tells how it was made (none for a raw input), and what went into it.

    ``where`` is the place of the record: files with the same place were made together.
    """

    path: Path
    where: Path | None
    record: JsonMapping | None
    links: tuple["Link", ...] = ()

    @property
    def sha256(self) -> str | None:
        """Hash of the file as it is now; None for a folder, a missing file or one too large to read."""
        if not self.path.is_file() or self.path.stat().st_size > LARGEST_HASHED:
            return None
        return sha256_file(self.path)


@dataclass(frozen=True)
class Link:
    """An input of a record: what the record calls it, the hash it had then (None where it was not written down)."""

    name: str
    sha256: str | None
    node: Node


@dataclass
class Lineage:
    """Reads records; relative paths in them start at ``root``, the folder that the workflow ran in."""

    root: Path
    known: dict[Path, Node] = field(default_factory=dict)
    being_read: set[Path] = field(default_factory=set)

    def node(self, path: Path) -> Node:
        """What is known of ``path``; each file is read once. Raises DataError for a broken record."""
        if path not in self.known:
            self.being_read.add(path)
            where = record_of(path)
            record = read_record(where) if where else None
            links = tuple(self.links(where, record)) if where and record else ()
            self.known[path] = Node(path, where, record, links)
            self.being_read.discard(path)
        return self.known[path]

    def links(self, where: Path, record: JsonMapping) -> Iterator[Link]:
        """Inputs that the record at ``where`` names, then what only its command or its receipt name."""
        seen = {where}
        for name, entry in record["inputs"].items():
            path = self.root / entry["path"]
            seen.add(path)
            if path not in self.being_read:
                yield Link(name, entry["sha256"], self.node(path))
        for name, path in [*self.named_by_command(record), *self.mirrored(where)]:
            if path not in seen and path not in self.being_read:
                seen.add(path)
                yield Link(name, None, self.node(path))

    def named_by_command(self, record: JsonMapping) -> Iterator[tuple[str, Path]]:
        """Paths in the command that have records by another command: inputs that were not hashed, such as folders."""
        option = ""
        for word in record.get("command", []):
            option = word.removeprefix("--") if word.startswith("--") else option
            if "/" not in word or word.startswith(("-", "{")) or option in record["inputs"]:
                continue
            path = self.root / word
            where = record_of(path) if path.exists() else None
            if where and read_record(where).get("command") != record["command"]:
                yield option, path

    def mirrored(self, where: Path) -> Iterator[tuple[str, Path]]:
        """Folder of a mirror on this machine that the receipt beside the record was copied from."""
        path = where.with_name(where.name.removesuffix(RECORD_SUFFIX))
        receipt = (read_json(path) or {}) if path.name in FROM_ELSEWHERE else {}
        if receipt.get("source") == "mirror" and {"location", "kind", "repository"} <= receipt.keys():
            folder = self.root / receipt["location"] / f"{receipt['kind']}s" / receipt["repository"]
            revision = folder / str(receipt.get("revision"))
            yield "mirror", revision if revision.is_dir() else folder


def record_of(path: Path) -> Path | None:
    """Record that tells how ``path`` was made: its own, that of a file of the same stem, or a receipt near it."""
    own = [record_path(path), record_path(path.with_suffix("")), record_path(path.with_suffix(".parquet"))]
    stems = (path.name.split(".json.")[0], path.name.split(".", 1)[0])
    own += [record_path(path.with_name(f"{stem}.json")) for stem in stems]  # 0-shot.json.loglikelihoods.npz
    folders = [path, *path.parents[:FOLDERS_UP]] if path.is_dir() else list(path.parents[:FOLDERS_UP])
    receipts = [record_path(folder / name) for folder in folders for name in RECEIPTS]
    return next((candidate for candidate in [*own, *receipts] if candidate.is_file()), None)


def read_record(path: Path) -> JsonMapping:
    """A record; raises MissingInputError or DataError when it is not one."""
    record = read_object(path, "record", "recreate the output")
    inputs = record.get("inputs")
    is_sound = isinstance(inputs, dict) and all(
        isinstance(entry, dict) and {"path", "sha256"} <= entry.keys() for entry in inputs.values()
    )
    if not is_sound:
        raise DataError(f"{path}: not a record: inputs with path and sha256 are missing; recreate the output")
    return record


def trace(path: Path, root: Path) -> Node:
    """The graph of records behind ``path``; raises MissingInputError when there is no such file and no record of it."""
    if not path.exists() and record_of(path) is None:
        raise MissingInputError(f"{path}: no such file and no record of it; name a file below results/")
    return Lineage(root).node(path)
