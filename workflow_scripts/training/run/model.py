"""One GPT-NeoX language model, as Pythia was trained: the only network of the training stage.

Parallel residual with two layer norms on the same input, query/key/value rows grouped per head, rotary angles on the
first quarter of each head, tanh approximation of GELU, untied unembedding without bias, no dropout. Documents in a row
are not masked from each other. The names of parameters are those of transformers' ``GPTNeoXForCausalLM`` state dict
(``gpt_neox.embed_in.weight`` ... ``embed_out.weight``), so that saving and loading are the identity.

It must not hold buffers that are saved, and never decide its own precision: the trainer does.
Source of the architecture: gpt-neox v1.0 and the suite's configs (docs/training.md).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint as recomputed

from workflow_scripts.errors import ModelError
from workflow_scripts.training.recipe import Recipe
from workflow_scripts.training.run.short_attention import attend_short, is_short

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
MLP_FACTOR = 4


def rotary_tables(recipe: Recipe, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotary angles, float32 ``[sequence_length, rotary_dims / 2]``.

    With ``rotary_precision`` of 16 bits the inverse frequencies, the positions and their product are rounded to it, as
    in gpt-neox v1.0, where ``module.half()`` also converted the buffer of inverse frequencies (gpt-neox#1003).
    """
    dims, dtype = recipe.rotary_dims, DTYPES[recipe.rotary_precision]
    exponents = torch.arange(0, dims, 2, dtype=torch.float32, device=device) / dims
    frequencies = (1.0 / recipe.rotary_base**exponents).to(dtype)
    positions = torch.arange(recipe.sequence_length, device=device).to(dtype)
    angles = (positions[:, None] * frequencies[None, :]).float()
    return angles.cos().to(dtype).float(), angles.sin().to(dtype).float()


def rotate(states: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Rotate the first ``2 * cosines.shape[-1]`` dims of each head; ``states`` is ``[rows, length, heads, 2, dims]``.

    The pair of dim i is dim i + rotary_dims / 2 (halves, not neighbours).
    """
    half = cosines.shape[-1]
    first, second, rest = states[..., :half], states[..., half : 2 * half], states[..., 2 * half :]
    turned = (first * cosines - second * sines, second * cosines + first * sines, rest)
    return torch.cat(turned, dim=-1)


class Attention(nn.Module):
    """Causal self-attention over the whole row."""

    def __init__(self, recipe: Recipe) -> None:
        """Allocate the two projections."""
        super().__init__()
        self.heads = recipe.heads
        self.query_key_value = nn.Linear(recipe.hidden_size, 3 * recipe.hidden_size)
        self.dense = nn.Linear(recipe.hidden_size, recipe.hidden_size)

    def forward(self, hidden: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        """Map ``[rows, length, hidden_size]`` to the same shape."""
        rows, length, width = hidden.shape
        packed = self.query_key_value(hidden).view(rows, length, self.heads, 3, width // self.heads)
        query, key = rotate(packed[..., :2, :], cosines, sines).unbind(dim=3)
        query, key, value = (part.transpose(1, 2) for part in (query, key, packed[..., 2, :]))
        if is_short(query):
            mixed = attend_short(query, key, value)
        else:
            mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        output: Tensor = self.dense(mixed.transpose(1, 2).reshape(rows, length, width))
        return output


class Mlp(nn.Module):
    """Two projections around a tanh-approximated GELU."""

    def __init__(self, recipe: Recipe) -> None:
        """Allocate the two projections."""
        super().__init__()
        self.dense_h_to_4h = nn.Linear(recipe.hidden_size, MLP_FACTOR * recipe.hidden_size)
        self.dense_4h_to_h = nn.Linear(MLP_FACTOR * recipe.hidden_size, recipe.hidden_size)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map ``[rows, length, hidden_size]`` to the same shape."""
        output: Tensor = self.dense_4h_to_h(functional.gelu(self.dense_h_to_4h(hidden), approximate="tanh"))
        return output


class Layer(nn.Module):
    """x + attention(norm1(x)) + mlp(norm2(x))."""

    def __init__(self, recipe: Recipe) -> None:
        """Allocate both norms, attention and MLP."""
        super().__init__()
        self.input_layernorm = nn.LayerNorm(recipe.hidden_size, eps=recipe.layer_norm_epsilon)
        self.post_attention_layernorm = nn.LayerNorm(recipe.hidden_size, eps=recipe.layer_norm_epsilon)
        self.attention = Attention(recipe)
        self.mlp = Mlp(recipe)

    def forward(self, hidden: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        """Map ``[rows, length, hidden_size]`` to the same shape."""
        attended = self.attention(self.input_layernorm(hidden), cosines, sines)
        output: Tensor = hidden + attended + self.mlp(self.post_attention_layernorm(hidden))
        return output


class Trunk(nn.Module):
    """Embedding, layers and final norm: everything below the unembedding."""

    def __init__(self, recipe: Recipe) -> None:
        """Allocate the modules."""
        super().__init__()
        self.embed_in = nn.Embedding(recipe.vocab_size, recipe.hidden_size)
        self.layers = nn.ModuleList(Layer(recipe) for _ in range(recipe.layers))
        self.final_layer_norm = nn.LayerNorm(recipe.hidden_size, eps=recipe.layer_norm_epsilon)


class GPTNeoX(nn.Module):
    """The language model. Parameters are allocated, not initialised: see ``initialisation.initialise``."""

    cosines: Tensor
    sines: Tensor

    def __init__(self, recipe: Recipe, *, recompute: bool = False) -> None:
        """Allocate all parameters on the current default device and the rotary tables beside them.

        With ``recompute`` a layer keeps only its input for the backward pass, which runs it once more: less memory, a
        third more work, the same bits, since nothing in a layer draws random numbers.
        """
        super().__init__()
        self.recompute = recompute
        self.gpt_neox = Trunk(recipe)
        self.embed_out = nn.Linear(recipe.hidden_size, recipe.vocab_size, bias=False)
        cosines, sines = rotary_tables(recipe)
        # Middle dims of size 1 line up with heads and with the pair (query, key).
        self.register_buffer("cosines", cosines[:, None, None, :], persistent=False)
        self.register_buffer("sines", sines[:, None, None, :], persistent=False)

    def hidden(self, tokens: Tensor) -> Tensor:
        """Final hidden states ``[rows, length, hidden_size]`` of integer ``tokens`` ``[rows, length]``."""
        length = tokens.shape[1]
        if length > self.cosines.shape[0]:
            raise ModelError(f"a row of {length} tokens is longer than the recipe's {self.cosines.shape[0]}")
        states: Tensor = self.gpt_neox.embed_in(tokens)
        dtype = torch.get_autocast_dtype(tokens.device.type) if torch.is_autocast_enabled(tokens.device.type) else None
        cosines = self.cosines[:length].to(dtype or states.dtype)
        sines = self.sines[:length].to(dtype or states.dtype)
        recompute = self.recompute and torch.is_grad_enabled()
        for layer in self.gpt_neox.layers:
            if recompute:
                states = recomputed(layer, states, cosines, sines, use_reentrant=False, preserve_rng_state=False)
            else:
                states = layer(states, cosines, sines)
        final: Tensor = self.gpt_neox.final_layer_norm(states)
        return final

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits ``[rows, length, vocab_size]``; the trainer uses ``hidden`` and the chunked loss instead."""
        logits: Tensor = self.embed_out(self.hidden(tokens))
        return logits
