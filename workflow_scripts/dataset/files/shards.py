"""Shards as one array: nothing is copied or joined, a read touches only the bytes it returns.

Shard sizes align with nothing: a row, and even one token, may lie in two shards. All arithmetic is on bytes of the
joined file, in int64 or Python integers. Shards must not be written through this module.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt

from workflow_scripts.errors import ConfigError, DataError, MissingInputError

Array = npt.NDArray[Any]


class Piece(NamedTuple):
    """A run of bytes inside one shard."""

    shard: int
    offset: int
    length: int


class RangeSource(Protocol):
    """Anything that can deliver a range of bytes of a named file (a folder, the Hub, a web server)."""

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes of ``path`` from ``offset``; raises TransferError when it cannot."""


class TokenReader(Protocol):
    """A flat array of tokens that can be read piecewise."""

    dtype: np.dtype[np.generic]
    n_tokens: int

    def read(self, start: int, stop: int) -> Array:
        """Tokens [start, stop)."""

    def gather(self, starts: Array, counts: Array) -> Array:
        """Pieces ``[starts[i], starts[i] + counts[i])`` one after another."""


class ShardLayout:
    """Where the bytes of the joined file lie: plain arithmetic over the sizes of the shards."""

    def __init__(self, sizes: Sequence[int]) -> None:
        """``sizes`` in bytes, in order; empty shards are allowed."""
        self.sizes = tuple(int(size) for size in sizes)
        self.borders = np.zeros(len(self.sizes) + 1, np.int64)
        np.cumsum(np.asarray(self.sizes, np.int64), out=self.borders[1:])

    @property
    def total(self) -> int:
        """Size of the joined file in bytes."""
        return int(self.borders[-1])

    def pieces(self, offset: int, length: int) -> list[Piece]:
        """The runs that make up bytes [offset, offset + length) of the joined file, in order.

        >>> ShardLayout([10, 0, 10]).pieces(8, 5)
        [Piece(shard=0, offset=8, length=2), Piece(shard=2, offset=0, length=3)]
        """
        if offset < 0 or length < 0 or offset + length > self.total:
            raise ConfigError(f"bytes {offset} to {offset + length} requested, but there are {self.total}")
        found = []
        shard = int(np.searchsorted(self.borders, offset, side="right")) - 1
        while length:
            inside = offset - int(self.borders[shard])
            taken = min(length, self.sizes[shard] - inside)
            if taken:
                found.append(Piece(shard, inside, taken))
            offset, length, shard = offset + taken, length - taken, shard + 1
        return found


@dataclass(frozen=True)
class ShardFile:
    """A local shard and the size it must have."""

    path: Path
    size: int

    def check(self) -> None:
        """Raise when the file is absent or has another size."""
        if not self.path.is_file():
            raise MissingInputError(f"{self.path}: shard is missing; fetch the data set again")
        seen = self.path.stat().st_size
        if seen != self.size:
            word = "short" if seen < self.size else "long"
            raise DataError(f"{self.path}: shard is too {word}: {seen} bytes, expected {self.size}; fetch it again")

    def open(self) -> Array:
        """The file as a read-only uint8 array that the operating system reads on demand."""
        if self.size == 0:
            return np.empty(0, np.uint8)
        return np.memmap(self.path, dtype=np.uint8, mode="r").view(np.ndarray)


class VirtualTokens:
    """Local shards as one array of tokens."""

    def __init__(self, files: Sequence[ShardFile], dtype: np.dtype[np.generic]) -> None:
        """Check all sizes; the files themselves are mapped when first read."""
        for file in files:
            file.check()
        self.files = tuple(files)
        self.dtype = dtype
        self.layout = ShardLayout([file.size for file in files])
        if self.layout.total % dtype.itemsize:
            raise DataError(
                f"{files[0].path.parent}: the shards have {self.layout.total} bytes in total, not a whole number of "
                f"{dtype.itemsize}-byte {dtype.name} tokens; one is damaged or the token type is wrong"
            )
        self.n_tokens = self.layout.total // dtype.itemsize
        self._mapped: dict[int, Array] = {}

    @classmethod
    def open(cls, paths: Sequence[Path], dtype: np.dtype[np.generic]) -> Self:
        """Shards at ``paths`` in order, with whatever sizes they have."""
        missing = [path for path in paths if not path.is_file()]
        if missing:
            raise MissingInputError(f"{missing[0]}: token file is missing")
        return cls([ShardFile(path, path.stat().st_size) for path in paths], dtype)

    def shard(self, number: int) -> Array:
        """Bytes of one shard."""
        if number not in self._mapped:
            self._mapped[number] = self.files[number].open()
        return self._mapped[number]

    def read(self, start: int, stop: int) -> Array:
        """Tokens [start, stop); a view of the file where one shard holds them all, otherwise a copy."""
        size = self.dtype.itemsize
        pieces = self.layout.pieces(start * size, (stop - start) * size)
        parts = [self.shard(piece.shard)[piece.offset : piece.offset + piece.length] for piece in pieces]
        if len(parts) == 1 and pieces[0].offset % size == 0:
            return parts[0].view(self.dtype)
        return np.concatenate([*parts, np.empty(0, np.uint8)]).view(self.dtype)

    def gather(self, starts: Array, counts: Array) -> Array:
        """Pieces ``[starts[i], starts[i] + counts[i])`` (int64, in tokens) one after another, as a new array."""
        # Here and not above: reading whole rows does not need numba and its 70 MB.
        from workflow_scripts.dataset.files.byte_runs import copy_runs

        size = self.dtype.itemsize
        kept = counts > 0
        lengths = counts[kept] * size
        sources = starts[kept] * size
        targets = np.cumsum(lengths) - lengths
        out = np.empty(int(lengths.sum()), np.uint8)
        first = np.searchsorted(self.layout.borders, sources, side="right") - 1
        ends = sources + lengths
        crossing = ends > self.layout.borders[first + 1]
        for piece in np.flatnonzero(crossing):
            self._copy_crossing(int(sources[piece]), out[targets[piece] : targets[piece] + lengths[piece]])
        first[crossing] = -1
        for number in np.unique(first[~crossing]):
            mine = np.flatnonzero(first == number)
            local = sources[mine] - self.layout.borders[number]
            copy_runs(self.shard(int(number)), local, lengths[mine], targets[mine], out)
        return out.view(self.dtype)

    def _copy_crossing(self, offset: int, target: Array) -> None:
        """Fill ``target`` (uint8) with bytes that lie in several shards."""
        done = 0
        for piece in self.layout.pieces(offset, len(target)):
            run = self.shard(piece.shard)[piece.offset : piece.offset + piece.length]
            target[done : done + piece.length] = run
            done += piece.length


class RemoteTokens:
    """Shards that are read over a ``RangeSource``: one request per piece, nothing is kept."""

    def __init__(
        self, source: RangeSource, names: Sequence[str], layout: ShardLayout, dtype: np.dtype[np.generic]
    ) -> None:
        """``names`` are the paths of the shards in the source, ``layout`` their sizes."""
        self.source = source
        self.names = tuple(names)
        self.layout = layout
        self.dtype = dtype
        self.n_tokens = layout.total // dtype.itemsize

    def read(self, start: int, stop: int) -> Array:
        """Tokens [start, stop), read-only."""
        size = self.dtype.itemsize
        pieces = self.layout.pieces(start * size, (stop - start) * size)
        parts = [self._fetch(piece) for piece in pieces]
        return np.frombuffer(b"".join(parts), self.dtype)

    def gather(self, starts: Array, counts: Array) -> Array:
        """Pieces one after another; each costs a request, so this is for a handful of rows."""
        parts = [self.read(int(start), int(start + count)) for start, count in zip(starts, counts, strict=True)]
        return np.concatenate([*parts, np.empty(0, self.dtype)])

    def _fetch(self, piece: Piece) -> bytes:
        """One range request whose answer has the length that was asked for."""
        content = self.source.read_range(self.names[piece.shard], piece.offset, piece.length)
        if len(content) != piece.length:
            raise DataError(f"{self.names[piece.shard]}: {len(content)} bytes delivered, {piece.length} requested")
        return content
