"""The tensors of a checkpoint one after the other, each read once, hashed on the way, and let go.

A safetensors file is read from its first byte to its last: the sha256 that ``sha256.txt`` lists is that of the very
bytes the tensors are made of. Old ``.bin`` files have no such order; they are hashed and then loaded whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.checkpoints.safetensors_header import LARGEST_HEADER, LENGTH_BYTES, parse_header
from workflow_scripts.checkpoints.tensor_samples import stored_values
from workflow_scripts.errors import DataError, IntegrityError, ModelError, shorten
from workflow_scripts.evaluation.scoring.model_folder import (
    HEAD,
    IN_LAYER,
    LAYERS,
    NeoxConfig,
    Shapes,
    listed_hashes,
    refuse_changed,
)
from workflow_scripts.storage.model_files import weight_files
from workflow_scripts.training.tensor_shapes import BUFFERS

FLOATS = ("F64", "F32", "F16", "BF16")
OTHER_HEAD = "lm_head.weight"
Tensors = Iterator[tuple[str, NDArray[np.float32]]]


def read_weights(folder: Path, config: NeoxConfig) -> Tensors:
    """Name and float32 values of every weight that ``config`` calls for, in the order of the files.

    Raises ModelError for what is missing, unexpected, misshapen or not finite, DataError for a damaged file and
    IntegrityError, after its last tensor, for a file that is not the one that was fetched.
    """
    wanted, listed = Shapes(config), listed_hashes(folder)
    seen: set[str] = set()
    for file in weight_files(folder):
        safe = file.suffix == ".safetensors"
        for stored_name, values in read_hashed(file, listed) if safe else read_old(file, listed):
            name = HEAD if stored_name == OTHER_HEAD else stored_name
            if name.endswith(BUFFERS) or (config.tied and name == HEAD):
                continue
            check(file, name, values, wanted)
            seen.add(name)
            yield name, values
    missing = [name for name in wanted if name not in seen]
    if missing:
        raise ModelError(f"{folder}: weights missing: {shorten(missing)}; fetch the checkpoint again")


def check(file: Path, name: str, values: NDArray[np.float32], wanted: Mapping[str, tuple[int, ...]]) -> None:
    """Raise ModelError unless the tensor is one of the model's, in its shape, and finite."""
    if name not in wanted:
        raise ModelError(f"{file}: holds {name}, which config.json does not call for")
    if values.shape != wanted[name]:
        raise ModelError(f"{file}: {name} is {values.shape}, config.json calls for {wanted[name]}")
    if not np.isfinite(values).all():
        raise ModelError(f"{file}: {name} holds values that are not finite; leave the checkpoint out (defects.tsv)")


def read_hashed(file: Path, listed: Mapping[str, str]) -> Tensors:
    """Tensors of a safetensors file in the order of their bytes."""
    sha256 = hashlib.sha256()
    with file.open("rb") as stream:
        first = stream.read(LENGTH_BYTES)
        length = int.from_bytes(first, "little")
        if len(first) < LENGTH_BYTES or length > LARGEST_HEADER:
            raise DataError(f"{file}: no safetensors file; fetch the checkpoint again")
        text = stream.read(length)
        header = parse_header(text, str(file))
        sha256.update(first + text)
        for name, tensor in sorted(header.tensors.items(), key=lambda item: item[1].begin):
            content = stream.read(tensor.end - tensor.begin)
            if len(content) < tensor.end - tensor.begin:
                raise DataError(f"{file}: ends within {name}; fetch the checkpoint again")
            sha256.update(content)
            if tensor.dtype in FLOATS or not name.endswith(BUFFERS):
                yield name, stored_values(content, tensor.dtype).astype(np.float32).reshape(tensor.shape)
        if stream.read(1):
            raise DataError(f"{file}: is longer than its header says; fetch the checkpoint again")
    found = sha256.hexdigest()
    if listed.get(file.name, found) != found:
        raise IntegrityError(
            f"{file}: its sha256 is {found[:12]}, but {listed[file.name][:12]} was fetched: the file changed on this "
            "disk; delete it and run again, which fetches it anew"
        )


def read_old(file: Path, listed: Mapping[str, str]) -> Tensors:
    """Tensors of a ``.bin`` file."""
    from workflow_scripts.evaluation.engine.model_weights import read_tensors

    refuse_changed(file, listed)
    for name, tensor in read_tensors(file):
        yield name, tensor.float().numpy()


def place_of(name: str) -> tuple[int | None, str]:
    """Layer of a weight, None outside the layers, and its name within it.

    >>> place_of("gpt_neox.layers.3.mlp.dense_4h_to_h.weight"), place_of("gpt_neox.embed_in.weight")
    ((3, 'mlp.dense_4h_to_h.weight'), (None, 'embed_in.weight'))
    """
    match = IN_LAYER.fullmatch(name.removeprefix(LAYERS))
    return (int(match[1]), match[2]) if match else (None, name.removeprefix("gpt_neox."))
