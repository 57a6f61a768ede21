"""Cuts a token file into shards, hashing while it copies; the opposite of joining.

Shard sizes are in bytes and align with nothing, as in the published sets. It must not make an empty shard.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from workflow_scripts.dataset.files.shard_names import shard_name
from workflow_scripts.errors import ConfigError, DataError, MissingInputError
from workflow_scripts.progress import Progress
from workflow_scripts.storage.atomic import atomic_path

BLOCK = 1 << 22  # bytes copied at a time


@dataclass(frozen=True)
class WrittenFile:
    """A file that was written: size in bytes and sha256."""

    path: Path
    size: int
    sha256: str


def sizes_by_bytes(total: int, shard_bytes: int) -> list[int]:
    """Sizes when each shard but the last has ``shard_bytes``; an exact multiple gives no empty last shard.

    >>> sizes_by_bytes(20, 10), sizes_by_bytes(21, 10)
    ([10, 10], [10, 10, 1])
    """
    if shard_bytes < 1:
        raise ConfigError(f"shards of {shard_bytes} bytes: give at least 1")
    full, rest = divmod(total, shard_bytes)
    return [shard_bytes] * full + ([rest] if rest else [])


def sizes_by_count(total: int, count: int) -> list[int]:
    """Sizes of ``count`` shards: equal and odd, so multiples of no page, row or token; the last takes the rest.

    >>> sizes_by_count(100, 3)
    [35, 35, 30]
    """
    if not 1 <= count <= max(total, 1):
        raise ConfigError(f"{total} bytes cannot be split into {count} shards")
    size = -(-total // count)
    size += 1 - size % 2
    if (count - 1) * size >= total:
        size = max(1, total // count - (total // count + 1) % 2)
    return [size] * (count - 1) + [total - (count - 1) * size]


def cut(source: Path, sizes: list[int], folder: Path, name: str) -> list[WrittenFile]:
    """Write shards of ``sizes`` bytes of ``source`` to ``folder``; each appears when it is complete.

    Raises DataError when ``source`` has another size than ``sizes`` together.
    """
    if not source.is_file():
        raise MissingInputError(f"{source}: no such token file")
    total = source.stat().st_size
    if total != sum(sizes) or not total:
        raise DataError(f"{source}: {total} bytes, expected {sum(sizes)} and at least 1")
    written = []
    with source.open("rb") as file, Progress(f"cut {source.name}", total, "B") as progress:
        for number, size in enumerate(sizes):
            target = folder / shard_name(name, number, len(sizes))
            written.append(WrittenFile(target, size, copy_run(file, size, target, progress)))
    return written


def copy_run(source: BinaryIO, length: int, target: Path, progress: Progress) -> str:
    """Copy the next ``length`` bytes of ``source`` to ``target`` atomically; returns their sha256."""
    digest = hashlib.sha256()
    left = length
    with atomic_path(target) as temporary, temporary.open("wb") as file:
        while left:
            block = source.read(min(BLOCK, left))
            if not block:
                raise DataError(f"{source.name}: shrank while it was being read")
            digest.update(block)
            file.write(block)
            left -= len(block)
            progress.advance(len(block))
    return digest.hexdigest()
