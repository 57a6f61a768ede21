"""Documents of a text corpus, read one at a time from JSON lines or plain text; errors name file and line.

A ``.jsonl`` line is an object whose ``text`` is a string. A ``.txt`` file is one document, or one per line, or one per
paragraph, as the caller says. Blank lines of ``.jsonl`` are passed over. Text must be valid UTF-8 without lone
surrogates. Nothing is normalised, stripped or repaired here.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from workflow_scripts.errors import DataError, MissingInputError, UnknownNameError
from workflow_scripts.json_values import JsonObject
from workflow_scripts.storage.atomic import atomic_path

TXT_DOCUMENTS = ("file", "lines", "paragraphs")
SUFFIXES = (".jsonl", ".txt")


@dataclass(frozen=True)
class Document:
    """One document; ``line`` (from 1) is where it starts, ``fields`` the whole object of a ``.jsonl`` line."""

    path: Path
    line: int
    text: str
    fields: JsonObject

    @property
    def where(self) -> str:
        """File and line, for messages."""
        return f"{self.path}:{self.line}"


def read_documents(path: Path, txt_documents: str = "file") -> Iterator[Document]:
    """Documents of ``path`` in order; raises MissingInputError, UnknownNameError or DataError."""
    if not path.is_file():
        raise MissingInputError(f"{path}: no such corpus file")
    if path.suffix == ".jsonl":
        return jsonl_documents(path)
    if path.suffix == ".txt":
        if txt_documents not in TXT_DOCUMENTS:
            raise UnknownNameError("way to cut text into documents", txt_documents, TXT_DOCUMENTS)
        return txt_readers[txt_documents](path)
    raise UnknownNameError("corpus format", path.suffix, SUFFIXES, str(path))


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Lines with their numbers from 1, decoded; only a line feed ends a line."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield number, line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise DataError(f"{path}:{number}: not UTF-8 at byte {error.start} of the line") from error


def jsonl_documents(path: Path) -> Iterator[Document]:
    """One document per line that is not blank."""
    for number, line in lines_of(path):
        if line.strip():
            fields = parse_line(line, f"{path}:{number}")
            yield Document(path, number, fields["text"], fields)


def parse_line(line: str, where: str) -> JsonObject:
    """The object of one ``.jsonl`` line, with its text checked.

    >>> parse_line('{"text": "one", "id": 7}', "x.jsonl:1")["id"]
    7
    """
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON: {error}") from error
    if not isinstance(fields, dict) or not isinstance(fields.get("text"), str):
        raise DataError(f"{where}: expected a JSON object with a string 'text', got {line.strip()[:60]!r}")
    check_encodable(fields["text"], where)
    return fields


def check_encodable(text: str, where: str) -> None:
    r"""Refuse lone surrogates (``\ud800`` in JSON), which no tokenizer can take."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            f"{where}: text contains a lone surrogate at character {error.start}; it is not Unicode"
        ) from error


def whole_file(path: Path) -> Iterator[Document]:
    """The file as one document."""
    text = "".join(line for _, line in lines_of(path))
    yield Document(path, 1, text, {"text": text})


def each_line(path: Path) -> Iterator[Document]:
    """A document per line that is not blank, without its line end."""
    for number, line in lines_of(path):
        if line.strip():
            text = line.removesuffix("\n").removesuffix("\r")
            yield Document(path, number, text, {"text": text})


def each_paragraph(path: Path) -> Iterator[Document]:
    """A document per run of lines between blank lines, without the last line end."""
    first, parts = 0, list[str]()
    for number, line in lines_of(path):
        if line.strip():
            first = first if parts else number
            parts.append(line)
        elif parts:
            yield paragraph(path, first, parts)
            parts = []
    if parts:
        yield paragraph(path, first, parts)


def paragraph(path: Path, first: int, lines: list[str]) -> Document:
    """Document of the given lines."""
    text = "".join(lines).removesuffix("\n").removesuffix("\r")
    return Document(path, first, text, {"text": text})


txt_readers = {"file": whole_file, "lines": each_line, "paragraphs": each_paragraph}


def write_documents(path: Path, documents: Iterable[JsonObject]) -> int:
    """Write objects as JSON lines atomically; returns how many."""
    count = 0
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        for count, fields in enumerate(documents, 1):  # noqa: B007 - counted for the caller
            file.write(json.dumps(fields, ensure_ascii=False) + "\n")
    return count
