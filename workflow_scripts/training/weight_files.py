"""Weights in Hugging Face's files, read and written tensor by tensor: never more in memory than what is asked for.

The safetensors format: 8 bytes with the little-endian length of a JSON header, the header, the data in the header's
order (https://huggingface.co/docs/safetensors). Old .bin files are opened with weights_only and mapped into memory.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from io import BufferedWriter
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor

from workflow_scripts.errors import ModelError
from workflow_scripts.json_values import JsonObject
from workflow_scripts.storage.atomic import commit
from workflow_scripts.storage.leftovers import temporary_name
from workflow_scripts.storage.model_files import weight_files
from workflow_scripts.training.neox.neox_files import load, tensors_only
from workflow_scripts.training.recipe import Recipe
from workflow_scripts.training.tensor_shapes import EMBED_OUT

NAMES = {torch.float16: "F16", torch.bfloat16: "BF16", torch.float32: "F32"}
OTHER_HEAD = "lm_head.weight"
ALIGNMENT = 8


class SafetensorsWriter:
    """Writes one safetensors file from tensors that come in a known order; whole or not at all."""

    def __init__(self, path: Path, shapes: Mapping[str, tuple[int, ...]], dtype: torch.dtype) -> None:
        """``shapes`` are all tensors in the order in which they will come, all of ``dtype``."""
        if dtype not in NAMES:
            raise ModelError(f"{path}: weights of type {dtype} are not written; float16, bfloat16 and float32 are")
        self.path, self.shapes, self.dtype = path, dict(shapes), dtype
        self.pending = list(shapes)
        self.temporary = temporary_name(path)
        self.file: BufferedWriter | None = None

    def __enter__(self) -> SafetensorsWriter:
        """Write the header."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.file = self.temporary.open("wb")
        self.file.write(self.header())
        return self

    def header(self) -> bytes:
        """Length and header; padded with spaces so that the data are aligned."""
        content: JsonObject = {"__metadata__": {"format": "pt"}}
        end = 0
        for name, shape in self.shapes.items():
            begin, end = end, end + math.prod(shape) * self.dtype.itemsize
            content[name] = {"dtype": NAMES[self.dtype], "shape": list(shape), "data_offsets": [begin, end]}
        text = json.dumps(content, separators=(",", ":")).encode()
        text += b" " * (-len(text) % ALIGNMENT)
        return len(text).to_bytes(8, "little") + text

    def write(self, name: str, tensor: Tensor) -> None:
        """Append the next tensor; raises ModelError when it is not the one that the header has next."""
        wanted = self.pending.pop(0) if self.pending else "nothing"
        if name != wanted or tuple(tensor.shape) != self.shapes[name] or tensor.dtype != self.dtype:
            raise ModelError(
                f"{self.path}: got {name} {tuple(tensor.shape)} {tensor.dtype}, expected {wanted} "
                f"{self.shapes.get(wanted, ())} {self.dtype}; is this the model that was named?"
            )
        if self.file is None:
            raise RuntimeError("the writer is used outside its with block")
        self.file.write(tensor.detach().contiguous().view(torch.uint8).numpy().data)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the file its name when all tensors came, remove it otherwise."""
        if self.file is not None:
            self.file.close()
        if kind is None and not self.pending:
            commit(self.temporary, self.path)
            return
        self.temporary.unlink(missing_ok=True)
        if kind is None:
            raise ModelError(f"{self.path}: {self.pending[0]} and {len(self.pending) - 1} more tensors did not come")


class HuggingFaceWeights:
    """All weight files of a Hugging Face folder as one mapping from names to tensors, read on demand."""

    def __init__(self, folder: Path) -> None:
        """Find the files; raises MissingInputError when there are none, or some of a sharded set are not there."""
        self.folder = folder
        self.places: dict[str, Path] = {}
        for path in weight_files(folder):
            for name in names_in(path):
                self.places[EMBED_OUT if name == OTHER_HEAD else name] = path

    def tensor(self, name: str) -> Tensor:
        """One tensor; raises ModelError when no file has it."""
        if name not in self.places:
            raise ModelError(f"{self.folder}: no tensor {name}; this is not a whole GPT-NeoX model")
        path = self.places[name]
        known = [name, OTHER_HEAD] if name == EMBED_OUT else [name]
        if path.suffix != ".safetensors":
            content = tensors_only(load(path), path)
            return next(content[option] for option in known if option in content)
        from safetensors import safe_open

        with safe_open(str(path), framework="pt") as file:
            found = next(option for option in known if option in file.keys())  # noqa: SIM118
            tensor: Tensor = file.get_tensor(found)
        return tensor


def refuse_other_config(folder: Path, recipe: Recipe) -> None:
    """Hold ``config.json`` of a Hugging Face folder, where there is one, against what ``recipe`` makes of its weights.

    The shapes of the weights tell neither heads nor rotary share, so that a wrong recipe would go unnoticed. Raises
    ModelError for a difference, or a file that cannot be read.
    """
    path = folder / "config.json"
    if not path.is_file():
        return
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        rope = raw.get("rope_parameters") or {}
        seen = {
            **{key: raw.get(key) for key in ("num_attention_heads", "layer_norm_eps", "use_parallel_residual")},
            "attention_bias": raw.get("attention_bias"),
            "rotary_pct": rope.get("partial_rotary_factor", raw.get("rotary_pct")),
            "rotary_emb_base": rope.get("rope_theta", raw.get("rotary_emb_base")),
        }
    except (ValueError, AttributeError, RecursionError) as error:
        raise ModelError(f"{path}: not a configuration of a model ({error})") from None
    wanted = {
        "num_attention_heads": recipe.heads,
        "layer_norm_eps": recipe.layer_norm_epsilon,
        "use_parallel_residual": True,
        "attention_bias": True,
        "rotary_pct": recipe.rotary_fraction,
        "rotary_emb_base": recipe.rotary_base,
    }
    for key, value in wanted.items():
        if seen[key] is not None and (seen[key] != value or isinstance(seen[key], bool) != isinstance(value, bool)):
            raise ModelError(f"{path}: {key} is {str(seen[key])[:40]!r}, the recipe of {recipe.name} has {value!r}")


def names_in(path: Path) -> list[str]:
    """Names of the tensors in one weight file; raises ModelError when it is damaged."""
    if path.suffix != ".safetensors":
        return list(tensors_only(load(path), path))
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            return list(file.keys())
    except SafetensorError as error:
        raise ModelError(f"{path}: damaged ({str(error).splitlines()[0]}); fetch it again") from None
