"""Weights of GPT-NeoX's trainer <-> Hugging Face's layout, one part of the model at a time, exact both ways.

GPT-NeoX numbers the parts of its pipeline: 0 the embedding, 2 ... L+1 the layers, L+3 the final norm, L+4 the
unembedding; 1 and L+2 have no weights. With tensor parallelism each of R ranks holds a share of every part:

    query/key/value, MLP up, both embeddings    rows cut into R (whole heads, whole vocabulary ranges)
    attention output, MLP down: matrices        columns cut into R
    attention output, MLP down: biases          R summands, because the ranks' outputs are added with their biases
    layer norms                                 the same on every rank

Within a head both layouts have the same order (query, key, value), so nothing is permuted. Splitting gives the whole
bias to rank 0 and zeros to the others: halves of the smallest float16 numbers would not add up again. Merging adds
biases rank by rank in their own type, as GPT-NeoX's own converter does, and averages norms. Pure functions of tensors.
Source of the layout: gpt-neox v1.0 and its tools/convert_module_to_hf.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workflow_scripts.errors import ModelError, shorten
from workflow_scripts.training.tensor_shapes import EMBED_IN, EMBED_OUT, FINAL_NORM, layer_prefix, layer_shapes

FIRST_LAYER = 2
# Names within a part that are cut by rows, by columns, or whose summands are spread over the ranks.
BY_ROW = frozenset(
    {
        "word_embeddings.weight",
        "final_linear.weight",
        "attention.query_key_value.weight",
        "attention.query_key_value.bias",
        "mlp.dense_h_to_4h.weight",
        "mlp.dense_h_to_4h.bias",
    }
)
BY_COLUMN = frozenset({"attention.dense.weight", "mlp.dense_4h_to_h.weight"})
SUMMED = frozenset({"attention.dense.bias", "mlp.dense_4h_to_h.bias"})
# A buffer in the trainer's files; Hugging Face computes it from the configuration.
ROTARY = "attention.rotary_emb.inv_freq"
# Names that GPT-NeoX gives since September 2024 to what it called dense_h_to_4h and dense_4h_to_h before.
RENAMED = {"mlp.linear1.": "mlp.dense_h_to_4h.", "mlp.linear2.": "mlp.dense_4h_to_h."}
# Parameters that give another network away, and what it has.
FOREIGN = {
    "norm.scale": "RMSNorm, which has a scale and no bias",
    "layernorm.scale": "RMSNorm, which has a scale and no bias",
    "norm.g": "ScaleNorm",
    "layernorm.g": "ScaleNorm",
    "mlp.w1.weight": "the gated MLP of LLaMA",
    "mlp.moe_layer": "a mixture of experts",
    "position_embeddings.weight": "learned positions",
    "soft_embedding": "a soft prompt",
    "adapter": "adapters",
}


@dataclass(frozen=True)
class Part:
    """One numbered part of the pipeline; ``names`` maps GPT-NeoX's names within it to Hugging Face's."""

    index: int
    names: Mapping[str, str]

    @property
    def is_layer(self) -> bool:
        """True for a transformer layer, which carries the rotary buffer."""
        return "attention.dense.weight" in self.names


def parts(layers: int) -> Iterator[Part]:
    """All parts with weights, in the order of the pipeline."""
    yield Part(0, {"word_embeddings.weight": EMBED_IN})
    for layer in range(layers):
        yield Part(FIRST_LAYER + layer, {name: layer_prefix(layer) + name for name in layer_shapes(1)})
    yield Part(layers + 3, {f"norm.{kind}": f"{FINAL_NORM}.{kind}" for kind in ("weight", "bias")})
    yield Part(layers + 4, {"final_linear.weight": EMBED_OUT})


def merge(part: Part, shares: Sequence[Mapping[str, Tensor]], where: str) -> dict[str, Tensor]:
    """Hugging Face's tensors of a part from the shares of its ranks; ``where`` names the files in messages.

    Raises ModelError when a share lacks a tensor or has one that does not belong there.
    """
    known = [old_names(share) for share in shares]
    for rank, share in enumerate(known):
        refuse_wrong_names(part, share, f"{where}, rank {rank}")
    return {theirs: merge_tensor(name, [share[name] for share in known], where) for name, theirs in part.names.items()}


def old_names(share: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``share`` under the names of GPT-NeoX v1.0, whatever version wrote it; a name that would be there twice stays."""
    made = dict(share)
    for name in share:
        for prefix, old in RENAMED.items():
            other = old + name.removeprefix(prefix)
            if name.startswith(prefix) and other not in share:
                made[other] = made.pop(name)
    return made


def refuse_wrong_names(part: Part, share: Mapping[str, Tensor], where: str) -> None:
    """Raise ModelError when the names of a share are not those of its part."""
    missing = sorted(set(part.names) - set(share))
    unexpected = sorted(set(share) - set(part.names) - {ROTARY})
    foreign = next((what for name in unexpected for mark, what in FOREIGN.items() if mark in name), None)
    if foreign:
        raise ModelError(f"{where}: part {part.index} has {shorten(unexpected, 3)}: {foreign}, which is not supported")
    if missing or unexpected:
        what = f"lacks {shorten(missing, 3)}" if missing else f"has unexpected {shorten(unexpected, 3)}"
        raise ModelError(f"{where}: part {part.index} {what}; check the number of layers")


def merge_tensor(name: str, shares: Sequence[Tensor], where: str) -> Tensor:
    """One tensor from the shares of all ranks."""
    if len(shares) == 1:
        return shares[0]
    try:
        if name in BY_ROW:
            return torch.cat(list(shares), dim=0)
        if name in BY_COLUMN:
            return torch.cat(list(shares), dim=1)
        if name in SUMMED:
            total = shares[0]
            for share in shares[1:]:
                total = total + share
            return total
        # In float64 the sum of equal numbers is exact, so that equal shares give themselves.
        return torch.stack([share.double() for share in shares]).mean(dim=0).to(shares[0].dtype)
    except RuntimeError as error:
        raise ModelError(f"{where}: the ranks' shares of {name} do not fit together ({error})") from None


def split(part: Part, tensors: Mapping[str, Tensor], ranks: int) -> list[dict[str, Tensor]]:
    """Shares of a part for each of ``ranks`` ranks, with memory of their own.

    Raises ModelError when a dimension cannot be cut into ``ranks`` equal pieces.
    """
    shares: list[dict[str, Tensor]] = [{} for _ in range(ranks)]
    for name, theirs in part.names.items():
        for share, piece in zip(shares, split_tensor(name, tensors[theirs], ranks), strict=True):
            share[name] = piece
    return shares


def split_tensor(name: str, tensor: Tensor, ranks: int) -> list[Tensor]:
    """Shares of one tensor."""
    if name in SUMMED:
        return [tensor.clone(), *(torch.zeros_like(tensor) for _ in range(ranks - 1))]
    if name in BY_ROW or name in BY_COLUMN:
        dim = 0 if name in BY_ROW else 1
        if tensor.shape[dim] % ranks:
            raise ModelError(f"{name} has {tensor.shape[dim]} entries, which cannot be divided among {ranks} ranks")
        return [piece.clone(memory_format=torch.contiguous_format) for piece in tensor.chunk(ranks, dim)]
    return [tensor.clone() for _ in range(ranks)]


def rotary_frequencies(rotary_dims: int, base: float) -> Tensor:
    """The buffer of inverse frequencies as GPT-NeoX v1.0 saved it: float16 ``[rotary_dims / 2]``."""
    exponents = torch.arange(0, rotary_dims, 2, dtype=torch.float32) / rotary_dims
    return (1.0 / base**exponents).half()
