"""Texts that are traced, where they come from, and the token sequences in which they may occur in a corpus.

A text has two *forms*: as it is given, and with its leading space toggled, since the first word of a sentence is
another token at the start of a line than after a space. What stands around a text changes the tokens at its ends too
(byte pairs merge across them, and a last word may go on); the *core* of a form are its tokens without those of the
first and the last word or run of punctuation, and without what changes next to a letter, a digit, a space, a line
break or a full stop. An exposure is whole when it covers the core.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tokenizers import Tokenizer

from workflow_scripts.errors import ConfigError, DataError, MissingInputError
from workflow_scripts.experiments.outputs import read_frame
from workflow_scripts.experiments.traces.gram_table import GRAM
from workflow_scripts.suite.traces import TraceDeclaration

GIVEN, TOGGLED = "as given", "leading space toggled"
NEIGHBOURS = ("a", "1", " a", "\n", ".")
FIRST_WORD, LAST_WORD = re.compile(r"\s*(\w+|[^\w\s]+)"), re.compile(r"(\w+|[^\w\s]+)\s*$")
NO_DOMAIN = "text"
SHOWN = 40  # characters of a text in a message


@dataclass(frozen=True)
class TracedText:
    """A text with its name and its domain; controls are taken from texts of the same domain."""

    name: str
    text: str
    domain: str = NO_DOMAIN


@dataclass(frozen=True)
class Form:
    """One sequence of tokens of text number ``text``; ``first`` and ``stop`` bound its core."""

    text: int
    kind: str
    tokens: NDArray[np.int32]
    first: int
    stop: int


def read_texts(path: Path, column: str = "text") -> list[TracedText]:
    """Texts of a file, by its suffix: .txt (one a line), .jsonl, .csv or .parquet.

    ``column`` holds the text; ``id`` and ``domain`` are taken where they are there. Raises MissingInputError or
    DataError.
    """
    if not path.is_file():
        raise MissingInputError(f"{path}: no such file of texts")
    if path.suffix == ".txt":
        lines = path.read_text(encoding="utf-8").splitlines()
        return [TracedText(f"{path.stem}-{number}", line) for number, line in enumerate(lines, 1) if line.strip()]
    frame = pd.DataFrame(list(json_lines(path))) if path.suffix == ".jsonl" else read_frame(path, [column])
    if column not in frame:
        raise DataError(f"{path}: has no column {column!r}; it has {', '.join(map(str, frame.columns))}")
    rows = frame.to_dict(orient="records")
    return [
        TracedText(str(row.get("id", f"{path.stem}-{number}")), str(row[column]), str(row.get("domain", NO_DOMAIN)))
        for number, row in enumerate(rows)
    ]


def json_lines(path: Path) -> Iterator[dict[str, object]]:
    """Objects of a file of JSON lines; raises DataError."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            value = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}:{number}: not JSON ({error})") from error
        if not isinstance(value, dict):
            raise DataError(f"{path}:{number}: expected an object with a text")
        yield value


def check_texts(texts: Sequence[TracedText]) -> None:
    """Raise ConfigError for an empty list, or for two texts of one name."""
    if not texts:
        raise ConfigError("there are no texts to trace")
    names = [text.name for text in texts]
    repeated = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if repeated is not None:
        raise ConfigError(f"two texts are called {repeated!r}; give each an id of its own")


def forms_of(tokenizer: Tokenizer, texts: Sequence[TracedText], min_tokens: int = GRAM) -> list[Form]:
    """Both forms of each text, the given one first; raises ConfigError for a text too short to be traced."""
    forms = []
    for number, text in enumerate(texts):
        for kind, spelling in ((GIVEN, text.text), (TOGGLED, toggled(text.text))):
            form = make_form(tokenizer, number, kind, spelling)
            if len(form.tokens) < min_tokens and kind == GIVEN:
                raise ConfigError(
                    f"text {text.name!r} ({text.text[:SHOWN]!r}) has {len(form.tokens)} tokens; a match needs at least "
                    f"{min_tokens}"
                )
            if len(form.tokens) >= min_tokens:
                forms.append(form)
    return forms


def toggled(text: str) -> str:
    """``text`` with a leading space, or without the one it has.

    >>> toggled("The end."), toggled(" the end.")
    (' The end.', 'the end.')
    """
    return text[1:] if text.startswith(" ") else f" {text}"


def make_form(tokenizer: Tokenizer, number: int, kind: str, text: str) -> Form:
    """Tokens of ``text`` and its core."""
    encoding = tokenizer.encode(text, add_special_tokens=False)
    tokens = np.array(encoding.ids, np.int32)
    begins, ends = (np.array([offset[side] for offset in encoding.offsets], np.int64) for side in (0, 1))
    first_word, last_word = FIRST_WORD.match(text), LAST_WORD.search(text)
    inner_first = int((begins < first_word.end()).sum()) if first_word else 0
    inner_stop = int((ends <= last_word.start()).sum()) if last_word else len(tokens)
    before = max(len(tokens) - shared(tokens[::-1], encoded(tokenizer, near + text)[::-1]) for near in NEIGHBOURS)
    after = min(shared(tokens, encoded(tokenizer, text + near)) for near in NEIGHBOURS)
    stop = min(after, inner_stop)
    return Form(number, kind, tokens, min(max(before, inner_first), stop), stop)


def encoded(tokenizer: Tokenizer, text: str) -> NDArray[np.int32]:
    """Token ids of ``text``, int32."""
    return np.array(tokenizer.encode(text, add_special_tokens=False).ids, np.int32)


def shared(first: NDArray[np.int32], second: NDArray[np.int32]) -> int:
    """Number of equal tokens at the beginning of both."""
    length = min(len(first), len(second))
    different = np.flatnonzero(first[:length] != second[:length])
    return int(different[0]) if len(different) else length


def declared_texts(declaration: TraceDeclaration) -> list[TracedText]:
    """Texts of a declaration, in its order; raises ConfigError, MissingInputError or DataError."""
    texts: list[TracedText] = []
    for source in declaration.sources:
        if "file" in source:
            texts += read_texts(Path(source["file"]), str(source.get("column", "text")))
        else:
            texts.append(TracedText(str(source["id"]), str(source["text"]), str(source.get("domain", NO_DOMAIN))))
    check_texts(texts)
    return texts
