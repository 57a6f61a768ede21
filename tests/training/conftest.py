"""A tiny recipe and rows in memory, for the tests of the training stage."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from workflow_scripts.suite.registry import load_suite
from workflow_scripts.training.recipe import Recipe, recipe_of


class ArrayRows:
    """Rows that stand in an array."""

    def __init__(self, tokens: np.ndarray) -> None:
        self.tokens = tokens

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.tokens.tobytes()).hexdigest()

    @property
    def n_rows(self) -> int:
        return len(self.tokens)

    def rows(self, start: int, stop: int) -> np.ndarray:
        return self.tokens[start:stop].copy()


def make_rows(recipe: Recipe, seed: int = 0) -> ArrayRows:
    """Rows with some structure: each token tends to follow from the one before."""
    random = np.random.RandomState(seed)
    shape = (recipe.batch_rows * recipe.train_iterations, recipe.sequence_length + 1)
    noise = random.zipf(1.5, size=shape) % 7
    tokens = (np.cumsum(noise, axis=1) * 5 + random.randint(0, 50, size=(shape[0], 1))) % recipe.vocab_size
    return ArrayRows(tokens.astype(np.uint16))


@pytest.fixture()
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


@pytest.fixture()
def rows(recipe: Recipe) -> ArrayRows:
    """Rows for every iteration of ``recipe``."""
    return make_rows(recipe)


@pytest.fixture()
def variant(recipe: Recipe) -> Callable[..., Recipe]:
    """The tiny recipe with some numbers changed."""

    def change(**numbers: Any) -> Recipe:
        return dataclasses.replace(recipe, **numbers)

    return change
