"""Names of shards: ``X-00000-of-00082.bin`` to ``X-00082-of-00082.bin`` are 83 shards.

The number after ``-of-`` is the index of the last shard, not their count (so on the Hub and in the original's scripts).
"""

import re
from pathlib import Path

from workflow_scripts.errors import ConfigError, MissingInputError, shorten

PATTERN = re.compile(r"(?P<name>.+)-(?P<number>\d{5})-of-(?P<last>\d{5})\.bin")


def shard_name(name: str, number: int, count: int) -> str:
    """File name of shard ``number`` (from 0) of ``count``.

    >>> shard_name("pile", 3, 83)
    'pile-00003-of-00082.bin'
    """
    return f"{name}-{number:05d}-of-{count - 1:05d}.bin"


def parse_shard_name(path: Path) -> tuple[str, int, int]:
    """Name, number and count of a shard.

    >>> parse_shard_name(Path("data/pile-00003-of-00082.bin"))
    ('pile', 3, 83)
    """
    match = PATTERN.fullmatch(path.name)
    if match is None:
        raise ConfigError(
            f"{path}: not the name of a shard; expected NAME-00000-of-NNNNN.bin with NNNNN the last index"
        )
    number, last = int(match["number"]), int(match["last"])
    if number > last:
        raise ConfigError(f"{path}: shard {number} of a set whose last shard is {last}")
    return match["name"], number, last + 1


def shard_paths(first: Path) -> list[Path]:
    """All shards of the set that ``first`` (its shard 0) belongs to, in order; raises when any is missing."""
    name, number, count = parse_shard_name(first)
    if number != 0:
        raise ConfigError(f"{first}: give shard 0 ({shard_name(name, 0, count)}), this is shard {number}")
    paths = [first.with_name(shard_name(name, index, count)) for index in range(count)]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise MissingInputError(f"{first.parent}: {len(missing)} of {count} shards are missing: {shorten(missing, 4)}")
    return paths


def index_beside(first: Path) -> Path:
    """The ``.idx`` that belongs to the set of shard ``first``."""
    name, _, _ = parse_shard_name(first)
    return first.with_name(name + ".idx")
