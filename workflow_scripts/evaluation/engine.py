"""GPT-NeoX forward pass over a packed plan that computes nothing nobody scores.

Differences from a general model: rows hold prefix trees (mask ``k <= q < end[k]``, position = depth), and the output
matrix is applied only to nodes that predict a scored token, a few hundred at a time, with the softmax in float32. A
[batch, length, vocabulary] tensor never exists. It must never return a number that is not finite: it stops and names
checkpoint and layer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from workflow_scripts.errors import EvaluationError, ModelError
from workflow_scripts.evaluation.forest import Forest
from workflow_scripts.evaluation.weights import HEAD, NeoxConfig, load_weights, read_config

# Raise it when a change may move a number; scores of another version are not kept.
ENGINE_VERSION = 1
# Two buffers of this many rows of logits are reused; more rows per product fault in fresh pages and gain nothing.
HEAD_ROWS = 512
# Tokens per forward pass: enough for full speed of the matrix products, small enough to stay in cache.
CPU_TOKENS = 2048
CUDA_TOKENS = 16384


@dataclass(frozen=True)
class Batch:
    """Rows of a plan side by side, padded to one width T.

    ``token``, ``depth`` int64 [B, T]; ``end`` int64 [B, T], padding sees only itself; ``slots`` int64 [S] indices into
    the flattened rows; ``first_slot`` is the plan's number of the first of them; ``nodes`` counts without padding.
    """

    token: torch.Tensor
    depth: torch.Tensor
    end: torch.Tensor
    slots: torch.Tensor
    first_slot: int
    nodes: int


@dataclass(frozen=True)
class View:
    """How nodes of a batch see each other.

    ``cos``, ``sin`` [B, 1, T, rotary size] of their positions; ``mask`` [B, 1, T, T] is added to attention scores: 0
    where the key is the query's node or an ancestor of it, else minus infinity.
    """

    cos: torch.Tensor
    sin: torch.Tensor
    mask: torch.Tensor


def make_batches(forest: Forest, tokens: int) -> Iterator[Batch]:
    """Batches of about ``tokens`` nodes, rows in the plan's order, which is by length."""
    widths = np.diff(forest.row_start)
    first = 0
    while first < len(widths):
        last, widest = first + 1, int(widths[first])
        while last < len(widths) and max(widest, int(widths[last])) * (last - first + 1) <= tokens:
            widest = max(widest, int(widths[last]))
            last += 1
        yield make_batch(forest, first, last, widest)
        first = last


def make_batch(forest: Forest, first: int, last: int, width: int) -> Batch:
    """Rows ``first`` to ``last`` of a plan as one batch of ``width`` columns."""
    begin, end = int(forest.row_start[first]), int(forest.row_start[last])
    lengths = np.diff(forest.row_start[first : last + 1])
    row = np.repeat(np.arange(last - first), lengths)
    column = np.arange(begin, end) - forest.row_start[first + row]
    token = np.zeros((last - first, width), dtype=np.int64)
    depth = np.zeros_like(token)
    ends = np.broadcast_to(np.arange(1, width + 1), token.shape).copy()
    token[row, column] = forest.token[begin:end]
    depth[row, column] = forest.depth[begin:end]
    ends[row, column] = forest.end[begin:end]
    first_slot, last_slot = np.searchsorted(forest.slot_node, [begin, end])
    nodes = forest.slot_node[first_slot:last_slot] - begin
    slots = row[nodes] * width + column[nodes]
    return Batch(
        torch.from_numpy(token),
        torch.from_numpy(depth),
        torch.from_numpy(ends),
        torch.from_numpy(slots),
        int(first_slot),
        end - begin,
    )


@dataclass(frozen=True)
class Layer:
    """Weights of one layer; query, key and value rows are regrouped to [3, heads, head size]."""

    norm_attention: tuple[torch.Tensor, torch.Tensor]
    norm_mlp: tuple[torch.Tensor, torch.Tensor]
    query_key_value: tuple[torch.Tensor, torch.Tensor]
    attention_out: tuple[torch.Tensor, torch.Tensor]
    mlp_in: tuple[torch.Tensor, torch.Tensor]
    mlp_out: tuple[torch.Tensor, torch.Tensor]


def make_layer(weights: dict[str, torch.Tensor], number: int, config: NeoxConfig) -> Layer:
    """Collect layer ``number``; the stored order of the joint projection is [heads, 3, head size]."""

    def both(name: str) -> tuple[torch.Tensor, torch.Tensor]:
        prefix = f"gpt_neox.layers.{number}.{name}"
        return weights[f"{prefix}.weight"], weights[f"{prefix}.bias"]

    weight, bias = both("attention.query_key_value")
    shape = (config.heads, 3, config.head_size)
    return Layer(
        both("input_layernorm"),
        both("post_attention_layernorm"),
        (
            weight.view(*shape, config.hidden_size).transpose(0, 1).reshape(weight.shape).contiguous(),
            bias.view(shape).transpose(0, 1).reshape(bias.shape).contiguous(),
        ),
        both("attention.dense"),
        both("mlp.dense_h_to_4h"),
        both("mlp.dense_4h_to_h"),
    )


def activation_function(name: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """The activation called ``hidden_act`` in config.json."""
    if name == "relu":
        return functional.relu
    if name == "gelu":
        return functional.gelu
    return lambda inner: functional.gelu(inner, approximate="tanh")


class Engine:
    """One checkpoint, ready to score plans."""

    def __init__(self, folder: Path, device: str = "cpu", dtype: torch.dtype = torch.float32) -> None:
        """Load the checkpoint in ``folder``; matrix products run in ``dtype``, the softmax always in float32."""
        self.folder, self.device, self.dtype = folder, torch.device(device), dtype
        self.config = config = read_config(folder)
        if self.device.type == "cuda" and not torch.cuda.is_available():
            raise ModelError(f"{folder}: device '{device}' was asked for, but torch finds no CUDA device here")
        weights = load_weights(folder, config, self.device, dtype)
        self.layers = [make_layer(weights, number, config) for number in range(config.layers)]
        self.embedding = weights["gpt_neox.embed_in.weight"]
        self.head = weights.get(HEAD, self.embedding)
        self.final_norm = (weights["gpt_neox.final_layer_norm.weight"], weights["gpt_neox.final_layer_norm.bias"])
        self.activation = activation_function(config.activation)
        exponents = torch.arange(0, config.rotary_size, 2, dtype=torch.float32, device=self.device)
        self.frequencies = 1.0 / (config.rotary_base ** (exponents / config.rotary_size))
        self.buffers: tuple[torch.Tensor, torch.Tensor] | None = None

    @torch.inference_mode()
    def score(
        self, forest: Forest, tokens: int | None = None, advance: Callable[[float], None] = lambda _: None
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Log-probability (natural logarithm) and is-the-most-likely flag of each edge of ``forest``.

        ``tokens`` per forward pass (None: by device); ``advance`` is told the nodes done after each batch. A tie for
        the highest logit counts for the lowest token id, as argmax does in lm-eval.
        """
        size = tokens or (CPU_TOKENS if self.device.type == "cpu" else CUDA_TOKENS)
        values = torch.empty(len(forest.edge_token), dtype=torch.float32)
        best = torch.empty(len(forest.edge_token), dtype=torch.bool)
        edge_slot, edge_token = torch.from_numpy(forest.edge_slot), torch.from_numpy(forest.edge_token)
        for batch in make_batches(forest, size):
            hidden = self.hidden(batch)
            bounds = range(0, len(batch.slots) + HEAD_ROWS, HEAD_ROWS)
            limits = np.searchsorted(forest.edge_slot, [batch.first_slot + min(b, len(batch.slots)) for b in bounds])
            for number, begin in enumerate(bounds[:-1]):
                edges = slice(int(limits[number]), int(limits[number + 1]))
                slots = (edge_slot[edges] - (batch.first_slot + begin)).to(self.device, torch.int64)
                targets = edge_token[edges].to(self.device, torch.int64)
                values[edges], best[edges] = self.predict(batch, hidden[begin : begin + HEAD_ROWS], slots, targets)
            advance(float(batch.nodes))
        return values.numpy(), best.numpy()

    def predict(
        self, batch: Batch, hidden: torch.Tensor, slots: torch.Tensor, targets: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities and greedy flags of (slot, target) edges; ``hidden`` [n, d] are the slots' states."""
        logits, logs = self.logit_buffers(len(hidden))
        if self.dtype == torch.float32:
            torch.mm(hidden, self.head.t(), out=logits)
        else:
            logits.copy_(hidden @ self.head.t())
        torch.ops.aten._log_softmax.out(logits, -1, False, out=logs)
        top = logs.amax(-1)
        if not bool(torch.isfinite(top).all()):
            raise EvaluationError(f"{self.folder}: logits that are not finite, first in {self.first_bad_layer(batch)}")
        chosen = logs[slots, targets]
        best = chosen >= top[slots]
        rows = slots[best]
        if len(rows):
            best[best.clone()] = logs[rows].argmax(-1) == targets[best]
        return chosen.cpu(), best.cpu()

    def logit_buffers(self, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Two reused float32 buffers [rows, vocabulary]."""
        if self.buffers is None:
            shape = (HEAD_ROWS, self.config.vocabulary)
            self.buffers = (torch.empty(shape, device=self.device), torch.empty(shape, device=self.device))
        return self.buffers[0][:rows], self.buffers[1][:rows]

    def hidden(self, batch: Batch) -> torch.Tensor:
        """Hidden states of the batch's slots after the final norm, [S, hidden size]."""
        states = deque(self.states(batch), maxlen=1).pop()
        return functional.layer_norm(states, states.shape[-1:], *self.final_norm, self.config.layer_norm_eps)

    def states(self, batch: Batch) -> Iterator[torch.Tensor]:
        """Residual stream [B, T, hidden size] after the embedding and each layer; the last at slots only, [S, ...]."""
        view, slots = self.view(batch), batch.slots.to(self.device)
        states = functional.embedding(batch.token.to(self.device), self.embedding)
        yield states
        for layer in self.layers[:-1]:
            states = self.apply(layer, states, view, None)
            yield states
        yield self.apply(self.layers[-1], states, view, slots)

    def view(self, batch: Batch) -> View:
        """Rotary factors and tree mask of a batch."""
        depth, end = batch.depth.to(self.device), batch.end.to(self.device)
        angles = depth[..., None].float() * self.frequencies
        angles = torch.cat((angles, angles), -1)[:, None]
        nodes = torch.arange(depth.shape[1], device=self.device)
        visible = (nodes[None, None, :] <= nodes[None, :, None]) & (end[:, None, :] > nodes[None, :, None])
        mask = torch.zeros(visible.shape, dtype=self.dtype, device=self.device).masked_fill_(~visible, float("-inf"))
        return View(angles.cos().to(self.dtype), angles.sin().to(self.dtype), mask[:, None])

    def apply(self, layer: Layer, states: torch.Tensor, view: View, slots: torch.Tensor | None) -> torch.Tensor:
        """One layer: attention and MLP beside each other (or one after the other, if config.json says so).

        With ``slots``, everything after the attention is computed and returned at those nodes only, [S, hidden size].
        """
        width, eps = states.shape[-1:], self.config.layer_norm_eps
        mixed = self.mix(layer, functional.layer_norm(states, width, *layer.norm_attention, eps), view)
        if slots is not None:
            mixed, states = (every.flatten(0, 1).index_select(0, slots) for every in (mixed, states))
        attended = functional.linear(mixed, *layer.attention_out)
        before = states if self.config.parallel_residual else states + attended
        normed = functional.layer_norm(before, width, *layer.norm_mlp, eps)
        inner = self.activation(functional.linear(normed, *layer.mlp_in))
        return functional.linear(inner, *layer.mlp_out) + attended + states

    def mix(self, layer: Layer, normed: torch.Tensor, view: View) -> torch.Tensor:
        """Self-attention under the tree mask, before the output projection; [B, T, hidden size]."""
        batch, length, width = normed.shape
        joint = functional.linear(normed, *layer.query_key_value)
        joint = joint.view(batch, length, 3, self.config.heads, self.config.head_size).permute(2, 0, 3, 1, 4)
        query, key = self.rotate(joint[0], view), self.rotate(joint[1], view)
        mixed = functional.scaled_dot_product_attention(query, key, joint[2], attn_mask=view.mask)
        return mixed.transpose(1, 2).reshape(batch, length, width)

    def rotate(self, vectors: torch.Tensor, view: View) -> torch.Tensor:
        """Rotary position embedding on the first dimensions of each head; the rest passes."""
        size = self.config.rotary_size
        turned, passed = vectors[..., :size], vectors[..., size:]
        half = size // 2
        swapped = torch.cat((-turned[..., half:], turned[..., :half]), -1)
        return torch.cat((turned * view.cos + swapped * view.sin, passed), -1)

    def first_bad_layer(self, batch: Batch) -> str:
        """Where the first number that is not finite appears in ``batch``."""
        for number, states in enumerate(self.states(batch)):
            if not bool(torch.isfinite(states).all()):
                return "the embedding" if number == 0 else f"layer {number - 1} of {self.config.layers}"
        return "the final norm or the output matrix"
