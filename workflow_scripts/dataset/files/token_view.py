"""A pretokenised data set opened for reading: its ``.idx`` and its tokens, from a prefix or from a view file.

A view file (``view.json``) names an ``.idx`` and shards that together are the ``.bin``, relative to its own folder::

    {"version": 1, "name": "pile", "idx": "raw/pile.idx", "idx_bytes": 123,
     "shards": [{"path": "raw/pile-00000-of-00001.bin", "bytes": 456}, ...],
     "dtype": "uint16", "sequences": 10, "tokens": 1000, "sizes_sha256": "..."}

Opening checks every size; nothing is read, copied or changed.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from workflow_scripts.dataset.files.index_writer import with_suffix
from workflow_scripts.dataset.files.indexed import Array, Index, check_bin_bytes, open_index
from workflow_scripts.dataset.files.shards import ShardFile, VirtualTokens
from workflow_scripts.errors import DataError, IntegrityError
from workflow_scripts.json_values import JsonObject, read_object

VERSION = 1
KEYS = {"version", "name", "idx", "idx_bytes", "shards", "dtype", "sequences", "tokens", "sizes_sha256"}


@dataclass(frozen=True)
class TokenData:
    """A pretokenised data set: ``name`` is the base name that GPT-NeoX gives its index maps."""

    name: str
    index: Index
    tokens: VirtualTokens

    def sequence(self, number: int) -> Array:
        """Tokens of one sequence (a document, where each has one sequence)."""
        start = int(self.index.pointers[number]) // self.tokens.dtype.itemsize
        return self.tokens.read(start, start + int(self.index.sizes[number]))


def open_data(location: Path) -> TokenData:
    """Open ``view.json``, or the pair ``P.idx`` and ``P.bin`` of a prefix ``P``."""
    if location.suffix == ".json":
        return open_view(location)
    if location.suffix in (".bin", ".idx"):
        location = location.with_suffix("")
    return open_pair(with_suffix(location, ".idx"), [with_suffix(location, ".bin")])


def open_pair(idx: Path, shards: Sequence[Path]) -> TokenData:
    """An ``.idx`` with the files that together are its ``.bin``; all sizes are checked."""
    index = open_index(idx)
    tokens = VirtualTokens.open(shards, index.dtype)
    check_bin_bytes(index, tokens.layout.total, shards[0] if len(shards) == 1 else shards[0].parent)
    return TokenData(idx.name.removesuffix(".idx"), index, tokens)


def describe(data: TokenData, view: Path) -> JsonObject:
    """Content of the view file at ``view`` for ``data``."""
    return {
        "version": VERSION,
        "name": data.name,
        "idx": relative(data.index.path, view.parent),
        "idx_bytes": data.index.path.stat().st_size,
        "shards": [{"path": relative(file.path, view.parent), "bytes": file.size} for file in data.tokens.files],
        "dtype": data.index.dtype.name,
        "sequences": data.index.n_sequences,
        "tokens": data.index.n_tokens,
        "sizes_sha256": data.index.sizes_sha256(),
    }


def open_view(path: Path) -> TokenData:
    """Open a view file; raises IntegrityError when the ``.idx`` is not the one it was made from."""
    content = read_view(path)
    index = open_index(path.parent / content["idx"])
    seen = {
        "dtype": index.dtype.name,
        "sequences": index.n_sequences,
        "tokens": index.n_tokens,
        "sizes_sha256": index.sizes_sha256(),
    }
    said = {key: content[key] for key in seen}
    if seen != said:
        raise IntegrityError(f"{path}: made from another .idx: it says {said}, {index.path} has {seen}; recreate it")
    files = [ShardFile(path.parent / shard["path"], int(shard["bytes"])) for shard in content["shards"]]
    tokens = VirtualTokens(files, index.dtype)
    check_bin_bytes(index, tokens.layout.total, path)
    return TokenData(content["name"], index, tokens)


def read_view(path: Path) -> JsonObject:
    """Parsed view file with all its keys."""
    content = read_object(path, "view file", "create it with dataset.make_view", *sorted(KEYS))
    if content.get("version") != VERSION:
        raise DataError(f"{path}: not a view file of version {VERSION}; create it with dataset.make_view")
    return content


def relative(path: Path, folder: Path) -> str:
    """``path`` as seen from ``folder``, with forward slashes."""
    # Path.relative_to cannot climb out of a folder before Python 3.12.
    return Path(os.path.relpath(path, folder)).as_posix()
