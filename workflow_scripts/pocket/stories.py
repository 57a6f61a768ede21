"""Predictable last words: short stories whose last word was named before, in the manner of LAMBADA.

Two plots: in one the last word is the object of the story, in the other it is the person who is not the giver. A
sixth of the pairs of receiver and object never occurs in a document; the test items are made of exactly these.
"""

from __future__ import annotations

from workflow_scripts.pocket.documents import Document, Sentence, join
from workflow_scripts.pocket.lexicon import OBJECTS, PERSONS, PLACES
from workflow_scripts.pocket.random_stream import RandomStream

KIND = "story"
STORIES = (5, 7)
SEPARATOR = "\n\n"
HELD_OUT_CYCLE = 6


def is_held_out(receiver: int, thing: int) -> bool:
    """True for the receiver and object (positions in ``PERSONS`` and ``OBJECTS``) that never meet in a document."""
    return (receiver * 5 + thing) % HELD_OUT_CYCLE == 0


def pairs(held_out: bool) -> list[tuple[int, int]]:
    """All pairs of receiver and object that are held out, or all that are not."""
    every = [(receiver, thing) for receiver in range(len(PERSONS)) for thing in range(len(OBJECTS))]
    return [pair for pair in every if is_held_out(*pair) is held_out]


TRAINED_PAIRS = pairs(held_out=False)
HELD_OUT_PAIRS = pairs(held_out=True)


def plot(stream: RandomStream, pair: tuple[int, int]) -> str:
    """A story without its full stop; its last word stands earlier in it too."""
    receiver, thing = PERSONS[pair[0]], OBJECTS[pair[1]]
    giver = stream.pick([person for person in PERSONS if person != receiver])
    place = stream.pick(PLACES)
    if stream.chance(50):
        return f"{giver} found a {thing} in the {place}. {receiver} asked {giver} for the {thing}"
    first, second = (giver, receiver) if stream.chance(50) else (receiver, giver)
    return f"{first} and {second} went to the {place}. {giver} gave the {thing} to {receiver}"


def document(stream: RandomStream) -> Document:
    """A document of several stories, one a paragraph."""
    length = STORIES[0] + stream.below(STORIES[1] - STORIES[0] + 1)
    stories = [Sentence(plot(stream, stream.pick(TRAINED_PAIRS)) + ".") for _ in range(length)]
    return join(KIND, stories, SEPARATOR)


def items(stream: RandomStream, number: int) -> list[dict[str, str]]:
    """``number`` different stories of held-out pairs; the field is LAMBADA's ``text``."""
    found: dict[str, None] = {}
    while len(found) < number:
        found[plot(stream, stream.pick(HELD_OUT_PAIRS))] = None
    return [{"text": text, "target": "object" if " found a " in text else "person"} for text in found]
