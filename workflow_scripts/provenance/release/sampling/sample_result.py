"""What is drawn, what a check of it says, and what the checks of one kind of item say together."""

from __future__ import annotations

import bisect
import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from workflow_scripts.json_values import JsonObject
from workflow_scripts.provenance.release.sampling.bounds import chance_to_find, share_right

CONFIDENCE = 0.95
NO_TIME = "no time was left for it; give a larger --budget"
FORGED = 0.05  # the share of a forgery that the page gives the chance of finding for


class Verdict(StrEnum):
    """How a recomputed item compares with the stored one."""

    EQUAL = "bit-equal"
    WITHIN = "within tolerance"
    WRONG = "wrong"


@dataclass(frozen=True, order=True)
class Group:
    """Items 0 .. ``items`` - 1 of one file of the release; ``seconds`` is what one takes, by its arithmetic."""

    name: str
    items: int
    seconds: float = 0.0


@dataclass(frozen=True, order=True)
class Item:
    """One item of a group."""

    group: str
    number: int


@dataclass(frozen=True)
class Population:
    """All items of a kind in one order: groups by name, items by number."""

    groups: tuple[Group, ...]

    @classmethod
    def of(cls, groups: Iterable[Group]) -> Population:
        """The population of ``groups``, those without items left out."""
        return cls(tuple(sorted(group for group in groups if group.items)))

    @cached_property
    def ends(self) -> list[int]:
        """Number of items up to the end of each group."""
        return list(itertools.accumulate(group.items for group in self.groups))

    def __len__(self) -> int:
        return self.ends[-1] if self.groups else 0

    def __getitem__(self, place: int) -> Item:
        number = bisect.bisect_right(self.ends, place)
        return Item(self.groups[number].name, place - (self.ends[number - 1] if number else 0))


@dataclass(frozen=True)
class Outcome:
    """One item checked: ``difference`` is the largest one in the unit of the kind, ``detail`` says what is wrong."""

    item: Item
    verdict: Verdict
    difference: float = 0.0
    detail: str = ""


@dataclass(frozen=True)
class NotChecked:
    """Items of a kind that cannot be recomputed here, and why; ``items`` is 0 where their number is not known."""

    name: str
    items: int
    reason: str


@dataclass(frozen=True)
class SampleResult:
    """All that was found about one kind of item.

    ``population`` items could be recomputed here, ``outcomes`` are of those that were; what is said about the whole
    population is exact for a simple random sample (sampling/bounds.py). ``seconds`` is the time that it took.
    """

    kind: str
    title: str
    unit: str
    population: int
    outcomes: tuple[Outcome, ...]
    not_checked: tuple[NotChecked, ...]
    seconds: float

    @property
    def checked(self) -> int:
        """Number of items recomputed."""
        return len(self.outcomes)

    def count(self, verdict: Verdict) -> int:
        """Number of items with that verdict."""
        return sum(outcome.verdict is verdict for outcome in self.outcomes)

    @property
    def left(self) -> tuple[NotChecked, ...]:
        """What could not be recomputed here, and all that could when there was no time for a single one."""
        untried = NotChecked(self.title, self.population, NO_TIME)
        return (*self.not_checked, untried) if self.population and not self.checked else self.not_checked

    @property
    def wrong(self) -> tuple[Outcome, ...]:
        """Items that are not what the release says."""
        return tuple(outcome for outcome in self.outcomes if outcome.verdict is Verdict.WRONG)

    @property
    def largest_difference(self) -> float:
        """Largest difference of an item that is not wrong."""
        return max((each.difference for each in self.outcomes if each.verdict is not Verdict.WRONG), default=0.0)

    @property
    def share_right(self) -> float:
        """Share of the population that is right at least, with ``CONFIDENCE``."""
        return share_right(self.population, self.checked, len(self.wrong), CONFIDENCE)

    @property
    def chance(self) -> float:
        """Probability with which this sample holds an item of a forgery of the share ``FORGED``."""
        if not self.population:
            return 0.0
        return chance_to_find(self.population, max(1, -int(-FORGED * self.population // 1)), self.checked)

    @property
    def sentence(self) -> str:
        """The finding, for a page."""
        if not self.population:
            return f"{self.title}: {'none can be recomputed here' if self.not_checked else 'the release has none'}."
        said = f"{self.title}: {self.checked} of {self.population} recomputed"
        if self.checked:
            counts = [(verdict, self.count(verdict)) for verdict in Verdict]
            said += f", {', '.join(f'{count} {verdict}' for verdict, count in counts if count)}"
        if self.checked == self.population:
            return f"{said}. These are all."
        share = f"With {CONFIDENCE:.0%} confidence at least {floor_percent(self.share_right)} of them are right"
        chance = floor_chance(self.chance)
        return f"{said}. {share}; a forgery of {FORGED:.0%} would have been found with probability {chance}."

    def to_json(self) -> JsonObject:
        """For the report of a verification."""
        return {
            "kind": self.kind,
            "title": self.title,
            "unit_of_difference": self.unit,
            "population": self.population,
            "checked": self.checked,
            **{str(verdict).replace(" ", "_").replace("-", "_"): self.count(verdict) for verdict in Verdict},
            "largest_difference": self.largest_difference,
            "confidence": CONFIDENCE,
            "share_right_at_least": self.share_right,
            "forged_share": FORGED,
            "chance_to_find_forgery": self.chance,
            "found_wrong": [
                {"item": f"{each.item.group} {each.item.number}", "detail": each.detail} for each in self.wrong
            ],
            "not_checked": [dataclasses.asdict(each) for each in self.left],
            "seconds": round(self.seconds, 1),
        }


def floor_percent(share: float) -> str:
    """A lower bound as a percentage, rounded down.

    >>> floor_percent(0.95999)
    '95.9 %'
    """
    return f"{int(share * 1000) / 10:.1f} %"


def floor_chance(chance: float) -> str:
    """A probability in thousandths, rounded down: only what is certain is 1.

    >>> floor_chance(0.99996), floor_chance(1.0)
    ('0.999', '1.000')
    """
    return f"{int(chance * 1000) / 1000:.3f}"


def by_group(items: Iterable[Item]) -> Iterator[tuple[str, Sequence[int]]]:
    """Numbers by group, both in rising order: a file is opened once for all of its items."""
    for name, group in itertools.groupby(sorted(items), key=lambda item: item.group):
        yield name, [item.number for item in group]
