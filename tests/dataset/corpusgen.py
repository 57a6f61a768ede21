"""Deterministic made-up corpora of the test vectors: sizes and tokens from splitmix64, no random library."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from workflow_scripts.dataset.files.index_writer import with_suffix, write_index

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def splitmix64(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        z = np.asarray(x, np.uint64) + GOLDEN
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def hashed(key: int, first: int, stop: int) -> np.ndarray:
    with np.errstate(over="ignore"):
        return splitmix64(splitmix64(np.uint64(key)) + np.arange(first, stop, dtype=np.uint64))


def sizes_of(params: dict) -> np.ndarray:
    n, spec = params["n_seq"], params["sizes"]
    h = hashed(2 * params["corpus_seed"], 0, n)
    match spec["kind"]:
        case "uniform":
            sizes = spec["lo"] + h % np.uint64(spec["hi"] - spec["lo"] + 1)
        case "const":
            sizes = np.full(n, spec["n"])
        case "cycle":
            sizes = np.resize(spec["values"], n)
        case "logbits":
            width = (h >> np.uint64(32)) % np.uint64(spec["bits"])
            sizes = np.uint64(spec["lo"]) + (h & ((np.uint64(1) << width) - np.uint64(1)))
        case kind:
            raise ValueError(kind)
    return sizes.astype(np.int32)


def tokens_of(params: dict, total: int) -> np.ndarray:
    h = hashed(2 * params["corpus_seed"] + 1, 0, total)
    return (h % np.uint64(params["vocab"])).astype(np.dtype(params["dtype"]).newbyteorder("<"))


def write_corpus(params: dict, prefix: Path) -> Path:
    sizes = sizes_of(params)
    starts = [*range(0, len(sizes), params.get("doc_group", 1)), len(sizes)]
    write_index(with_suffix(prefix, ".idx"), np.dtype(params["dtype"]).newbyteorder("<"), sizes, starts)
    tokens_of(params, int(sizes.sum(dtype=np.int64))).tofile(with_suffix(prefix, ".bin"))
    return prefix
