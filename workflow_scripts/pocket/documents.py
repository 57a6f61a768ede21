"""What every kind of document of the made-up world has in common.

A document is text plus the list of what it mentions, so that the world file can state counts without searching. The
mentions are strings of the forms ``capital:<country>``, ``river:<country>``, ``pronoun:<occupation>:<he or she>``,
``operand:<number>`` and ``sum:<first>+<second>``.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sentence:
    """A sentence (or a question with its answer, or a line) and what it mentions."""

    text: str
    mentions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Document:
    """One document; ``mentions`` holds one entry for each time something is mentioned."""

    kind: str
    text: str
    mentions: tuple[str, ...] = ()


def join(kind: str, sentences: list[Sentence], separator: str) -> Document:
    """Document of ``sentences`` with ``separator`` between them."""
    text = separator.join(sentence.text for sentence in sentences)
    return Document(kind, text, tuple(mention for sentence in sentences for mention in sentence.mentions))
