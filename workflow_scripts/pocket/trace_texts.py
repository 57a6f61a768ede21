"""Texts whose exposures are known: excerpts of passages and of lists of facts, and strangers that no document holds.

A stranger is written as its relatives are: the guests of a fair in an order that never was, or a list of true facts
drawn once more. Only what copies of a text teach tells it from a stranger.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from workflow_scripts.json_values import JsonObject
from workflow_scripts.pocket import facts, passages
from workflow_scripts.pocket.corpus import distinct_documents
from workflow_scripts.pocket.lexicon import GUEST_ENDS, GUEST_STARTS, joined
from workflow_scripts.pocket.random_stream import RandomStream

LINES = 3  # of a passage in an excerpt: four of its rows of 128 tokens hold it whole more often than they cut it
STRANGERS = 36
FACTS = 16  # documents of facts for each number of copies
SENTENCES = 4


def trace_texts(seed: int, documents: int) -> Iterator[JsonObject]:
    """Objects with ``id``, ``domain``, ``text`` and ``copies``, the number of documents that hold the text."""
    yield from passage_texts(seed)
    yield from fact_texts(seed, documents)


def passage_texts(seed: int) -> Iterator[JsonObject]:
    """Excerpts of each passage, and strangers of the same length."""
    for number, (document, copies) in enumerate(passages.make_passages(seed)):
        lines = sentences(document.text)
        for place in range(0, len(lines) - LINES + 1, LINES):
            text = " ".join(lines[place : place + LINES])
            yield traced(f"passage-{number:02d}-{place // LINES}", passages.KIND, text, copies)
    guests = joined(GUEST_STARTS, GUEST_ENDS)
    for number in range(STRANGERS):
        drawn = RandomStream(seed, "strange guests", number).sample(guests, LINES)
        text = " ".join(passages.LINE.format(guest) for guest in drawn)
        yield traced(f"passage-stranger-{number:02d}", passages.KIND, text, 0)


def fact_texts(seed: int, documents: int) -> Iterator[JsonObject]:
    """Beginnings of lists of facts with one, two and four copies, and of lists that were drawn anew."""
    made = [(document, copies) for document, copies in distinct_documents(seed, documents)
            if document.kind == facts.PROSE_KIND and len(sentences(document.text)) >= SENTENCES]  # fmt: skip
    for copies in (1, 2, 4):
        for number, document in enumerate([document for document, times in made if times == copies][:FACTS]):
            yield traced(f"facts-{copies}-{number:02d}", facts.PROSE_KIND, beginning(document.text), copies)
    known = facts.make_facts(seed)
    held = [document.text for document, _ in made]
    for number in range(STRANGERS):
        text = beginning(facts.prose(RandomStream(seed, "strange facts", number), known).text)
        if text.count(".") == SENTENCES and not any(text in other for other in held):
            yield traced(f"facts-stranger-{number:02d}", facts.PROSE_KIND, text, 0)


def traced(name: str, domain: str, text: str, copies: int) -> JsonObject:
    """One line of the file."""
    return {"id": name, "domain": domain, "text": text, "copies": copies}


def sentences(text: str) -> Sequence[str]:
    """Sentences of a text whose full stops end sentences."""
    return [f"{part.strip()}." for part in text.split(".") if part.strip()]


def beginning(text: str) -> str:
    """The first sentences of a document."""
    return " ".join(sentences(text)[:SENTENCES])
