"""Speed of the data plane, beside what the machine itself allows.

    python benchmarks/dataset.py bandwidth join preshuffled gather open maps --folder /tmp/scratch

Each figure stands beside a floor: the bytes that must be touched over the measured memory bandwidth, or the plain tools
that do the same. ``maps`` builds the index maps at the size of the deduplicated Pile (134,318,121 documents, 2 epochs;
synthetic lengths); it needs 3 GB of memory and 4 GB of disk, ``--scale 0.01`` makes it small. Nothing here is a test:
times belong to the machine and its other users. CPU seconds are those of this process and its children.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workflow_scripts.dataset.files.cutting import cut, sizes_by_count
from workflow_scripts.dataset.files.index_writer import with_suffix, write_index
from workflow_scripts.dataset.files.joining import join, plan_join
from workflow_scripts.dataset.files.shard_names import shard_name
from workflow_scripts.dataset.files.shards import VirtualTokens
from workflow_scripts.dataset.order.index_maps import build_maps, map_key, number_from
from workflow_scripts.dataset.order.mersenne import LegacyShuffle
from workflow_scripts.dataset.order.preshuffled_rows import PreshuffledRows
from workflow_scripts.dataset.order.sample_index import sample_rows
from workflow_scripts.dataset.order.set_plan import plan_set
from workflow_scripts.dataset.order.training_order import TrainingRows

U2 = np.dtype("<u2")
LINE = 64  # bytes of a cache line: what a random access moves


@dataclass
class Spent:
    """Seconds of one block of work."""

    wall: float = 0.0
    cpu: float = 0.0


@contextmanager
def measured() -> Iterator[Spent]:
    """Wall and CPU seconds of the block."""
    spent = Spent()
    wall, cpu = time.perf_counter(), cpu_seconds()
    yield spent
    spent.wall, spent.cpu = time.perf_counter() - wall, cpu_seconds() - cpu


def cpu_seconds() -> float:
    """CPU seconds of this process and of the children it has waited for."""
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def peak_gib() -> float:
    """Largest resident size so far, GiB (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def copy_bandwidth() -> float:
    """Bytes per second that one core moves while copying 256 MiB (read and written bytes together)."""
    source, target = np.ones(1 << 28, np.uint8), np.empty(1 << 28, np.uint8)
    best = 0.0
    for _ in range(5):
        with measured() as spent:
            np.copyto(target, source)
        best = max(best, 2 * source.nbytes / spent.cpu)
    return best


def bandwidth(_: argparse.Namespace) -> None:
    """The floor's unit."""
    print(f"bandwidth: {copy_bandwidth() / 1e9:.1f} GB/s copied by one core (read + written)")


def synthetic_sizes(count: int, mean: float) -> np.ndarray:
    """Heavy-tailed document lengths in tokens, int32, at least 1."""
    rng = np.random.default_rng(1)
    sizes = np.empty(count, np.int32)
    for start in range(0, count, 1 << 22):
        block = rng.lognormal(np.log(mean) - 0.72, 1.2, min(1 << 22, count - start))
        sizes[start : start + len(block)] = np.clip(block, 1, 10**6)
    return sizes


def maps(options: argparse.Namespace) -> None:
    """Index maps at true size: GPT-NeoX's own takes 67 CPU-seconds and 7.4 GB (measured on a machine like this).

    ``--rounds`` repeats them, each time beside the floor and beside numpy's shuffles alone of arrays as long.
    """
    documents = int(134_318_121 * options.scale)
    sizes = synthetic_sizes(documents, 1542.4)
    tokens = int(sizes.sum(dtype=np.int64))
    requested = int(147_164_160 * options.scale)
    plan = plan_set("train_0", 0, documents, tokens=tokens, requested=requested, seq_length=2048)
    warm_up()
    entries, floors, ours, theirs = plan.epochs * documents, [], [], []
    random_bytes = 2 * LINE * (entries + plan.samples) + LINE * entries
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory(dir=options.folder) as folder, measured() as spent:
            build_maps(Path(folder), "deduped", plan, map_key(plan, "-", 2048, 1234), sizes)
            written = sum(path.stat().st_size for path in Path(folder).iterdir())
        ours.append(spent)
        floors.append((random_bytes + 2 * written) / copy_bandwidth())
        if options.rounds > 1:
            theirs.append(numpys_shuffles(entries, plan.samples))
    print(
        f"maps: {documents:,} documents x {plan.epochs} epochs, {plan.samples:,} samples: "
        f"{spread([each.cpu for each in ours])} CPU-s, {spread([each.wall for each in ours])} s, "
        f"peak {peak_gib():.2f} GiB, {written / 1e9:.2f} GB written, hashed; floor {spread(floors)} s "
        "(a cache line read and written per swap, one read per length looked up, the files written and hashed)"
        + (f"; numpy's shuffles alone {spread(theirs)} CPU-s" if theirs else "")
    )


def numpys_shuffles(entries: int, samples: int) -> float:
    """CPU-seconds of RandomState's shuffles of both arrays, which are filled before the clock starts."""
    generator, spent = np.random.RandomState(1234), 0.0
    for array in (np.arange(entries, dtype=np.int32), np.arange(samples, dtype=np.uint32)):
        with measured() as shuffled:
            generator.shuffle(array)
        spent += shuffled.cpu
    return spent


def spread(seconds: Sequence[float]) -> str:
    """Median, and least and most where there are several."""
    middle = f"{statistics.median(seconds):.1f}"
    return middle if len(seconds) == 1 else f"{middle} ({min(seconds):.1f} to {max(seconds):.1f})"


def warm_up() -> None:
    """Compile before the clock starts."""
    shuffle = LegacyShuffle(0)
    for dtype in (np.int32, np.uint32):
        shuffle.shuffle(np.arange(10, dtype=dtype))
        number_from(np.empty(2, dtype), 0, 2)
    list(sample_rows(np.full(3, 9, np.int32), np.arange(3, dtype=np.int32), 2, 5, np.dtype("<i4")))


def joining(options: argparse.Namespace) -> None:
    """Join with all hashes, against cat and the hash alone."""
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder, total = Path(name), int(options.join_bytes)
        write_random(folder / "x.bin", total)
        files = cut(folder / "x.bin", sizes_by_count(total, 9), folder / "s", "x")
        with measured() as hashed:
            hashlib.file_digest((folder / "x.bin").open("rb"), "sha256")
        (folder / "x.bin").unlink()
        with (folder / "cat.bin").open("wb") as out:
            with measured() as cat:
                subprocess.run(["cat", *(str(file.path) for file in files)], stdout=out, check=True)
            with measured() as flushed:
                os.fsync(out.fileno())
        (folder / "cat.bin").unlink()
        with measured() as joined:
            join(plan_join(files[0].path, folder / "out", {}))
    budget = cat.wall + flushed.wall + 2 * hashed.cpu
    print(
        f"join: {total / 1e9:.1f} GB in {joined.wall:.2f} s ({joined.cpu:.2f} CPU-s, both hashes, fsync); "
        f"cat {cat.wall:.2f} s, flush {flushed.wall:.2f} s, a hash {hashed.cpu:.2f} CPU-s; "
        f"join / (cat + flush + both hashes) = {joined.wall / budget:.2f}, "
        f"in CPU time {joined.cpu / (cat.cpu + flushed.cpu + 2 * hashed.cpu):.2f}"
    )


def write_random(path: Path, total: int) -> None:
    """A file of ``total`` random bytes."""
    rng = np.random.default_rng(0)
    with path.open("wb") as file:
        for start in range(0, total, 1 << 24):
            file.write(rng.bytes(min(1 << 24, total - start)))


def preshuffled(options: argparse.Namespace) -> None:
    """Sequential reading of rows that lie in order: each batch is copied once, as a trainer would."""
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        path = Path(name) / "document.bin"
        write_random(path, 4_196_352 * 60)
        rows = PreshuffledRows(VirtualTokens.open([path], U2))
        target = np.empty((1024, 2049), U2)

        def read() -> None:
            for iteration in range(60):
                np.copyto(target, rows.rows(1024 * iteration, 1024 * (iteration + 1)))

        tokens = 60 * target.size
        report_rate("preshuffled", read, tokens, 4 * tokens)


def gather(options: argparse.Namespace) -> None:
    """Rows gathered from the raw layout (the original: 145 Mtoken per CPU-second)."""
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        prefix = Path(name) / "x"
        sizes = synthetic_sizes(100_000, 1542.4)
        write_index(with_suffix(prefix, ".idx"), U2, sizes, range(len(sizes) + 1))
        write_random(with_suffix(prefix, ".bin"), 2 * int(sizes.sum(dtype=np.int64)))
        rows = TrainingRows.open(prefix, None, 2048, 1234, 60, 1024)
        rows.rows(0, 1024)

        def read() -> None:
            for iteration in range(60):
                rows.rows(1024 * iteration, 1024 * (iteration + 1))

        tokens = 60 * 1024 * 2049
        report_rate("gather", read, tokens, 4 * tokens)


def report_rate(label: str, work: Callable[[], None], tokens: int, moved: int) -> None:
    """Tokens per CPU-second of ``work``, beside the floor for ``moved`` bytes; best of three."""
    best = float("inf")
    for _ in range(3):
        with measured() as spent:
            work()
        best = min(best, spent.cpu)
    floor = copy_bandwidth() / moved * tokens
    print(f"{label}: {tokens / best / 1e6:,.0f} Mtoken per CPU-second; floor {floor / 1e6:,.0f}")


def opening(options: argparse.Namespace) -> None:
    """True-size sparse shards: opening them, batch 100000, and batch 7149 which crosses a border."""
    sizes = [30_000_000_000] * 20 + [78_336_000]
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        paths = [Path(name) / shard_name("document", number, 21) for number in range(21)]
        for path, size in zip(paths, sizes, strict=True):
            with path.open("wb") as file:
                file.truncate(size)
        with measured() as opened:
            rows = PreshuffledRows(VirtualTokens.open(paths, U2))
        for iteration in (100_000, 7149):
            with measured() as spent:
                int(rows.rows(1024 * iteration, 1024 * (iteration + 1)).sum())
            print(f"batch {iteration}: {1000 * spent.wall:.1f} ms")
    print(
        f"open: 21 shards of 30 GB in {1000 * opened.wall:.1f} ms, peak {1024 * peak_gib():.0f} MiB with Python, numba"
    )


SECTIONS = {
    "bandwidth": bandwidth,
    "join": joining,
    "preshuffled": preshuffled,
    "gather": gather,
    "open": opening,
    "maps": maps,
}


def main() -> None:
    """Run the sections named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)}; all but maps when none"
    )
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="scratch space")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the true size for maps")
    parser.add_argument("--rounds", type=int, default=1, help="repetitions of maps, in turns with numpy's shuffles")
    parser.add_argument("--join-bytes", type=float, default=2e9, help="bytes to join")
    options = parser.parse_args()
    if unknown := set(options.sections) - set(SECTIONS):
        parser.error(f"there is no section {', '.join(sorted(unknown))}; sections are {', '.join(SECTIONS)}")
    options.folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(options.folder).free
    print(f"scratch: {options.folder}, {free / 1e9:.0f} GB free")
    for name in options.sections or [*SECTIONS][:-1]:
        SECTIONS[name](options)


if __name__ == "__main__":
    main()
