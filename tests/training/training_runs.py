"""What the tests of the training stage share: rows in memory, a run in one call, runs of several processes."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from workflow_scripts.dataset import make_view
from workflow_scripts.dataset.files.index_writer import indexed_writer
from workflow_scripts.training.recipe import Recipe
from workflow_scripts.training.run.checkpoint import RunState
from workflow_scripts.training.run.model import GPTNeoX
from workflow_scripts.training.run.optimizer import build_optimizer
from workflow_scripts.training.run.starting_point import begin, fresh_state
from workflow_scripts.training.run.trainer import Plan, Trainer
from workflow_scripts.training.run.training_log import read_metrics
from workflow_scripts.training.run.training_rows import RowSource
from workflow_scripts.training.run.warm_start import Origin

WORKER = Path(__file__).with_name("parallel_worker.py")
PATIENCE = (
    900  # seconds; a group takes 10 on an idle machine, 40 where it compiles, and six times that beside ten others
)


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


def make_trainer(
    recipe: Recipe,
    rows: RowSource,
    run: Path,
    *,
    stop_at: int | None = None,
    micro_batch: int = 8,
    keep: tuple[int, ...] = (),
    when_different: str = "refuse",
    origin: Origin | None = None,
) -> Trainer:
    model = GPTNeoX(recipe)
    optimizer = build_optimizer(model, recipe)
    fresh = fresh_state(recipe, rows.fingerprint, 1, micro_batch)
    state = begin(run, fresh, recipe, model=model, optimizer=optimizer, when_different=when_different, origin=origin)
    plan = Plan(run, recipe.train_iterations if stop_at is None else stop_at, micro_batch, keep)
    return Trainer(recipe, rows, model=model, optimizer=optimizer, state=state, plan=plan)


def train(recipe: Recipe, rows: RowSource, run: Path, **options: object) -> RunState:
    return make_trainer(recipe, rows, run, **options).run()  # type: ignore[arg-type]


def digest(run: Path, step: int) -> str:
    return hashlib.sha256((run / f"step{step}" / "model.safetensors").read_bytes()).hexdigest()


def timeless(run: Path) -> list[tuple[float, ...]]:
    """Metrics without the columns that hold speeds."""
    kept = ("step", "tokens", "loss", "gradient_norm", "learning_rate")
    return [tuple(line[key] for key in kept) for line in read_metrics(run / "metrics.csv")]


def write_data(folder: Path) -> Path:
    """A data set of 60 short documents below token 96; returns its view file."""
    random = np.random.RandomState(0)
    prefix = folder / "text_document"
    with indexed_writer(prefix, np.dtype("uint16")) as writer:
        for _ in range(60):
            writer.add(np.cumsum(random.zipf(1.5, size=random.randint(20, 90)) % 7) % 96)
            writer.end_document()
    make_view.main(["--idx", f"{prefix}.idx", "--bin", f"{prefix}.bin", "--output", str(folder / "view.json")])
    return folder / "view.json"


class Bench:
    """A data set, a recipe file and a way to run the program in several processes."""

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        self.folder = folder
        self.recipe = folder / "recipe.json"
        self.recipe.write_text(json.dumps(recipe.to_json()))
        self.view = write_data(folder)

    def command(self, run: str, *more: str) -> list[str]:
        return [
            *("--recipe", str(self.recipe), "--view", str(self.view), "--output-dir", str(self.folder / run)),
            *("--micro-batch", "2", *more),
        ]

    def together(self, world: int, *commands: list[str]) -> subprocess.CompletedProcess[str]:
        listing = self.folder / f"commands-{world}.json"
        listing.write_text(json.dumps(commands))
        with subprocess.Popen(
            [sys.executable, str(WORKER), str(world), str(listing)],
            env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True, start_new_session=True,
        ) as process:  # fmt: skip
            try:
                told = process.communicate(timeout=PATIENCE)[1]
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGABRT)  # each process says where it hangs
                pytest.fail(f"{world} processes did not end in {PATIENCE} s:\n{process.communicate()[1][-9000:]}")
        return subprocess.CompletedProcess(process.args, process.returncode, None, told)

    def compiled(self, run: str) -> list[int]:
        """Graphs that torch's compiler made in the first process of each command of the run."""
        return [int(line) for line in (self.folder / f"{run}.compiled").read_text().split()]

    def curve(self, run: str) -> np.ndarray:
        return np.array(timeless(self.folder / run))
