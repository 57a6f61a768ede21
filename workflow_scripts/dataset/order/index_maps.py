"""GPT-NeoX's index maps: built bit for bit, stored under its file names, and never trusted by name alone.

One set of samples has three ``.npy`` files: ``doc_idx`` (documents of all epochs, shuffled once, together),
``sample_idx`` (where each sample starts) and ``shuffle_idx`` (the order of the samples, shuffled by the same random
stream). Beside them ``<stem>.record.json`` says what they were made from; maps whose record names other sequence
lengths are stale and refused. The original reuses whatever has the right name.

Memory while building: the sizes and ``doc_idx``, later ``shuffle_idx``; ``sample_idx`` is streamed to its file.
"""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from workflow_scripts.dataset.files.compiled import compiled
from workflow_scripts.dataset.files.indexed import Array
from workflow_scripts.dataset.files.npy_stream import in_blocks, map_npy, write_npy
from workflow_scripts.dataset.order.mersenne import LegacyShuffle
from workflow_scripts.dataset.order.sample_index import sample_rows
from workflow_scripts.dataset.order.set_plan import KINDS, SetPlan
from workflow_scripts.errors import ConfigError, DataError, IntegrityError
from workflow_scripts.json_values import JsonObject, read_object
from workflow_scripts.storage.hashing import sha256_file
from workflow_scripts.storage.leftovers import temporary_name
from workflow_scripts.storage.records import record_path, write_record

INT32_MAX = 2**31 - 1


@dataclass(frozen=True)
class MapKey:
    """Everything that decides the content of a set's maps."""

    sizes_sha256: str
    first: int
    stop: int
    epochs: int
    samples: int
    seq_length: int
    seed: int


@dataclass(frozen=True)
class StoredMaps:
    """The three maps of a set: int32 [E * documents], int32 or int64 [N + 1, 2], uint32 or int64 [N]."""

    doc_idx: Array
    sample_idx: Array
    shuffle_idx: Array


def map_key(plan: SetPlan, sizes_sha256: str, seq_length: int, seed: int) -> MapKey:
    """Key of the maps of ``plan`` over the sizes with that hash."""
    return MapKey(sizes_sha256, plan.first, plan.stop, plan.epochs, plan.samples, seq_length, seed)


def shuffled_documents(plan: SetPlan, shuffle: LegacyShuffle) -> Array:
    """doc_idx: all copies of the documents in one shuffle, int32 [epochs * documents]."""
    count = plan.stop - plan.first
    if plan.stop > INT32_MAX or plan.epochs * count > INT32_MAX:
        raise ConfigError(f"set {plan.label}: {plan.epochs} x {count} documents exceed the int32 of the map format")
    documents = np.empty(plan.epochs * count, np.int32)
    number_from(documents, plan.first, count)
    shuffle.shuffle(documents)
    return documents


def shuffled_samples(plan: SetPlan, shuffle: LegacyShuffle, memory: Array | None = None) -> Array:
    """shuffle_idx; ``shuffle`` must just have shuffled the documents. uint32 [N], int64 from 2**32 - 2 samples on.

    ``memory`` is an int32 array whose content is no longer needed, such as the documents: where it is long enough it is
    overwritten and returned, since memory that a process touches for the first time costs more than the shuffle.
    """
    if memory is not None and plan.samples <= min(len(memory), INT32_MAX):
        samples = memory[: plan.samples].view(np.uint32)
    else:
        samples = np.empty(plan.samples, np.uint32 if plan.samples < 2**32 - 2 else np.int64)
    number_from(samples, 0, plan.samples)
    shuffle.shuffle(samples)
    return samples


@compiled
def number_from(values: Array, first: int, count: int) -> None:
    """Fill ``values`` with first, first + 1, ... starting again after each ``count``."""
    for start in range(0, len(values), max(count, 1)):
        # Without a remainder in the inner loop it is as fast as memory takes it.
        for k in range(start, min(start + count, len(values))):
            values[k] = first + k - start


def sample_index_dtype(samples: int) -> np.dtype[np.generic]:
    """int32 unless the two columns together have more entries than it can number (rule of GPT-NeoX's main branch)."""
    return np.dtype("<i8") if 2 * (samples + 1) >= INT32_MAX else np.dtype("<i4")


def build_maps(folder: Path, stem: str, plan: SetPlan, key: MapKey, sizes: Array) -> dict[str, str]:
    """Build the three maps of a set in ``folder``; returns file name -> sha256.

    ``sizes`` int32 [n]: lengths in tokens of all sequences of the data set, aligned in memory.
    """
    shuffle = LegacyShuffle(key.seed)
    paths = map_paths(folder, stem)
    documents = shuffled_documents(plan, shuffle)
    hashes = {paths[0].name: write_npy(paths[0], documents.dtype, documents.shape, in_blocks(documents))}
    dtype = sample_index_dtype(plan.samples)
    rows = sample_rows(sizes, documents, key.seq_length, plan.samples, dtype)
    hashes[paths[1].name] = write_npy(paths[1], dtype, (plan.samples + 1, 2), rows)
    samples = shuffled_samples(plan, shuffle, memory=documents)
    hashes[paths[2].name] = write_npy(paths[2], samples.dtype, samples.shape, in_blocks(samples))
    return hashes


def map_paths(folder: Path, stem: str) -> list[Path]:
    """Paths of doc_idx, sample_idx and shuffle_idx."""
    return [folder / f"{stem}_{kind}.npy" for kind in KINDS]


def write_map_record(folder: Path, stem: str, key: MapKey, hashes: dict[str, str], idx: tuple[Path, str]) -> None:
    """Write ``<stem>.record.json``: what the maps were made from and the sha256 of each.

    ``idx`` is the .idx file with its sha256, which takes long to compute and serves three sets.
    """
    write_record(folder / stem, {"idx": idx[0]}, {"key": asdict(key), "files": hashes}, {"idx": idx[1]})


def read_map_record(folder: Path, stem: str) -> JsonObject | None:
    """The parameters in the record of ``stem``; None when there is no record."""
    path = record_path(folder / stem)
    if not path.is_file():
        return None
    kind, remedy = "record of index maps", "delete it and rebuild the maps"
    parameters = read_object(path, kind, remedy, "parameters")["parameters"]
    if not isinstance(parameters, dict) or not parameters.keys() >= {"key", "files"}:
        raise DataError(f"{path}: not a {kind}; {remedy}")
    return parameters


def current_hashes(folder: Path, stem: str, key: MapKey) -> dict[str, str] | None:
    """Hashes of the maps that are there, or None when they must be (re)built: absent, stale or damaged."""
    record = read_map_record(folder, stem)
    if record is None or record["key"] != asdict(key):
        return None
    hashes: dict[str, str] = record["files"]
    for path in map_paths(folder, stem):
        if not path.is_file() or sha256_file(path) != hashes.get(path.name):
            return None
    return hashes


def link_maps(folder: Path, source: str, target: str, hashes: dict[str, str]) -> dict[str, str]:
    """Give the maps of stem ``source`` a second name ``target``: same bytes, no second copy on the disk."""
    linked = {}
    for old, new in zip(map_paths(folder, source), map_paths(folder, target), strict=True):
        replace_by_link(old, new)
        linked[new.name] = hashes[old.name]
    return linked


def replace_by_link(old: Path, new: Path) -> None:
    """Hard link ``old`` as ``new``, atomically."""
    temporary = temporary_name(new)
    try:
        os.link(old, temporary)
        temporary.replace(new)
    finally:
        temporary.unlink(missing_ok=True)


def load_maps(folder: Path, stem: str, key: MapKey, sizes: Array) -> StoredMaps:
    """Open the maps of a set, memory mapped.

    Raises IntegrityError when they were made from something else than ``key``. Maps without a record (made by
    GPT-NeoX, or released) are checked against ``sizes`` instead.
    """
    maps = StoredMaps(*(map_npy(path) for path in map_paths(folder, stem)))
    check_shapes(folder / stem, maps, key)
    record = read_map_record(folder, stem)
    if record is None:
        check_against_sizes(folder / stem, maps, sizes, key)
    elif record["key"] != asdict(key):
        differing = sorted(name for name, value in asdict(key).items() if record["key"].get(name) != value)
        raise IntegrityError(
            f"{folder / stem}: stale index maps: built from other {', '.join(differing)} than this data set has; "
            "rerun dataset.build_index_maps"
        )
    return maps


def check_shapes(where: Path, maps: StoredMaps, key: MapKey) -> None:
    """The shapes must be those that the key implies."""
    entries = key.epochs * (key.stop - key.first)
    expected = [(entries,), (key.samples + 1, 2), (key.samples,)]
    seen = [array.shape for array in (maps.doc_idx, maps.sample_idx, maps.shuffle_idx)]
    if seen != expected:
        raise IntegrityError(f"{where}: index maps have the shapes {seen}, this data set needs {expected}; stale maps")


def check_against_sizes(where: Path, maps: StoredMaps, sizes: Array, key: MapKey) -> None:
    """The last row of sample_idx must point at stream token N * seq_length, and all documents must exist."""
    position, offset = (int(value) for value in maps.sample_idx[-1])
    total = offset
    for block in in_blocks(maps.doc_idx[:position]):
        if int(block.min()) < key.first or int(block.max()) >= key.stop:
            raise IntegrityError(f"{where}: doc_idx names a document outside [{key.first}, {key.stop})")
        total += int(sizes[block].sum(dtype=np.int64))
    if total != key.samples * key.seq_length:
        raise IntegrityError(
            f"{where}: the maps end at stream token {total}, this data set needs {key.samples * key.seq_length}; "
            "they belong to another data set"
        )


def same_content(plans: Sequence[SetPlan], plan: SetPlan) -> SetPlan | None:
    """An earlier plan whose maps have the same bytes: same documents, epochs and samples."""
    for earlier in plans:
        if (earlier.first, earlier.stop, earlier.epochs) == (plan.first, plan.stop, plan.epochs):
            return earlier
    return None
