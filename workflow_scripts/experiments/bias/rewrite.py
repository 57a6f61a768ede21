"""Rewrite rows of tokens: exchange whole words, one token for one token, or call a function of the user's.

A word of a pair is rewritten only where it is one token and a whole word: the token after it must not continue it
with a letter or digit, and a form without a space before it must follow a line break, a tab, an opening quote or
bracket, or the end of a document. A word in the last column is left unchanged, because the token after it is not seen
there, and so is a form without a space in the first column; both are counted. Lengths never change. It must not touch
a part of a word. A user's function may change any token of a row, but neither lengths nor the number of rows.
"""

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.dataset.corpus.tokenizer_file import id_bound
from workflow_scripts.errors import ConfigError, DataError, UnknownNameError
from workflow_scripts.evaluation.planning.encode import PREFIX_TOKEN, Encoder
from workflow_scripts.suite.arms import IDENTITY, function_path

Rows = NDArray[np.integer]
Rewritten = tuple[Rows, dict[str, int]]
Pairs = Sequence[tuple[str, str]]
OPENING = "\n\r\t\"'([{\u201c\u2018\u00ab"
NONE = -1


@dataclass(frozen=True)
class Form:
    """One spelling of a pair: its texts and, where both are single tokens, their ids."""

    first: str
    second: str
    first_id: int
    second_id: int

    @property
    def is_single(self) -> bool:
        """True when both sides are one token, so that they can be exchanged without changing lengths."""
        return NONE not in {self.first_id, self.second_id}


@dataclass(frozen=True)
class Vocabulary:
    """What the rules need to know about each token: bool [entries].

    ``continues``: begins with a letter, a digit or a piece of a character, so it may continue the word before it.
    ``opens``: after it a word may begin without a space.
    """

    continues: NDArray[np.bool_]
    opens: NDArray[np.bool_]
    end_of_document: int


def read_vocabulary(encoder: Encoder) -> Vocabulary:
    """Decode every token once."""
    size = id_bound(encoder.tokenizer)
    texts = [encoder.tokenizer.decode([token], skip_special_tokens=False) for token in range(size)]
    continues = np.array([text[:1].isalnum() or text[:1] in {"_", "\ufffd"} for text in texts])
    opens = np.array([text[-1:] in OPENING and text != "" for text in texts])
    opens[encoder.prefix_id] = True
    continues[encoder.prefix_id] = False
    return Vocabulary(continues, opens, encoder.prefix_id)


def spellings(word: str) -> Iterator[str]:
    """Spellings of a word: with and without the space before it, small and with a capital.

    >>> list(spellings("he"))
    [' he', ' He', 'he', 'He']
    """
    for space in (" ", ""):
        yield space + word
        yield space + word.capitalize()


def make_forms(encoder: Encoder, pairs: Pairs) -> list[Form]:
    """All spellings of all pairs, in the order of the pairs."""
    return [
        Form(first, second, single_token(encoder, first), single_token(encoder, second))
        for pair in pairs
        for first, second in zip(spellings(pair[0]), spellings(pair[1]), strict=True)
    ]


def single_token(encoder: Encoder, text: str) -> int:
    """Id of ``text`` where the tokenizer makes one token of it, else -1."""
    ids = encoder.texts([text])[0]
    return ids[0] if len(ids) == 1 else NONE


class Exchange:
    """Exchange of words by table: the rewriting of one direction.

    ``table`` int32 [entries] gives the new id of each token; ``needs_opening`` marks forms without a space.
    """

    def __init__(self, vocabulary: Vocabulary, forms: Sequence[Form], direction: str) -> None:
        """Build the table; the first form that has a token wins. Raises UnknownNameError for another direction."""
        self.vocabulary = vocabulary
        self.table = np.arange(len(vocabulary.continues), dtype=np.int32)
        self.needs_opening = np.zeros(len(self.table), dtype=bool)
        for old, new, text in exchanged(forms, direction):
            if self.table[old] == old:
                self.table[old] = new
                self.needs_opening[old] = not text.startswith(" ")

    def __call__(self, rows: Rows, first_row: int = 0) -> Rewritten:  # noqa: ARG002 - places do not matter here
        """Rewritten copy of ``rows`` [n, width] and counts: changed, inside_word, at_row_edge."""
        tokens = rows.astype(np.int64)
        is_word = self.table[tokens] != tokens
        next_continues = np.ones_like(is_word)
        next_continues[:, :-1] = self.vocabulary.continues[tokens[:, 1:]]
        after_opening = np.zeros_like(is_word)
        after_opening[:, 1:] = self.vocabulary.opens[tokens[:, :-1]]
        begins = ~self.needs_opening[tokens] | after_opening
        edge = np.zeros_like(is_word)
        edge[:, -1] = True
        edge[:, 0] |= self.needs_opening[tokens[:, 0]]
        changed = is_word & begins & ~next_continues & ~edge
        counts = {
            "changed": int(changed.sum()),
            "inside_word": int((is_word & ~changed & ~edge).sum()),
            "at_row_edge": int((is_word & edge).sum()),
        }
        return np.where(changed, self.table[tokens], tokens).astype(rows.dtype), counts


def exchanged(forms: Sequence[Form], direction: str) -> Iterator[tuple[int, int, str]]:
    """(Old id, new id, old text) of each form that is one token on both sides."""
    if direction not in DIRECTIONS:
        raise UnknownNameError("direction", direction, DIRECTIONS)
    for form in forms:
        if form.is_single and direction in {"first_to_second", "swap"}:
            yield form.first_id, form.second_id, form.first
        if form.is_single and direction in {"second_to_first", "swap"}:
            yield form.second_id, form.first_id, form.second


class Retokenize:
    """Control: rows that hold a word of the pairs are decoded and tokenised again; what is too long is cut.

    Rows that become shorter are filled up with the end of a document, as the code that was pushed with the paper did.
    """

    def __init__(self, encoder: Encoder, vocabulary: Vocabulary, forms: Sequence[Form]) -> None:
        self.encoder, self.vocabulary = encoder, vocabulary
        self.words = [each for form in forms if form.is_single for each in (form.first_id, form.second_id)]

    def __call__(self, rows: Rows, first_row: int = 0) -> Rewritten:  # noqa: ARG002 - places do not matter here
        """Rewritten copy of ``rows`` and counts: changed (tokens), rows_made_again."""
        made = np.array(rows)
        chosen = np.flatnonzero(np.isin(rows, self.words).any(axis=1))
        texts = self.encoder.tokenizer.decode_batch(rows[chosen].tolist(), skip_special_tokens=False)
        for place, ids in zip(chosen, self.encoder.texts(texts), strict=True):
            kept = ids[: rows.shape[1]]
            made[place] = kept + [self.vocabulary.end_of_document] * (rows.shape[1] - len(kept))
        return made, {"changed": int((made != rows).sum()), "rows_made_again": len(chosen)}


class Identity:
    """Control: nothing changes, and training must come to the same bits as the baseline."""

    def __call__(self, rows: Rows, first_row: int = 0) -> Rewritten:  # noqa: ARG002 - places do not matter here
        """``rows`` themselves."""
        return rows, {"changed": 0}


class UserFunction:
    """A user's rewriting: ``rewrite(rows, first_row, tokenizer)`` of a file in ``config/interventions``.

    It is given rows [n, width] in training order, the number of the first of them and the tokenizer, and returns rows
    of the same shape. It must depend on nothing else: rows come in portions of any size.
    """

    def __init__(self, name: str, encoder: Encoder) -> None:
        """Load the file; raises UnknownNameError, or ConfigError where it defines no ``rewrite``."""
        path = function_path(name)
        specification = importlib.util.spec_from_file_location(f"interventions_{name}", path)
        assert specification is not None
        assert specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        if not callable(getattr(module, "rewrite", None)):
            raise ConfigError(f"{path}: defines no function rewrite(rows, first_row, tokenizer)")
        self.path, self.function, self.tokenizer = path, module.rewrite, encoder.tokenizer
        self.entries = id_bound(encoder.tokenizer)

    def __call__(self, rows: Rows, first_row: int = 0) -> Rewritten:
        """Rewritten copy of ``rows`` and counts: changed (tokens), rows_changed. Raises DataError for unfit rows."""
        made = np.asarray(self.function(rows.copy(), first_row, self.tokenizer))
        if made.shape != rows.shape or made.dtype.kind not in "iu":
            raise DataError(
                f"{self.path}: rewrite gave {made.dtype} {list(made.shape)} for rows {list(rows.shape)}; it must give "
                "integers of the same shape"
            )
        if made.size and not 0 <= int(made.min()) <= int(made.max()) < self.entries:
            raise DataError(f"{self.path}: rewrite gave tokens outside 0 to {self.entries - 1}")
        different = made != rows
        return made.astype(rows.dtype), {
            "changed": int(different.sum()),
            "rows_changed": int(different.any(axis=1).sum()),
        }


class Rewriter(Protocol):
    """What turns rows into rows of the same shape, and says how much it changed."""

    def __call__(self, rows: Rows, first_row: int = 0) -> Rewritten:
        """Rewritten copy of rows whose first has the number ``first_row`` in training order, and counts."""


DIRECTIONS = ("first_to_second", "second_to_first", "swap", IDENTITY, "retokenize")


def make_rewriter(encoder: Encoder, pairs: Pairs, direction: str) -> Rewriter:
    """The rewriting that a direction names; raises UnknownNameError, and ConfigError when no pair can be exchanged."""
    vocabulary, forms = read_vocabulary(encoder), make_forms(encoder, pairs)
    if direction == IDENTITY:
        return Identity()
    if not any(form.is_single for form in forms):
        raise ConfigError("none of the pairs is one token on both sides; this tokenizer cannot exchange them in place")
    if direction == "retokenize":
        return Retokenize(encoder, vocabulary, forms)
    return Exchange(vocabulary, forms, direction)


def word_counts(rows: Rows, vocabulary: Vocabulary, forms: Sequence[Form]) -> dict[str, int]:
    """Whole words of the first and of the second kind in ``rows``, by the rules of the exchange (edges left out)."""
    counts = {}
    for side, direction in (("first", "first_to_second"), ("second", "second_to_first")):
        counts[side] = Exchange(vocabulary, forms, direction)(rows)[1]["changed"]
    return counts


def show(encoder: Encoder, tokens: Rows) -> str:
    """Text of some tokens, for samples."""
    return str(encoder.tokenizer.decode(tokens.tolist(), skip_special_tokens=False)).replace(PREFIX_TOKEN, "|")
