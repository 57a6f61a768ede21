"""A tiny recipe and rows in memory, for the tests of the training stage."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from training_runs import ArrayRows, make_rows

from workflow_scripts.suite.registry import load_suite
from workflow_scripts.training.recipe import Recipe, recipe_of


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Two threads on a busy machine are several times slower than one."""
    torch.set_num_threads(1)


@pytest.fixture
def recipe() -> Recipe:
    """Two layers of width 32, vocabulary 96, 8 rows of 16 tokens, 20 iterations."""
    model = load_suite("pocket").model("pocket-90k")
    return dataclasses.replace(
        recipe_of(model),
        name="tiny",
        layers=2,
        hidden_size=32,
        heads=4,
        vocab_size=96,
        sequence_length=16,
        batch_rows=8,
        train_iterations=20,
        lr_decay_iterations=20,
        learning_rate=0.004,
        min_learning_rate=0.0004,
        warmup_fraction=0.1,
        checkpoint_steps=(0, 1, 2, 4, 8, 16, 20),
    )


@pytest.fixture
def rows(recipe: Recipe) -> ArrayRows:
    """Rows for every iteration of ``recipe``."""
    return make_rows(recipe)


@pytest.fixture
def variant(recipe: Recipe) -> Callable[..., Recipe]:
    """The tiny recipe with some numbers changed."""

    def change(**numbers: Any) -> Recipe:
        return dataclasses.replace(recipe, **numbers)

    return change
