"""What the networks of all architectures have in common: an embedding, layers of attention and MLP, rotated positions.

A network gives the hidden states of a batch's slots. How its layers compute, the modules of the architectures say
(neox_network.py, llama_network.py).
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

import torch
from torch.nn import functional

from workflow_scripts.evaluation.engine.attention import View, make_view
from workflow_scripts.evaluation.engine.linear_layers import in_pieces
from workflow_scripts.evaluation.engine.row_tensors import Batch
from workflow_scripts.evaluation.scoring.model_folder import NetworkConfig

Config = TypeVar("Config", bound=NetworkConfig)
Layer = TypeVar("Layer")
Weights = dict[str, torch.Tensor]


class Network(ABC, Generic[Config, Layer]):
    """Weights of a checkpoint on one device, and the forward pass of a batch."""

    layers: Sequence[Layer]

    def __init__(self, config: Config, embedding: torch.Tensor, head: torch.Tensor | None, attention: str) -> None:
        """Embedding and output matrix (None: the same); ``attention``: sdpa or flex."""
        self.config, self.embedding, self.attention = config, embedding, attention
        self.head = embedding if head is None else head
        exponents = torch.arange(0, config.rotary_size, 2, dtype=torch.float32)  # powers of a GPU differ in last bits
        self.frequencies = (1.0 / (config.rotary_base ** (exponents / config.rotary_size))).to(embedding.device)

    @abstractmethod
    def finish(self, states: torch.Tensor) -> torch.Tensor:
        """Final norm of hidden states [S, hidden size]."""

    @abstractmethod
    def mix(self, layer: Layer, states: torch.Tensor, view: View) -> torch.Tensor:
        """Self-attention under the tree mask, before the output projection; [B, T, heads x head size]."""

    @abstractmethod
    def feed(self, layer: Layer, mixed: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        """What follows the attention, which gave ``mixed``: output projection and MLP; [n, hidden size]."""

    def hidden(self, batch: Batch) -> torch.Tensor:
        """Hidden states of the batch's slots after the final norm, [S, hidden size]."""
        return self.finish(deque(self.states(batch), maxlen=1).pop())

    def states(self, batch: Batch) -> Iterator[torch.Tensor]:
        """Residual stream [B, T, hidden size] after the embedding and each layer; the last at slots only, [S, ...]."""
        device = self.embedding.device
        view = make_view(batch, self.frequencies, self.embedding.dtype, self.attention, self.config.heads)
        slots = batch.slots.to(device, non_blocking=True)
        states = functional.embedding(batch.token.to(device, non_blocking=True), self.embedding)
        yield states
        for layer in self.layers[:-1]:
            states = self.apply(layer, states, view, None)
            yield states
        yield self.apply(self.layers[-1], states, view.at_slots, slots)

    def apply(self, layer: Layer, states: torch.Tensor, view: View, slots: torch.Tensor | None) -> torch.Tensor:
        """One layer: attention and MLP.

        With ``slots``, everything after the attention is computed and returned at those nodes only, [S, hidden size].
        """
        mixed, before = self.mix(layer, states, view).flatten(0, 1), states.flatten(0, 1)
        if slots is not None:
            mixed, before = mixed.index_select(0, slots), before.index_select(0, slots)
        after = in_pieces(before, lambda rows: self.feed(layer, mixed[rows], before[rows]))
        return after if slots is not None else after.view(states.shape)


def in_pairs(rotary_size: int, device: torch.device) -> torch.Tensor:
    """Order in which coordinates half the rotary size apart, which are turned together, are side by side; int64.

    Queries and keys in one order have the same products as in another.

    >>> in_pairs(6, torch.device("cpu")).tolist()
    [0, 3, 1, 4, 2, 5]
    """
    return torch.arange(rotary_size, device=device).view(2, -1).t().flatten()
