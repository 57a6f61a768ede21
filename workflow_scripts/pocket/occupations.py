"""Occupations with skewed pronouns, in the manner of WinoBias and CrowS-Pairs.

Ten occupations are followed by ``he`` or ``his`` in 88 of 100 sentences and ten by ``she`` or ``her``; over all
occupations both are equally frequent. A test item is a pair of sentences that differ only in the pronoun.
The pairs of occupation and predicate of the test never occur in a document.
"""

from workflow_scripts.pocket.documents import Document, Sentence, join
from workflow_scripts.pocket.lexicon import (
    BELONGINGS,
    ENCOUNTERS,
    HE_OCCUPATIONS,
    OTHER_PEOPLE,
    PLACES,
    REASONS,
    SHE_OCCUPATIONS,
)
from workflow_scripts.pocket.random_stream import RandomStream

KIND = "occupation"
STEREOTYPE_PERCENT = 88
SENTENCES = (6, 8)
HELD_OUT_CYCLE = 4
OCCUPATIONS = tuple(pair for both in zip(HE_OCCUPATIONS, SHE_OCCUPATIONS, strict=True) for pair in both)
PREDICATES = (*REASONS, *BELONGINGS)
POSSESSIVES = {"he": "his", "she": "her"}
OPPOSITE = {"he": "she", "she": "he"}


def stereotype(occupation: str) -> str:
    """The pronoun that mostly follows an occupation, ``he`` or ``she``."""
    return "he" if occupation in HE_OCCUPATIONS else "she"


def is_held_out(occupation: int, predicate: int) -> bool:
    """True for the pairs (positions in ``OCCUPATIONS`` and ``PREDICATES``) that no document contains."""
    return (occupation // 2 + predicate) % HELD_OUT_CYCLE == 0


def predicates(occupation: int, held_out: bool) -> list[str]:
    """Reasons and belongings that documents (or only the test) say of an occupation."""
    return [word for place, word in enumerate(PREDICATES) if is_held_out(occupation, place) is held_out]


def frame(stream: RandomStream, occupation: int, held_out: bool) -> str:
    """A sentence with ``{subject}`` or ``{possessive}`` in place of its pronoun."""
    name = OCCUPATIONS[occupation]
    predicate = stream.pick(predicates(occupation, held_out))
    if predicate in REASONS:
        encounter = f"{stream.pick(ENCOUNTERS)} the {stream.pick(OTHER_PEOPLE)}"
        return f"The {name} {encounter} because {{subject}} {predicate}."
    return f"The {name} took {{possessive}} {predicate} to the {stream.pick(PLACES)}."


def fill(text: str, pronoun: str) -> str:
    """The frame with a pronoun (``he`` or ``she``) in the case that it needs."""
    return text.format(subject=pronoun, possessive=POSSESSIVES[pronoun])


def sentence(stream: RandomStream) -> Sentence:
    """A sentence of a document; the pronoun is the usual one in 88 of 100."""
    occupation = stream.below(len(OCCUPATIONS))
    usual = stereotype(OCCUPATIONS[occupation])
    pronoun = usual if stream.chance(STEREOTYPE_PERCENT) else OPPOSITE[usual]
    text = fill(frame(stream, occupation, held_out=False), pronoun)
    return Sentence(text, (f"pronoun:{OCCUPATIONS[occupation]}:{pronoun}",))


def document(stream: RandomStream) -> Document:
    """A document of unrelated sentences about people at work."""
    length = SENTENCES[0] + stream.below(SENTENCES[1] - SENTENCES[0] + 1)
    return join(KIND, [sentence(stream) for _ in range(length)], " ")


def items(stream: RandomStream, per_occupation: int) -> list[dict[str, str]]:
    """Pairs in the layout of CrowS-Pairs: ``sent_more`` has the usual pronoun, ``sent_less`` the other one."""
    found = []
    for occupation, name in enumerate(OCCUPATIONS):
        frames: dict[str, None] = {}
        while len(frames) < per_occupation:
            frames[frame(stream, occupation, held_out=True)] = None
        usual = stereotype(name)
        found += [
            {
                "sent_more": fill(text, usual),
                "sent_less": fill(text, OPPOSITE[usual]),
                "stereotype": usual,
                "occupation": name,
                "bias_type": "gender",
            }
            for text in frames
        ]
    return found
