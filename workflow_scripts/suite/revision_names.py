"""How a family names the revisions of its checkpoints, and which checkpoints a ledger of its branches lists.

A pattern is the name of a branch or folder with numbers in braces: ``{step}`` is the Hub step, ``{index}`` the place of
the checkpoint in the family's grid, from 0, ``{tokens}`` the billions of tokens seen by then, rounded up. A number with
leading zeros is written ``{index:03}``.
"""

import re
from pathlib import Path

from workflow_scripts.table_columns import read_columns

DEFAULT = "step{step}"
NUMBER = re.compile(r"\{(step|index|tokens)(?::0([1-9]))?\}")
PLAIN = re.compile(r"0|[1-9][0-9]{0,8}", re.ASCII)
BILLION = 10**9


def revision_name(pattern: str, step: int, index: int, tokens: int) -> str:
    """Revision of the checkpoint at ``step``, the ``index``-th of its grid, after ``tokens`` tokens.

    >>> revision_name("stage1-step{step}-tokens{tokens}B", 1000, 1, 4_194_304_000)
    'stage1-step1000-tokens5B'
    >>> revision_name("ckpt_{index:03}", 1, 0, 0)
    'ckpt_000'
    """
    return pattern.format(step=step, index=index, tokens=-(-tokens // BILLION))


def step_named(pattern: str, revision: str) -> int | None:
    """Step in the name of a revision of a family; -1 for one that names none, None for a name of another kind.

    >>> step_named("stage1-step{step}-tokens{tokens}B", "stage1-step1000-tokens5B"), step_named("step{step}", "step01")
    (1000, None)
    >>> step_named("ckpt_{index:03}", "ckpt_007"), step_named("ckpt_{index:03}", "main")
    (-1, None)
    """
    match = compiled(pattern).fullmatch(revision)
    if match is None:
        return None
    return int(match["step"]) if "step" in match.groupdict() else -1


def compiled(pattern: str) -> re.Pattern[str]:
    """Regular expression of the names that ``pattern`` describes."""
    parts, end, named = [], 0, set[str]()
    for found in NUMBER.finditer(pattern):
        digits = rf"[0-9]{{{found[2]},9}}" if found[2] else PLAIN.pattern
        again = found[1] in named
        named.add(found[1])
        parts += [re.escape(pattern[end : found.start()]), f"(?P={found[1]})" if again else f"(?P<{found[1]}>{digits})"]
        end = found.end()
    return re.compile("".join([*parts, re.escape(pattern[end:])]), re.ASCII)


def ledger_text(revision: str) -> str:
    """How a ledger writes a revision in its column ``step``: of ``step<N>`` the number, any other name as it is.

    >>> ledger_text("step512"), ledger_text("ckpt_007"), ledger_text("main")
    ('512', 'ckpt_007', 'main')
    """
    step = revision.removeprefix("step")
    return step if PLAIN.fullmatch(step) else revision


def ledger_grid(path: Path, model: str, pattern: str) -> dict[int, str]:
    """Step and revision of each checkpoint of ``model`` in the ledger at ``path``, steps rising; empty without one.

    Raises DataError for a table that is no ledger.
    """
    if not path.is_file():
        return {}
    texts = {text for name, text in read_columns(path, ("model", "step")) if name == model}
    names = [f"step{text}" if PLAIN.fullmatch(text) else text for text in texts]
    return dict(sorted((step, name) for name in names if (step := step_named(pattern, name)) is not None))
