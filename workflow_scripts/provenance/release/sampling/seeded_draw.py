r"""Which items are checked: an order of the population that nobody could know before the release was sealed.

The numbers 0 .. N - 1 of a population of N items are drawn by SHA-256 in counter mode: for counter = 0, 1, 2, ... the
digest of the UTF-8 text

    pythia-sample-1\n<root>\n<seed>\n<kind>\n<N>\n<counter>

(root, seed and kind as printed, N and counter in decimal) is read as a whole number, the highest byte first; its
remainder by N is the next number drawn unless it was drawn before. No remainder is likelier than another by more than
2**-256. The same manifest and seed draw the same items. The root is in it, so that a seed fits one manifest; the
seed must be made after sealing, by the verifier, or the forger could choose what is looked at.
"""

import hashlib
import itertools
import secrets
from collections.abc import Iterator
from dataclasses import dataclass

VERSION = "pythia-sample-1"


def new_seed() -> str:
    """A seed of 128 bits from the operating system, 32 hexadecimal digits."""
    return secrets.token_hex(16)


@dataclass(frozen=True)
class Draw:
    """The root of a manifest and the seed of a verification: together they fix every sample."""

    root: str
    seed: str

    def order(self, kind: str, count: int) -> Iterator[int]:
        """All of ``range(count)`` in the order drawn.

        >>> list(Draw("00", "first").order("rows", 5))
        [1, 4, 3, 2, 0]
        """
        seen: set[int] = set()
        for counter in itertools.count() if count else ():
            text = f"{VERSION}\n{self.root}\n{self.seed}\n{kind}\n{count}\n{counter}"
            number = int.from_bytes(hashlib.sha256(text.encode()).digest(), "big") % count
            if number not in seen:
                seen.add(number)
                yield number
            if len(seen) == count:
                return
