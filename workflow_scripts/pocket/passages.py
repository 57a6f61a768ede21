"""Passages that are repeated a known number of times, for memorization.

A passage is the ledger of a trader who occurs nowhere else. Its lines come from a fixed stock, one line for each
object, so that a line is predictable once its object is known; which object follows which is drawn freely, and only
the copies of a passage can teach it. A passage is longer than 128 tokens of a vocabulary of about 1000, so that
the first 64 tokens of a training row can lie within it. Deduplication leaves one copy of each.
"""

from __future__ import annotations

from workflow_scripts.pocket.documents import Document
from workflow_scripts.pocket.lexicon import (
    ADJECTIVES,
    OBJECTS,
    OTHER_PEOPLE,
    PLACES,
    TRADER_ENDS,
    TRADER_STARTS,
    joined,
)
from workflow_scripts.pocket.random_stream import RandomStream

KIND = "passage"
COPIES = (1, 2, 4, 8, 16, 32, 64)
PASSAGES_PER_COUNT = 3
LINES = 12


def stock_lines(seed: int) -> dict[str, str]:
    """The line of each object, with ``{}`` in place of the trader."""
    stream = RandomStream(seed, "ledger")
    return {
        thing: f"The {thing} went to the {stream.pick(ADJECTIVES)} {stream.pick(OTHER_PEOPLE)} "
        f"in the {stream.pick(PLACES)}, wrote {{}}."
        for thing in OBJECTS
    }


def make_passages(seed: int) -> list[tuple[Document, int]]:
    """Passages and how often each stands in the standard corpus."""
    lines = stock_lines(seed)
    number = len(COPIES) * PASSAGES_PER_COUNT
    traders = RandomStream(seed, "traders").sample(joined(TRADER_STARTS, TRADER_ENDS), number)
    result = []
    for place, trader in enumerate(traders):
        things = RandomStream(seed, "passage", place).sample(OBJECTS, LINES)
        text = " ".join(lines[thing].format(trader) for thing in things)
        result.append((Document(KIND, text), COPIES[place // PASSAGES_PER_COUNT]))
    return result
