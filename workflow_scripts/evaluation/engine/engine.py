"""GPT-NeoX forward pass over a packed plan that computes only what is scored.

Differences from a general model: rows hold prefix trees (attention.py, position = depth), and the output matrix is
applied only to nodes that predict a scored token, a thousand at a time, with the softmax in float32 (output_head.py). A
[batch, length, vocabulary] tensor never exists. It must not return a number that is not finite: it stops and names
checkpoint and layer. A change that may move a number raises ``ENGINE_VERSION`` of scoring_job.py.
"""

import logging
import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from workflow_scripts.errors import EvaluationError, ModelError
from workflow_scripts.evaluation.engine.attention import View, attend, in_blocks, make_view
from workflow_scripts.evaluation.engine.blockwise_attention import SHORT_ROW
from workflow_scripts.evaluation.engine.linear_layers import activation_function, linear, row_pieces
from workflow_scripts.evaluation.engine.model_weights import load_weights
from workflow_scripts.evaluation.engine.output_head import Head, Predicted
from workflow_scripts.evaluation.engine.row_tensors import Batch, edges_before, make_batches, segments
from workflow_scripts.evaluation.planning.prefix_trees import Forest
from workflow_scripts.evaluation.scoring.model_folder import HEAD, NeoxConfig, read_config

# Tokens per forward pass: enough for full speed of the matrix products, small enough to stay in cache. On a GPU as many
# as make 2**25 states, so that a narrow network launches few kernels and a wide one fits; a pass ends with its segment.
CPU_TOKENS = 2048
CUDA_STATES = 1 << 25
FEWEST_TOKENS = 256
LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Layer:
    """Weights of one layer; query, key and value rows are regrouped to [3, heads, head size].

    Coordinates of queries and keys that are turned together are side by side, which changes no product of the two.
    """

    norm_attention: tuple[torch.Tensor, torch.Tensor]
    norm_mlp: tuple[torch.Tensor, torch.Tensor]
    query_key_value: tuple[torch.Tensor, torch.Tensor]
    attention_out: tuple[torch.Tensor, torch.Tensor]
    mlp_in: tuple[torch.Tensor, torch.Tensor]
    mlp_out: tuple[torch.Tensor, torch.Tensor]


def make_layer(weights: dict[str, torch.Tensor], number: int, config: NeoxConfig) -> Layer:
    """Take layer ``number`` out of ``weights``; the stored order of the joint projection is [heads, 3, head size]."""

    def both(name: str) -> tuple[torch.Tensor, torch.Tensor]:
        prefix = f"gpt_neox.layers.{number}.{name}"
        return weights.pop(f"{prefix}.weight"), weights.pop(f"{prefix}.bias")

    weight, bias = both("attention.query_key_value")
    return Layer(
        both("input_layernorm"),
        both("post_attention_layernorm"),
        (regroup(weight, config), regroup(bias[:, None], config)[:, 0]),
        both("attention.dense"),
        both("mlp.dense_h_to_4h"),
        both("mlp.dense_4h_to_h"),
    )


def regroup(joint: torch.Tensor, config: NeoxConfig) -> torch.Tensor:
    """Rows of the joint projection, stored as [heads, 3, head size], in the order that :class:`Layer` has them."""
    grouped = joint.view(config.heads, 3, config.head_size, -1).transpose(0, 1).contiguous()
    order = torch.arange(config.rotary_size).view(2, -1).t().flatten().to(joint.device)
    grouped[:2, :, : len(order)] = grouped[:2, :, order]
    return grouped.view(joint.shape)


@dataclass
class Waiting:
    """Hidden states of slots that wait until a full product's worth of them is there."""

    first_slot: int
    states: list[torch.Tensor] = field(default_factory=list)

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
        self.config = config = read_config(folder)
        refuse_device(folder, self.device)
        read = weights if weights is not None else load_weights(folder, config, self.device, dtype)
        placed = {name: self.take(read.pop(name)) for name in list(read)}
        self.layers = [make_layer(placed, number, config) for number in range(config.layers)]
        self.embedding = placed["gpt_neox.embed_in.weight"]
        self.head = placed.get(HEAD, self.embedding)
        self.final_norm = (placed["gpt_neox.final_layer_norm.weight"], placed["gpt_neox.final_layer_norm.bias"])
        self.activation = activation_function(config.activation)
        exponents = torch.arange(0, config.rotary_size, 2, dtype=torch.float32)  # powers of a GPU differ in last bits
        self.frequencies = (1.0 / (config.rotary_base ** (exponents / config.rotary_size))).to(self.device)
        self.predictor: Head | None = None

    def take(self, weight: torch.Tensor) -> torch.Tensor:
        """``weight`` on this device; one that another stream put there is not given back before this one is done."""
        if weight.is_cuda:
            weight.record_stream(torch.cuda.current_stream(weight.device))
        return weight.to(self.device)

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
        return CPU_TOKENS if self.device.type == "cpu" else max(CPU_TOKENS, CUDA_STATES // self.config.hidden_size)

    def try_rows(
        self, forest: Forest, first: int, last: int, tokens: int, advance: Callable[[float], None]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Scores of the edges of rows ``first`` to ``last`` with ``tokens`` per forward pass."""
        self.predictor = self.predictor or Head(self.head)
        found: list[Predicted] = []
        waiting = Waiting(int(np.searchsorted(forest.slot_node, forest.row_start[first])))
        joined_above = SHORT_ROW if in_blocks(self.device, self.dtype, self.attention) else math.inf
        for batch in make_batches(forest, tokens, first, last, joined_above):
            waiting.states.append(self.hidden(batch))
            while waiting.count >= self.predictor.rows:
                found.append(self.predict(forest, waiting, self.predictor))
            advance(float(batch.nodes))
        while waiting.count:
            found.append(self.predict(forest, waiting, self.predictor))
        if not found:
            return np.empty(0, dtype=np.float32), np.empty(0, dtype=np.bool_)
        values, flags, finite = zip(*found, strict=True)
        if not bool(torch.stack(finite).all()):  # the first thing that waits for a GPU
            batches = make_batches(forest, tokens, first, last, joined_above)
            where = first_named(self.first_bad_layer(batch) for batch in batches)
            raise EvaluationError(f"{self.folder}: logits that are not finite, first in {where}")
        return torch.cat(values).cpu().numpy(), torch.cat(flags).cpu().numpy()

    def predict(self, forest: Forest, waiting: Waiting, head: Head) -> Predicted:
        """Score the edges of the next slots that wait."""
        begin = waiting.first_slot
        hidden = waiting.take(head.rows)
        low, high = np.searchsorted(forest.edge_slot, [begin, waiting.first_slot])
        slots = torch.from_numpy(forest.edge_slot[low:high].astype(np.int64) - begin)
        return head.predict(hidden, slots, torch.from_numpy(forest.edge_token[low:high].astype(np.int64)))

    def hidden(self, batch: Batch) -> torch.Tensor:
        """Hidden states of the batch's slots after the final norm, [S, hidden size]."""
        states = deque(self.states(batch), maxlen=1).pop()
        return functional.layer_norm(states, states.shape[-1:], *self.final_norm, self.config.layer_norm_eps)

    def states(self, batch: Batch) -> Iterator[torch.Tensor]:
        """Residual stream [B, T, hidden size] after the embedding and each layer; the last at slots only, [S, ...]."""
        view = make_view(batch, self.frequencies, self.dtype, self.attention, self.config.heads)
        slots = batch.slots.to(self.device, non_blocking=True)
        states = functional.embedding(batch.token.to(self.device, non_blocking=True), self.embedding)
        yield states
        for layer in self.layers[:-1]:
            states = self.apply(layer, states, view, None)
            yield states
        yield self.apply(self.layers[-1], states, view.at_slots, slots)

    def apply(self, layer: Layer, states: torch.Tensor, view: View, slots: torch.Tensor | None) -> torch.Tensor:
        """One layer: attention and MLP beside each other (or one after the other, if config.json says so).

        With ``slots``, everything after the attention is computed and returned at those nodes only, [S, hidden size].
        """
        eps = self.config.layer_norm_eps
        normed = functional.layer_norm(states, states.shape[-1:], *layer.norm_attention, eps)
        mixed, before = self.mix(layer, normed, view).flatten(0, 1), states.flatten(0, 1)
        if slots is not None:
            mixed, before = mixed.index_select(0, slots), before.index_select(0, slots)
        after = torch.empty_like(before)
        for rows in row_pieces(before):
            after[rows] = self.feed(layer, mixed[rows], before[rows])
        return after if slots is not None else after.view(states.shape)

    def feed(self, layer: Layer, mixed: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        """What follows the attention, which gave ``mixed``: output projection and MLP; [n, hidden size]."""
        attended = linear(mixed, *layer.attention_out)
        before = states if self.config.parallel_residual else states + attended
        normed = functional.layer_norm(before, before.shape[-1:], *layer.norm_mlp, self.config.layer_norm_eps)
        inner = linear(normed, *layer.mlp_in, self.activation)
        return linear(inner, *layer.mlp_out).add_(attended).add_(states)

    def mix(self, layer: Layer, normed: torch.Tensor, view: View) -> torch.Tensor:
        """Self-attention under the tree mask, before the output projection; [B, T, hidden size]."""
        batch, length, width = normed.shape
        joint = functional.linear(normed, *layer.query_key_value)
        joint = joint.view(batch, length, 3, self.config.heads, self.config.head_size)
        return attend(joint, view).reshape(batch, length, width)

    def first_bad_layer(self, batch: Batch) -> str | None:
        """Where the first number that is not finite appears in ``batch``; None when it is after the last layer."""
        for number, states in enumerate(self.states(batch)):
            if not bool(torch.isfinite(states).all()):
                return "the embedding" if number == 0 else f"layer {number - 1} of {self.config.layers}"
        return None


def first_named(places: Iterator[str | None]) -> str:
    """The first place that has a name."""
    return next((place for place in places if place is not None), "the final norm or the output matrix")


def refuse_device(folder: Path, device: torch.device) -> None:
    """:class:`ModelError` when a CUDA device is asked for and there is none."""
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ModelError(f"{folder}: device '{device}' was asked for, but torch finds no CUDA device here")
