"""Populations number their items by group."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from workflow_scripts.provenance.release.sampling.sample_result import (
    Group,
    Item,
    Population,
    by_group,
)


@given(st.dictionaries(st.text("abc", min_size=1), st.integers(0, 5)))
def test_a_population_lists_all_items_once_in_order(sizes: dict[str, int]) -> None:
    population = Population.of(Group(name, items) for name, items in sizes.items())
    items = [population[place] for place in range(len(population))]
    assert items == sorted({Item(name, number) for name, count in sizes.items() for number in range(count)})


def test_the_order_of_the_groups_does_not_matter() -> None:
    groups = [Group("b", 2), Group("a", 1), Group("c", 0)]
    assert Population.of(groups) == Population.of(reversed(groups))


def test_items_of_one_group_come_together() -> None:
    items = [Item("b", 2), Item("a", 5), Item("b", 1)]
    assert list(by_group(items)) == [("a", [5]), ("b", [1, 2])]
