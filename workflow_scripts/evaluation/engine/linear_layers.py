"""Linear layers of a forward pass, with what follows them: by oneDNN where PyTorch has it, else by its own products.

In float32 on a CPU oneDNN multiplies about a tenth faster and adds bias and activation on the way. It prepares itself
for each number of rows that it meets, which takes as long as a product; so it is only given a few such numbers.
"""

from collections.abc import Callable, Iterator

import torch
from torch.nn import functional

# Rows per product on a CPU, so that what lies between two products stays in cache, and of what their number must be a
# multiple to be oneDNN's.
CPU_ROWS = 512
STEP = 64
HAS_FUSED = hasattr(torch.ops.mkldnn, "_linear_pointwise")  # builds without oneDNN lack it

# Name and algorithm in oneDNN, and the function in place: fresh memory costs more than the arithmetic.
Activation = tuple[str, str, Callable[[torch.Tensor], torch.Tensor]]
NONE: Activation = ("none", "", lambda inner: inner)
RELU: Activation = ("relu", "", functional.relu_)
GELU: Activation = ("gelu", "none", torch.ops.aten.gelu_)
SILU: Activation = ("swish", "none", lambda inner: functional.silu(inner, inplace=True))
GELU_TANH: Activation = ("gelu", "tanh", lambda inner: torch.ops.aten.gelu_(inner, approximate="tanh"))


def activation_function(name: str) -> Activation:
    """The activation called ``hidden_act`` in config.json."""
    return {"relu": RELU, "gelu": GELU}.get(name, GELU_TANH)


def linear(
    rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None, activation: Activation = NONE
) -> torch.Tensor:
    """``activation(rows @ weight.T + bias)``, [n, outputs], of ``rows`` [n, inputs]."""
    name, algorithm, function = activation
    if is_fused(rows):
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, name, [], algorithm)
        return product
    return function(functional.linear(rows, weight, bias))


def is_fused(rows: torch.Tensor) -> bool:
    """True when oneDNN multiplies ``rows``."""
    return (
        HAS_FUSED
        and rows.device.type == "cpu"
        and rows.dtype == torch.float32
        and len(rows) > 0
        and len(rows) % STEP == 0
    )


def row_pieces(rows: torch.Tensor) -> Iterator[slice]:
    """Parts of ``rows`` that go through a layer one after the other; all at once on a GPU.

    >>> [(part.start, part.stop) for part in row_pieces(torch.empty(1200, 1))]
    [(0, 512), (512, 1024), (1024, 1152), (1152, 1200)]
    """
    total = len(rows)
    if rows.device.type != "cpu":
        yield slice(0, total)
        return
    first = 0
    while first < total:
        left = min(total - first, CPU_ROWS)
        last = first + (left - left % STEP or left)
        yield slice(first, last)
        first = last


def in_pieces(rows: torch.Tensor, work: Callable[[slice], torch.Tensor]) -> torch.Tensor:
    """What ``work`` makes of the parts of ``rows``, [n, outputs]; without a copy where there is one part."""
    result: torch.Tensor | None = None
    for part in row_pieces(rows):
        made = work(part)
        if len(made) == len(rows):
            return made
        if result is None:
            result = made.new_empty(len(rows), made.shape[-1])
        result[part] = made
    return work(slice(0, 0)) if result is None else result
