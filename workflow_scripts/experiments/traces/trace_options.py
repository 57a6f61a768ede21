"""Arguments that the programs of the traces share, and what they name: texts, their forms, the stored tokens."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from workflow_scripts.dataset.corpus.tokenizer_file import open_tokenizer
from workflow_scripts.errors import ConfigError
from workflow_scripts.experiments.traces.gram_table import GramTable, gram_table
from workflow_scripts.experiments.traces.scanning import Stored
from workflow_scripts.experiments.traces.texts import (
    Form,
    TracedText,
    check_texts,
    declared_texts,
    forms_of,
    read_texts,
)
from workflow_scripts.storage.hashing import sha256_text
from workflow_scripts.suite.traces import read_traces

DEFAULT_MIN_TOKENS = 8
GIVEN_NAME = "text"


@dataclass(frozen=True)
class Traced:
    """Texts with their forms, the table that finds them, and ``files`` they were read from."""

    texts: Sequence[TracedText]
    forms: Sequence[Form]
    table: GramTable
    files: Mapping[str, Path]

    def identity(self, stored: Stored, *rest: object) -> str:
        """Hash of what is looked for and where; ``rest`` names the part of a pass."""
        tokens = [form.tokens.tolist() for form in self.forms]
        data = stored.fingerprint if not hasattr(stored, "index") else stored.index.sizes_sha256()
        said = [tokens, self.table.min_tokens, data, stored.tokens.n_tokens, *(str(word) for word in rest)]
        return sha256_text(json.dumps(said))


def add_text_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --declaration, --text, --texts, --column, --tokenizer and --min-tokens."""
    what = parser.add_argument_group("what is traced")
    what.add_argument("--declaration", type=Path, help="a file of config/traces with the texts and the shortest match")
    what.add_argument("--text", action="append", default=[], help="a text; may be given several times")
    what.add_argument("--texts", type=Path, nargs="+", default=[], help="files of texts: .txt, .jsonl, .csv, .parquet")
    what.add_argument("--column", default="text", help="column of --texts that holds the text")
    what.add_argument("--min-tokens", type=int, help=f"shortest match that counts (default: {DEFAULT_MIN_TOKENS})")


def named_texts(options: argparse.Namespace) -> tuple[list[TracedText], int, dict[str, Path]]:
    """Texts, the shortest match, and the files that were read; raises ConfigError for no text at all."""
    texts = [TracedText(f"{GIVEN_NAME}-{number}", text) for number, text in enumerate(options.text, 1)]
    files = {f"texts {number}": path for number, path in enumerate(options.texts, 1)}
    for path in options.texts:
        texts += read_texts(path, options.column)
    shortest = DEFAULT_MIN_TOKENS
    if options.declaration is not None:
        declaration = read_traces(options.declaration)
        texts += declared_texts(declaration)
        shortest = declaration.min_tokens
        files |= {"declaration": options.declaration, **{name: Path(name) for name in declaration.files}}
    check_texts(texts)
    return texts, shortest if options.min_tokens is None else options.min_tokens, files


def traced(options: argparse.Namespace, tokenizer: Path) -> Traced:
    """What the options of :func:`add_text_arguments` name, tokenised."""
    texts, shortest, files = named_texts(options)
    forms = forms_of(open_tokenizer(tokenizer), texts, shortest)
    return Traced(texts, forms, gram_table([form.tokens for form in forms], shortest), files)


def part_bounds(total: int, part: int, parts: int) -> tuple[int, int]:
    """Stored tokens [first, stop) of part ``part`` (from 0) of ``parts``; raises ConfigError.

    >>> part_bounds(100, 1, 3)
    (33, 66)
    """
    if not 0 <= part < parts:
        raise ConfigError(f"part {part} of {parts}: parts are counted from 0 to {parts - 1}")
    return total * part // parts, total * (part + 1) // parts
