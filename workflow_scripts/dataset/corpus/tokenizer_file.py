"""Opens a ``tokenizer.json`` and answers what the tokenising needs to know of it."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tokenizers import Tokenizer

from workflow_scripts.errors import DataError, MissingInputError, UnknownNameError

END_OF_DOCUMENT = "<|endoftext|>"
PADDING = "<|padding|>"


def open_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer in ``path``; raises MissingInputError or DataError."""
    if not path.is_file():
        raise MissingInputError(f"{path}: no such tokenizer.json; train one with dataset.train_tokenizer")
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not a tokenizer.json: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        raise DataError(f"{path}: JSON without a 'model', so not a tokenizer.json")
    return Tokenizer.from_str(text)


def token_id(tokenizer: Tokenizer, token: str, path: Path) -> int:
    """Number of a token that must exist."""
    number = tokenizer.token_to_id(token)
    if number is None:
        raise UnknownNameError("token", token, sorted(tokenizer.get_vocab()), str(path))
    return int(number)


def set_threads(jobs: int) -> None:
    """Threads of the tokenizer library; it reads these once, at its first batch."""
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if jobs > 1 else "false"
    os.environ["RAYON_NUM_THREADS"] = str(jobs)
