"""The rows of a training run in their exact order, any of them in constant time.

Row r of a set is ``stream[s * L : s * L + L + 1]`` with s = shuffle_idx[r], L = seq_length and the stream the documents
in the order of doc_idx, one after another. It has L + 1 tokens: inputs are the first L, labels the last L, so
neighbouring samples share one token. ``TrainingRows`` works with stored index maps, or with none: then it makes
doc_idx and shuffle_idx in memory and finds samples by their stream position. Both give the same rows.

There is no shuffle per epoch: the copies of all epochs are mixed. It must not give a row that the original loader would
not give at that place.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Self

import numpy as np

from workflow_scripts.dataset.files.indexed import Array
from workflow_scripts.dataset.files.token_view import TokenData, open_data
from workflow_scripts.dataset.order.index_maps import load_maps, map_key, shuffled_documents, shuffled_samples
from workflow_scripts.dataset.order.mersenne import LegacyShuffle
from workflow_scripts.dataset.order.preshuffled_rows import PreshuffledRows
from workflow_scripts.dataset.order.row_pieces import Stream, locate, split_rows, stream_starts
from workflow_scripts.dataset.order.row_source import check_range, fingerprint_of
from workflow_scripts.dataset.order.set_plan import (
    SETS,
    Schedule,
    SetPlan,
    plan_set,
    requested_in_paths_mode,
    split_bounds,
    tokens_between,
)
from workflow_scripts.errors import ConfigError

__all__ = ["PreshuffledRows", "TrainingRows"]


class TrainingRows:
    """Rows of one set over one data set (the object that training uses).

    ``rows(start, stop)`` gives [n, seq_length + 1] in the token type of the data (uint16 for Pythia).
    """

    def __init__(self, data: TokenData, plan: SetPlan, seq_length: int, seed: int, maps_dir: Path | None) -> None:
        """Use the stored maps in ``maps_dir``, or compute the order where it is None."""
        self.data = data
        self.plan = plan
        self.seq_length = seq_length
        self.seed = seed
        self.key = map_key(plan, data.index.sizes_sha256(), seq_length, seed)
        if maps_dir is None:
            shuffle = LegacyShuffle(seed)
            documents = shuffled_documents(plan, shuffle)
            self.shuffle_idx = shuffled_samples(plan, shuffle)
            self._starts = stream_starts(documents, data.index.sizes)
        else:
            # The list of the maps (index_maps.json) may stand for their folder.
            folder = maps_dir.parent if maps_dir.suffix == ".json" else maps_dir
            maps = load_maps(folder, plan.stem(data.name, seq_length, seed), self.key, data.index.sizes)
            documents, self.shuffle_idx, self._sample_idx = maps.doc_idx, maps.shuffle_idx, maps.sample_idx
        self._stored = maps_dir is not None
        self.stream = Stream(documents, data.index.sizes, data.index.pointers)

    @classmethod
    def open(  # noqa: PLR0917 - the facts that a trainer has, in the order it has them
        cls,
        location: Path,
        maps_dir: Path | None,
        seq_length: int,
        seed: int,
        train_iterations: int,
        batch_rows: int,
        split: str | None = None,
    ) -> Self:
        """Training set of a run, as GPT-NeoX makes it; ``location`` is a view file or a prefix.

        Without ``split`` in its paths mode: the data set is read whole. With it in its split mode: of the documents
        only those of the first share. Raises IntegrityError when the stored maps were made for other data.
        """
        data = open_data(location)
        wanted = Schedule(train_iterations, batch_rows).wanted()[0]
        if wanted < 1:
            raise ConfigError(f"{train_iterations} iterations of {batch_rows} rows request no rows at all")
        index = data.index
        first, stop = (0, index.n_sequences) if split is None else split_bounds(split, index.n_sequences)[:2]
        plan = plan_set(
            "train_0" if split is None else SETS[0],
            first,
            stop,
            tokens=index.n_tokens if split is None else tokens_between(index.sizes, first, stop),
            requested=requested_in_paths_mode(wanted) if split is None else wanted,
            seq_length=seq_length,
        )
        return cls(data, plan, seq_length, seed, maps_dir)

    @property
    def n_rows(self) -> int:
        """Rows that the original loader gives out: one fewer than there are samples."""
        return self.plan.rows

    @property
    def row_tokens(self) -> int:
        """Tokens of a row."""
        return self.seq_length + 1

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Token type."""
        return self.data.index.dtype

    @property
    def fingerprint(self) -> str:
        """sha256 of what decides the rows: sequence lengths, token type, documents, epochs, samples, L and seed."""
        return fingerprint_of({"rows": 1, "dtype": self.dtype.name, **asdict(self.key)})

    def rows(self, start: int, stop: int) -> Array:
        """Rows [start, stop), a new array [stop - start, seq_length + 1]."""
        check_range(start, stop, self.n_rows)
        return self.take(np.arange(start, stop, dtype=np.int64))

    def take(self, numbers: Array) -> Array:
        """Rows of the given numbers (int64, each below the number of samples)."""
        pieces = self.pieces(numbers)
        tokens = self.data.tokens.gather(pieces[:, 0], pieces[:, 1])
        return tokens.reshape(len(numbers), self.row_tokens)

    def firsts(self, numbers: Array) -> Array:
        """(Entry of doc_idx, offset in that document) at which rows start: integers [n, 2]."""
        samples = self.shuffle_idx[numbers]
        if self._stored:
            return np.asarray(self._sample_idx[samples])
        positions = samples.astype(np.int64) * self.seq_length
        return locate(self.stream.documents, self.stream.sizes, self._starts, positions)

    def pieces(self, numbers: Array) -> Array:
        """Runs of the token file that make up the rows, in order: int64 [m, 4].

        Columns: first token in the file, number of tokens, document, place of the row in ``numbers``.
        """
        firsts = self.firsts(numbers)
        itemsize = self.dtype.itemsize
        pieces = np.empty((4 * len(numbers) + 64, 4), np.int64)
        count = split_rows(self.stream, itemsize, firsts, self.row_tokens, pieces)
        if count > len(pieces):
            pieces = np.empty((count, 4), np.int64)
            split_rows(self.stream, itemsize, firsts, self.row_tokens, pieces)
        return pieces[:count]
