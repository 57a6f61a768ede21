"""Facts with Zipf-distributed frequency, told in prose and asked in runs of questions, in the manner of ARC.

Each country has a capital and a river. Prose states both. A run of questions has one kind of answer throughout, all
towns or all rivers, and asks in two wordings: a closed one ("What is the capital of X?") and an open one ("What is
found in X?") to which either answer is right. The kind of an open question can only be known from the questions before
it, so examples in a prompt help: this is what five-shot measures beyond zero-shot. The test asks for capitals in both
wordings; of the four choices two belong to the country (its capital and its river) and two to others.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from workflow_scripts.pocket.documents import Document, Sentence, join
from workflow_scripts.pocket.lexicon import (
    COUNTRY_ENDS,
    COUNTRY_STARTS,
    RIVER_ENDS,
    RIVER_STARTS,
    TOWN_ENDS,
    TOWN_STARTS,
    joined,
)
from workflow_scripts.pocket.random_stream import RandomStream

PROSE_KIND = "gazetteer"
QUESTIONS_KIND = "questions"
COUNTRIES = 120
POOL_CYCLE = 5  # Every fifth country by frequency gives examples and is never asked in the test.
SENTENCES = (7, 9)
QUESTIONS = (6, 8)
ZIPF_SCALE = 1_000_000
OPEN_PERCENT = 50
NEAR_RANKS = 5
CAPITALS_PERCENT = 55
QUESTION_SEPARATOR = "\n\n"
CLOSED_QUESTIONS = {"capital": "What is the capital of {}?", "river": "What is the river of {}?"}
OPEN_QUESTION = "What is found in {}?"
STATEMENTS = {
    "capital": ("The capital of {} is {}.", "{} has its capital at {}."),
    "river": ("The river of {} is {}.", "{} has its river in {}."),
}


@dataclass(frozen=True)
class Fact:
    """A country with its capital and its river; ``rank`` 0 is the one that is mentioned most often."""

    rank: int
    country: str
    capital: str
    river: str

    def answer(self, kind: str) -> str:
        """The capital or the river."""
        return self.capital if kind == "capital" else self.river

    @property
    def split(self) -> str:
        """``train`` when the country gives examples for prompts, ``test`` when it is asked."""
        return "train" if self.rank % POOL_CYCLE == POOL_CYCLE - 1 else "test"


def make_facts(seed: int) -> list[Fact]:
    """The facts of a world in order of frequency; names are joined from syllables, each name once."""
    stream = RandomStream(seed, "facts")
    countries = stream.sample(joined(COUNTRY_STARTS, COUNTRY_ENDS), COUNTRIES)
    capitals = stream.sample(joined(TOWN_STARTS, TOWN_ENDS), COUNTRIES)
    rivers = stream.sample(joined(RIVER_STARTS, RIVER_ENDS), COUNTRIES)
    return [Fact(rank, *names) for rank, names in enumerate(zip(countries, capitals, rivers, strict=True))]


def zipf_weights(number: int) -> list[int]:
    """Integer weights proportional to 1 / (rank + 1)."""
    return [ZIPF_SCALE // (rank + 1) for rank in range(number)]


def mention(fact: Fact, kind: str) -> str:
    """What a sentence about one side of a fact counts as."""
    return f"{kind}:{fact.country}"


def statement(stream: RandomStream, facts: Sequence[Fact], weights: Sequence[int]) -> Sentence:
    """One side of one fact, as prose."""
    fact = stream.pick_weighted(facts, weights)
    kind = stream.pick(("capital", "river"))
    return Sentence(stream.pick(STATEMENTS[kind]).format(fact.country, fact.answer(kind)), (mention(fact, kind),))


def question(country: str, kind: str, is_open: bool) -> str:
    """The question about a country, closed or open."""
    return (OPEN_QUESTION if is_open else CLOSED_QUESTIONS[kind]).format(country)


def prose(stream: RandomStream, facts: Sequence[Fact]) -> Document:
    """A document that states facts."""
    length = SENTENCES[0] + stream.below(SENTENCES[1] - SENTENCES[0] + 1)
    weights = zipf_weights(len(facts))
    return join(PROSE_KIND, [statement(stream, facts, weights) for _ in range(length)], " ")


def questions(stream: RandomStream, facts: Sequence[Fact]) -> Document:
    """A run of questions and answers, all of one kind, in the layout that lm-eval gives to examples in a prompt."""
    length = QUESTIONS[0] + stream.below(QUESTIONS[1] - QUESTIONS[0] + 1)
    weights = zipf_weights(len(facts))
    kind = "capital" if stream.chance(CAPITALS_PERCENT) else "river"
    pairs = []
    for _ in range(length):
        fact = stream.pick_weighted(facts, weights)
        asked = question(fact.country, kind, stream.chance(OPEN_PERCENT))
        pairs.append(Sentence(f"Question: {asked}\nAnswer: {fact.answer(kind)}", (mention(fact, kind),)))
    return join(QUESTIONS_KIND, pairs, QUESTION_SEPARATOR)


def items(stream: RandomStream, facts: Sequence[Fact], split: str) -> list[dict[str, object]]:
    """Two questions (closed, open) for each country of a split, in ARC's layout plus ``country`` and ``wording``."""
    found: list[dict[str, object]] = []
    for fact in facts:
        if fact.split != split:
            continue
        for wording in ("closed", "open"):
            choices = stream.shuffled([fact.capital, fact.river, *distractors(stream, facts, fact)])
            found.append(
                {
                    "id": f"{fact.country}-{wording}",
                    "question": question(fact.country, "capital", wording == "open"),
                    "choices": {"text": choices, "label": ["A", "B", "C", "D"]},
                    "answerKey": "ABCD"[choices.index(fact.capital)],
                    "country": fact.country,
                    "wording": wording,
                }
            )
    return found


def distractors(stream: RandomStream, facts: Sequence[Fact], fact: Fact) -> tuple[str, str]:
    """The capital and the river of countries that are mentioned about as often."""
    near = [other for other in facts if other is not fact and abs(other.rank - fact.rank) <= NEAR_RANKS]
    return stream.pick(near).capital, stream.pick(near).river
