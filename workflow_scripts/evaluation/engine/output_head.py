"""Log-probabilities of wanted next tokens from hidden states, without ever holding all logits of a pass.

On a CPU the output matrix is taken in blocks of columns, whose logits stay in the processor's cache while their largest
value and logarithm of the sum of exponentials are found; both are joined over the blocks in float32. A chunk of rows
and a block of columns is all that exists at once. In float32 the hidden states are multiplied by log2(e) first, so that
powers of two replace those of e: PyTorch computes them three times as fast. On a GPU the whole vocabulary is taken at
once, and nothing waits for the device: PyTorch's own kernels for the largest value and the softmax read the logits
twice, where the steps for blocks would read or write them six times.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch.nn import functional

from workflow_scripts.evaluation.engine.blockwise_attention import SAFE
from workflow_scripts.evaluation.engine.linear_layers import HAS_FUSED, STEP, is_fused, linear

# Rows per product and columns per block, by device: on a CPU three megabytes of logits, near what its cache holds; of
# 128 to 2048 rows and 256 to 2048 columns these cost least, with others of the same size. On a GPU as much as keeps it
# busy (400 MB of log-probabilities) and all columns.
ROWS = {"cpu": 1024, "cuda": 2048}
COLUMNS = {"cpu": 768}


# Of some (slot, target) pairs, on the device: log-probabilities float32 [e] in nats, is-the-most-likely flags bool [e],
# and whether all logits were finite, bool [].
Predicted = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@dataclass
class Joined:
    """What is known of n rows and e (row, token) pairs, sorted by token, after some blocks.

    ``sums``, ``tops`` float32 [blocks, n]: natural logarithm of the sum of exponentials, largest logit of each block;
    ``rows``, ``tokens`` int64 [e]; ``chosen`` float32 [e] logits of the tokens; ``first`` bool [e]: the likeliest of
    its block, and no earlier token of the block is as likely.
    """

    sums: torch.Tensor
    tops: torch.Tensor
    rows: torch.Tensor
    tokens: torch.Tensor
    chosen: torch.Tensor
    first: torch.Tensor


class Head:
    """The output matrix ``weight`` [vocabulary, width] with buffers that are used again and again."""

    def __init__(self, weight: torch.Tensor) -> None:
        """Products run in the type of ``weight``, everything after them in float32.

        One unit of a logit is ``unit`` nats, and ``power`` the exponential function that belongs to it.
        """
        self.weight = weight
        device = weight.device
        self.rows, self.columns = ROWS[device.type], min(COLUMNS.get(device.type, len(weight)), len(weight))
        self.in_blocks = device.type == "cpu"
        self.starts = list(range(0, len(weight), self.columns))
        self.logits = torch.empty(self.rows * self.columns if self.in_blocks else 0, dtype=torch.float32)
        # Rows of zeros make the number of rows one that oneDNN takes; nobody reads what comes of them.
        self.padding = STEP if HAS_FUSED and self.in_blocks and weight.dtype == torch.float32 else 0
        self.power, self.unit = (torch.exp2, math.log(2)) if weight.dtype == torch.float32 else (torch.exp, 1.0)

    def predict(self, hidden: torch.Tensor, slots: torch.Tensor, targets: torch.Tensor) -> Predicted:
        """What the logits say of each (slot, target) pair; a tie goes to the lowest token.

        ``hidden`` [n, width], n at most ``rows``; ``slots``, ``targets`` int64 [e] on the CPU.
        """
        return (self.predict_in_blocks if self.in_blocks else self.predict_at_once)(hidden, slots, targets)

    def predict_at_once(self, hidden: torch.Tensor, slots: torch.Tensor, targets: torch.Tensor) -> Predicted:
        """The same by logits of all columns, in the type of the weights; nothing here waits for the device."""
        logits = hidden @ self.weight.t()
        tops, likeliest = logits.max(-1)  # the first of equal ones
        chances = torch.log_softmax(logits, -1, dtype=torch.float32)
        slots, targets = (each.to(hidden.device, non_blocking=True) for each in (slots, targets))
        return chances[slots, targets], likeliest[slots] == targets, torch.isfinite(tops).all()

    def predict_in_blocks(self, hidden: torch.Tensor, slots: torch.Tensor, targets: torch.Tensor) -> Predicted:
        """The same on a CPU, block by block of columns."""
        if self.padding and len(hidden) > self.padding:
            hidden = functional.pad(hidden, (0, 0, 0, -len(hidden) % self.padding))
        order = torch.argsort(targets)
        joined = self.blank(len(hidden), slots[order], targets[order])
        scaled = hidden if self.unit == 1.0 else hidden / self.unit
        bounds = torch.searchsorted(targets[order], torch.tensor([*self.starts, len(self.weight)])).tolist()
        for number, pairs in enumerate(pairwise(bounds)):
            self.add_block(joined, scaled, number, slice(*pairs))
        total = joined.sums.logsumexp(0)
        top, where = joined.tops.max(0)  # the first of equal blocks
        best = (
            joined.first & (joined.chosen == top[joined.rows]) & (where[joined.rows] == joined.tokens // self.columns)
        )
        values = torch.empty(len(order), dtype=torch.float32)
        flags = torch.empty(len(order), dtype=torch.bool)
        values[order] = joined.chosen * self.unit - total[joined.rows]
        flags[order] = best
        return values, flags, torch.isfinite(total).all() & torch.isfinite(top).all()

    def blank(self, count: int, rows: torch.Tensor, tokens: torch.Tensor) -> Joined:
        """Nothing known yet of ``count`` rows and of the pairs of ``rows`` and ``tokens``."""
        shape = (len(self.starts), count)
        return Joined(
            torch.empty(shape, dtype=torch.float32),
            torch.empty(shape, dtype=torch.float32),
            rows,
            tokens,
            torch.empty(len(rows), dtype=torch.float32),
            torch.zeros(len(rows), dtype=torch.bool),
        )

    def add_block(self, joined: Joined, hidden: torch.Tensor, number: int, pairs: slice) -> None:
        """Logits of block ``number`` of the tokens and what they say of all rows and of the ``pairs`` among them."""
        start, tops = self.starts[number], joined.tops[number]
        logits = self.block_logits(hidden, start)
        torch.amax(logits, -1, out=tops)
        if pairs.start < pairs.stop:
            note_chosen(joined, logits, start, tops, pairs)
        joined.sums[number] = self.log_sums(logits, tops)

    def log_sums(self, logits: torch.Tensor, tops: torch.Tensor) -> torch.Tensor:
        """Natural logarithm of the sum of exponentials of each row, float32 [n]; ``logits`` are overwritten.

        Largest values ``tops`` are subtracted before the exponential only where it could not be taken without.
        """
        far = bool((tops.abs() > SAFE).any())
        if far:
            logits.sub_(tops[:, None])
        sums = self.power(logits, out=logits).sum(-1).log_()
        return sums.add_(tops, alpha=self.unit) if far else sums

    def block_logits(self, hidden: torch.Tensor, start: int) -> torch.Tensor:
        """Logits float32 [n, columns] of the tokens from ``start``, in the buffer or in fresh memory."""
        weight = self.weight[start : start + self.columns]
        logits = self.logits[: len(hidden) * len(weight)].view(len(hidden), len(weight))
        if is_fused(hidden):
            return linear(hidden, weight)
        if weight.dtype == torch.float32:
            return torch.mm(hidden, weight.t(), out=logits)
        return logits.copy_(hidden @ weight.t())


def note_chosen(joined: Joined, logits: torch.Tensor, start: int, tops: torch.Tensor, pairs: slice) -> None:
    """Write down what ``logits`` of a block from token ``start``, of which ``tops`` are largest, say of ``pairs``."""
    rows, tokens = joined.rows[pairs], joined.tokens[pairs]
    chosen = logits[rows, tokens - start]
    joined.chosen[pairs] = chosen
    likeliest = (chosen == tops[rows]).nonzero()[:, 0]
    if len(likeliest):
        lowest = logits[rows[likeliest]].argmax(-1) + start
        joined.first[pairs.start + likeliest] = lowest == tokens[likeliest]
