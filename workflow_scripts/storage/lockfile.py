r"""Lists of files that are known beforehand: path, size in bytes and sha256.

The project writes one format, tab-separated with the header ``path<TAB>size<TAB>sha256``; ``-`` stands for a size or a
hash that is not known. Three more are read: the output of sha256sum (``<sha256>  <path>``), the list that the Pythia
repository publishes (``<path> <sha256>``, no newline at the end) and our own receipts (JSON with a ``files`` list).
A path in a list may come from a stranger, so it is checked before it names anything on the disk. Nothing here hashes
or fetches.
"""

from __future__ import annotations

import fnmatch
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from workflow_scripts.errors import DataError, MissingInputError, UnknownNameError
from workflow_scripts.storage.atomic import write_text

HEADER = "path\tsize\tsha256"
UNKNOWN = "-"
SHA256 = re.compile(r"[0-9a-f]{64}")
SHA256SUM_LINE = re.compile(r"([0-9a-fA-F]{64}) [ *](.+)")
NAME_FIRST_LINE = re.compile(r"(.+?)[ \t]+([0-9a-fA-F]{64})")
# Linux allows 255 bytes per name; the rest is for the suffixes of unfinished files.
LONGEST_NAME = 230
# 100,000 files with 160 bytes each; a list is read into memory.
LARGEST_LIST = 16_000_000
# 2**63 - 1 is the largest size a file system can express.
LARGEST_SIZE = 2**63 - 1


@dataclass(frozen=True, order=True)
class FileEntry:
    r"""One file of a list; ``size`` in bytes, hashes in lower-case hexadecimal, ``None`` where not known.

    ``git_blob`` is git's SHA-1 of ``blob <size>\0<content>``: all that the Hub knows of small files.
    """

    path: str
    size: int | None
    sha256: str | None
    git_blob: str | None = None

    def has_hash(self) -> bool:
        """True when the content can be checked."""
        return self.sha256 is not None or (self.git_blob is not None and self.size is not None)

    def as_json(self) -> dict[str, str | int | None]:
        """The entry as it stands in receipts."""
        return {"path": self.path, "size": self.size, "sha256": self.sha256}


def checked_path(path: str, where: str) -> str:
    """Return ``path`` when it is a plain relative path with ``/`` between names; ``where`` starts the message.

    >>> checked_path("shards/a-00000.bin", "list")
    'shards/a-00000.bin'

    Raises DataError for absolute paths, ``..``, control characters, backslashes and names that start with ``-``.
    """
    fault = path_fault(path)
    if fault:
        shown = path[:80].encode("unicode_escape", "backslashreplace").decode("ascii")
        raise DataError(f"{where}: path '{shown}' {fault}; only plain relative paths are allowed")
    return path


def path_fault(path: str) -> str:
    """Say what makes ``path`` unsafe; empty when nothing does."""
    if not path or path != path.strip():
        return "is empty or has spaces at its ends"
    if any(unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp") for letter in path):
        return "has control characters"
    if "\\" in path:
        return "has a backslash"
    if path.startswith("/"):
        return "is absolute"
    return next((fault for fault in map(name_fault, path.split("/")) if fault), "")


def name_fault(name: str) -> str:
    """Say what makes one name of a path unsafe; empty when nothing does."""
    if name in ("", ".", ".."):
        return f"contains '{name}'"
    if name.startswith("-"):
        return "has a name that starts with '-' and could be mistaken for an option"
    if len(name.encode("utf-8")) > LONGEST_NAME:
        return f"has a name longer than {LONGEST_NAME} bytes"
    return ""


def read_lock(path: Path) -> list[FileEntry]:
    """Entries of the list at ``path``, sorted by path.

    Raises MissingInputError when it is not there and DataError, with the line, when it is not a list of files.
    """
    try:
        if path.exists() and not path.is_file():
            raise DataError(f"{path}: is a folder, a pipe or a device; a list of files must be a regular file")
        if path.stat().st_size > LARGEST_LIST:
            raise DataError(f"{path}: more than {LARGEST_LIST} bytes, too large for a list of files")
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise MissingInputError(f"{path}: no such list of files; create one with storage.make_lock") from error
    return parse_lock(content, str(path))


def parse_lock(content: bytes, where: str) -> list[FileEntry]:
    """Entries of a list in any of the formats above, sorted by path; ``where`` names it in messages."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not UTF-8 at byte {error.start}, so not a list of files") from error
    parse = parse_receipt if text.lstrip().startswith("{") else parse_lines
    return sorted(checked_set(parse(text, where), where))


def parse_lines(text: str, where: str) -> list[FileEntry]:
    """Entries of a list with one file a line; blank lines and lines that start with ``#`` are passed over."""
    lines = [(n, line) for n, line in enumerate(re.split(r"\r?\n", text), start=1) if line and not line.startswith("#")]
    if not lines:
        raise DataError(f"{where}: lists no files")
    parse = line_parser(lines[0][1])
    if parse is parse_tsv_line:
        lines = lines[1:]
    return [parse(line, f"{where}:{number}") for number, line in lines]


def line_parser(first: str) -> Callable[[str, str], FileEntry]:
    """Choose the format of a list by its first line."""
    if first == HEADER:
        return parse_tsv_line
    return parse_sha256sum_line if SHA256SUM_LINE.fullmatch(first) else parse_name_first_line


def parse_tsv_line(line: str, where: str) -> FileEntry:
    """One line of our own format."""
    fields = line.split("\t")
    if len(fields) != 3:
        raise DataError(f"{where}: {len(fields)} fields, expected path, size and sha256 separated by tabs")
    path, size, sha256 = fields
    return FileEntry(checked_path(path, where), checked_size(size, where), checked_sha256(sha256, where))


def parse_sha256sum_line(line: str, where: str) -> FileEntry:
    """One line as sha256sum writes it; its escaped form (a leading backslash) is refused with the path rules."""
    match = SHA256SUM_LINE.fullmatch(line)
    if match is None:
        raise DataError(f"{where}: expected '<sha256>  <path>' like the lines before")
    return FileEntry(checked_path(match[2], where), None, match[1].lower())


def parse_name_first_line(line: str, where: str) -> FileEntry:
    """One line ``<path> <sha256>``."""
    match = NAME_FIRST_LINE.fullmatch(line.rstrip())
    if match is None:
        raise DataError(
            f"{where}: not a list of files; expected the header {HEADER!r}, '<sha256>  <path>' or '<path> <sha256>'"
        )
    return FileEntry(checked_path(match[1], where), None, match[2].lower())


def parse_receipt(text: str, where: str) -> list[FileEntry]:
    """Entries of a receipt's ``files`` list."""
    try:
        files = json.loads(text)["files"]
        rows = [(str(file["path"]), str(file["size"]), str(file["sha256"])) for file in files]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{where}: JSON without a 'files' list of path, size and sha256") from error
    return [parse_tsv_line("\t".join(row), where) for row in rows]


def checked_size(text: str, where: str) -> int | None:
    """Size in bytes, ``None`` for ``-``."""
    if text == UNKNOWN:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= LARGEST_SIZE):
        raise DataError(f"{where}: size '{text[:40]}' is not a whole number of bytes or '{UNKNOWN}'")
    return int(text)


def checked_sha256(text: str, where: str) -> str | None:
    """Hash in lower case, ``None`` for ``-``."""
    if text == UNKNOWN:
        return None
    if not SHA256.fullmatch(text.lower()):
        raise DataError(f"{where}: sha256 '{text[:70]}' is not 64 hexadecimal digits or '{UNKNOWN}'")
    return text.lower()


def checked_set(entries: Sequence[FileEntry], where: str) -> Sequence[FileEntry]:
    """Refuse a list that names a path twice, or a file that is also the folder of another file."""
    if not entries:
        raise DataError(f"{where}: lists no files")
    paths: set[str] = set()
    for entry in entries:
        if entry.path in paths:
            raise DataError(f"{where}: '{entry.path}' is listed twice")
        paths.add(entry.path)
    for path in paths:
        parent = next((str(folder) for folder in Path(path).parents if str(folder) in paths), None)
        if parent is not None:
            raise DataError(f"{where}: '{parent}' is listed as a file and as the folder of '{path}'")
    return entries


def format_lock(entries: Iterable[FileEntry]) -> str:
    r"""Text of a list in our own format, sorted by path.

    >>> format_lock([FileEntry("a.bin", 3, None)])
    'path\tsize\tsha256\na.bin\t3\t-\n'
    """
    lines = [HEADER]
    for entry in sorted(entries):
        size = UNKNOWN if entry.size is None else str(entry.size)
        lines.append(f"{checked_path(entry.path, 'lock')}\t{size}\t{entry.sha256 or UNKNOWN}")
    return "\n".join(lines) + "\n"


def write_lock(target: Path, entries: Iterable[FileEntry]) -> None:
    """Write a list in our own format atomically."""
    write_text(target, format_lock(entries))


def select(entries: Sequence[FileEntry], patterns: Sequence[str], where: str) -> list[FileEntry]:
    """Entries whose path fits one of the shell patterns (``*`` crosses folders); all when there are none.

    Raises UnknownNameError for a pattern that fits no file.
    """
    if not patterns:
        return list(entries)
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(entry.path, pattern) for entry in entries):
            raise UnknownNameError("file", pattern, [entry.path for entry in entries], where)
    return [entry for entry in entries if any(fnmatch.fnmatchcase(entry.path, p) for p in patterns)]
