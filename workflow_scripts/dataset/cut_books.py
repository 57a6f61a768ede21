r"""Cut plain texts of Project Gutenberg into documents, one a chapter, as JSON lines.

    python -m workflow_scripts.dataset.cut_books --table config/suites/locks/books.tsv \
        --texts results/corpus/books/texts --output results/corpus/books/books.jsonl

The table names each text with its repository, commit, size and sha256; a text is held to them when it is read. Licence
and header are left out, so that what remains is the public-domain work. A paragraph becomes one line, and paragraphs
are parted by an empty line. A document ends before a heading once it has 1,500 letters. With --sha256 the output is
held to that hash before it gets its name.
"""

import csv
import hashlib
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workflow_scripts import cli
from workflow_scripts.dataset.corpus.corpus_reader import write_documents
from workflow_scripts.errors import DataError, IntegrityError, MissingInputError
from workflow_scripts.storage.atomic import atomic_path
from workflow_scripts.storage.hashing import sha256_file
from workflow_scripts.storage.lockfile import checked_path, checked_sha256, checked_size
from workflow_scripts.storage.records import OUTPUT, write_record

HEADER = ["repository", "commit", "path", "size", "sha256"]
REPOSITORY = re.compile(r"[A-Za-z0-9-]+/(?P<title>[A-Za-z0-9-]+)_(?P<number>\d+)")
COMMIT = re.compile(r"[0-9a-f]{40}")
# The oldest texts have a notice in place of the first line of asterisks, and a plain sentence in place of the last.
BEGINNING = re.compile(r"^\*\*\* ?START OF TH(?:IS|E) PROJECT GUTENBERG.*$|^\*END THE SMALL PRINT!.*$", re.M)
END = re.compile(r"^(?:\*\*\* ?END OF TH(?:IS|E) PROJECT|End of (?:the )?Project Gutenberg)", re.M | re.I)
BLANK = re.compile(r"\n\s*\n")
HEADING = re.compile(r"(?:chapter|part)\b.*|\d+|[IVXLC]+", re.I)
LONGEST_HEADING = 80
FEWEST_CAPITALS = 4  # fewer are initials, or a name cut short
SHORTEST_DOCUMENT, SHORTEST_REST = 1500, 500
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Book:
    """One text at a pinned commit; ``size`` in bytes."""

    repository: str
    commit: str
    path: str
    size: int
    sha256: str

    @property
    def title(self) -> str:
        """Title as the name of the repository has it, without punctuation."""
        return self.named("title").replace("-", " ")

    @property
    def number(self) -> int:
        """Number of the text at Project Gutenberg."""
        return int(self.named("number"))

    def named(self, part: str) -> str:
        """A part of the repository's name."""
        match = REPOSITORY.fullmatch(self.repository)
        return match[part] if match else ""


def read_books(table: Path) -> list[Book]:
    """Books of a table in its order; raises MissingInputError or DataError with the line."""
    if not table.is_file():
        raise MissingInputError(f"{table}: no such table of texts; expected tab-separated {', '.join(HEADER)}")
    rows = list(
        csv.reader(decoded(table.read_bytes(), str(table)).splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    )
    if not rows or rows[0] != HEADER:
        raise DataError(f"{table}: no table of texts; the first line must be {', '.join(HEADER)} with tabs between")
    books = [book_of(row, f"{table}:{number}") for number, row in enumerate(rows[1:], 2)]
    paths = [book.path for book in books]
    twice = next((path for path in paths if paths.count(path) > 1), None)
    if twice is not None or not books:
        raise DataError(f"{table}: " + (f"duplicate path '{twice}'" if twice else "lists no text"))
    return books


def book_of(row: Sequence[str], where: str) -> Book:
    """One line of the table."""
    if len(row) != len(HEADER):
        raise DataError(f"{where}: {len(row)} fields, expected {', '.join(HEADER)}")
    repository, commit, path = row[:3]
    size, sha256 = checked_size(row[3], where), checked_sha256(row[4], where)
    if not REPOSITORY.fullmatch(repository):
        raise DataError(f"{where}: repository '{repository[:80]}', expected ORG/Title-of-the-book_NUMBER")
    if not COMMIT.fullmatch(commit):
        raise DataError(f"{where}: commit '{commit[:80]}', expected 40 hexadecimal digits")
    if "/" in checked_path(path, where):
        raise DataError(f"{where}: path '{path[:80]}' is in a folder; only files at the top of a repository are read")
    if size is None or sha256 is None:
        raise DataError(f"{where}: size and sha256 must be known")
    return Book(repository, commit, path, size, sha256)


def read_text(book: Book, folder: Path) -> str:
    """Text of ``book``; raises MissingInputError, or IntegrityError when it is not the one that the table names."""
    path = folder / book.path
    if not path.is_file():
        raise MissingInputError(f"{path}: no such text; fetch it from {book.repository} at commit {book.commit}")
    content = path.read_bytes()
    seen = hashlib.sha256(content).hexdigest()
    if seen != book.sha256:
        raise IntegrityError(
            f"{path}: sha256 {seen}, {len(content)} bytes; the table says {book.sha256}, {book.size} bytes; delete it "
            "and fetch it again"
        )
    return decoded(content, str(path))


def decoded(content: bytes, where: str) -> str:
    """``content`` as UTF-8; raises DataError."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not UTF-8 at byte {error.start}") from error


def body(text: str, where: str) -> str:
    """``text`` without Project Gutenberg's header and licence; raises DataError where they are not found."""
    start = BEGINNING.search(text)
    end = END.search(text, start.end()) if start else None
    if start is None or end is None:
        raise DataError(f"{where}: no text of Project Gutenberg; its {'end' if start else 'beginning'} is not marked")
    return text[start.end() : end.start()]


def paragraphs(text: str) -> list[str]:
    r"""Paragraphs, each on one line; spaces within a line stay.

    >>> paragraphs("\n CHAPTER I\r\n\r\nIt was\n  late.\n \n\n")
    ['CHAPTER I', 'It was late.']
    """
    pieces = BLANK.split(text.replace("\r\n", "\n"))
    joined = (" ".join(line.strip() for line in piece.split("\n")).strip() for piece in pieces)
    return [paragraph for paragraph in joined if paragraph]


def is_heading(paragraph: str) -> bool:
    """True for a short paragraph that begins like a chapter, is a number, or has no small letters.

    >>> [is_heading(text) for text in ("Chapter 2", "XIV", "THE REAL PRINCESS", "M.D.", "Part of it")]
    [True, True, True, False, True]
    """
    if len(paragraph) > LONGEST_HEADING:
        return False
    capitals = paragraph.isupper() and sum(letter.isalpha() for letter in paragraph) >= FEWEST_CAPITALS
    return capitals or HEADING.fullmatch(paragraph) is not None


def documents(text: str) -> Iterator[str]:
    """Documents of a book's body; a short rest at its end, such as "THE END", is left out."""
    collected: list[str] = []
    for paragraph in paragraphs(text):
        if is_heading(paragraph) and sum(map(len, collected)) >= SHORTEST_DOCUMENT:
            yield "\n\n".join(collected)
            collected = []
        collected.append(paragraph)
    if sum(map(len, collected)) >= SHORTEST_REST:
        yield "\n\n".join(collected)


def cut_all(books: Iterable[Book], folder: Path) -> Iterator[dict[str, Any]]:
    """Every document with the title, the number and the part of its book."""
    for book in books:
        text = body(read_text(book, folder), str(folder / book.path))
        for part, document in enumerate(documents(text)):
            meta = {"source": "gutenberg", "id": book.number, "title": book.title, "part": part}
            yield {"text": document, "meta": meta}


def cut_books(table: Path, folder: Path, output: Path, expected: str | None) -> int:
    """Write all documents; returns how many. Nothing is written when the result has not the ``expected`` sha256."""
    books = read_books(table)
    with atomic_path(output) as temporary:
        count = write_documents(temporary, cut_all(books, folder))
        seen = sha256_file(temporary)
        if expected is not None and seen != expected:
            raise IntegrityError(
                f"{output}: the cut texts have sha256 {seen}, the suite says {expected}; after a change of the texts "
                "on purpose, write the new hash into the suite's file"
            )
    texts = {book.path: folder / book.path for book in books}
    known = {book.path: book.sha256 for book in books} | {OUTPUT: seen}
    write_record(output, {"table": table, **texts}, {"documents": count}, known)
    return count


def main(arguments: Sequence[str] | None = None) -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--table", type=Path, required=True, help=f"TSV with {', '.join(HEADER)}")
    parser.add_argument("--texts", type=Path, required=True, metavar="FOLDER", help="folder that holds the texts")
    parser.add_argument("--sha256", help="hash that the output must have")
    parser.add_argument("--output", type=Path, required=True, help="JSON lines to write")
    options = parser.parse_args(arguments)
    count = cut_books(options.table, options.texts, options.output, options.sha256)
    log.info("%s: %d documents", options.output, count)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
