"""Rows of a training order with single tokens exchanged: a patch is a list of (position, new token), never a copy.

A position counts tokens of the rows in training order: row * row_tokens + column. A patch file is safetensors with
``positions`` int64 [m], rising, ``tokens`` int32 [m], and a JSON header that names the order it was made for
(``base_fingerprint``, ``row_tokens``) and the rows that were looked at. An empty patch changes nothing, not even the
fingerprint. It must not be applied to another order than its own.
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.dataset.files.indexed import Array
from workflow_scripts.dataset.order.row_source import Rows, fingerprint_of
from workflow_scripts.errors import DataError, MissingInputError, ModelError
from workflow_scripts.json_values import JsonMapping
from workflow_scripts.storage.atomic import write_bytes

FORMAT = "pythia-workflow patch 1"
HEADER = ("format", "base_fingerprint", "row_tokens", "first_row", "stop_row")


@dataclass(frozen=True)
class Patch:
    """Exchanged tokens of an order; ``facts`` is what the maker says about it (declaration, counts)."""

    positions: NDArray[np.int64]
    tokens: NDArray[np.int32]
    base_fingerprint: str
    row_tokens: int
    first_row: int
    stop_row: int
    facts: JsonMapping = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """Hash of the positions and tokens."""
        digest = hashlib.sha256(np.ascontiguousarray(self.positions, dtype="<i8").data)
        digest.update(np.ascontiguousarray(self.tokens, dtype="<i4").data)
        return digest.hexdigest()


def write_patch(path: Path, patch: Patch) -> None:
    """Write atomically; equal patches give equal bytes."""
    from safetensors.numpy import save

    header = {"format": FORMAT, **{name: getattr(patch, name) for name in HEADER[1:]}, "facts": dict(patch.facts)}
    arrays: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]] = {
        "positions": np.ascontiguousarray(patch.positions, dtype=np.int64),
        "tokens": np.ascontiguousarray(patch.tokens, dtype=np.int32),
    }
    write_bytes(path, save(arrays, {"header": json.dumps(header, sort_keys=True, allow_nan=False)}))


def read_patch(path: Path) -> Patch:
    """Read and check a patch; raises MissingInputError or DataError."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise MissingInputError(f"{path}: no such patch; create it with workflow_scripts.experiments.make_patch")
    try:
        with safe_open(str(path), framework="np") as file:
            header = json.loads((file.metadata() or {}).get("header", "{}"))
            arrays = {name: file.get_tensor(name) for name in ("positions", "tokens")}
    except (SafetensorError, ValueError) as error:
        raise DataError(f"{path}: not a patch ({error}); recreate it") from error
    if header.get("format") != FORMAT or any(name not in header for name in HEADER):
        raise DataError(f"{path}: not a patch of format '{FORMAT}'; recreate it")
    patch = Patch(**arrays, **{name: header[name] for name in HEADER[1:]}, facts=header.get("facts", {}))
    check_positions(path, patch)
    return patch


def check_positions(path: Path, patch: Patch) -> None:
    """Positions must rise strictly and lie within the rows that the header names."""
    positions = patch.positions
    if positions.dtype != np.int64 or positions.ndim != 1 or len(positions) != len(patch.tokens):
        raise DataError(f"{path}: positions and tokens are not lists of equal length; recreate it")
    bounds = (patch.first_row * patch.row_tokens, patch.stop_row * patch.row_tokens)
    if len(positions) and ((np.diff(positions) <= 0).any() or positions[0] < bounds[0] or positions[-1] >= bounds[1]):
        raise DataError(f"{path}: positions do not increase within rows {patch.first_row} to {patch.stop_row}")


class PatchedRows:
    """Rows of ``base`` with the tokens of a patch in place."""

    def __init__(self, base: Rows, patch: Patch) -> None:
        """Raises ModelError when the patch was made for another order."""
        width = base.rows(0, 1).shape[1]
        if patch.base_fingerprint != base.fingerprint or patch.row_tokens != width:
            raise ModelError(
                f"the patch was made for data {patch.base_fingerprint[:12]} with rows of {patch.row_tokens} tokens, "
                f"these are {base.fingerprint[:12]} with {width}; make the patch from the same view and recipe"
            )
        self.base, self.patch, self.row_tokens = base, patch, width

    @property
    def n_rows(self) -> int:
        """Rows there are."""
        return int(self.base.n_rows)

    @property
    def fingerprint(self) -> str:
        """That of the base where nothing is changed, else the sha256 of both."""
        if not len(self.patch.positions):
            return str(self.base.fingerprint)
        return fingerprint_of({"base": self.base.fingerprint, "patch": self.patch.sha256})

    def rows(self, start: int, stop: int) -> Array:
        """Rows [start, stop), a new array [stop - start, row_tokens]."""
        rows = np.array(self.base.rows(start, stop))
        origin = start * self.row_tokens
        first, last = np.searchsorted(self.patch.positions, [origin, stop * self.row_tokens])
        rows.reshape(-1)[self.patch.positions[first:last] - origin] = self.patch.tokens[first:last]
        return rows
