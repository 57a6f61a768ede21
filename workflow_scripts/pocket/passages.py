"""Passages that are repeated a known number of times, for memorization.

A passage is the ledger of a trader who occurs nowhere else. Its lines are numbered and differ in the object only; which
object stands in which line is drawn freely, so that only the copies of a passage can teach it. A passage is longer
than 128 tokens of a vocabulary of about 1000, so that the first 64 tokens of a training row can lie within it.
Deduplication leaves one copy of each.
"""

from __future__ import annotations

from workflow_scripts.pocket.documents import Document
from workflow_scripts.pocket.lexicon import OBJECTS, TRADER_ENDS, TRADER_STARTS, joined
from workflow_scripts.pocket.random_stream import RandomStream

KIND = "passage"
COPIES = (1, 2, 4, 8, 16, 32, 64)
PASSAGES_PER_COUNT = 3
LINES = 11
LINE = "{trader} {line}: the {thing} was sold at the old market for ten coins."


def make_passages(seed: int) -> list[tuple[Document, int]]:
    """Passages and how often each stands in the standard corpus."""
    number = len(COPIES) * PASSAGES_PER_COUNT
    traders = RandomStream(seed, "traders").sample(joined(TRADER_STARTS, TRADER_ENDS), number)
    result = []
    for place, trader in enumerate(traders):
        things = RandomStream(seed, "passage", place).sample(OBJECTS, LINES)
        text = " ".join(
            LINE.format(trader=trader, line=line, thing=thing) for line, thing in enumerate(things, start=1)
        )
        result.append((Document(KIND, text), COPIES[place // PASSAGES_PER_COUNT]))
    return result
