"""Command lines as the shell sees them: simple commands with their words, and commands inside ``$(...)``."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

INSIDE = re.compile(r"\$\(([^()]*)\)")
ASSIGNMENT = re.compile(r"^[A-Z_]+=")
BETWEEN = frozenset({"|", "||", "&&", ";", "&"})
REDIRECTION = frozenset({">", ">>", "<"})
STAND_IN = "SUBSTITUTED"


def simple_commands(text: str) -> Iterator[list[str]]:
    """Words of each simple command of a line, without assignments before it and without redirections."""
    for inner in INSIDE.findall(text):
        yield from simple_commands(inner)
    words = shlex.shlex(INSIDE.sub(STAND_IN, text), posix=True, punctuation_chars="|&;<>")
    words.whitespace_split = True
    current: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word in BETWEEN:
            yield strip_assignments(current)
            current = []
        elif word in REDIRECTION:
            skip = True
        else:
            current.append(word)
    yield strip_assignments(current)


def strip_assignments(words: list[str]) -> list[str]:
    """Words from the program's name on."""
    while words and ASSIGNMENT.match(words[0]):
        words = words[1:]
    return words
