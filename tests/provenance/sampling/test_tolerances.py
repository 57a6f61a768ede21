"""Tolerances are what was measured, and what the documentation says."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow_scripts.evaluation.scoring.score_plan import DTYPES
from workflow_scripts.provenance.release.sampling.bounds import samples_to_find
from workflow_scripts.provenance.release.sampling.tolerances import (
    DECLARED,
    FORWARD,
    MARGIN,
    TRAINING,
    rounded_up,
)
from workflow_scripts.training.recipe import PRECISIONS


@given(st.floats(1e-9, 1e3))
def test_rounding_goes_up_and_not_far(value: float) -> None:
    assert value * (1 - 1e-9) <= rounded_up(value) <= 2.5 * value * (1 + 1e-9)


def test_every_type_of_the_project_has_a_tolerance() -> None:
    assert set(FORWARD) == set(DTYPES)
    assert set(TRAINING) == set(PRECISIONS)


def test_float32_is_held_tighter_than_half_precision() -> None:
    for half in ("bfloat16", "float16"):
        assert FORWARD["float32"].loglikelihood < FORWARD[half].loglikelihood
        assert FORWARD["float32"].logit < FORWARD[half].logit
        assert TRAINING["float32"].line < TRAINING[half].line


def test_the_page_has_the_table(root: Path) -> None:
    text = (root / "docs/verification.md").read_text(encoding="utf-8")
    for each in DECLARED:
        row = f"| {each.rules} | {each.quantity} | {each.dtype} | {each.measured:.1e} | {each.allowed:g} |"
        assert row in text
        assert each.allowed >= MARGIN * each.measured * 0.999


@pytest.mark.parametrize("row", [("10 %", 0.1), ("5 %", 0.05), ("1 %", 0.01)])
def test_the_page_plans_with_the_right_numbers(root: Path, row: tuple[str, float]) -> None:
    words, share = row
    needed = [samples_to_find(10**9, share, probability) for probability in (0.9, 0.95, 0.99)]
    text = (root / "docs/verification.md").read_text(encoding="utf-8")
    assert f"| {words} | {needed[0]} | {needed[1]} | {needed[2]} |" in text
