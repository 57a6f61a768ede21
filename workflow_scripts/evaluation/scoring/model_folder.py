"""What the folder of a GPT-NeoX checkpoint says without its weights being loaded: configuration, files, identity.

Reads ``config.json`` (old keys and transformers 5's) and lists of files and hashes. Imports no torch, so that a process
with nothing to compute does not pay for it.
"""

import json
import math
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from workflow_scripts.errors import IntegrityError, MissingInputError, ModelError
from workflow_scripts.json_values import JsonMapping
from workflow_scripts.storage.hashing import sha256_file, sha256_text
from workflow_scripts.storage.lockfile import read_lock
from workflow_scripts.storage.model_files import weight_files
from workflow_scripts.training.tensor_shapes import layer_shapes

HEAD = "embed_out.weight"
# Numbers below it fit into an index of 32 bits.
LARGEST = 1 << 31
LAYERS = "gpt_neox.layers."
IN_LAYER = re.compile(r"(0|[1-9][0-9]{0,9})\.(.+)")
# Parameters of transformers' GPTNeoXConfig that decide the numbers and may say only one thing here. The rest that is
# not read has no effect on an evaluation; a key that transformers does not know has none either.
ONLY: JsonMapping = {
    "attention_bias": True,
    "is_decoder": False,
    "quantization_config": None,
    "pruned_heads": None,
}
ACTIVATIONS = ("gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "relu")


class TensorNames(NamedTuple):
    """Names and shapes of a network's weights: before the layers, of each layer below ``prefix``, after them."""

    prefix: str
    first: Mapping[str, tuple[int, ...]]
    layer: Mapping[str, tuple[int, ...]]
    last: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """The parts of ``config.json`` that decide the numbers of every architecture."""

    hidden_size: int
    layers: int
    heads: int
    intermediate_size: int
    vocabulary: int
    context: int
    rotary_base: float
    tied: bool

    @property
    def rotary_size(self) -> int:
        """Leading dimensions of each head that are rotated."""
        raise NotImplementedError

    @property
    def head_name(self) -> str:
        """Name of the output matrix, where it is not the embedding."""
        raise NotImplementedError

    @property
    def tensor_names(self) -> TensorNames:
        """Names and shapes of all weights."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class NeoxConfig(NetworkConfig):
    """What GPT-NeoX has beside it."""

    rotary_share: float
    layer_norm_eps: float
    parallel_residual: bool
    activation: str

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.heads

    @property
    def rotary_size(self) -> int:
        """Leading dimensions of each head that are rotated."""
        return int(self.head_size * self.rotary_share)

    @property
    def head_name(self) -> str:
        """Name of the output matrix."""
        return HEAD

    @property
    def tensor_names(self) -> TensorNames:
        """Names and shapes of all weights."""
        width, embedding = (self.hidden_size,), (self.vocabulary, self.hidden_size)
        last: dict[str, tuple[int, ...]] = {f"gpt_neox.final_layer_norm.{part}": width for part in ("weight", "bias")}
        last |= {} if self.tied else {HEAD: embedding}
        return TensorNames(LAYERS, {"gpt_neox.embed_in.weight": embedding}, shapes_of_layer(self), last)


def read_config(folder: Path) -> NeoxConfig:
    """Read ``config.json``; old keys (``rotary_pct``) and transformers 5's (``rope_parameters``) are understood."""
    path = folder / "config.json"
    if not path.is_file():
        raise MissingInputError(f"{folder}: has no config.json; give a Hugging Face folder of one checkpoint")
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not a GPT-NeoX configuration ({error})") from error
    return checked_config(raw, path)


def checked_config(raw: JsonMapping, path: Path) -> NeoxConfig:
    """Configuration from what was read from ``path``; :class:`ModelError` when it is not one that is computed here."""
    try:
        config = parse_config(raw)
        check_heads(config)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path}: not a GPT-NeoX configuration ({error})") from error
    if raw.get("model_type", "gpt_neox") != "gpt_neox":
        raise ModelError(f"{path}: model_type is {raw['model_type']!r}; this takes a 'gpt_neox' checkpoint only")
    if config.activation not in ACTIVATIONS:
        raise ModelError(f"{path}: hidden_act is {config.activation!r}; known are {', '.join(ACTIVATIONS)}")
    return config


def parse_config(raw: JsonMapping) -> NeoxConfig:
    """Configuration from the JSON object."""
    for key, wanted in ONLY.items():
        if raw.get(key, wanted) is not wanted and raw[key] != {}:
            raise ValueError(f"{key} is {str(raw[key])[:40]!r}; only {wanted!r} is scored here")
    rope = raw.get("rope_parameters") or raw.get("rope_scaling") or {}
    if rope.get("rope_type", rope.get("type", "default")) != "default":
        raise ValueError(f"rotary type {rope} is not supported")
    return NeoxConfig(
        hidden_size=whole(raw, "hidden_size"),
        layers=whole(raw, "num_hidden_layers"),
        heads=whole(raw, "num_attention_heads"),
        intermediate_size=whole(raw, "intermediate_size"),
        vocabulary=whole(raw, "vocab_size"),
        context=whole(raw, "max_position_embeddings"),
        rotary_share=positive(rope, "partial_rotary_factor", positive(raw, "rotary_pct", 0.25)),
        rotary_base=positive(rope, "rope_theta", positive(raw, "rotary_emb_base", 10000)),
        layer_norm_eps=positive(raw, "layer_norm_eps", 1e-5),
        parallel_residual=switch(raw, "use_parallel_residual", True),
        activation=str(raw.get("hidden_act", "gelu")),
        tied=switch(raw, "tie_word_embeddings", False),
    )


def whole(raw: JsonMapping, key: str) -> int:
    """A count from 1 on, at most what an array's index can hold; raises KeyError or ValueError."""
    value = raw[key]
    if type(value) is not int or not 1 <= value < LARGEST:
        raise ValueError(f"{key} is {shown(value)}, expected a whole number from 1 to {LARGEST - 1}")
    return value


def positive(raw: JsonMapping, key: str, default: float) -> float:
    """A finite number above 0; raises ValueError."""
    value = raw.get(key, default)
    if type(value) not in (int, float) or not 0 < value < LARGEST:
        raise ValueError(f"{key} is {shown(value)}, expected a finite number above 0")
    return float(value)


def switch(raw: JsonMapping, key: str, default: bool) -> bool:
    """True or false, and no text that says so; raises ValueError."""
    value = raw.get(key, default)
    if not isinstance(value, bool):
        raise ValueError(f"{key} is {shown(value)}, expected true or false")
    return value


def shown(value: object) -> str:
    """A value for a message, cut where a file from elsewhere made it long."""
    return repr(value)[:40]


def check_heads(config: NeoxConfig) -> None:
    """Raise ValueError unless the heads share the width, and the rotated part of each comes in pairs."""
    if config.hidden_size % config.heads:
        raise ValueError(f"num_attention_heads is {config.heads}, hidden_size {config.hidden_size} no multiple of it")
    if config.rotary_share > 1 or config.rotary_size % 2 or config.rotary_size == 0:
        raise ValueError(
            f"the rotary share {config.rotary_share} turns {config.rotary_size} of {config.head_size} dimensions, "
            "expected an even number of them"
        )


class Shapes(Mapping[str, tuple[int, ...]]):
    """Name and shape of every weight of a model, in order.

    Nothing is made of the number of layers, which is a stranger's: a billion of them would be gigabytes of names.
    """

    def __init__(self, config: NetworkConfig) -> None:
        self.layers = config.layers
        self.prefix, self.first, self.layer, self.last = config.tensor_names

    def __getitem__(self, name: str) -> tuple[int, ...]:
        match = IN_LAYER.fullmatch(name.removeprefix(self.prefix)) if name.startswith(self.prefix) else None
        if match is None:
            return self.first[name] if name in self.first else self.last[name]
        if int(match[1]) >= self.layers:
            raise KeyError(name)
        return self.layer[match[2]]

    def __iter__(self) -> Iterator[str]:
        yield from self.first
        for number in range(self.layers):
            yield from (f"{self.prefix}{number}.{name}" for name in self.layer)
        yield from self.last

    def __len__(self) -> int:
        return len(self.first) + self.layers * len(self.layer) + len(self.last)

    @property
    def elements(self) -> int:
        """Number of values in all weights."""
        ends = sum(math.prod(shape) for part in (self.first, self.last) for shape in part.values())
        return ends + self.layers * sum(math.prod(shape) for shape in self.layer.values())


def shapes_of_layer(config: NeoxConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every weight of one layer; the MLP may have any inner width."""
    width, inner = config.hidden_size, config.intermediate_size
    mlp = {"mlp.dense_h_to_4h.weight": (inner, width), "mlp.dense_h_to_4h.bias": (inner,)}
    return layer_shapes(width) | mlp | {"mlp.dense_4h_to_h.weight": (width, inner)}


def elements(path: Path) -> int:
    """Values that a weight file holds by its header; of a format without one, the most that it could."""
    from safetensors import SafetensorError, safe_open

    if path.suffix != ".safetensors":
        return path.stat().st_size
    try:
        with safe_open(str(path), framework="numpy") as file:
            return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    except SafetensorError:
        return sys.maxsize  # damaged: reported when it is loaded


def weights_identity(folder: Path) -> str:
    """sha256 over the names and sha256 of config and weight files.

    Hashes of weights that are listed in ``sha256.txt`` are taken from there, so that a process with nothing to compute
    need not read 24 GB; the program that loads the weights holds them to that list (:func:`refuse_changed`).
    """
    listed, config = listed_hashes(folder), folder / "config.json"
    refuse_changed(config, listed)
    lines = [f"{listed.get(file.name) or sha256_file(file)}  {file.name}" for file in [config, *weight_files(folder)]]
    return sha256_text("\n".join(lines))


def refuse_changed(file: Path, listed: Mapping[str, str]) -> None:
    """:class:`IntegrityError` when the bytes of ``file`` are not those that are ``listed``; reads all of it."""
    wanted = listed.get(file.name)
    if wanted is None:
        return
    found = sha256_file(file)
    if found != wanted:
        raise IntegrityError(
            f"{file}: its sha256 is {found[:12]}, but {wanted[:12]} was fetched: the file changed on this disk; delete "
            "it and rerun, which refetches it"
        )


def listed_hashes(folder: Path) -> dict[str, str]:
    """File name to sha256 from the folder's ``sha256.txt``; empty without one."""
    path = folder / "sha256.txt"
    if not path.is_file():
        return {}
    return {entry.path: entry.sha256 for entry in read_lock(path) if entry.sha256 is not None}
