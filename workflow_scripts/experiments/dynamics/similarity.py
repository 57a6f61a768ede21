"""Linear CKA of representations of the same tokens, from one vector per representation that does not know its width.

CKA (Kornblith et al. 2019) of X [n, p] and Y [n, q] is a normalised inner product of X X^T and Y Y^T. With few tokens
and wide layers its usual estimate is far above 0 even for unrelated noise; here it is the one without that bias (Song
et al. 2012; Nguyen, Raghu and Kornblith 2021), which is a plain cosine of U-centred Gram matrices (Szekely and Rizzo
2014). Its expectation for independent noise is 0, so single values can be below 0.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

FEWEST_TOKENS = 4


def fingerprint(states: NDArray[np.float32]) -> NDArray[np.float32]:
    """Unit vector float32 [n (n - 1) / 2] of ``states`` [n, width]: CKA of two is their inner product.

    Zeros where the states do not differ. n is at least 4.
    """
    wide = states.astype(np.float64)
    gram = wide @ wide.T
    upper = u_centred(gram)[np.triu_indices(len(gram), 1)]
    length = float(np.linalg.norm(upper))
    negligible = length <= 1e-12 * float(np.abs(gram).max(initial=0.0)) * len(gram)
    return (np.zeros_like(upper) if negligible else upper / length).astype(np.float32)


def u_centred(gram: NDArray[np.float64]) -> NDArray[np.float64]:
    """U-centring of a Gram matrix [n, n]: rows sum to 0 without the diagonal, which is 0."""
    n = len(gram)
    off = gram - np.diag(np.diag(gram))
    rows = off.sum(axis=0) / (n - 2)
    centred: NDArray[np.float64] = off - rows[:, None] - rows[None, :] + off.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(centred, 0.0)
    return centred


def cka(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """CKA of two fingerprints of the same tokens; NaN where one is of states that do not differ."""
    if not one.any() or not other.any():
        return math.nan
    return float(one.astype(np.float64) @ other)
