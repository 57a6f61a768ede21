"""A made-up tokenizer, made-up evaluation data in the pocket suite's form, and random GPT-NeoX checkpoints."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from evaluation_worlds import TASKS, plan_arguments, save_model, sentence, train_tokenizer, write_task_data


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tokenizer of about 400 tokens."""
    texts = [sentence(number, 12) for number in range(200)]
    return train_tokenizer(tmp_path_factory.mktemp("tokenizer") / "tokenizer.json", texts, 400)


@pytest.fixture(scope="session")
def task_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data folder with twelve items per task and split."""
    return write_task_data(tmp_path_factory.mktemp("datasets"), 12)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, tokenizer_file: Path) -> Path:
    """Random checkpoint called pocket-90k/step4."""
    folder = tmp_path_factory.mktemp("checkpoints") / "pocket-90k" / "step4"
    save_model(folder, tokenizer_file, 0)
    return folder


@pytest.fixture
def copy_of(checkpoint: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Copies the checkpoint under another revision, to be broken."""

    def copy(revision: str) -> Path:
        target = tmp_path / "pocket-90k" / revision
        shutil.copytree(checkpoint, target)
        return target

    return copy


@pytest.fixture(scope="session")
def plan_file(tmp_path_factory: pytest.TempPathFactory, tokenizer_file: Path, task_data: Path) -> Callable[[int], Path]:
    """Makes (once) the plan of the five pocket tasks for a number of shots."""
    folder = tmp_path_factory.mktemp("plans")

    def make(shots: int) -> Path:
        from workflow_scripts.evaluation import build_plan

        path = folder / f"{shots}-shot.plan"
        if not path.is_file():
            build_plan.main(plan_arguments(TASKS, shots, task_data, tokenizer_file, path))
        return path

    return make
