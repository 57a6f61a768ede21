"""Terms whose frequency is counted, and the two ways to count them in text.

``window`` is the original's rule for numbers: a space, a number of up to five digits, a space, one to three words of
letters, digits and punctuation, and a number; windows may overlap, and every number of a window counts once for each
window that holds it. So a number between two others counts twice, and longer numbers are cut to five digits. ``word``
counts whole words: 3 is in neither 3.5 nor 13; a term of several words counts once for each sentence that has all of
them. The original read whole rows of sequence_length + 1 tokens, and so does ``window``; ``word`` leaves the last token
out, which begins the next row of its document.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from workflow_scripts import ROOT
from workflow_scripts.errors import ConfigError
from workflow_scripts.pocket.world import read_facts
from workflow_scripts.suite.schema import load_named

FOLDER = ROOT / "config" / "terms"
WORDS_BETWEEN = rf"(?:[\w{re.escape(string.punctuation)}]+\s+){{1,3}}"
WINDOW = re.compile(rf"(?=( \d{{1,5}} {WORDS_BETWEEN}\d{{1,5}}))")
NUMBER = re.compile(r"\d{1,5}")
WORD = re.compile(r"\d+(?:[.,]\d+)+|\w+")
SENTENCE_END = re.compile(r"(?<=[.!])\s+|\n\n+")
END_OF_DOCUMENT = "<|endoftext|>"


@dataclass(frozen=True)
class Term:
    """Something to be counted: one word, or several that must meet in a sentence. ``kind`` is number or fact."""

    name: str
    kind: str
    words: tuple[str, ...]


def load_terms(name: str, world: Path | None = None) -> list[Term]:
    """Terms of ``config/terms/<name>.yaml``; facts come from the pocket suite's world file.

    Raises UnknownNameError for another name, ConfigError or MissingInputError where facts have no world file.
    """
    facts = load_named(FOLDER, name, "list of terms", "terms")
    numbers = facts["numbers"]
    terms = [Term(str(number), "number", (str(number),)) for number in range(numbers["first"], numbers["last"] + 1)]
    if facts["facts"]:
        if world is None:
            raise ConfigError(f"terms {name}: facts are counted from a world file; give --world")
        terms += world_terms(world)
    return terms


def world_terms(world: Path) -> list[Term]:
    """A term for each fact of the pocket suite: the country and its capital."""
    _, facts = read_facts(world)
    return [Term(fact.country, "fact", (fact.country, fact.capital)) for fact in facts]


def count_windows(texts: Iterable[str], names: frozenset[str]) -> Counter[str]:
    """Occurrences of numbers in windows, the original's way.

    >>> sorted(count_windows(["3 cats and 12 dogs and 7"], frozenset({"3", "7", "12"})).items())
    [('12', 2), ('3', 1), ('7', 1)]
    """
    counts: Counter[str] = Counter()
    for text in texts:
        for match in WINDOW.finditer(f" {text}"):
            counts.update(number for number in NUMBER.findall(match[1]) if number in names)
    return counts


class WordCounter:
    """Counts whole words, and sentences that hold all words of a term."""

    def __init__(self, terms: Sequence[Term]) -> None:
        self.single = {term.words[0]: term.name for term in terms if len(term.words) == 1}
        self.joint: dict[str, list[Term]] = {}
        for term in terms:
            if len(term.words) > 1:
                self.joint.setdefault(term.words[0], []).append(term)

    def __call__(self, texts: Iterable[str]) -> Counter[str]:
        """Counts over all texts; a text may hold several documents."""
        counts: Counter[str] = Counter()
        for text in texts:
            for document in text.split(END_OF_DOCUMENT):
                for sentence in SENTENCE_END.split(document):
                    counts.update(self.in_sentence(WORD.findall(sentence)))
        return counts

    def in_sentence(self, words: list[str]) -> Iterable[str]:
        """Names of the terms in one sentence, single words as often as they occur."""
        yield from (self.single[word] for word in words if word in self.single)
        present = set(words)
        for word in present & self.joint.keys():
            yield from (term.name for term in self.joint[word] if present.issuperset(term.words))


Counting = Callable[[Iterable[str]], Counter[str]]


def counters(terms: Sequence[Term]) -> dict[str, Counting]:
    """Both ways of counting, by mode."""
    names = frozenset(term.name for term in terms if term.kind == "number")
    return {"window": lambda texts: count_windows(texts, names), "word": WordCounter(terms)}
