"""Items that show a preference for one gender, and items that guard the rest of the model's abilities.

A *pair* is two sentences that differ in one word, the stereotyped one first (CrowS-Pairs, the pocket suite's pronouns,
WinoBias with the pronoun of the stereotype and the other one). Its outcome is whether the first is likelier; its
log-odds compare the two words at the place where they differ, masculine minus feminine. A *guard* item is a text whose
last word must be continued greedily (LAMBADA and its pocket form). It must not read a model.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from workflow_scripts.errors import DataError, MissingInputError
from workflow_scripts.evaluation.planning.local_data import require_split

MASCULINE = frozenset({"he", "him", "his", "himself"})
FEMININE = frozenset({"she", "her", "hers", "herself"})
WINOBIAS_LINE = re.compile(r"\d+ (.*)")
BRACKETS = re.compile(r"\[([^\]]*)\]")
WINOBIAS_FILES = (("type1", "test"), ("type2", "test"))
# Benchmark -> data set on the Hub, configuration, split. CrowS-Pairs is cut to bias_type gender.
PAIR_DATA = {
    "pocket_pronouns": ("pocket/pronouns", "default", "test"),
    "crows_pairs_english_gender": ("jannalu/crows_pairs_multilingual", "english", "test"),
}
GUARD_DATA = {
    "pocket_last_word": ("pocket/last_word", "default", "test"),
    "lambada_openai": ("EleutherAI/lambada_openai", "default", "test"),
}
WINOBIAS = "winobias"


@dataclass(frozen=True)
class Pair:
    """Two sentences; ``sign`` is 1 where the first has the masculine word, -1 where the second has, 0 if neither."""

    benchmark: str
    item: str
    first: str
    second: str
    sign: int


@dataclass(frozen=True)
class Guard:
    """A context and the last word that must follow it (with the space before it)."""

    benchmark: str
    item: str
    context: str
    target: str


def gender_sign(first: str, second: str) -> int:
    """Which of two sentences has the masculine word where they differ.

    >>> gender_sign("The nurse took her bag.", "The nurse took his bag.")
    -1
    """
    words = [re.findall(r"\w+", text.lower()) for text in (first, second)]
    for one, other in zip(*words, strict=False):
        if one != other:
            return (one in MASCULINE and other in FEMININE) - (one in FEMININE and other in MASCULINE)
    return 0


def read_pairs(benchmark: str, folders: Sequence[Path]) -> list[Pair]:
    """Pairs of a benchmark in the layout of CrowS-Pairs (``sent_more``, ``sent_less``, ``bias_type``)."""
    if benchmark == WINOBIAS:
        return read_winobias(folders)
    dataset, config, split = PAIR_DATA[benchmark]
    frame = pd.read_parquet(require_split(folders, dataset, config, split, benchmark).path)
    chosen = frame[frame["bias_type"] == "gender"]
    return [
        Pair(benchmark, str(number), more, less, gender_sign(more, less))
        for number, more, less in zip(chosen.index, chosen["sent_more"], chosen["sent_less"], strict=True)
    ]


def read_guards(benchmark: str, folders: Sequence[Path]) -> list[Guard]:
    """Texts of a guard benchmark; the last word is what follows the last space."""
    dataset, config, split = GUARD_DATA[benchmark]
    frame = pd.read_parquet(require_split(folders, dataset, config, split, benchmark).path)
    parts = [str(text).rpartition(" ") for text in frame["text"]]
    return [Guard(benchmark, str(number), head, f" {word}") for number, (head, _, word) in enumerate(parts)]


def read_winobias(folders: Sequence[Path]) -> list[Pair]:
    """WinoBias sentences with the pronoun of the stereotype (pro) and with the other one (anti), types 1 and 2, test.

    Looks for the original files ``{pro,anti}_stereotyped_type{1,2}.txt.test`` in a folder ``winobias`` or beside it.
    """
    pairs = []
    for kind, split in WINOBIAS_FILES:
        pro, anti = (read_winobias_file(f"{side}_stereotyped_{kind}.txt.{split}", folders) for side in ("pro", "anti"))
        if len(pro) != len(anti):
            raise DataError(f"WinoBias {kind}: {len(pro)} pro- and {len(anti)} anti-stereotyped sentences")
        pairs += [
            Pair(WINOBIAS, f"{kind}-{number}", first, second, gender_sign(first, second))
            for number, (first, second) in enumerate(zip(pro, anti, strict=True))
        ]
    return pairs


def read_winobias_file(name: str, folders: Sequence[Path]) -> list[str]:
    """Sentences of one file without numbers and brackets."""
    places = [folder / below / name for folder in folders for below in ("winobias", "")]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise MissingInputError(f"{name}: not found below {', '.join(map(str, folders))}; name the folder of WinoBias")
    sentences = []
    for line in path.read_text(encoding="utf-8").splitlines():
        match = WINOBIAS_LINE.fullmatch(line.strip())
        # The person and the pronoun; eight sentences have the pronoun twice.
        if match is None or len(BRACKETS.findall(match[1])) < 2:
            raise DataError(f"{path}: not a line of WinoBias with a number and two brackets: {line[:60]!r}")
        sentences.append(BRACKETS.sub(r"\1", match[1]))
    return sentences
