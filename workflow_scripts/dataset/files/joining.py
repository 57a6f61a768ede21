"""Joins shards into one token file, hashing each shard and the whole in the same pass.

Names and sizes are checked before a byte is written, and the space is reserved, so that a full disk is found at once.
Sizes that no list knows must be even, because an .idx tells only their sum. Bytes go to ``.X.bin.part``; after each
shard ``.X.bin.part.json`` says how far it is. A run that was killed is resumed at the last finished shard, after
reading back and comparing what is there: so nothing need be flushed before the end, and after a power cut the journal
may promise more than the disk holds. Only one process joins at a time. Memory is a few blocks. The joined file appears
under its name only when it is complete, verified and flushed.
"""

import errno
import hashlib
import itertools
import json
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from workflow_scripts.dataset.files.indexed import check_bin_bytes, open_index
from workflow_scripts.dataset.files.shard_names import index_beside, parse_shard_name, shard_paths
from workflow_scripts.errors import ConfigError, DataError, IntegrityError, StorageError
from workflow_scripts.progress import Progress
from workflow_scripts.storage.atomic import commit, write_json
from workflow_scripts.storage.leftovers import assembly_path, journal_path
from workflow_scripts.storage.locks import exclusive

BLOCK = 1 << 21  # bytes read, hashed and written at a time
BLOCKS = 6  # blocks in memory: the hashes may fall this far behind the copy


@dataclass(frozen=True)
class Shard:
    """A shard with its size, and its sha256 where that is known beforehand."""

    path: Path
    size: int
    sha256: str | None = None


@dataclass(frozen=True)
class JoinPlan:
    """Shards in order and the file they become; ``idx`` is None when there is none beside them."""

    name: str
    shards: tuple[Shard, ...]
    target: Path
    idx: Path | None

    @property
    def total(self) -> int:
        """Size of the joined file in bytes."""
        return sum(shard.size for shard in self.shards)

    @property
    def is_listed(self) -> bool:
        """True when the sha256 of every shard is known beforehand, so that the join is a verified one."""
        return all(shard.sha256 is not None for shard in self.shards)

    @property
    def part(self) -> Path:
        """Where the bytes go until they are complete."""
        return assembly_path(self.target)

    @property
    def journal(self) -> Path:
        """What is known of the part."""
        return journal_path(self.target)


@dataclass(frozen=True)
class Joined:
    """Hashes found while joining: of each shard, in order, and of the whole."""

    shard_sha256: tuple[str, ...]
    sha256: str


def plan_join(first: Path, folder: Path, known: Mapping[str, tuple[int | None, str | None]]) -> JoinPlan:
    """Plan the join of the set that ``first`` (shard 0) belongs to; everything that sizes can tell is checked.

    ``known`` maps a file name to the size and sha256 known beforehand. Raises MissingInputError for missing shards and
    DataError or IntegrityError for sizes that cannot be right.
    """
    name, _, _ = parse_shard_name(first)
    shards = []
    for path in shard_paths(first):
        size, sha256 = known.get(path.name, (None, None))
        seen = path.stat().st_size
        if size is not None and seen != size:
            raise IntegrityError(f"{path}: {seen} bytes, the list of hashes says {size}; fetch this shard again")
        shards.append(Shard(path, seen, sha256))
    idx = index_beside(first)
    plan = JoinPlan(name, tuple(shards), folder / f"{name}.bin", idx if idx.is_file() else None)
    if plan.idx is not None:
        check_bin_bytes(open_index(plan.idx), plan.total, plan.shards[0].path.parent)
    if any(known.get(shard.path.name, (None, None)) == (None, None) for shard in shards):
        check_even(plan)
    return plan


def check_even(plan: JoinPlan) -> None:
    """Sizes that no list knows must look like those of a set that was cut evenly; raises DataError.

    The .idx says only how long the shards are together: what one has lost another may have too much.
    """
    whole = plan.shards[0].size
    for shard in plan.shards:
        last = shard is plan.shards[-1]
        if shard.size == 0 or shard.size > whole or (shard.size < whole and not last):
            raise DataError(
                f"{shard.path}: {shard.size} bytes, the first shard has {whole}; all but the last must be equal; "
                "one of the two is damaged, or name a list of sizes and hashes with --lock"
            )


def join(plan: JoinPlan) -> Joined:
    """Write the joined file; raises IntegrityError when a shard has not the sha256 known beforehand."""
    with assembled(plan) as joined:
        return joined


@contextmanager
def assembled(plan: JoinPlan) -> Iterator[Joined]:
    """All shards in the part; it becomes the joined file when the block ends without an error."""
    with exclusive(plan.target), ThreadPoolExecutor(1) as for_shards, ThreadPoolExecutor(1) as for_whole:
        with open_part(plan) as file, Progress(f"join {plan.name}", plan.total, "B") as progress:
            copier = Copier(file, (for_shards, for_whole), progress)
            found = copier.reuse(plan)
            file.seek(sum(shard.size for shard in plan.shards[: len(found)]))
            for shard in plan.shards[len(found) :]:
                found.append(copier.append(shard))
                write_journal(plan, found)
        yield Joined(tuple(found), copier.whole.hexdigest())
        commit(plan.part, plan.target)
        plan.journal.unlink(missing_ok=True)


class Copier:
    """Moves bytes into the part while two threads hash them.

    Each hash has one thread of its own: with two threads for both, two blocks of one hash could change places.
    """

    def __init__(
        self, part: BinaryIO, threads: tuple[ThreadPoolExecutor, ThreadPoolExecutor], progress: Progress
    ) -> None:
        """``whole`` takes every byte of the part in order; ``threads`` hash the shard and the whole."""
        self.part = part
        self.threads = threads
        self.whole = hashlib.sha256()
        self.progress = progress
        self.blocks = [bytearray(BLOCK) for _ in range(BLOCKS)]

    def reuse(self, plan: JoinPlan) -> list[str]:
        """Hashes of the shards at the start of the part that are as the journal says, read back and compared."""
        found: list[str] = []
        self.part.seek(0)
        for shard, sha256 in zip(plan.shards, read_journal(plan), strict=False):
            before = self.whole.copy()
            if self.run(self.part, shard.size, None) != sha256:
                self.whole = before
                break
            found.append(sha256)
        return found

    def append(self, shard: Shard) -> str:
        """Copy one shard to the present position of the part; returns its sha256."""
        with shard.path.open("rb", buffering=0) as source:
            sha256 = self.run(source, shard.size, self.part)
        if shard.sha256 is not None and sha256 != shard.sha256:
            raise IntegrityError(
                f"{shard.path}: sha256 {sha256}, the list of hashes says {shard.sha256}; damaged or swapped with "
                "another shard; fetch it again and rerun the same command"
            )
        return sha256

    def run(self, source: BinaryIO, length: int, target: BinaryIO | None) -> str:
        """Read ``length`` bytes of ``source``, hash them, write them to ``target`` if there is one."""
        digest = hashlib.sha256()
        busy: list[list[Future[None]]] = [[] for _ in self.blocks]
        turn = 0
        while length:
            for future in busy[turn]:
                future.result()
            view = memoryview(self.blocks[turn])[: min(BLOCK, length)]
            count = source.readinto(view)  # type: ignore[attr-defined]
            if not count:
                raise DataError(f"{source.name}: ended {length} bytes early; it changed while it was being read")
            hashes = zip(self.threads, (digest, self.whole), strict=True)
            busy[turn] = [thread.submit(one.update, view[:count]) for thread, one in hashes]
            if target is not None:
                write_all(target, view[:count])
            length -= count
            turn = (turn + 1) % BLOCKS
            self.progress.advance(count)
        for future in itertools.chain.from_iterable(busy):
            future.result()
        return digest.hexdigest()


def write_all(target: BinaryIO, content: memoryview) -> None:
    """Write every byte: an unbuffered file may take fewer than it is given."""
    while content:
        content = content[target.write(content) :]


def open_part(plan: JoinPlan) -> BinaryIO:
    """The part, with all its space reserved; raises StorageError when the disk is too small."""
    plan.part.parent.mkdir(parents=True, exist_ok=True)
    plan.part.touch()
    file = plan.part.open("rb+", buffering=0)
    try:
        if plan.total:
            os.posix_fallocate(file.fileno(), 0, plan.total)
        os.ftruncate(file.fileno(), plan.total)
    except OSError as error:
        file.close()
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        if not read_journal(plan):
            plan.part.unlink()
        raise StorageError(no_space(plan)) from error
    return file


def no_space(plan: JoinPlan) -> str:
    """Message for a disk that is too small."""
    state = os.statvfs(plan.target.parent)
    return (
        f"{plan.target}: needs {plan.total} bytes, {plan.target.parent} has {state.f_bavail * state.f_frsize} free; "
        "free some space, or use the shards as they are (dataset.make_view needs no copy)"
    )


def write_journal(plan: JoinPlan, found: list[str]) -> None:
    """Note which shards are in the part."""
    done = [
        {"name": shard.path.name, "size": shard.size, "sha256": sha256}
        for shard, sha256 in zip(plan.shards, found, strict=False)
    ]
    write_json(plan.journal, {"shards": done})


def read_journal(plan: JoinPlan) -> list[str]:
    """sha256 of the leading shards that an earlier run of the same plan finished; empty when there was none."""
    try:
        noted = json.loads(plan.journal.read_text(encoding="utf-8"))["shards"]
        done = [(str(entry["name"]), int(entry["size"]), str(entry["sha256"])) for entry in noted]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    found = []
    for shard, (name, size, sha256) in zip(plan.shards, done, strict=False):
        if (shard.path.name, shard.size) != (name, size) or shard.sha256 not in (None, sha256):
            break
        found.append(sha256)
    return found


def check_count(first: Path, claimed: int) -> None:
    """``--num-shards`` of the original's command line must be what the names say."""
    _, _, count = parse_shard_name(first)
    if claimed != count:
        raise ConfigError(
            f"{first.name}: the name says {count} shards (00000 to {count - 1:05d}), --num-shards says {claimed}"
        )
