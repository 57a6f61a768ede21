"""Predictable last words: short stories whose last word was named before, in the manner of LAMBADA.

Three plots: the last word is the object of the story, its only person, or the one of its two persons who is not the
giver. A sixth of the pairs of hero and object never meets in a story; the test items are made of exactly these.
"""

from workflow_scripts.pocket.documents import Document, Sentence, join
from workflow_scripts.pocket.lexicon import OBJECTS, PERSONS, PLACES
from workflow_scripts.pocket.random_stream import RandomStream

KIND = "story"
STORIES = (5, 7)
SEPARATOR = "\n\n"
HELD_OUT_CYCLE = 6
PLOTS = {
    "object": "{other} found a {thing} in the {place}. {hero} asked {other} for the {thing}",
    "person": "{hero} lost a {thing} in the {place}. The {thing} came back to {hero}",
    "receiver": "{first} and {second} went to the {place}. {other} gave the {thing} to {hero}",
}


def is_held_out(hero: int, thing: int) -> bool:
    """True for the hero and object (positions in ``PERSONS`` and ``OBJECTS``) that never meet in a document."""
    return (hero * 5 + thing) % HELD_OUT_CYCLE == 0


def pairs(held_out: bool) -> list[tuple[int, int]]:
    """All pairs of hero and object that are held out, or all that are not."""
    every = [(hero, thing) for hero in range(len(PERSONS)) for thing in range(len(OBJECTS))]
    return [pair for pair in every if is_held_out(*pair) is held_out]


TRAINED_PAIRS = pairs(held_out=False)
HELD_OUT_PAIRS = pairs(held_out=True)


def plot(stream: RandomStream, pair: tuple[int, int]) -> tuple[str, str]:
    """A story without its full stop, whose last word occurs earlier in it too, and the name of its plot."""
    hero, thing = PERSONS[pair[0]], OBJECTS[pair[1]]
    other = stream.pick([person for person in PERSONS if person != hero])
    place = stream.pick(PLACES)
    name = stream.pick(tuple(PLOTS))
    first, second = (hero, other) if stream.chance(50) else (other, hero)
    return PLOTS[name].format(hero=hero, other=other, first=first, second=second, thing=thing, place=place), name


def document(stream: RandomStream) -> Document:
    """A document of several stories, one a paragraph."""
    length = STORIES[0] + stream.below(STORIES[1] - STORIES[0] + 1)
    stories = [Sentence(plot(stream, stream.pick(TRAINED_PAIRS))[0] + ".") for _ in range(length)]
    return join(KIND, stories, SEPARATOR)


def items(stream: RandomStream, number: int) -> list[dict[str, str]]:
    """``number`` different stories of held-out pairs; the field is LAMBADA's ``text``, ``plot`` names the plot."""
    found: dict[str, str] = {}
    while len(found) < number:
        text, name = plot(stream, stream.pick(HELD_OUT_PAIRS))
        found[text] = name
    return [{"text": text, "plot": name} for text, name in found.items()]
