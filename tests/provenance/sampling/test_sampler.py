"""The machinery of sampling with a truth table in place of a recomputation: forgeries, bounds, budgets."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

import pytest
from scipy import stats

from workflow_scripts.errors import DataError, TransferError
from workflow_scripts.provenance.release.sampling.sample_result import (
    CONFIDENCE,
    Group,
    Item,
    NotChecked,
    Outcome,
    SampleResult,
    Verdict,
)
from workflow_scripts.provenance.release.sampling.sampler import Budget, Sampler, run_samplers
from workflow_scripts.provenance.release.sampling.seeded_draw import Draw

ROOT = "c0" * 32
FILES, DOCUMENTS = 96, 893  # about the documents of the pocket run


class Clock:
    """Time that passes when something is computed."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Table(Sampler):
    """Recomputation replaced by a truth table: ``wrong`` items; each takes ``seconds`` of the ``clock``."""

    title, unit = "Documents", "nats"

    def __init__(
        self, groups: Sequence[Group], wrong: set[Item], clock: Clock, seconds: float, kind: str = "a"
    ) -> None:
        self.groups, self.wrong, self.clock, self.seconds = groups, wrong, clock, seconds
        self.kind = kind  # type: ignore[misc]
        self.not_checked: list[NotChecked] = []
        self.began: float | None = None

    def check(self, group: str, numbers: Sequence[int]) -> Iterator[Outcome]:
        self.began = self.clock() if self.began is None else self.began
        for number in numbers:
            self.clock.now += self.seconds
            item = Item(group, number)
            yield Outcome(item, Verdict.WRONG if item in self.wrong else Verdict.EQUAL)


def one(items: int, wrong: set[Item], seed: str, budget: float) -> SampleResult:
    """One verification of one kind in which an item takes a second."""
    clock = Clock()
    groups = [Group(f"scores-{number:03}", items) for number in range(FILES)]
    (result,) = run_samplers(
        [Table(groups, wrong, clock, 1.0)], Draw(ROOT, seed), Budget(budget, budget, clock), lambda _: None
    )
    return result


def forgery(share: float, consecutive: bool) -> set[Item]:
    """A share of all documents: whole files one after the other, or every so many-th document."""
    items = [Item(f"scores-{file:03}", number) for file in range(FILES) for number in range(DOCUMENTS)]
    count = math.ceil(share * len(items))
    return set(items[:count]) if consecutive else set(items[:: len(items) // count][:count])


@pytest.mark.parametrize("consecutive", [True, False], ids=["whole files", "spread"])
@pytest.mark.parametrize("budget", [20, 59])
def test_a_forgery_of_five_per_cent_is_found_as_often_as_stated(consecutive: bool, budget: int) -> None:
    """200 runs; the number that find it lies where 99.9 % of binomial counts of the stated probability do."""
    wrong = forgery(0.05, consecutive)
    results = [one(DOCUMENTS, wrong, f"run {number}", budget) for number in range(200)]
    stated = {result.chance for result in results}
    assert len(stated) == 1, "every run had the same time and drew as many"
    found = sum(bool(result.wrong) for result in results)
    low, high = stats.binom.interval(0.999, 200, stated.pop())
    assert low <= found <= high
    assert found > 100


def test_the_stated_share_is_true_as_often_as_stated() -> None:
    """At a share of wrong items for which the bound is near its confidence; 300 runs."""
    wrong = forgery(0.08, consecutive=False)
    truth = 1 - len(wrong) / (FILES * DOCUMENTS)
    holds = sum(one(DOCUMENTS, wrong, f"run {number}", 100).share_right <= truth for number in range(300))
    assert holds >= stats.binom.ppf(0.001, 300, CONFIDENCE)


def test_an_honest_release_is_never_accused() -> None:
    assert not any(one(DOCUMENTS, set(), str(number), 59).wrong for number in range(20))


def test_the_sample_is_a_function_of_root_seed_and_population() -> None:
    first, second = (one(DOCUMENTS, set(), "same", 30) for _ in range(2))
    other = one(DOCUMENTS, set(), "other", 30)
    assert first == second
    assert {each.item for each in first.outcomes} != {each.item for each in other.outcomes}


def test_more_time_looks_at_the_same_items_and_further_ones() -> None:
    short, long = (one(DOCUMENTS, set(), "same", budget) for budget in (15, 40))
    assert {each.item for each in short.outcomes} < {each.item for each in long.outcomes}


def test_a_kind_ends_with_the_planned_sample() -> None:
    """A forgery of one per cent with 99 per cent: 458 of a large population, all that matter of a small one."""
    assert one(DOCUMENTS, set(), "x", 10_000).checked == 457
    assert one(1, set(), "x", 10_000).checked == 96


def test_the_budget_is_kept_and_cheap_kinds_come_first() -> None:
    clock = Clock()
    groups = [Group("file", 1000)]
    costs = {"dear": 4.0, "cheap": 0.01, "middle": 0.5}
    kinds = [Table(groups, set(), clock, seconds, kind) for kind, seconds in costs.items()]
    results = {
        each.kind: each for each in run_samplers(kinds, Draw(ROOT, "s"), Budget(100.0, 100.0, clock), lambda _: None)
    }
    assert 80 < clock.now <= 100, "an item that does not fit is not begun"
    assert results["cheap"].checked == 368, "complete: the sample of a population of 1,000"
    assert results["middle"].checked > 50
    assert results["dear"].checked > 9
    assert sum(result.seconds for result in results.values()) == pytest.approx(clock.now)


def test_items_too_dear_for_the_budget_are_listed_and_not_begun() -> None:
    clock = Clock()
    kind = Table([Group("small", 5, 1.0), Group("large", 7, 60.0)], set(), clock, 1.0)
    (result,) = run_samplers([kind], Draw(ROOT, "s"), Budget(100.0, 100.0, clock), lambda _: None)
    assert result.population == result.checked == 5
    assert [(each.name, each.items) for each in result.not_checked] == [("large", 7)]
    assert "60 s" in result.not_checked[0].reason


@pytest.mark.parametrize(
    ("error", "detail"),
    [(DataError("file: damaged"), "file: damaged"), (KeyError("x"), "KeyError: 'x'"), (TypeError("x"), "TypeError: x")],
)
def test_what_cannot_be_recomputed_is_wrong_with_its_reason(error: Exception, detail: str) -> None:
    """One bad item of a portion does not accuse the others."""

    class Broken(Table):
        def check(self, group: str, numbers: Sequence[int]) -> Iterator[Outcome]:
            for outcome in super().check(group, numbers):
                if outcome.item.number == 3:
                    raise error
                yield outcome

    clock = Clock()
    (result,) = run_samplers(
        [Broken([Group("g", 9)], set(), clock, 0.1)], Draw(ROOT, "s"), Budget(60, 60, clock), print
    )
    assert [(each.item.number, each.detail) for each in result.wrong] == [(3, detail)]
    assert result.checked == 9


def test_weights_that_no_server_gives_accuse_nobody() -> None:
    class Unreachable(Table):
        def check(self, group: str, numbers: Sequence[int]) -> Iterator[Outcome]:
            raise TransferError("hub: no answer")

    clock = Clock()
    kind = Unreachable([Group("g", 9)], set(), clock, 0.1)
    with pytest.raises(TransferError, match="no answer"):
        run_samplers([kind], Draw(ROOT, "s"), Budget(60, 60, clock), print)


def test_a_kind_without_time_for_one_item_is_among_what_was_not_checked() -> None:
    (result,) = run_samplers(
        [Table([Group("g", 9)], set(), Clock(), 0.1)], Draw(ROOT, "s"), Budget(0, 60, Clock()), print
    )
    assert [(each.items, "no time" in each.reason) for each in result.left] == [(9, True)]


def test_results_speak_of_the_population_and_no_more() -> None:
    lines: list[str] = []
    clock = Clock()
    wrong = {Item("g", 1)}
    kinds = [Table([Group("g", 4)], wrong, clock, 0.1), Table([], set(), clock, 0.1, "none")]
    full, none = run_samplers(kinds, Draw(ROOT, "s"), Budget(60, 60, clock), lines.append)
    assert full.share_right == 0.75
    assert lines == [
        "Documents: 4 of 4 recomputed, 3 bit-equal, 1 wrong. These are all.",
        "Documents: the release has none.",
    ]
    assert none.to_json()["population"] == 0
    absent = dataclasses.replace(none, not_checked=(NotChecked("g", 4, "weights are absent"),))
    assert absent.sentence == "Documents: none can be recomputed here."
    assert full.to_json()["found_wrong"] == [{"item": "g 1", "detail": ""}]
    assert full.to_json()["bit_equal"] == 3


def test_a_sample_says_what_it_proves() -> None:
    said = one(DOCUMENTS, set(), "x", 59).sentence
    assert "With 95% confidence at least" in said
    assert "a forgery of 5% would have been found with probability 0.9" in said
