"""Loads the weights of a checkpoint: safetensors, or old ``.bin`` files.

Every tensor that the configuration calls for must be there with its shape, and nothing else except the buffers that old
files carry. No code from a checkpoint is ever run: ``.bin`` files are read with ``weights_only``.
"""

import itertools
import pickle
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from workflow_scripts.errors import ModelError, shorten
from workflow_scripts.evaluation.scoring.model_folder import (
    HEAD,
    NetworkConfig,
    Shapes,
    listed_hashes,
    refuse_changed,
)
from workflow_scripts.storage.model_files import weight_files
from workflow_scripts.training.tensor_shapes import BUFFERS

MOST_NAMES = 12  # in a message
HEADS = (HEAD, "lm_head.weight")


def read_tensors(path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Name and tensor of everything in one weight file, one by one."""
    if path.suffix == ".safetensors":
        yield from read_safetensors(path)
        return
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise ModelError(f"{path}: not readable as plain weights ({first_line(error)}); fetch it again") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path}: holds a {type(content).__name__}, not tensors by name; fetch it again")
    yield from content.items()


def read_safetensors(path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Tensors of a safetensors file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                yield name, file.get_tensor(name)
    except SafetensorError as error:
        raise ModelError(f"{path}: damaged ({first_line(error)}); fetch it again") from error


def first_line(error: Exception) -> str:
    """First line of an error message."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def load_weights(
    folder: Path,
    config: NetworkConfig,
    device: torch.device,
    dtype: torch.dtype,
    stop: threading.Event | None = None,
) -> dict[str, torch.Tensor]:
    """All weights on ``device`` in ``dtype``; :class:`ModelError` names what is missing, unexpected or misshapen.

    Each file is hashed just before its tensors are taken out of it: the first pass brings its bytes into the page
    cache, from which the second one reads them. :class:`IntegrityError` when they are not those that were fetched.
    Ends with a ModelError after the present tensor when ``stop`` is set.
    """
    wanted, listed = Shapes(config), listed_hashes(folder)
    found: dict[str, torch.Tensor] = {}
    unexpected: list[str] = []
    for file in weight_files(folder):
        refuse_changed(file, listed)
        for name, tensor in read_tensors(file):
            if stop is not None and stop.is_set():
                raise ModelError(f"{folder}: reading was interrupted")
            known = config.head_name if name in HEADS else name
            if known in wanted:
                check_shape(file, known, tensor, wanted[known])
                found[known] = tensor.to(device=device, dtype=dtype)
            elif not name.endswith(BUFFERS) and not (config.tied and known == config.head_name):
                unexpected.append(name)
    if len(found) < len(wanted):
        missing = some_missing(wanted, found)
        raise ModelError(f"{folder}: tensors missing from the weights: {missing}; fetch the checkpoint again")
    if unexpected:
        raise ModelError(f"{folder}: tensors that config.json does not call for: {shorten(sorted(unexpected))}")
    return found


def some_missing(wanted: Shapes, found: Mapping[str, torch.Tensor]) -> str:
    """The first names that are wanted and not found, and how many there are more."""
    names = list(itertools.islice((name for name in wanted if name not in found), MOST_NAMES))
    more = len(wanted) - len(found) - len(names)
    return ", ".join(names) + (f" and {more:,} more" if more else "")


def check_shape(file: Path, name: str, tensor: torch.Tensor, shape: tuple[int, ...]) -> None:
    """:class:`ModelError` when a tensor has another shape than ``config.json`` says, or holds no floats."""
    if tuple(tensor.shape) != shape or not tensor.is_floating_point():
        raise ModelError(
            f"{file}: {name} is {tuple(tensor.shape)} {tensor.dtype}, config.json calls for floats {shape}"
        )
