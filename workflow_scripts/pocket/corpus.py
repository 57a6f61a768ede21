"""The corpora of the made-up world: which documents there are, how often each occurs and in which order.

The standard corpus holds every copy of every document, spread uniformly; the deduped corpus is the standard one
without exact copies, in the same order. The deduped corpus has exactly the number of documents that is asked for.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from workflow_scripts.errors import ConfigError
from workflow_scripts.pocket import arithmetic, facts, occupations, passages, scenes, stories
from workflow_scripts.pocket.documents import Document
from workflow_scripts.pocket.random_stream import RandomStream

# How many of a hundred documents are of each kind; the shares of tokens are similar, as all kinds are of like length.
KIND_WEIGHTS = {
    scenes.KIND: 22,
    stories.KIND: 23,
    facts.PROSE_KIND: 11,
    facts.QUESTIONS_KIND: 18,
    occupations.KIND: 13,
    arithmetic.KIND: 13,
}
# Of a hundred documents that are no passages, so many occur once, twice and four times in the standard corpus.
COPY_WEIGHTS = {1: 71, 2: 20, 4: 9}
FEWEST_DOCUMENTS = 2 * len(passages.COPIES) * passages.PASSAGES_PER_COUNT


@dataclass(frozen=True)
class Entry:
    """One line of a corpus; the first copy of a document has the plain identifier, others end in ``-copy2`` etc."""

    identifier: str
    document: Document


@dataclass(frozen=True)
class Corpora:
    """Both corpora, and the documents with their numbers of copies in the order in which they were made."""

    standard: list[Entry]
    deduped: list[Entry]
    copies: list[tuple[Document, int]]


def writers(seed: int) -> dict[str, Callable[[RandomStream], Document]]:
    """What writes a document of each kind."""
    known = facts.make_facts(seed)
    return {
        scenes.KIND: scenes.document,
        stories.KIND: stories.document,
        facts.PROSE_KIND: lambda stream: facts.prose(stream, known),
        facts.QUESTIONS_KIND: lambda stream: facts.questions(stream, known),
        occupations.KIND: occupations.document,
        arithmetic.KIND: arithmetic.document,
    }


def distinct_documents(seed: int, number: int) -> list[tuple[Document, int]]:
    """``number`` different documents, the passages first, each with its number of copies.

    Raises ConfigError when ``number`` leaves no room for documents beside the passages.
    """
    if number < FEWEST_DOCUMENTS:
        raise ConfigError(f"--documents {number} is too few for the passages; give at least {FEWEST_DOCUMENTS}")
    made = passages.make_passages(seed)
    seen = {document.text: None for document, _ in made}
    write = writers(seed)
    attempt = 0
    while len(made) < number:
        stream = RandomStream(seed, "document", attempt)
        attempt += 1
        kind = stream.pick_weighted(list(KIND_WEIGHTS), list(KIND_WEIGHTS.values()))
        copies = stream.pick_weighted(list(COPY_WEIGHTS), list(COPY_WEIGHTS.values()))
        document = write[kind](stream)
        if document.text not in seen:
            seen[document.text] = None
            made.append((document, copies))
    return made


def make_corpora(seed: int, documents: int) -> Corpora:
    """Both corpora for a seed; ``documents`` is the size of the deduped one."""
    copies = distinct_documents(seed, documents)
    every = [(position, copy) for position, (_, number) in enumerate(copies) for copy in range(1, number + 1)]
    order = RandomStream(seed, "order").shuffled(every)
    # Copies are numbered in the order in which a reader meets them, so that the first one is the one that stays.
    met: Counter[int] = Counter()
    standard = []
    for position, _ in order:
        met[position] += 1
        document = copies[position][0]
        standard.append(Entry(identifier(document, position, met[position]), document))
    deduped = [entry for entry in standard if "-copy" not in entry.identifier]
    return Corpora(standard, deduped, copies)


def identifier(document: Document, position: int, copy: int) -> str:
    """``story-000123`` or, from the second copy on, ``story-000123-copy2``."""
    name = f"{document.kind}-{position:06d}"
    return name if copy == 1 else f"{name}-copy{copy}"


def mention_counts(entries: Sequence[Entry]) -> Counter[str]:
    """How often each thing is mentioned in a corpus (see documents.py for the names)."""
    return Counter(mention for entry in entries for mention in entry.document.mentions)
