"""``metrics.csv`` of a run: one line per iteration, never ahead of what was computed, consistent after a resume.

Losses and norms may live on an accelerator; they are read in blocks, so that a step does not wait for its numbers. A
resumed run starts from the copy in its checkpoint. It must not hold a line of an iteration that is run again.
"""

from __future__ import annotations

import csv
import math
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from workflow_scripts.errors import DataError, ModelError
from workflow_scripts.suite.steps import require_every_step
from workflow_scripts.training.recipe import Recipe

COLUMNS = (
    "step",
    "tokens",
    "loss",
    "gradient_norm",
    "learning_rate",
    "tokens_per_second",
    "teraflops_per_second",
    "loss_scale",
    "skipped",
)
FLUSH_STEPS = 10


@dataclass(frozen=True)
class StepMetrics:
    """Numbers of one iteration; ``loss`` in nats per token before the update, ``gradient_norm`` before clipping.

    ``step`` counts this iteration in: the metrics of step S come from the update that makes the weights of step S.
    """

    step: int
    loss: Tensor
    gradient_norm: Tensor
    learning_rate: float
    loss_scale: float
    skipped: bool


class MetricsLog:
    """Appends iterations to ``metrics.csv`` in blocks."""

    def __init__(self, path: Path, recipe: Recipe, resumed_from: Path | None) -> None:
        """Start the file anew, or from the copy ``resumed_from`` in the checkpoint that the run goes on from."""
        self.path = path
        self.recipe = recipe
        self.pending: list[StepMetrics] = []
        self.note = "loss not read yet"
        self.clock = time.monotonic()
        self.open(resumed_from)

    def open(self, resumed_from: Path | None) -> None:
        """Make the file ready for the first line."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if resumed_from is not None and resumed_from.is_file():
            shutil.copyfile(resumed_from, self.path)
        else:
            self.path.write_text(",".join(COLUMNS) + "\n", encoding="utf-8")

    def add(self, metrics: StepMetrics) -> None:
        """Take the numbers of one iteration; writes when a block is full."""
        self.pending.append(metrics)
        if len(self.pending) >= FLUSH_STEPS:
            self.flush()

    def flush(self) -> None:
        """Read and write what is pending; raises ModelError on a loss that is no number."""
        if not self.pending:
            return
        values = [(float(item.loss), float(item.gradient_norm)) for item in self.pending]  # waits for the device
        now = time.monotonic()
        rate = len(self.pending) * self.recipe.batch_tokens / max(now - self.clock, 1e-9)
        self.clock = now
        lines = []
        for item, (loss, norm) in zip(self.pending, values, strict=True):
            check_finite(item, loss, norm)
            lines.append(self.line(item, loss, norm, rate))
        self.append(lines)
        self.note = f"loss {values[-1][0]:.4f}, {rate:,.0f} tokens/s"
        self.pending.clear()

    def append(self, lines: list[list[object]]) -> None:
        """Write lines at the end of the file."""
        with self.path.open("a", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(lines)

    def line(self, item: StepMetrics, loss: float, norm: float, rate: float) -> list[object]:
        """One line of the file, in the order of ``COLUMNS``."""
        tokens = item.step * self.recipe.batch_tokens
        teraflops = rate * self.recipe.flops_per_token / 1e12
        return [
            item.step,
            tokens,
            f"{loss:.9g}",
            f"{norm:.9g}",
            f"{item.learning_rate:.9g}",
            f"{rate:.1f}",
            f"{teraflops:.6g}",
            f"{item.loss_scale:g}",
            int(item.skipped),
        ]


class SilentMetrics(MetricsLog):
    """What the processes beside the main one use: they look at every number and write none."""

    def open(self, resumed_from: Path | None) -> None:
        """Do nothing: the main process writes."""

    def append(self, lines: list[list[object]]) -> None:
        """Do nothing: the main process writes."""


def check_finite(item: StepMetrics, loss: float, norm: float) -> None:
    """Raise ModelError where training has left the numbers; a skipped fp16 step may have an infinite norm."""
    if item.skipped or (math.isfinite(loss) and math.isfinite(norm)):
        return
    raise ModelError(
        f"step {item.step}: loss is {loss} and gradient norm {norm}; no checkpoint was written from here on. Lower the "
        "learning rate or inspect the data of this step"
    )


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Lines of a metrics file as numbers; raises DataError, also where a step is doubled or missing."""
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise DataError(f"{path}: columns are {reader.fieldnames}, expected {list(COLUMNS)}")
        try:
            lines = [{key: float(value) for key, value in line.items()} for line in reader]
        except (TypeError, ValueError):
            raise DataError(f"{path}: line {reader.line_num} is not one of {len(COLUMNS)} numbers") from None
    require_every_step((line["step"] for line in lines), path)
    return lines
