"""Which files of a Hugging Face folder hold the weights of a model."""

from __future__ import annotations

from pathlib import Path

from workflow_scripts.errors import DataError, MissingInputError, shorten
from workflow_scripts.json_values import read_object


def weight_files(folder: Path) -> list[Path]:
    """Weight files of ``folder``: safetensors before .bin, one file before shards that an index names.

    Raises MissingInputError where a file is absent and DataError for a file that is not an index.
    """
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).is_file():
            return [folder / name]
        if (index := folder / f"{name}.index.json").is_file():
            return indexed_files(index)
    raise MissingInputError(f"{folder}: has neither model.safetensors nor pytorch_model.bin, nor an index of shards")


def indexed_files(index: Path) -> list[Path]:
    """Shards that an index names; each must be there, beside it."""
    places = read_object(index, "weight index", "fetch the checkpoint again", "weight_map")["weight_map"]
    names = sorted({str(name) for name in places.values()}) if isinstance(places, dict) else []
    strange = [name for name in names if Path(name).name != name]
    if strange or not names:
        fault = f"shard '{strange[0]}' is no file name" if strange else "names no shards"
        raise DataError(f"{index}: not a weight index ({fault}); fetch the checkpoint again")
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        raise MissingInputError(f"{index.parent}: shards {shorten(missing)} are missing; fetch the checkpoint again")
    return [index.parent / name for name in names]
