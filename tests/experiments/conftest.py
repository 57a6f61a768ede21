"""A tiny recipe for the tests of the experiments."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from workflow_scripts.suite.registry import load_suite
from workflow_scripts.training.recipe import Recipe, recipe_of


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny() -> Recipe:
    """Two layers of width 32, vocabulary 96, 8 rows of 24 tokens, 160 iterations."""
    model = load_suite("pocket").model("pocket-90k")
    return dataclasses.replace(
        recipe_of(model),
        name="tiny",
        layers=2,
        hidden_size=32,
        heads=4,
        vocab_size=96,
        sequence_length=24,
        batch_rows=8,
        train_iterations=160,
        lr_decay_iterations=160,
        learning_rate=0.01,
        min_learning_rate=0.001,
        warmup_fraction=0.02,
        checkpoint_steps=(0, 160),
    )
