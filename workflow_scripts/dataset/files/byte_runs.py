"""Copies many runs of bytes at the speed of memory."""

import numpy as np

from workflow_scripts.dataset.files.compiled import compiled
from workflow_scripts.dataset.files.indexed import Array


@compiled
def copy_runs(source: Array, offsets: Array, lengths: Array, targets: Array, out: Array) -> None:
    """Copy runs of bytes: ``out[targets[i]:][:lengths[i]] = source[offsets[i]:][:lengths[i]]``."""
    for run in range(len(offsets)):
        # Unsigned, so that no index can count from the end: then the loop becomes one memcpy (30 times faster).
        start, target = np.uint64(offsets[run]), np.uint64(targets[run])
        for byte in range(np.uint64(lengths[run])):
            out[target + byte] = source[start + byte]
