"""Random numbers that are the same on every machine and in every version of Python: SplitMix64 in plain integers.

Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (OOPSLA 2014); the constants are those of the
published reference code. A stream is named by a seed and labels, so that one kind of document can be changed without
moving the random numbers of another. Nothing here uses floating point, `random`, numpy or the order of a set.
"""

import hashlib
from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")

MASK = (1 << 64) - 1
GOLDEN_GAMMA = 0x9E3779B97F4A7C15


class RandomStream:
    """One named sequence of random integers.

    >>> RandomStream(1234, "facts").below(10) == RandomStream(1234, "facts").below(10)
    True
    """

    def __init__(self, seed: int, *labels: object) -> None:
        """``seed`` is any integer; ``labels`` (joined by their ``str``) select an independent stream of it."""
        name = "/".join([str(seed), *(str(label) for label in labels)])
        self.state = int.from_bytes(hashlib.sha256(name.encode("utf-8")).digest()[:8], "little")

    def next_uint64(self) -> int:
        """The next integer of ``range(2 ** 64)``."""
        self.state = (self.state + GOLDEN_GAMMA) & MASK
        mixed = self.state
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & MASK
        return mixed ^ (mixed >> 31)

    def below(self, bound: int) -> int:
        """A uniform integer of ``range(bound)``; draws that would favour small numbers are thrown away."""
        if bound < 1:
            raise ValueError(f"bound must be at least 1, got {bound}")
        limit = (1 << 64) - (1 << 64) % bound
        while True:
            draw = self.next_uint64()
            if draw < limit:
                return draw % bound

    def chance(self, percent: int) -> bool:
        """True in ``percent`` of a hundred draws."""
        return self.below(100) < percent

    def pick(self, items: Sequence[Item]) -> Item:
        """One of ``items``, each equally likely."""
        return items[self.below(len(items))]

    def pick_weighted(self, items: Sequence[Item], weights: Sequence[int]) -> Item:
        """One of ``items`` with a chance proportional to its integer weight."""
        draw = self.below(sum(weights))
        for item, weight in zip(items, weights, strict=True):
            draw -= weight
            if draw < 0:
                return item
        raise ValueError("weights must not be negative")

    def shuffled(self, items: Sequence[Item]) -> list[Item]:
        """``items`` in random order (Fisher-Yates); the argument is left unchanged."""
        result = list(items)
        for last in range(len(result) - 1, 0, -1):
            other = self.below(last + 1)
            result[last], result[other] = result[other], result[last]
        return result

    def sample(self, items: Sequence[Item], number: int) -> list[Item]:
        """``number`` different positions of ``items``, in random order."""
        if number > len(items):
            raise ValueError(f"cannot draw {number} different items from {len(items)}")
        return self.shuffled(items)[:number]
