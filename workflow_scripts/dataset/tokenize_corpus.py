r"""Tokenise text into Megatron's .bin and .idx, one sequence per document.

    python -m workflow_scripts.dataset.tokenize_corpus --corpus books.jsonl --tokenizer tokenizer.json \
        --append-eod --output-prefix data/books_text_document

Takes .jsonl (objects with a string "text") and .txt files, in the order given. --append-eod puts the end-of-document
token behind each document; --no-eod leaves the borders unmarked; one of the two must be said. An empty document is
kept, so that sequence numbers are document numbers. The spelling of a special token inside a text becomes that token,
as in the original preprocessing; the record counts such end-of-document tokens. Tokens are stored in two bytes for
vocabularies below 65500, in four otherwise. The result does not depend on --jobs.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from workflow_scripts import cli
from workflow_scripts.dataset.corpus.corpus_reader import TXT_DOCUMENTS, Document, read_documents
from workflow_scripts.dataset.corpus.tokenizer_file import (
    END_OF_DOCUMENT,
    id_bound,
    open_tokenizer,
    set_threads,
    token_id,
)
from workflow_scripts.dataset.files.index_writer import IndexedWriter, indexed_writer, with_suffix
from workflow_scripts.dataset.files.indexed import dtype_for_vocabulary
from workflow_scripts.errors import ConfigError, DataError
from workflow_scripts.progress import Progress
from workflow_scripts.storage.records import write_record

if TYPE_CHECKING:
    from tokenizers import Tokenizer

log = logging.getLogger(__name__)
BATCH_CHARACTERS = 1 << 20  # text given to the tokenizer at a time; bounds memory, not the result
BATCH_DOCUMENTS = 1024


@dataclass
class Counts:
    """What was written."""

    documents: int = 0
    empty: int = 0
    tokens: int = 0
    eod_in_text: int = 0


def batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """Documents in groups of bounded size."""
    group: list[Document] = []
    characters = 0
    for document in documents:
        group.append(document)
        characters += len(document.text)
        if characters >= BATCH_CHARACTERS or len(group) >= BATCH_DOCUMENTS:
            yield group
            group, characters = [], 0
    if group:
        yield group


def write_tokens(
    documents: Iterable[Document], tokenizer: Tokenizer, eod: int | None, writer: IndexedWriter, progress: Progress
) -> Counts:
    """Tokenise ``documents`` into ``writer``; ``eod`` goes behind each when it is given."""
    counts = Counts()
    for group in batches(documents):
        encoded = tokenizer.encode_batch_fast([document.text for document in group], add_special_tokens=False)
        for encoding in encoded:
            tokens = encoding.ids
            counts.empty += not tokens
            counts.eod_in_text += tokens.count(eod) if eod is not None else 0
            writer.add(tokens if eod is None else [*tokens, eod])
            writer.end_document()
        counts.documents += len(group)
        counts.tokens = writer.n_tokens
        progress.advance(sum(len(document.text) for document in group), f"{counts.tokens:,} tokens")
    return counts


def tokenize_corpus(
    corpora: Sequence[Path], tokenizer_path: Path, prefix: Path, eod_token: str | None, txt_documents: str = "file"
) -> Counts:
    """Write ``prefix.bin`` and ``prefix.idx`` from the documents of ``corpora``.

    ``eod_token`` is put behind each document, or nothing where it is None. Raises DataError when there is no document.
    """
    tokenizer = open_tokenizer(tokenizer_path)
    eod = None if eod_token is None else token_id(tokenizer, eod_token, tokenizer_path)
    vocabulary = id_bound(tokenizer)
    # Characters are at most bytes: the total is a bound, good enough for a progress bar.
    total = sum(path.stat().st_size for path in corpora if path.is_file())
    with indexed_writer(prefix, dtype_for_vocabulary(vocabulary)) as writer, Progress("tokenise", total) as progress:
        documents = (document for path in corpora for document in read_documents(path, txt_documents))
        counts = write_tokens(documents, tokenizer, eod, writer, progress)
        if not counts.documents:
            raise DataError(f"{', '.join(map(str, corpora))}: contains no documents")
    parameters = {
        "eod_token": eod_token,
        "eod_id": eod,
        "vocabulary_size": vocabulary,
        "txt_documents": txt_documents,
        "documents": counts.documents,
        "empty_documents": counts.empty,
        "tokens": counts.tokens,
        "eod_in_text": counts.eod_in_text,
    }
    inputs = {"tokenizer": tokenizer_path} | {f"corpus_{number}": path for number, path in enumerate(corpora)}
    write_record(with_suffix(prefix, ".idx"), inputs, parameters)
    write_record(with_suffix(prefix, ".bin"), inputs, parameters)
    return counts


def arguments_parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__)
    parser.add_argument("--corpus", type=Path, nargs="+", required=True, help=".jsonl or .txt files, in order")
    parser.add_argument("--tokenizer", type=Path, required=True, help="tokenizer.json")
    parser.add_argument("--output-prefix", type=Path, required=True, help="path without .bin and .idx")
    ends = parser.add_mutually_exclusive_group(required=True)
    ends.add_argument(
        "--append-eod", nargs="?", const=END_OF_DOCUMENT, metavar="TOKEN", help="token behind each document"
    )
    ends.add_argument(
        "--no-eod", dest="append_eod", action="store_const", const=None, help="append nothing to documents"
    )
    parser.add_argument(
        "--txt-documents", choices=TXT_DOCUMENTS, default="file", help="unit that counts as a document in a .txt"
    )
    parser.add_argument("--jobs", type=int, default=1, help="threads")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    options = arguments_parser().parse_args(arguments)
    if options.jobs < 1:
        raise ConfigError(f"--jobs {options.jobs} must be at least 1")
    set_threads(options.jobs)
    counts = tokenize_corpus(
        options.corpus, options.tokenizer, options.output_prefix, options.append_eod, options.txt_documents
    )
    if counts.eod_in_text:
        log.warning("%d end-of-document tokens come from the texts themselves", counts.eod_in_text)
    log.info("%s: %d documents, %d tokens", options.output_prefix, counts.documents, counts.tokens)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
