"""Passages that are repeated a known number of times, for memorization.

A passage is the list of those who came to a fair; each of its names occurs nowhere else. The lines differ in the name
only, and who follows whom is drawn freely, so that only the copies of a passage can teach it. A passage is longer than
128 tokens of a vocabulary of about 1000, so that the first 64 tokens of a training row can lie within it.
Deduplication leaves one copy of each.
"""

from workflow_scripts.pocket.documents import Document
from workflow_scripts.pocket.lexicon import GUEST_ENDS, GUEST_STARTS, joined
from workflow_scripts.pocket.random_stream import RandomStream

KIND = "passage"
COPIES = (1, 2, 4, 8, 16, 32, 64)
PASSAGES_PER_COUNT = 3
LINES = 14
LINE = "{} came to the old market and went home."


def make_passages(seed: int) -> list[tuple[Document, int]]:
    """Passages and how often each occurs in the standard corpus."""
    number = len(COPIES) * PASSAGES_PER_COUNT
    names = RandomStream(seed, "guests").sample(joined(GUEST_STARTS, GUEST_ENDS), number * LINES)
    result = []
    for place in range(number):
        guests = names[place * LINES : (place + 1) * LINES]
        text = " ".join(LINE.format(guest) for guest in guests)
        result.append((Document(KIND, text), COPIES[place // PASSAGES_PER_COUNT]))
    return result
