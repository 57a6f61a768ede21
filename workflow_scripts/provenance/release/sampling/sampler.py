"""The sampled checks of a release: kinds of items in turn, the cheap ones first, within a budget of time.

For each kind the order of the draw says which items are checked; how many, the time. The first two items of a kind
measure what one costs (the second: the first also opens files). Then the kinds take turns from the cheapest to the
dearest: each gets an equal share of the time that is left, and leaves to the others what it does not need. A kind ends
with the sample that finds a forgery of ``SHARE`` of its items with ``PROBABILITY``. Items are checked in portions of
about a tenth of a kind's share of time; a portion that has begun is finished, so the budget is exceeded by a portion at
most. When a kind ends never depends on what was found, so what was checked is a simple random sample.

Items that by their arithmetic take more than a tenth of the budget are left out of the population and are listed.
"""

from __future__ import annotations

import itertools
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

from workflow_scripts.errors import PipelineError, TransferError
from workflow_scripts.provenance.release.sampling.bounds import samples_to_find
from workflow_scripts.provenance.release.sampling.sample_result import (
    Group,
    Item,
    NotChecked,
    Outcome,
    Population,
    SampleResult,
    Verdict,
    by_group,
)
from workflow_scripts.provenance.release.sampling.seeded_draw import Draw

SHARE, PROBABILITY = 0.01, 0.99
LARGEST_SHARE_OF_BUDGET = 0.1
PORTION = 0.1
Report = Callable[[str], None]
# What reading files of a stranger raises where they do not hold what their formats promise.
MALFORMED = (PipelineError, OSError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError)


@dataclass(frozen=True)
class Budget:
    """``seconds`` from the moment it is made, by ``clock``; what was asked for in all decides what is too dear."""

    seconds: float
    asked: float
    clock: Callable[[], float] = time.monotonic
    began: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "began", self.clock())

    @property
    def left(self) -> float:
        """Seconds that are left; negative when it is used up."""
        return self.began + self.seconds - self.clock()


class Sampler(ABC):
    """One kind of item of a release.

    ``kind`` is its name in the draw, ``title`` its name on the page, ``unit`` that of its differences. ``groups`` are
    the items that can be checked here; ``not_checked`` are the others. ``everything``: so cheap that all are wanted.
    """

    kind: ClassVar[str]
    title: ClassVar[str]
    unit: ClassVar[str]
    everything: ClassVar[bool] = False
    groups: Sequence[Group]
    not_checked: Sequence[NotChecked]

    @abstractmethod
    def check(self, group: str, numbers: Sequence[int]) -> Iterator[Outcome]:
        """Recompute items of one group; raises PipelineError where that is impossible."""


@dataclass
class Progress:
    """What has been done about one kind."""

    sampler: Sampler
    population: Population
    order: Iterator[Item]
    left_out: tuple[NotChecked, ...]
    outcomes: list[Outcome] = field(default_factory=list)
    seconds: float = 0.0
    opening: float = 0.0

    @cached_property
    def planned(self) -> int:
        """Size of the sample that time allowing is checked."""
        whole = len(self.population)
        return whole if self.sampler.everything else samples_to_find(whole, SHARE, PROBABILITY)

    @property
    def wanted(self) -> int:
        """Items still to be checked for the planned sample."""
        return self.planned - len(self.outcomes)

    @property
    def cost(self) -> float:
        """Seconds per item as measured so far, the first left out; before the first, by arithmetic."""
        if len(self.outcomes) > 1:
            return (self.seconds - self.opening) / (len(self.outcomes) - 1)
        return self.opening or max((group.seconds for group in self.population.groups), default=0.0)

    def advance(self, count: int, budget: Budget) -> None:
        """Check the next ``count`` items of the draw."""
        began = budget.clock()
        items = list(itertools.islice(self.order, count))
        for group, numbers in by_group(items):
            self.outcomes += checked(self.sampler, group, numbers)
        self.seconds += budget.clock() - began
        self.opening = self.opening or self.seconds

    def result(self) -> SampleResult:
        """What there is to say."""
        kept = tuple(sorted(self.outcomes, key=lambda outcome: outcome.item))
        about = self.sampler
        return SampleResult(
            about.kind, about.title, about.unit, len(self.population), kept, self.left_out, self.seconds
        )


def checked(sampler: Sampler, group: str, numbers: Sequence[int]) -> list[Outcome]:
    """Outcomes of ``numbers``; what cannot be recomputed from what was sealed is wrong, with the reason.

    Raises TransferError: weights that no server gives say nothing about the release.
    """
    try:
        return list(sampler.check(group, numbers))
    except TransferError:
        raise
    except MALFORMED as error:
        if len(numbers) > 1:
            return [outcome for number in numbers for outcome in checked(sampler, group, [number])]
        return [Outcome(Item(group, numbers[0]), Verdict.WRONG, detail=said(error))]


def said(error: Exception) -> str:
    """An error for the page; errors of other libraries are shown with their type."""
    return str(error) if isinstance(error, PipelineError) else f"{type(error).__name__}: {error}"


def begin(sampler: Sampler, draw: Draw, budget: Budget) -> Progress:
    """Population and order of one kind, without the groups whose items are too dear for the budget."""
    most = budget.asked * LARGEST_SHARE_OF_BUDGET
    dear = [group for group in sampler.groups if group.seconds > most]
    population = Population.of(group for group in sampler.groups if group.seconds <= most)
    order = (population[place] for place in draw.order(sampler.kind, len(population)))
    reason = "one takes about {:.0f} s, more than a tenth of the time allowed; give a larger --budget"
    left_out = [NotChecked(group.name, group.items, reason.format(group.seconds)) for group in dear]
    return Progress(sampler, population, order, (*sampler.not_checked, *left_out))


def run_samplers(samplers: Iterable[Sampler], draw: Draw, budget: Budget, report: Report) -> list[SampleResult]:
    """Check samples of all kinds within ``budget``; ``report`` is told a sentence for each kind."""
    kinds = [begin(sampler, draw, budget) for sampler in samplers]
    for kind in kinds * 2:
        if kind.wanted > 0 and kind.cost < budget.left:
            kind.advance(1, budget)
    waiting = sorted((kind for kind in kinds if kind.wanted > 0), key=lambda kind: kind.cost)
    # What the dear kinds leave goes to those that ran out of time, in the same order.
    for _ in range(2):
        for place, kind in enumerate(waiting):
            spend(kind, budget.left / (len(waiting) - place), budget)
        waiting = [kind for kind in waiting if kind.wanted > 0]
    results = [kind.result() for kind in kinds]
    for result in results:
        report(result.sentence)
    return results


def spend(kind: Progress, seconds: float, budget: Budget) -> None:
    """Check items of one kind for about ``seconds``, or until its sample is complete."""
    until = budget.left - seconds
    while kind.wanted > 0 and (left := budget.left - until) > 0 and kind.cost <= left:
        fitting = int(min(seconds * PORTION, left) / kind.cost) if kind.cost > 0 else kind.wanted
        kind.advance(max(1, min(fitting, kind.wanted)), budget)
