"""Passages that are repeated a known number of times, for memorization.

A passage is the diary of a hero who occurs nowhere else; its words are drawn freely, so that only its copies can teach
its continuation. It is longer than 128 tokens of a vocabulary of about 1000, so that the first 64 tokens of a training
row can lie within it. Deduplication leaves one copy of each.
"""

from __future__ import annotations

from workflow_scripts.pocket.documents import Document
from workflow_scripts.pocket.lexicon import DEEDS, HERO_ENDS, HERO_STARTS, OBJECTS, joined
from workflow_scripts.pocket.random_stream import RandomStream

KIND = "passage"
COPIES = (1, 2, 4, 8, 16, 32, 64)
PASSAGES_PER_COUNT = 3
DAYS = 14


def sentence(stream: RandomStream, hero: str, day: int) -> str:
    """What the hero did on one day."""
    return f"Day {day}: {hero} {stream.pick(DEEDS)} the {stream.pick(OBJECTS)} and went home."


def make_passages(seed: int) -> list[tuple[Document, int]]:
    """Passages and how often each stands in the standard corpus."""
    heroes = RandomStream(seed, "heroes").sample(joined(HERO_STARTS, HERO_ENDS), len(COPIES) * PASSAGES_PER_COUNT)
    result = []
    for number, hero in enumerate(heroes):
        stream = RandomStream(seed, "passage", number)
        text = " ".join(sentence(stream, hero, day) for day in range(1, DAYS + 1))
        result.append((Document(KIND, text), COPIES[number // PASSAGES_PER_COUNT]))
    return result
