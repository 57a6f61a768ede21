"""The one notion of a training step, and the language in which a run names steps.

A *Hub step* N names the checkpoint on branch ``stepN``, or on a branch that the suite names otherwise
(revision_names.py). For almost all models of Pythia it counts optimizer iterations of 1024 rows of 2048 predicted
tokens. The v0 models that were trained with 4M-token batches did half as many iterations and were published under
doubled names, so their trainer step is N / 2. Nothing else in the project does arithmetic on steps.
"""

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from workflow_scripts.errors import ConfigError, DataError

REVISION = re.compile(r"step(0|[1-9][0-9]{0,8})", re.ASCII)
MOST_PARTS = 10_000
LONGEST_PART = 60
NUMBER = re.compile(r"(0|[1-9][0-9]{0,8})", re.ASCII)
RANGE = re.compile(r"([0-9]{1,9})\.\.([0-9]{1,9})(?::([0-9]{1,9}))?", re.ASCII)
MOST_STEPS = 1_000_000


@dataclass(frozen=True, order=True)
class Step:
    """A point in the training of a model.

    ``hub`` is the step in the name of the Hub's branch, ``batch_rows`` and ``sequence_length`` describe one trainer
    iteration, ``hub_steps_per_iteration`` is 2 for the 4M-batch v0 models and 1 for all others. ``named`` is the branch
    where it is not ``step<hub>``, ``index`` the place of the checkpoint in its model's grid, from 0, or None.

    >>> Step(143_000, batch_rows=1024, sequence_length=2048).tokens
    299892736000
    >>> Step(143_000, batch_rows=2048, sequence_length=2048, hub_steps_per_iteration=2).iteration
    71500
    """

    hub: int
    batch_rows: int
    sequence_length: int
    hub_steps_per_iteration: int = 1
    named: str = field(default="", compare=False)
    index: int | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        """Refuse negative steps and Hub steps that fall between two iterations."""
        if self.hub < 0:
            raise ConfigError(f"step {self.hub} is negative; steps start at 0")
        if self.hub % self.hub_steps_per_iteration:
            raise ConfigError(
                f"step {self.hub} falls between two trainer iterations; this model's steps are multiples of "
                f"{self.hub_steps_per_iteration}"
            )

    @property
    def iteration(self) -> int:
        """Optimizer iterations done: the trainer's own step."""
        return self.hub // self.hub_steps_per_iteration

    @property
    def rows(self) -> int:
        """Rows consumed: the checkpoint has seen exactly rows [0, rows) of the training order."""
        return self.iteration * self.batch_rows

    @property
    def tokens(self) -> int:
        """Predicted tokens consumed."""
        return self.rows * self.sequence_length

    @property
    def revision(self) -> str:
        """Name of the Hub branch."""
        return self.named or f"step{self.hub}"

    def epoch_fraction(self, rows_available: int) -> float:
        """Share of ``rows_available`` (the N of the data set's index maps) that was consumed."""
        return self.rows / rows_available


def hub_step_of_revision(revision: str) -> int:
    """Hub step named by a revision of the form ``step<N>``.

    >>> hub_step_of_revision("step3000")
    3000
    """
    match = REVISION.fullmatch(revision)
    if not match:
        raise ConfigError(f"revision '{revision}' is not of the form step0, step1 ... step143000")
    return int(match[1])


def parse_steps(expression: str | int | Sequence[str | int], available: Sequence[int]) -> tuple[int, ...]:
    """Hub steps named by ``expression``, each of which must be in ``available``; sorted, without repeats.

    An expression is ``all``, ``log`` (0 and the powers of two, and the last step), ``last``, a number, a range
    ``first..last`` or ``first..last:stride``, or several of these with commas between or as a list.

    >>> parse_steps("log", [0, 1, 2, 3, 4, 1000, 2000])
    (0, 1, 2, 4, 2000)
    >>> parse_steps("0, 1000..2000:1000", [0, 1, 1000, 2000])
    (0, 1000, 2000)
    """
    known = set(available)
    wanted: set[int] = set()
    for part in few_and_short(split_parts(expression)):
        named = expand_part(part, available)
        missing = [step for step in named if step not in known]
        if missing:
            raise ConfigError(f"steps '{part}': no checkpoint at step {missing[0]}; {nearest(missing[0], known)}")
        wanted.update(named)
    if not wanted:
        raise ConfigError(f"steps '{expression}' selects no step")
    return tuple(sorted(wanted))


def few_and_short(parts: list[str]) -> list[str]:
    """``parts`` unless they could do harm: numbers of thousands of digits and endless lists are refused."""
    if len(parts) > MOST_PARTS:
        raise ConfigError(f"steps: a list of {len(parts)} parts, more than {MOST_PARTS}; use ranges or all")
    for part in parts:
        if len(part) > LONGEST_PART:
            raise ConfigError(f"steps '{part[:20]}...' cannot be parsed; use all, log, last, 512 or 1000..143000:1000")
    return parts


def split_parts(expression: str | int | Sequence[str | int]) -> list[str]:
    """Parts of an expression given as text with commas, a number, or a list."""
    if isinstance(expression, bool | float):
        raise ConfigError(f"steps: '{expression}' is not a step; use numbers, ranges, all, log or last")
    if isinstance(expression, int):
        return [str(expression)]
    if isinstance(expression, str):
        return [part.strip() for part in expression.split(",") if part.strip()]
    return [part for item in expression for part in split_parts(item)]


def expand_part(part: str, available: Sequence[int]) -> list[int]:
    """Steps named by one part of an expression."""
    ordered = sorted(available)
    if part == "all":
        return ordered
    if part == "last":
        return ordered[-1:]
    if part == "log":
        return [step for step in ordered if step & (step - 1) == 0 or step == ordered[-1]]
    if NUMBER.fullmatch(part):
        return [int(part)]
    match = RANGE.fullmatch(part)
    if not match:
        raise ConfigError(f"steps '{part}' cannot be parsed; use all, log, last, 512, 0..64 or 1000..143000:1000")
    return expand_range(part, int(match[1]), int(match[2]), match[3], ordered)


def expand_range(part: str, first: int, last: int, stride: str | None, ordered: Sequence[int]) -> list[int]:
    """Steps of ``first..last[:stride]``; without a stride, the known steps in between."""
    if first > last:
        raise ConfigError(f"steps '{part}' is reversed; write the smaller step first")
    if stride is None:
        return [step for step in ordered if first <= step <= last]
    if int(stride) < 1:
        raise ConfigError(f"steps '{part}': the stride after ':' must be at least 1")
    if (last - first) // int(stride) > MOST_STEPS:
        raise ConfigError(f"steps '{part}' selects more than {MOST_STEPS:,} steps")
    return list(range(first, last + 1, int(stride)))


def nearest(step: int, known: set[int]) -> str:
    """Hint with the nearest existing steps."""
    if not known:
        return "the model has none"
    closest = sorted(sorted(known, key=lambda other: (abs(other - step), other))[:2])
    return f"nearest are {' and '.join(str(other) for other in closest)}"


def require_every_step(steps: Iterable[float], where: Path) -> None:
    """Refuse a training log in which a step is doubled or missing: two trainings wrote it, or it was cut.

    >>> require_every_step([5, 6, 7], Path("metrics.csv"))
    """
    for before, step in itertools.pairwise(steps):
        if step != before + 1:
            raise DataError(
                f"{where}: step {step:g} follows step {before:g}, but every step must occur once and in order; two "
                "trainings wrote this file, or it was edited: delete the training's folder and retrain the model"
            )
