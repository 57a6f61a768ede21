"""What the folder of a GPT-NeoX checkpoint says without its weights being loaded: configuration, files, identity.

Reads ``config.json`` (old keys and transformers 5's) and lists of files and hashes. Imports no torch, so that a process
with nothing to compute does not pay for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workflow_scripts.errors import MissingInputError, ModelError, shorten
from workflow_scripts.storage.hashing import sha256_file, sha256_text
from workflow_scripts.storage.lockfile import read_lock

HEAD = "embed_out.weight"
# Parameters of transformers' GPTNeoXConfig that decide the numbers and may say only one thing here. The rest that is
# not read has no effect on an evaluation; a key that transformers does not know has none either.
ONLY: Mapping[str, Any] = {
    "attention_bias": True,
    "is_decoder": False,
    "quantization_config": None,
    "pruned_heads": None,
}
ACTIVATIONS = ("gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "relu")


@dataclass(frozen=True)
class NeoxConfig:
    """The parts of ``config.json`` that decide the numbers."""

    hidden_size: int
    layers: int
    heads: int
    intermediate_size: int
    vocabulary: int
    context: int
    rotary_share: float
    rotary_base: float
    layer_norm_eps: float
    parallel_residual: bool
    activation: str
    tied: bool

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.heads

    @property
    def rotary_size(self) -> int:
        """Leading dimensions of each head that are rotated."""
        return int(self.head_size * self.rotary_share)


def read_config(folder: Path) -> NeoxConfig:
    """Read ``config.json``; old keys (``rotary_pct``) and transformers 5's (``rope_parameters``) are understood."""
    path = folder / "config.json"
    if not path.is_file():
        raise MissingInputError(f"{folder}: has no config.json; give a Hugging Face folder of one checkpoint")
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        config = parse_config(raw)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"{path}: not a GPT-NeoX configuration ({error})") from error
    if raw.get("model_type", "gpt_neox") != "gpt_neox":
        raise ModelError(f"{path}: model_type is {raw['model_type']!r}; only 'gpt_neox' is scored here")
    if config.activation not in ACTIVATIONS:
        raise ModelError(f"{path}: hidden_act is {config.activation!r}; known are {', '.join(ACTIVATIONS)}")
    return config


def parse_config(raw: Mapping[str, Any]) -> NeoxConfig:
    """Configuration from the JSON object."""
    for key, wanted in ONLY.items():
        if raw.get(key, wanted) is not wanted and raw[key] != {}:
            raise ValueError(f"{key} is {str(raw[key])[:40]!r}; only {wanted!r} is scored here")
    rope = raw.get("rope_parameters") or raw.get("rope_scaling") or {}
    if rope.get("rope_type", rope.get("type", "default")) != "default":
        raise ValueError(f"rotary type {rope} is not supported")
    return NeoxConfig(
        hidden_size=int(raw["hidden_size"]),
        layers=int(raw["num_hidden_layers"]),
        heads=int(raw["num_attention_heads"]),
        intermediate_size=int(raw["intermediate_size"]),
        vocabulary=int(raw["vocab_size"]),
        context=int(raw["max_position_embeddings"]),
        rotary_share=float(rope.get("partial_rotary_factor", raw.get("rotary_pct", 0.25))),
        rotary_base=float(rope.get("rope_theta", raw.get("rotary_emb_base", 10000))),
        layer_norm_eps=float(raw.get("layer_norm_eps", 1e-5)),
        parallel_residual=bool(raw.get("use_parallel_residual", True)),
        activation=str(raw.get("hidden_act", "gelu")),
        tied=bool(raw.get("tie_word_embeddings", False)),
    )


def expected_shapes(config: NeoxConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every weight of the model."""
    width, inner = config.hidden_size, config.intermediate_size
    norm = {"weight": (width,), "bias": (width,)}
    layer: dict[str, tuple[int, ...]] = {
        **{f"input_layernorm.{part}": shape for part, shape in norm.items()},
        **{f"post_attention_layernorm.{part}": shape for part, shape in norm.items()},
        "attention.query_key_value.weight": (3 * width, width),
        "attention.query_key_value.bias": (3 * width,),
        "attention.dense.weight": (width, width),
        "attention.dense.bias": (width,),
        "mlp.dense_h_to_4h.weight": (inner, width),
        "mlp.dense_h_to_4h.bias": (inner,),
        "mlp.dense_4h_to_h.weight": (width, inner),
        "mlp.dense_4h_to_h.bias": (width,),
    }
    shapes: dict[str, tuple[int, ...]] = {"gpt_neox.embed_in.weight": (config.vocabulary, width)}
    for number in range(config.layers):
        shapes |= {f"gpt_neox.layers.{number}.{name}": shape for name, shape in layer.items()}
    shapes |= {f"gpt_neox.final_layer_norm.{part}": shape for part, shape in norm.items()}
    return shapes if config.tied else shapes | {HEAD: (config.vocabulary, width)}


def weight_files(folder: Path) -> list[Path]:
    """Weight files of a checkpoint, safetensors before ``.bin``; an index file decides when there are shards."""
    for stem, suffix in (("model", "safetensors"), ("pytorch_model", "bin")):
        index = folder / f"{stem}.{suffix}.index.json"
        single = folder / f"{stem}.{suffix}"
        if single.is_file():
            return [single]
        if index.is_file():
            return indexed_files(index)
    raise MissingInputError(f"{folder}: has neither model.safetensors nor pytorch_model.bin")


def indexed_files(index: Path) -> list[Path]:
    """Shards named by an index file; all must be there."""
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, RecursionError) as error:
        raise ModelError(f"{index}: not a weight index ({error}); fetch the checkpoint again") from error
    files = [index.parent / Path(str(name)).name for name in names]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise MissingInputError(f"{index.parent}: shards {shorten(missing)} are missing; fetch the checkpoint again")
    return files


def weights_identity(folder: Path) -> str:
    """sha256 over the names and sha256 of config and weight files; hashes listed in ``sha256.txt`` are believed.

    The fetch step verifies each file against ``sha256.txt``, so that 24 GB need not be read twice.
    """
    listed = listed_hashes(folder)
    files = [folder / "config.json", *weight_files(folder)]
    lines = [f"{listed.get(file.name) or sha256_file(file)}  {file.name}" for file in files]
    return sha256_text("\n".join(lines))


def listed_hashes(folder: Path) -> dict[str, str]:
    """File name to sha256 from the folder's ``sha256.txt``; empty without one."""
    path = folder / "sha256.txt"
    if not path.is_file():
        return {}
    return {entry.path: entry.sha256 for entry in read_lock(path) if entry.sha256 is not None}
