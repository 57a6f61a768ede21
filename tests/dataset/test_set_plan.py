"""Sizes of sets: published numbers and the rules of the original."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow_scripts.dataset.order.set_plan import (
    Schedule,
    epochs_and_samples,
    normalized,
    plan_set,
    requested_in_paths_mode,
    split_bounds,
)
from workflow_scripts.errors import ConfigError


def test_pythia_asks_for_the_numbers_in_the_published_file_names():
    train, valid, test = Schedule(143000, 1024, eval_interval=1000).wanted()
    assert [requested_in_paths_mode(n) for n in (train, valid, test)] == [147164160, 1481933, 10292]
    assert requested_in_paths_mode(Schedule(143000, 1024, eval_interval=40000).wanted()[1]) == 41165
    assert requested_in_paths_mode(Schedule(143000, 1024, eval_interval=100000).wanted()[1]) == 20583
    assert requested_in_paths_mode(71500 * 2048) == 147164160


@pytest.mark.shared
def test_real_data_sets_have_their_published_epochs_and_samples(shared):
    facts = json.loads((shared / "vectors" / "real_raw_layouts.json").read_text())
    standard, deduped = facts["standard"], facts["deduped"]
    assert epochs_and_samples(standard["tokens"], 2048, 147164160) == (1, standard["samples_2048"])
    assert epochs_and_samples(deduped["tokens_inferred"], 2048, 147164160) == (2, deduped["samples_2048_inferred"])


@given(tokens=st.integers(1, 500), length=st.integers(1, 40), requested=st.integers(0, 300))
@settings(deadline=None)
def test_epochs_are_the_smallest_that_suffice(tokens, length, requested):
    epoch = 1
    while (epoch * tokens - 1) // length < requested:
        epoch += 1
    assert epochs_and_samples(tokens, length, requested) == (epoch, (epoch * tokens - 1) // length)


def test_split_rounds_halves_to_even_and_hands_the_excess_on():
    assert split_bounds("1,1", 5) == [0, 3, 5, 5]  # round(2.5) = 2 twice leaves one over
    assert split_bounds("969/30/1", 1000) == [0, 969, 999, 1000]
    assert split_bounds("1", 7) == [0, 7, 7, 7]
    assert split_bounds("8,1,1", 37) == [0, 29, 33, 37]


@pytest.mark.parametrize("split", ["", "a,b", "0,0,0", "1,-1,1", "nan,1"])
def test_impossible_splits_are_refused(split):
    with pytest.raises(ConfigError):
        split_bounds(split, 10)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=5).filter(lambda w: sum(w) > 0))
@settings(deadline=None)
def test_weights_become_shares(weights):
    shares = normalized(weights)
    assert np.isclose(sum(shares), 1.0)


def test_a_set_without_tokens_is_refused():
    with pytest.raises(ConfigError, match="set valid: its 3 documents contain no tokens"):
        plan_set("valid", 2, 5, tokens=0, requested=1, seq_length=8)
