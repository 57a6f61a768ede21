"""Drop documents whose text occurred before, exactly; the first copy stays, the order is kept.

    python -m workflow_scripts.dataset.deduplicate --corpus standard.jsonl --output deduped.jsonl

Texts are compared by sha256, so memory is about 100 bytes a distinct document whatever their length. Lines are written
as they were read. Near duplicates stay: the published deduplicated Pile was made with another, fuzzy method.
"""

import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from workflow_scripts import cli
from workflow_scripts.dataset.corpus.corpus_reader import Document, read_documents, write_documents
from workflow_scripts.storage.records import write_record

log = logging.getLogger(__name__)


def first_copies(documents: Iterable[Document]) -> Iterator[Document]:
    """Documents whose text was not seen before."""
    seen: set[bytes] = set()
    for document in documents:
        digest = hashlib.sha256(document.text.encode("utf-8")).digest()
        if digest not in seen:
            seen.add(digest)
            yield document


def deduplicate(corpus: Path, output: Path) -> tuple[int, int]:
    """Write the first copies; returns the documents read and written."""
    read = sum(1 for _ in read_documents(corpus))
    written = write_documents(output, (document.fields for document in first_copies(read_documents(corpus))))
    write_record(output, {"corpus": corpus}, {"documents_read": read, "documents": written})
    return read, written


def main(arguments: Sequence[str] | None = None) -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--corpus", type=Path, required=True, help=".jsonl file")
    parser.add_argument("--output", type=Path, required=True, help=".jsonl file to write")
    options = parser.parse_args(arguments)
    read, written = deduplicate(options.corpus, options.output)
    log.info("%s: %d of %d documents kept", options.output, written, read)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
