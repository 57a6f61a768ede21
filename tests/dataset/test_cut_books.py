"""Texts of Project Gutenberg become documents, and nothing but the texts that the table names does."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow_scripts import cli
from workflow_scripts.dataset import cut_books
from workflow_scripts.dataset.cut_books import body, documents, paragraphs, read_books
from workflow_scripts.suite.registry import load_suite

TABLE = "config/suites/locks/books.tsv"
CHAPTER = "It was a dark and stormy night. " * 60
TEXT = f"""\ufeffThe Project Gutenberg EBook of A Tale\r
\r
*** START OF THIS PROJECT GUTENBERG EBOOK A TALE ***\r
\r
A TALE\r
   by Nobody\r
\r
CHAPTER I\r
\r
{CHAPTER}\r
and so   on.\r
\r
Chapter II. More\r
\r
{CHAPTER}\r
\r
THE END\r
\r
End of Project Gutenberg's A Tale\r
*** END OF THIS PROJECT GUTENBERG EBOOK A TALE ***\r
licence\r
"""


@pytest.fixture
def place(tmp_path):
    """A folder with one text and the table that names it."""
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "7-0.txt").write_bytes(TEXT.encode())
    digest = hashlib.sha256(TEXT.encode()).hexdigest()
    line = ["GITenberg/A-Tale-of-Nobody_7", "a" * 40, "7-0.txt", str(len(TEXT.encode())), digest]
    (tmp_path / "books.tsv").write_text("\t".join(cut_books.HEADER) + "\n" + "\t".join(line) + "\n")
    return tmp_path


def call(place, *more):
    words = ["--table", place / "books.tsv", "--texts", place / "texts", "--output", place / "out.jsonl", *more]
    return cli.run(cut_books.main, [str(word) for word in words])


def test_a_document_is_a_chapter_with_one_line_a_paragraph(place):
    assert call(place) == 0
    lines = [json.loads(line) for line in (place / "out.jsonl").read_text().splitlines()]
    meta = {"source": "gutenberg", "id": 7, "title": "A Tale of Nobody"}
    assert [line["meta"] for line in lines] == [{**meta, "part": 0}, {**meta, "part": 1}]
    assert lines[0]["text"] == f"A TALE by Nobody\n\nCHAPTER I\n\n{CHAPTER.strip()} and so   on."
    # The licence is no part of the work; "THE END" is a heading with nothing after it.
    assert lines[1]["text"] == f"Chapter II. More\n\n{CHAPTER.strip()}"
    record = json.loads((place / "out.jsonl.record.json").read_text())
    assert set(record["inputs"]) == {"table", "7-0.txt"}


def test_the_output_is_held_to_the_hash_of_the_suite(place, capsys):
    assert call(place, "--sha256", "0" * 64) == 2
    assert not (place / "out.jsonl").exists()
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "the suite says 000000" in error
    assert call(place) == 0
    seen = hashlib.sha256((place / "out.jsonl").read_bytes()).hexdigest()
    assert call(place, "--sha256", seen) == 0


def test_a_text_that_is_another_or_absent_is_refused(place, capsys):
    text = place / "texts" / "7-0.txt"
    text.write_bytes(text.read_bytes().replace(b"stormy", b"starry"))
    assert call(place) == 2
    assert "7-0.txt: sha256" in capsys.readouterr().err
    text.unlink()
    assert call(place) == 2
    assert "fetch it from GITenberg/A-Tale-of-Nobody_7 at commit aaaa" in capsys.readouterr().err
    assert not (place / "out.jsonl").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "x\n", "the first line must be repository, commit"),
        (lambda text: text.splitlines()[0], "lists no text"),
        (lambda text: text + text.splitlines()[1], "duplicate path '7-0.txt'"),
        (lambda text: text.replace("_7", ""), "expected ORG/Title-of-the-book_NUMBER"),
        (lambda text: text.replace("a" * 40, "main"), "expected 40 hexadecimal digits"),
        (lambda text: text.replace("7-0.txt", "../7.txt"), "only plain relative paths"),
        (lambda text: text.replace("7-0.txt", "a/7.txt"), "is in a folder"),
        (lambda text: text.rsplit("\t", 1)[0] + "\t-\n", "size and sha256 must be known"),
        (lambda text: text.rsplit("\t", 1)[0], "4 fields"),
    ],
)
def test_tables_that_are_none_are_refused_with_the_line(place, change, message, capsys):
    table = place / "books.tsv"
    table.write_text(change(table.read_text()))
    assert call(place) == 2
    assert message in capsys.readouterr().err


def test_bytes_that_are_no_text_are_one_line(place, capsys):
    (place / "books.tsv").write_bytes(b"\xff\xfe")
    assert call(place) == 2
    assert "books.tsv: not UTF-8 at byte 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"), [("no mark", "its beginning"), ("*** START OF THE PROJECT GUTENBERG EBOOK\n x", "its end")]
)
def test_a_text_without_marks_is_refused(text, message):
    with pytest.raises(cut_books.DataError, match=message):
        body(text, "x")


@given(st.text(alphabet="aA1 \n\r\t.—", max_size=200))
def test_paragraphs_lose_only_white_space(text):
    found = paragraphs(text)
    assert "".join("".join(found).split()) == "".join(text.split())
    assert all(paragraph == paragraph.strip() and "\n" not in paragraph for paragraph in found)


@given(st.lists(st.sampled_from(["CHAPTER I", "XII", "word " * 50, "word " * 400, "M.D."]), max_size=30))
def test_documents_keep_every_paragraph_but_a_short_rest(pieces):
    found = [paragraph for document in documents("\n\n".join(pieces)) for paragraph in document.split("\n\n")]
    given_in = [piece.strip() for piece in pieces]
    assert found == given_in[: len(found)]
    assert sum(map(len, given_in[len(found) :])) < cut_books.SHORTEST_REST


def test_both_suites_read_the_same_31_books(root):
    corpora = [load_suite(name).corpus for name in ("books", "books-long")]
    assert corpora[0] == corpora[1]
    assert corpora[0]["texts"] == TABLE
    books = read_books(root / TABLE)
    assert len(books) == 31
    assert set(corpora[0]["held_out"]) <= {book.title for book in books}


@pytest.mark.shared
def test_the_table_is_that_of_the_corpus_and_the_hash_too(root, shared):
    manifest = json.loads((shared / "corpora" / "gutenberg_manifest.json").read_text())
    listed = [(item["repo"], item["commit"], item["path"], item["bytes"], item["sha256"]) for item in manifest]
    books = read_books(root / TABLE)
    assert [(b.repository, b.commit, b.path, b.size, b.sha256) for b in books] == listed
    corpus = (shared / "corpora" / "gutenberg31_pd.jsonl").read_bytes()
    assert hashlib.sha256(corpus).hexdigest() == load_suite("books").corpus["sha256"]


@pytest.mark.shared
def test_every_book_is_cut_where_the_corpus_has_it(shared):
    """Each book put together again gives its documents."""
    books = {}
    for line in (shared / "corpora" / "gutenberg31_pd.jsonl").read_text("utf-8").splitlines():
        document = json.loads(line)
        books.setdefault(document["meta"]["id"], []).append(document["text"])
    for texts in books.values():
        assert list(documents("\n \n".join(texts))) == texts
