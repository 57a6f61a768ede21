"""A GPT-NeoX forward pass in float32 that shows what happens inside: residual stream and attention, layer by layer.

Plain operations on the stored tensors, so that every one of them can have a gradient. Nothing is kept but what the
caller keeps. It must give transformers' hidden states and attentions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from workflow_scripts.evaluation.engine.engine import refuse_device
from workflow_scripts.evaluation.engine.model_weights import load_weights
from workflow_scripts.evaluation.scoring.model_folder import HEAD, read_config
from workflow_scripts.training.run.model import rotate

EMBEDDING, FINAL_NORM = "gpt_neox.embed_in.weight", "gpt_neox.final_layer_norm"
TOKENS_AT_ONCE = 512  # whose logits exist at the same time


@dataclass(frozen=True)
class Place:
    """The residual stream in front of layer ``layer``, or behind the last one (``layer`` is then their number).

    ``tokens`` int64 [rows, length + 1], of which all but the last went in; ``states`` float32 [rows, length, width];
    ``attention`` float32 [rows, heads, length, length] of that layer, queries before keys, None behind the last layer.
    """

    model: ProbeModel
    layer: int
    tokens: Tensor
    states: Tensor
    attention: Tensor | None


class ProbeModel:
    """One checkpoint; ``weights`` by their names on the Hub, float32."""

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        """Load the checkpoint in ``folder``; raises what loading for the evaluation raises."""
        self.config, self.device = read_config(folder), torch.device(device)
        refuse_device(folder, self.device)
        self.weights = load_weights(folder, self.config, self.device, torch.float32)
        self.head = self.weights.get(HEAD, self.weights[EMBEDDING])
        size = self.config.rotary_size
        exponents = torch.arange(0, size, 2, dtype=torch.float32, device=self.device) / size
        self.frequencies = 1.0 / self.config.rotary_base**exponents

    def places(self, tokens: Tensor) -> Iterator[Place]:
        """The stream in front of each layer and behind the last, for ``tokens`` [rows, length + 1]."""
        tokens = tokens.to(self.device)
        states = functional.embedding(tokens[:, :-1], self.weights[EMBEDDING])
        for layer in range(self.config.layers):
            attention = self.attention(layer, states)
            yield Place(self, layer, tokens, states, attention)
            states = self.apply(layer, states, attention)
        yield Place(self, self.config.layers, tokens, states, None)

    def final(self, tokens: Tensor) -> Tensor:
        """Stream behind the last layer for inputs ``tokens`` [rows, length], by fused attention, for gradients."""
        states = functional.embedding(tokens, self.weights[EMBEDDING])
        for layer in range(self.config.layers):
            states = self.apply(layer, states, None)
        return self.normed(FINAL_NORM, states)

    def both(self, name: str) -> tuple[Tensor, Tensor]:
        """Weight and bias."""
        return self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]

    def normed(self, name: str, states: Tensor) -> Tensor:
        """Layer norm called ``name``."""
        return functional.layer_norm(states, states.shape[-1:], *self.both(name), self.config.layer_norm_eps)

    def split(self, layer: int, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries and keys, turned by their positions, and values, each [rows, heads, length, head size]."""
        prefix = f"gpt_neox.layers.{layer}"
        rows, length, _ = states.shape
        joint = functional.linear(
            self.normed(f"{prefix}.input_layernorm", states), *self.both(f"{prefix}.attention.query_key_value")
        )
        joint = joint.view(rows, length, self.config.heads, 3, self.config.head_size)
        angles = torch.arange(length, device=states.device)[:, None] * self.frequencies
        cosines, sines = (angles.cos()[:, None, None], angles.sin()[:, None, None])
        query, key = rotate(joint[..., :2, :], cosines, sines).unbind(dim=3)
        return query.transpose(1, 2), key.transpose(1, 2), joint[..., 2, :].transpose(1, 2)

    def attention(self, layer: int, states: Tensor) -> Tensor:
        """Attention of every head of a layer, [rows, heads, length, length]."""
        query, key, _ = self.split(layer, states)
        scores = query @ key.transpose(2, 3) * self.config.head_size**-0.5
        future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        seen: Tensor = scores.masked_fill_(future, float("-inf")).softmax(-1)
        return seen

    def apply(self, layer: int, states: Tensor, attention: Tensor | None) -> Tensor:
        """The stream behind a layer, with ``attention`` where it is known already."""
        query, key, value = self.split(layer, states)
        if attention is None:
            mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        else:
            mixed = attention @ value
        prefix = f"gpt_neox.layers.{layer}"
        attended = functional.linear(
            mixed.transpose(1, 2).reshape(states.shape), *self.both(f"{prefix}.attention.dense")
        )
        before = states if self.config.parallel_residual else states + attended
        inner = self.normed(f"{prefix}.post_attention_layernorm", before)
        inner = self.activated(functional.linear(inner, *self.both(f"{prefix}.mlp.dense_h_to_4h")))
        return states + attended + functional.linear(inner, *self.both(f"{prefix}.mlp.dense_4h_to_h"))

    def activated(self, inner: Tensor) -> Tensor:
        """The activation that ``config.json`` names."""
        if self.config.activation == "relu":
            return functional.relu(inner)
        return functional.gelu(inner, approximate="none" if self.config.activation == "gelu" else "tanh")

    def losses(self, place: Place) -> Tensor:
        """Loss of each row in nats per token, were ``place`` the end of the model: [rows]."""
        inputs = self.normed(FINAL_NORM, place.states).flatten(0, 1)
        targets = place.tokens[:, 1:].flatten()
        found = [
            functional.cross_entropy(part @ self.head.t(), wanted, reduction="none")
            for part, wanted in zip(
                torch.split(inputs, TOKENS_AT_ONCE), torch.split(targets, TOKENS_AT_ONCE), strict=True
            )
        ]
        return torch.cat(found).view(len(place.tokens), -1).mean(1)


def rows_at_once(model: ProbeModel, length: int, memory_mb: int) -> int:
    """Rows of ``length`` tokens that fit into ``memory_mb`` (1e6 bytes) in a pass without gradients, at least one.

    Counted are three [tokens, vocabulary] of logits at a time; per row the scores, attention and what a metric makes of
    it, eight widths of the stream and the inner states of the MLP twice.
    """
    config = model.config
    logits = 3 * 4 * TOKENS_AT_ONCE * config.vocabulary
    per_row = 4 * (4 * config.heads * length**2 + length * (8 * config.hidden_size + 2 * config.intermediate_size))
    return max(1, int((memory_mb * 1e6 - logits) // per_row))
