"""Compiled functions work without a folder for their cache."""

from __future__ import annotations

import numba
import pytest

from workflow_scripts.dataset.files.compiled import compiled


def double(value: int) -> int:
    return 2 * value


def test_without_a_place_for_the_cache_it_compiles_in_memory(monkeypatch):
    real = numba.njit

    def no_cache(*arguments, **options):
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return real(*arguments, **options)

    monkeypatch.setattr(numba, "njit", no_cache)
    assert compiled(double)(21) == 42


@pytest.mark.parametrize("value", [0, 2**40])
def test_results_are_pythons(value):
    assert compiled(double)(value) == double(value)
