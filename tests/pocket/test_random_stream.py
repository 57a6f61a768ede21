"""The random numbers: against published test vectors, and fair."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow_scripts.pocket.random_stream import RandomStream


def test_splitmix64_vectors():
    # First outputs of the reference splitmix64.c for the state 1234567 (also the test of Rosetta Code's page).
    stream = RandomStream(0)
    stream.state = 1234567
    expected = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert [stream.next_uint64() for _ in expected] == expected


def test_streams_with_other_labels_differ():
    draws = {tuple(RandomStream(*name).below(1000) for _ in range(1)) for name in [(1,), (2,), (1, "a"), (1, "a", 0)]}
    assert len(draws) == 4


@settings(deadline=None, max_examples=50)
@given(st.integers(), st.integers(min_value=1, max_value=2**64))
def test_below_stays_below(seed, bound):
    assert 0 <= RandomStream(seed).below(bound) < bound


def test_below_refuses_an_empty_range():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        RandomStream(1).below(0)


def test_below_is_uniform():
    stream = RandomStream(7)
    counts = Counter(stream.below(6) for _ in range(12_000))
    # Chi-square with 5 degrees of freedom; 20.5 is exceeded once in a thousand streams.
    assert sum((count - 2000) ** 2 / 2000 for count in counts.values()) < 20.5


def test_weights_are_followed():
    stream = RandomStream(7)
    counts = Counter(stream.pick_weighted("abc", [1, 0, 3]) for _ in range(4000))
    assert set(counts) == {"a", "c"}
    assert abs(counts["a"] - 1000) < 100


@settings(deadline=None, max_examples=50)
@given(st.integers(), st.lists(st.integers(), max_size=30))
def test_shuffled_is_a_permutation(seed, items):
    before = list(items)
    assert sorted(RandomStream(seed).shuffled(items)) == sorted(items)
    assert items == before


def test_shuffled_is_fair():
    counts = Counter(tuple(RandomStream(seed).shuffled("abc")) for seed in range(6000))
    assert len(counts) == 6
    assert sum((count - 1000) ** 2 / 1000 for count in counts.values()) < 20.5


def test_sample_has_no_repeats_and_knows_its_limit():
    assert sorted(RandomStream(3).sample("abcd", 4)) == list("abcd")
    with pytest.raises(ValueError, match="cannot draw 5 different items from 4"):
        RandomStream(3).sample("abcd", 5)
