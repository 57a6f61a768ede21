"""Our shuffle against numpy's own RandomState."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow_scripts.dataset.order.mersenne import LegacyShuffle, seeded_state
from workflow_scripts.errors import ConfigError


@given(seed=st.integers(0, 2**32 - 1), lengths=st.lists(st.integers(0, 3000), min_size=1, max_size=4))
@settings(deadline=None, max_examples=60)
def test_successive_shuffles_equal_numpy(seed, lengths):
    theirs, ours = np.random.RandomState(seed), LegacyShuffle(seed)
    for length in lengths:
        a, b = np.arange(length, dtype=np.int32), np.arange(length, dtype=np.int32)
        theirs.shuffle(a)
        ours.shuffle(b)
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", [np.int32, np.uint32, np.int64])
def test_long_arrays_of_each_type_equal_numpy(dtype):
    a, b = np.arange(1 << 17, dtype=dtype), np.arange(1 << 17, dtype=dtype)
    np.random.RandomState(5).shuffle(a)
    LegacyShuffle(5).shuffle(b)
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("seed", [0, 1, 1234, 2**31, 2**32 - 1])
def test_state_after_seeding_is_numpys(seed):
    np.testing.assert_array_equal(seeded_state(seed), np.random.RandomState(seed).get_state()[1])


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seeds_outside_the_generator_are_refused(seed):
    with pytest.raises(ConfigError, match="outside 0 to 4294967295"):
        LegacyShuffle(seed)
