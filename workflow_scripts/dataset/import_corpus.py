r"""Turn text that the user brings into training and validation documents, whole titles held out.

    python -m workflow_scripts.dataset.import_corpus --corpus gutenberg.jsonl \
        --held-out "The Railway Children" "Anne of the Island" \
        --output-train standard.jsonl --output-validation validation.jsonl

Lines of the corpus are objects with a string "text" and a title, either "title" or "meta": {"title": ...}. Written
lines have "id", "kind" (the title) and "text"; the order is kept. A held-out title that does not occur is an error, and
with --sha256 so is another corpus.
"""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from workflow_scripts import cli
from workflow_scripts.dataset.corpus.corpus_reader import Document, read_documents, write_documents
from workflow_scripts.errors import DataError, IntegrityError, UnknownNameError
from workflow_scripts.json_values import JsonObject
from workflow_scripts.storage.hashing import sha256_file
from workflow_scripts.storage.records import write_record

log = logging.getLogger(__name__)


def title_of(document: Document) -> str:
    """Title of a document."""
    meta = document.fields.get("meta")
    title = document.fields.get("title") or (meta.get("title") if isinstance(meta, dict) else None)
    if not isinstance(title, str):
        raise DataError(f"{document.where}: no title; expected a string 'title' or 'meta': {{'title': ...}}")
    return title


def imported(document: Document) -> JsonObject:
    """A document in the form that all corpora made here have; the id is the source's own, else the line."""
    meta = document.fields.get("meta")
    parts = [meta.get(key) for key in ("source", "id", "part")] if isinstance(meta, dict) else []
    known = "-".join(str(part) for part in parts if part is not None)
    name = document.fields.get("id") or known or f"line-{document.line}"
    return {"id": str(name), "kind": title_of(document), "text": document.text}


def chosen(corpus: Path, held_out: set[str], wanted: bool) -> Iterator[JsonObject]:
    """Documents whose title is held out, or is not."""
    return (imported(doc) for doc in read_documents(corpus) if (title_of(doc) in held_out) is wanted)


def import_corpus(corpus: Path, held_out: Sequence[str], train: Path, validation: Path) -> tuple[int, int]:
    """Write both files; returns the number of training and validation documents."""
    titles = sorted({title_of(document) for document in read_documents(corpus)})
    for title in held_out:
        if title not in titles:
            raise UnknownNameError("title", title, titles, str(corpus))
    parameters = {"held_out": list(held_out), "titles": len(titles)}
    counts = []
    for output, wanted in ((train, False), (validation, True)):
        count = write_documents(output, chosen(corpus, set(held_out), wanted))
        write_record(output, {"corpus": corpus}, parameters | {"documents": count})
        counts.append(count)
    return counts[0], counts[1]


def check_corpus(corpus: Path, expected: str) -> None:
    """Raise IntegrityError when ``corpus`` is not the text with the ``expected`` sha256."""
    seen = sha256_file(corpus)
    if seen != expected:
        raise IntegrityError(f"{corpus}: sha256 {seen}, the suite says {expected}; delete it and rerun snakemake")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--corpus", type=Path, required=True, help="JSON lines with text and title")
    parser.add_argument("--sha256", help="hash that the corpus must have")
    parser.add_argument("--held-out", nargs="+", default=[], metavar="TITLE", help="titles kept for validation")
    parser.add_argument("--output-train", type=Path, required=True, help="training documents to write")
    parser.add_argument("--output-validation", type=Path, required=True, help="held-out documents to write")
    options = parser.parse_args(arguments)
    if options.sha256 is not None:
        check_corpus(options.corpus, options.sha256)
    counts = import_corpus(options.corpus, options.held_out, options.output_train, options.output_validation)
    log.info("%s: %d documents; %s: %d", options.output_train, counts[0], options.output_validation, counts[1])


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
