"""The one place that opens a ``tokenizer.json``, for corpora, look-ups and evaluation alike.

Such a file may switch on what its last user wanted for a batch: transformers writes the ``truncation`` and ``padding``
of the last call into it. Here every text gives exactly its own tokens, so both are switched off, as transformers does
on each call of its own. Random tokenisation (``dropout`` of BPE, sampling of Unigram) is refused. Ids may have holes:
the number of entries says nothing about the largest id, see :func:`id_bound`.
"""

import json
import os
from pathlib import Path

from tokenizers import Tokenizer

from workflow_scripts.errors import DataError, MissingInputError, UnknownNameError
from workflow_scripts.json_values import JsonObject

END_OF_DOCUMENT = "<|endoftext|>"
PADDING = "<|padding|>"
RANDOM = ("dropout", "alpha", "nbest_size")  # keys of 'model' that make the tokens of a text random


def read_tokenizer(path: Path) -> tuple[str, JsonObject]:
    """Text and JSON object of a ``tokenizer.json``; raises MissingInputError or DataError."""
    if not path.is_file():
        raise MissingInputError(f"{path}: no such tokenizer.json; train one with dataset.train_tokenizer, or fetch it")
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not a tokenizer.json ({error}); fetch it again") from error
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        raise DataError(f"{path}: not a tokenizer.json (it has no 'model'); give the tokenizer.json of the models")
    return text, content


def open_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer in ``path``, without truncation and padding; raises MissingInputError or DataError."""
    text, content = read_tokenizer(path)
    for key in RANDOM:
        if content["model"].get(key):
            raise DataError(
                f"{path}: model.{key} is {content['model'][key]!r}, which makes the tokens of a text random; set it to "
                "null"
            )
    try:
        tokenizer = Tokenizer.from_str(text)
    except Exception as error:
        # The library raises a bare Exception for content it cannot use; everything else is a bug.
        if type(error) is not Exception:
            raise
        raise DataError(f"{path}: not a tokenizer that the tokenizers library can use ({error})") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def id_bound(tokenizer: Tokenizer) -> int:
    """One more than the largest token id, added tokens included; equal to the number of entries without holes."""
    return 1 + max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)


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
