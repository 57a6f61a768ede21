"""The draw is the one that the documentation describes, and favours nobody."""

from __future__ import annotations

import subprocess
from collections import Counter
from itertools import islice

import pytest
from scipy import stats

from workflow_scripts.provenance.release.sampling.seeded_draw import Draw, new_seed

ROOT = "8f" * 32


def test_a_shell_draws_the_same_items() -> None:
    """Followed by hand, with sha256sum and a long division."""
    expected: list[int] = []
    for counter in range(6):
        text = f"pythia-sample-1\n{ROOT}\nabc\ndocuments\n85728\n{counter}"
        digest = subprocess.run(["sha256sum"], input=text.encode(), capture_output=True, check=True).stdout.split()[0]
        remainder = 0
        for digit in digest.decode():
            remainder = (remainder * 16 + int(digit, 16)) % 85728
        if remainder not in expected:
            expected.append(remainder)
    assert list(islice(Draw(ROOT, "abc").order("documents", 85728), len(expected))) == expected


@pytest.mark.parametrize("count", [0, 1, 2, 100])
def test_every_item_comes_once(count: int) -> None:
    assert sorted(Draw(ROOT, "a").order("rows", count)) == list(range(count))


def test_seed_root_and_kind_each_make_another_order() -> None:
    orders = {
        tuple(draw.order(kind, 50))
        for draw in (Draw(ROOT, "a"), Draw(ROOT, "b"), Draw("00" * 32, "a"))
        for kind in ("rows", "scores")
    }
    assert len(orders) == 6


def test_all_items_are_equally_likely_to_be_looked_at() -> None:
    """Each of 20 items is among the first five of a quarter of 4,000 draws; chi-square at 99.9 %."""
    counts = Counter(item for seed in range(4000) for item in islice(Draw(ROOT, str(seed)).order("rows", 20), 5))
    assert stats.chisquare([counts[item] for item in range(20)]).pvalue > 0.001


def test_pairs_are_equally_likely() -> None:
    pairs = Counter(tuple(islice(Draw(ROOT, str(seed)).order("rows", 6), 2)) for seed in range(6000))
    assert len(pairs) == 30
    assert stats.chisquare(list(pairs.values())).pvalue > 0.001


def test_seeds_are_not_repeated() -> None:
    assert len({new_seed() for _ in range(100)}) == 100
    assert len(new_seed()) == 32
