"""Number agreement over distance: documents whose verbs agree with a subject that may be far away.

A sentence has a subject, none to two nouns between it and the verb, and a verb. One fifth of the pairs of subject and
verb never occurs in a document, in either number; the test items are made of exactly these pairs, so that nothing
but the rule can help. The nouns between are of either number in documents and always of the other number in the test.
"""

from collections.abc import Sequence

from workflow_scripts.pocket.documents import Document, Sentence, join
from workflow_scripts.pocket.lexicon import ADJECTIVES, ATTRACTORS, PREPOSITIONS, SUBJECTS, TIMES, VERBS, Inflected
from workflow_scripts.pocket.random_stream import RandomStream

KIND = "scene"
SENTENCES = (8, 10)
DISTANCES = (0, 1, 2)
DISTANCE_WEIGHTS = (3, 4, 3)
ADJECTIVE_PERCENT = 25
TIME_PERCENT = 30
HELD_OUT_CYCLE = 5


def is_held_out(subject: int, verb: int) -> bool:
    """True for the pairs (positions in ``SUBJECTS`` and ``VERBS``) that no document contains."""
    return (subject + 2 * verb) % HELD_OUT_CYCLE == 0


def pairs(held_out: bool) -> list[tuple[int, int]]:
    """All pairs of subject and verb that are held out, or all that are not."""
    every = [(subject, verb) for subject in range(len(SUBJECTS)) for verb in range(len(VERBS))]
    return [pair for pair in every if is_held_out(*pair) is held_out]


TRAINED_PAIRS = pairs(held_out=False)
HELD_OUT_PAIRS = pairs(held_out=True)


def modifier(stream: RandomStream, is_plural: bool) -> str:
    """`` near the old mill``: a noun of one number between subject and verb."""
    return f" {stream.pick(PREPOSITIONS)} the {adjective(stream)}{stream.pick(ATTRACTORS).form(is_plural)}"


def adjective(stream: RandomStream) -> str:
    """An adjective and a space, or nothing."""
    return stream.pick(ADJECTIVES) + " " if stream.chance(ADJECTIVE_PERCENT) else ""


def noun_phrase(stream: RandomStream, subject: Inflected, is_plural: bool, attractors: Sequence[bool]) -> str:
    """The subject and one modifier for each of ``attractors`` (True: plural)."""
    modifiers = "".join(modifier(stream, attractor) for attractor in attractors)
    return f"The {adjective(stream)}{subject.form(is_plural)}{modifiers}"


def sentence(stream: RandomStream) -> Sentence:
    """A grammatical sentence of a document."""
    pair = stream.pick(TRAINED_PAIRS)
    is_plural = stream.chance(50)
    distance = stream.pick_weighted(DISTANCES, DISTANCE_WEIGHTS)
    attractors = [stream.chance(50) for _ in range(distance)]
    phrase = noun_phrase(stream, SUBJECTS[pair[0]], is_plural, attractors)
    time = " " + stream.pick(TIMES) if stream.chance(TIME_PERCENT) else ""
    return Sentence(f"{phrase} {VERBS[pair[1]].form(is_plural)}{time}.")


def document(stream: RandomStream) -> Document:
    """A document of unrelated sentences."""
    length = SENTENCES[0] + stream.below(SENTENCES[1] - SENTENCES[0] + 1)
    return join(KIND, [sentence(stream) for _ in range(length)], " ")


def items(stream: RandomStream, per_distance: int) -> list[dict[str, str | int]]:
    """Minimal pairs in BLiMP's layout (``sentence_good``, ``sentence_bad``) with their ``distance``.

    Each draw gives two items, one with a singular and one with a plural subject, so that a model without any notion of
    number scores exactly one half. ``per_distance`` must be even.
    """
    found: list[dict[str, str | int]] = []
    for distance in DISTANCES:
        seen: dict[str, None] = {}
        while len(seen) < per_distance:
            pair = stream.pick(HELD_OUT_PAIRS)
            both = [minimal_pair(stream, pair, distance, is_plural) for is_plural in (False, True)]
            if not any(str(item["sentence_good"]) in seen for item in both):
                seen.update((str(item["sentence_good"]), None) for item in both)
                found.extend(both)
    return found


def minimal_pair(stream: RandomStream, pair: tuple[int, int], distance: int, is_plural: bool) -> dict[str, str | int]:
    """One item: two sentences that differ only in the number of the verb."""
    phrase = noun_phrase(stream, SUBJECTS[pair[0]], is_plural, [not is_plural] * distance)
    verb = VERBS[pair[1]]
    return {
        "sentence_good": f"{phrase} {verb.form(is_plural)}.",
        "sentence_bad": f"{phrase} {verb.form(not is_plural)}.",
        "distance": distance,
        "number": "plural" if is_plural else "singular",
    }
