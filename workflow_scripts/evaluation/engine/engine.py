"""Forward pass over a packed plan that computes only what is scored; of a network that knows prefix trees.

Differences from a general model: rows hold prefix trees (attention.py, position = depth), and the output matrix is
applied only to nodes that predict a scored token, a thousand at a time, with the softmax in float32 (output_head.py). A
[batch, length, vocabulary] tensor never exists. It must not return a number that is not finite: it stops and names
checkpoint and layer. A change that may move a number raises ``ENGINE_VERSION`` of scoring_job.py.
"""

import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from workflow_scripts.errors import EvaluationError, ModelError
from workflow_scripts.evaluation.engine.attention import in_blocks
from workflow_scripts.evaluation.engine.blockwise_attention import SHORT_ROW
from workflow_scripts.evaluation.engine.llama_network import LlamaNetwork, Olmo2Network
from workflow_scripts.evaluation.engine.model_weights import load_weights
from workflow_scripts.evaluation.engine.neox_network import NeoxNetwork
from workflow_scripts.evaluation.engine.network import Weights
from workflow_scripts.evaluation.engine.output_head import Head
from workflow_scripts.evaluation.engine.row_tensors import Batch, edges_before, make_batches, segments
from workflow_scripts.evaluation.planning.prefix_trees import Forest
from workflow_scripts.evaluation.scoring.engine_choice import read_own_config
from workflow_scripts.evaluation.scoring.llama_folder import LlamaConfig
from workflow_scripts.evaluation.scoring.model_folder import NeoxConfig

# Tokens per forward pass: enough for full speed of the matrix products, small enough to stay in cache.
CPU_TOKENS = 2048
CUDA_TOKENS = 16384
FEWEST_TOKENS = 256
LOGGER = logging.getLogger(__name__)


@dataclass
class Waiting:
    """Hidden states of slots that wait until a full product's worth of them is there, and their batches."""

    first_slot: int
    states: list[torch.Tensor] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Number of slots that wait."""
        return sum(len(states) for states in self.states)

    def take(self, rows: int) -> torch.Tensor:
        """Remove and return the states of the first ``rows`` slots."""
        joined = torch.cat(self.states)
        self.states = [joined[rows:]]
        self.first_slot += len(joined[:rows])
        return joined[:rows]


class Engine:
    """One checkpoint, ready to score plans."""

    def __init__(
        self,
        folder: Path,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        weights: dict[str, torch.Tensor] | None = None,
        attention: str = "sdpa",
    ) -> None:
        """Load the checkpoint in ``folder``; matrix products run in ``dtype``, the softmax always in float32.

        ``weights``: what :func:`load_weights` already read in this ``dtype``; they are taken out of it one by one, so
        that no more than a layer is held in two copies. ``attention``: sdpa or flex.
        """
        self.folder, self.device, self.dtype, self.attention = folder, torch.device(device), dtype, attention
        self.config = config = read_own_config(folder)
        refuse_device(folder, self.device)
        read = weights if weights is not None else load_weights(folder, config, self.device, dtype)
        placed = {name: read.pop(name).to(self.device) for name in list(read)}
        self.network = make_network(config, placed, attention)
        self.head, self.hidden = self.network.head, self.network.hidden
        self.predictor: Head | None = None

    def score(
        self, forest: Forest, tokens: int | None = None, advance: Callable[[float], None] = lambda _: None
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Log-probability (natural logarithm) and is-the-most-likely flag of each edge of ``forest``.

        ``tokens`` per forward pass (None: by device); ``advance`` is told the nodes done after each batch. A tie for
        the highest logit counts for the lowest token id, as argmax does in lm-eval.
        """
        values = np.empty(len(forest.edge_token), dtype=np.float32)
        best = np.empty(len(forest.edge_token), dtype=np.bool_)
        for first, last in segments(forest):
            edges = slice(edges_before(forest, first), edges_before(forest, last))
            values[edges], best[edges] = self.score_rows(forest, first, last, tokens, advance)
        return values, best

    @torch.inference_mode()
    def score_rows(
        self,
        forest: Forest,
        first: int,
        last: int,
        tokens: int | None = None,
        advance: Callable[[float], None] = lambda _: None,
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """The same for the edges of rows ``first`` to ``last``; a pass that does not fit a GPU is made smaller."""
        size = tokens or self.tokens_per_pass()
        while True:
            try:
                return self.try_rows(forest, first, last, size, advance)
            except torch.OutOfMemoryError as error:
                size //= 2
                if size < FEWEST_TOKENS:
                    raise EvaluationError(
                        f"{self.folder}: {self.device} has no room for {2 * size} tokens beside the weights; use a "
                        "larger device or --dtype bfloat16"
                    ) from error
                LOGGER.warning("%s: out of memory, continuing with %d tokens per pass", self.folder, size)

    def tokens_per_pass(self) -> int:
        """Tokens per forward pass on this device."""
        return CPU_TOKENS if self.device.type == "cpu" else CUDA_TOKENS

    def try_rows(
        self, forest: Forest, first: int, last: int, tokens: int, advance: Callable[[float], None]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Scores of the edges of rows ``first`` to ``last`` with ``tokens`` per forward pass."""
        self.predictor = self.predictor or Head(self.head)
        values: list[torch.Tensor] = []
        flags: list[torch.Tensor] = []
        waiting = Waiting(int(np.searchsorted(forest.slot_node, forest.row_start[first])))
        joined_above = SHORT_ROW if in_blocks(self.device, self.dtype, self.attention) else math.inf
        for batch in make_batches(forest, tokens, first, last, joined_above):
            waiting.states.append(self.hidden(batch))
            waiting.batches.append(batch)
            while waiting.count >= self.predictor.rows:
                self.predict(forest, waiting, self.predictor, values, flags)
            advance(float(batch.nodes))
        while waiting.count:
            self.predict(forest, waiting, self.predictor, values, flags)
        empty = torch.empty(0)
        return torch.cat([empty, *values]).numpy(), torch.cat([empty.bool(), *flags]).numpy()

    def predict(
        self, forest: Forest, waiting: Waiting, head: Head, values: list[torch.Tensor], flags: list[torch.Tensor]
    ) -> None:
        """Score the edges of the next slots that wait."""
        begin = waiting.first_slot
        hidden = waiting.take(head.rows)
        low, high = np.searchsorted(forest.edge_slot, [begin, waiting.first_slot])
        slots = torch.from_numpy(forest.edge_slot[low:high].astype(np.int64) - begin)
        found = head.predict(hidden, slots, torch.from_numpy(forest.edge_token[low:high].astype(np.int64)))
        if found is None:
            where = first_named(self.first_bad_layer(batch) for batch in waiting.batches)
            raise EvaluationError(f"{self.folder}: logits that are not finite, first in {where}")
        values.append(found[0])
        flags.append(found[1])
        waiting.batches = waiting.batches[-1:]

    def first_bad_layer(self, batch: Batch) -> str | None:
        """Where the first number that is not finite appears in ``batch``; None when it is after the last layer."""
        for number, states in enumerate(self.network.states(batch)):
            if not bool(torch.isfinite(states).all()):
                return "the embedding" if number == 0 else f"layer {number - 1} of {self.config.layers}"
        return None


def make_network(config: NeoxConfig | LlamaConfig, weights: Weights, attention: str) -> NeoxNetwork | LlamaNetwork:
    """The network of the configuration's architecture with ``weights``, which are taken out one by one."""
    if isinstance(config, NeoxConfig):
        return NeoxNetwork(config, weights, attention)
    return (Olmo2Network if config.architecture == "olmo2" else LlamaNetwork)(config, weights, attention)


def first_named(places: Iterator[str | None]) -> str:
    """The first place that has a name."""
    return next((place for place in places if place is not None), "the final norm or the output matrix")


def refuse_device(folder: Path, device: torch.device) -> None:
    """:class:`ModelError` when a CUDA device is asked for and there is none."""
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ModelError(f"{folder}: device '{device}' was asked for, but torch finds no CUDA device here")
