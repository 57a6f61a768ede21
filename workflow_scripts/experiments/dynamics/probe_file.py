"""The probe: fixed rows of tokens that every checkpoint is asked, as one file of named arrays.

``training`` and ``held_out`` [rows, length + 1], ``repeated`` and ``unrepeated`` [sequences, 2 n + 1], ``batch``
[rows, sequence_length + 1], each int32 and only where it was asked for. Models read all tokens of a row but the last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from workflow_scripts.dataset.corpus.corpus_reader import read_documents
from workflow_scripts.dataset.corpus.tokenizer_file import END_OF_DOCUMENT, open_tokenizer, token_id
from workflow_scripts.errors import ConfigError, DataError, MissingInputError
from workflow_scripts.storage.atomic import write_bytes
from workflow_scripts.training.recipe import Recipe
from workflow_scripts.training.run.training_rows import RowSource

BATCH = "batch"
Tokens = NDArray[np.int32]
SEED = 20  # of the random tokens


def write_probe(path: Path, rows: Mapping[str, Tokens]) -> None:
    """Write the rows by their names."""
    write_bytes(path, save(dict(rows)))


def read_probe(path: Path, vocabulary: int) -> dict[str, Tokens]:
    """Rows by name; raises MissingInputError, or DataError for tokens that a model does not have."""
    if not path.is_file():
        raise MissingInputError(f"{path}: no such probe; make it with experiments.dynamics.collect_probe")
    try:
        rows = load_file(path)
    except SafetensorError as error:
        raise DataError(f"{path}: not a probe ({error}); make it again") from error
    for name, tokens in rows.items():
        if tokens.ndim != 2 or tokens.dtype != np.int32:
            raise DataError(f"{path}: {name} is no list of rows of tokens; make it again")
        if tokens.size and not 0 <= int(tokens.min()) <= int(tokens.max()) < vocabulary:
            raise DataError(f"{path}: {name} has token {int(tokens.max())}, but the model has {vocabulary}")
    return rows


def training_rows(source: RowSource, recipe: Recipe, iterations: Sequence[int], rows: int, length: int) -> Tokens:
    """The first ``rows`` rows of each iteration, cut to ``length`` + 1 tokens; raises ConfigError."""
    if rows > recipe.batch_rows or length > recipe.sequence_length:
        raise ConfigError(
            f"the probe asks for {rows} rows of {length} tokens, an iteration of {recipe.name} has {recipe.batch_rows} "
            f"of {recipe.sequence_length}"
        )
    parts = [rows_from(source, recipe, iteration, rows)[:, : length + 1] for iteration in iterations]
    return np.concatenate(parts)


def rows_from(source: RowSource, recipe: Recipe, iteration: int, rows: int) -> Tokens:
    """Whole ``rows`` rows of the training order from the first of ``iteration`` on; raises ConfigError at its end."""
    start = iteration * recipe.batch_rows
    if start + rows > source.n_rows:
        raise ConfigError(f"iteration {iteration} and {rows} rows: the order of {recipe.name} has {source.n_rows} rows")
    return source.rows(start, start + rows).astype(np.int32)


def text_rows(path: Path, tokenizer: Path, rows: int, length: int) -> Tokens:
    """The first ``rows`` rows of a text, documents one after the other; raises ConfigError for a text too short."""
    encoder = open_tokenizer(tokenizer)
    end = token_id(encoder, END_OF_DOCUMENT, tokenizer)
    tokens: list[int] = []
    for document in read_documents(path):
        tokens += [*encoder.encode(document.text, add_special_tokens=False).ids, end]
    wanted = rows * (length + 1)
    if len(tokens) < wanted:
        raise ConfigError(
            f"{path}: {len(tokens)} tokens, {rows} rows of {length + 1} need {wanted}; ask for fewer rows"
        )
    return np.array(tokens[:wanted], np.int32).reshape(rows, length + 1)


def random_rows(known: Tokens, length: int, sequences: int) -> dict[str, Tokens]:
    """Random tokens out of ``known``: ``length`` of them twice in a row, and 2 ``length`` that do not repeat.

    A repeated sequence starts like its control. No token occurs twice in a half, where there are enough of them.
    """
    draws, tokens = np.random.default_rng(SEED), np.unique(known)
    again = length > len(tokens)
    halves = [[draws.choice(tokens, length, replace=again) for _ in range(2)] for _ in range(sequences)]
    rows = {
        "repeated": [np.concatenate([first, first, first[:1]]) for first, _ in halves],
        "unrepeated": [np.concatenate([first, second, first[:1]]) for first, second in halves],
    }
    return {name: np.array(lists, np.int32) for name, lists in rows.items()}
