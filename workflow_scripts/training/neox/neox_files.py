"""Checkpoint folders of GPT-NeoX's trainer (DeepSpeed's names), read and written part by part.

    pipeline     layer_<ii>-model_<rr>-model_states.pt      one file per part and rank: all models of the suite
    one file     mp_rank_<rr>_model_states.pt               key 'module' -> 'sequential.<ii>.<name>'

Files are opened with weights_only, so that nothing in them can run, and mapped into memory, so that only the tensors
that are used are read. Optimizer states are not touched: they are ZeRO partitions that only the trainer can read.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from workflow_scripts.errors import MissingInputError, ModelError
from workflow_scripts.storage.atomic import atomic_path, write_text
from workflow_scripts.training.neox.conversions import FIRST_LAYER

LAYER_FILE = re.compile(r"layer_(\d{2,3})-model_(\d{2})-model_states\.pt")
RANK_FILE = re.compile(r"mp_rank_(\d{2})_model_states\.pt")
STEP_FOLDER = re.compile(r"global_step(\d+)")
# The random state of numpy, which the trainer saves beside the weights: an array of whole numbers and how to make it.
HARMLESS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (np._core.multiarray._reconstruct, "numpy.core.multiarray._reconstruct"),  # type: ignore[attr-defined]
    (np._core.multiarray._reconstruct, "numpy._core.multiarray._reconstruct"),  # type: ignore[attr-defined]
    np.ndarray,
    np.dtype,
    type(np.dtype(np.uint32)),
]


class NeoxWeights(Protocol):
    """The weights of one checkpoint folder."""

    ranks: int
    layers: int

    def share(self, index: int, rank: int) -> Mapping[str, Tensor]:
        """Tensors of part ``index`` on ``rank`` by GPT-NeoX's names; raises ModelError or MissingInputError."""
        ...


def load(path: Path) -> Any:
    """Content of a .pt file, tensors mapped from the file; raises MissingInputError or ModelError."""
    if not path.is_file():
        raise MissingInputError(f"{path}: no such file; the checkpoint is incomplete")
    try:
        with torch.serialization.safe_globals(HARMLESS):
            return torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except (RuntimeError, ValueError, EOFError, OSError, pickle.UnpicklingError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{path}: not readable as plain weights ({first})") from None


class PipelineFiles:
    """A folder with one file per part and rank."""

    def __init__(self, folder: Path, found: Sequence[tuple[int, int]]) -> None:
        """``found`` are part and rank of the files that are there; raises ModelError when some are not."""
        self.folder = folder
        self.ranks = 1 + max(rank for _, rank in found)
        # The last part is the unembedding, number L + 4.
        self.layers = max(index for index, _ in found) - 4
        indices = [0, *range(FIRST_LAYER, FIRST_LAYER + self.layers), self.layers + 3, self.layers + 4]
        wanted = {(index, rank) for index in indices for rank in range(self.ranks)}
        lost, odd = sorted(wanted - set(found)), sorted(set(found) - wanted)
        if self.layers < 1 or lost or odd:
            index, rank = (lost or odd or [(0, 0)])[0]
            raise ModelError(f"{folder}: layer_{index:02} of rank {rank} is {'missing' if lost else 'one too many'}")

    def share(self, index: int, rank: int) -> Mapping[str, Tensor]:
        """Tensors of one part on one rank."""
        path = self.folder / layer_file(index, rank)
        return tensors_only(load(path), path)


class OneFile:
    """A folder with one file per rank that holds all parts."""

    def __init__(self, folder: Path, ranks: int) -> None:
        """Open the files; raises ModelError when one does not hold a module."""
        self.ranks = ranks
        self.modules = [self.module(folder / rank_file(rank)) for rank in range(ranks)]
        self.layers = max(int(name.split(".")[1]) for name in self.modules[0]) - 4

    def module(self, path: Path) -> dict[str, Tensor]:
        """Tensors of one rank."""
        content = load(path)
        module = content.get("module") if isinstance(content, dict) else None
        if not isinstance(module, dict) or not module:
            raise ModelError(f"{path}: has no 'module', and there are no layer files beside it")
        tensors = tensors_only(module, path)
        wrong = [name for name in tensors if not re.fullmatch(r"sequential\.\d+\..+", name)]
        if wrong:
            raise ModelError(f"{path}: '{wrong[0][:80]}' is not of the form sequential.<part>.<name>")
        return tensors

    def share(self, index: int, rank: int) -> Mapping[str, Tensor]:
        """Tensors of one part on one rank."""
        head = f"sequential.{index}."
        return {n.removeprefix(head): t for n, t in self.modules[rank].items() if n.startswith(head)}


def tensors_only(content: object, path: Path) -> dict[str, Tensor]:
    """``content`` when it maps names to tensors; raises ModelError otherwise."""
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ModelError(f"{path}: does not map names to tensors, so it is not a file of weights")
    return {str(name): tensor for name, tensor in content.items()}


def layer_file(index: int, rank: int) -> str:
    """Name of the file of one part on one rank.

    >>> layer_file(5, 1)
    'layer_05-model_01-model_states.pt'
    """
    return f"layer_{index:02}-model_{rank:02}-model_states.pt"


def rank_file(rank: int) -> str:
    """Name of the file with the trainer's state of one rank."""
    return f"mp_rank_{rank:02}_model_states.pt"


def open_neox(folder: Path) -> NeoxWeights:
    """Weights in ``folder``, or in its one folder ``global_step<N>``; raises MissingInputError or ModelError."""
    if not folder.is_dir():
        raise MissingInputError(f"{folder}: no such folder")
    inner = [path for path in folder.iterdir() if STEP_FOLDER.fullmatch(path.name) and path.is_dir()]
    if len(inner) > 1:
        raise ModelError(f"{folder}: holds {len(inner)} checkpoints; give one of its folders, such as {inner[0].name}")
    place = inner[0] if inner else folder
    names = [path.name for path in place.iterdir()]
    layer_files = [(int(m[1]), int(m[2])) for name in names if (m := LAYER_FILE.fullmatch(name))]
    if layer_files:
        return PipelineFiles(place, layer_files)
    ranks = sum(RANK_FILE.fullmatch(name) is not None for name in names)
    if ranks:
        return OneFile(place, ranks)
    raise MissingInputError(f"{place}: holds neither {layer_file(0, 0)} nor {rank_file(0)}; not a GPT-NeoX checkpoint")


class NeoxWriter:
    """Writes a checkpoint folder in the pipeline layout, each file whole or not at all."""

    def __init__(self, folder: Path, step: int, ranks: int) -> None:
        """Files go to ``folder``/global_step<step>."""
        self.top, self.folder, self.step, self.ranks = folder, folder / f"global_step{step}", step, ranks

    def write(self, index: int, shares: Sequence[Mapping[str, Tensor]]) -> None:
        """Write the shares of one part."""
        for rank, share in enumerate(shares):
            save(self.folder / layer_file(index, rank), dict(share))

    def finish(self, scheduler: Mapping[str, Any]) -> None:
        """Write the trainer's state without an optimizer, and last the file that names the checkpoint.

        ``scheduler`` is the state of its learning rate. The two lists of sparse tensors are empty here; the old and the
        new name are both asked for, by DeepSpeed before and after 2022.
        """
        for rank in range(self.ranks):
            state = {"module": None, "optimizer": None, "mp_world_size": self.ranks, "dp_world_size": 1}
            sparse: dict[str, list[str]] = {"csr_tensor_module_names": [], "sparse_tensor_module_names": []}
            numbers = {"global_steps": self.step, "skipped_steps": 0, "iteration": self.step}
            save(self.folder / rank_file(rank), {**state, **sparse, **numbers, "lr_scheduler": dict(scheduler)})
        write_text(self.top / "latest", self.folder.name)


def save(path: Path, content: dict[str, Any]) -> None:
    """Write a .pt file atomically."""
    with atomic_path(path) as temporary:
        torch.save(content, temporary)
