"""Which sets of samples GPT-NeoX builds and how large they are, from counts alone.

Two modes (``megatron/data/data_utils.py``): *paths* (train-data-paths and so on; all Pythia runs), where each of the
given data sets serves train, valid and test whole and 0.5 % more samples than needed are asked for; and *split*
(data-path and split), where one data set's documents are cut into three ranges. It must not read a file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workflow_scripts.errors import ConfigError

if TYPE_CHECKING:  # the workflow asks for names of maps, and numpy takes as long to load as the rest of it
    from workflow_scripts.dataset.files.indexed import Array

SETS = ("train", "valid", "test")
MARGIN = 1.005  # paths mode asks for half a per cent more samples
KINDS = ("doc_idx", "sample_idx", "shuffle_idx")


@dataclass(frozen=True)
class Schedule:
    """Numbers that say how many samples a run may ask for."""

    train_iterations: int
    batch_rows: int
    eval_interval: int = 1000
    eval_iterations: int = 10

    def wanted(self) -> tuple[int, int, int]:
        """Samples wanted of train, valid and test.

        >>> Schedule(143000, 1024).wanted()
        (146432000, 1474560, 10240)
        """
        train = self.train_iterations * self.batch_rows
        evaluations = self.train_iterations // self.eval_interval + 1
        return train, evaluations * self.eval_iterations * self.batch_rows, self.eval_iterations * self.batch_rows


@dataclass(frozen=True)
class SetPlan:
    """One set of samples: documents [first, stop) of a data set, ``requested`` samples at least.

    ``epochs`` copies of the documents are shuffled together; they hold ``samples`` = N samples.
    """

    label: str
    first: int
    stop: int
    requested: int
    epochs: int
    samples: int
    tokens: int

    def stem(self, prefix: str, seq_length: int, seed: int) -> str:
        """Common part of the names of its index maps."""
        return map_stem(prefix, self.label, self.requested, seq_length, seed)

    @property
    def rows(self) -> int:
        """Rows a loader gives out: one fewer than there are samples (an off-by-one of the original)."""
        return self.samples - 1


def map_stem(prefix: str, label: str, requested: int, seq_length: int, seed: int) -> str:
    """Common part of the names of a set's index maps.

    >>> map_stem("pile", "train_0", 147164160, 2048, 1234)
    'pile_train_0_indexmap_147164160ns_2048sl_1234s'
    """
    return f"{prefix}_{label}_indexmap_{requested}ns_{seq_length}sl_{seed}s"


def map_names(prefix: str, schedule: Schedule, seq_length: int, seed: int) -> dict[str, tuple[str, ...]]:
    """Names of the three maps of train, valid and test of one data set in paths mode, by set."""
    stems = {
        label: map_stem(prefix, f"{label}_0", requested_in_paths_mode(wanted), seq_length, seed)
        for label, wanted in zip(SETS, schedule.wanted(), strict=True)
    }
    return {label: tuple(f"{stem}_{kind}.npy" for kind in KINDS) for label, stem in stems.items()}


def plan_set(label: str, first: int, stop: int, *, tokens: int, requested: int, seq_length: int) -> SetPlan:
    """Epochs and samples of one set; ``tokens`` is the number of tokens of its documents."""
    if tokens < 1:
        raise ConfigError(f"set {label}: its {stop - first} documents contain no tokens")
    epochs, samples = epochs_and_samples(tokens, seq_length, requested)
    return SetPlan(label, first, stop, requested, epochs, samples, tokens)


def epochs_and_samples(tokens: int, seq_length: int, requested: int) -> tuple[int, int]:
    """Smallest number of epochs that gives ``requested`` samples, and the samples they give.

    E is the smallest number >= 1 with (E * tokens - 1) // seq_length >= requested.

    >>> epochs_and_samples(332115325534, 2048, 147164160)
    (1, 162165686)
    >>> epochs_and_samples(207170414058, 2048, 147164160)
    (2, 202314857)
    """
    epochs = max(1, -(-(requested * seq_length + 1) // tokens))
    return epochs, (epochs * tokens - 1) // seq_length


def requested_in_paths_mode(wanted: int, weight: float = 1.0) -> int:
    """Samples asked of one data set in paths mode; ``weight`` is its share.

    >>> requested_in_paths_mode(143000 * 1024)
    147164160
    """
    # Evaluated in this order in float64, as the original does: the rounding decides a file name.
    return math.ceil(wanted * weight * MARGIN)


def normalized(weights: Sequence[float]) -> list[float]:
    """Weights divided by their sum, added up from the left as the original does."""
    total = 0.0
    for weight in weights:
        if not weight >= 0:
            raise ConfigError(f"weight {weight} is negative or not a number")
        total += weight
    if not 0.0 < total < math.inf:
        raise ConfigError(f"weights {list(weights)} must have a positive finite sum")
    return [weight / total for weight in weights]


def split_bounds(split: str, documents: int) -> list[int]:
    """Borders of train, valid and test among ``documents`` documents: four rising numbers.

    >>> split_bounds("969, 30, 1", 12345)
    [0, 11963, 12333, 12345]
    """
    separator = next((mark for mark in ",/" if mark in split), None)
    try:
        parts = [float(part) for part in (split.split(separator) if separator else [split])]
    except ValueError as error:
        raise ConfigError(f"split {split!r} must be up to three numbers like '969, 30, 1'") from error
    shares = normalized([*parts, 0.0, 0.0][:3])
    bounds = [0]
    for share in shares:
        # Python's round: halves go to the even neighbour, as in the original.
        bounds.append(bounds[-1] + round(share * float(documents)))
    excess = bounds[-1] - documents
    return [0, *(bound - excess for bound in bounds[1:])]


def tokens_between(sizes: Array, first: int, stop: int) -> int:
    """Number of tokens of documents [first, stop)."""
    return int(sizes[first:stop].sum(dtype="int64"))
