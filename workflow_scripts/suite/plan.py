r"""What a run will cost, before anything starts: files, bytes to download, disk, hours of computing, per model.

Everything follows from the configuration and the registry; nothing is asked of any server and nothing is written. The
estimates are arithmetic on stated rates (below), good to about a factor of two. A run that exceeds a number under
`limits` in its configuration is refused with that number and the key to raise.

Example:
  python -m workflow_scripts.suite.plan --config config/runs/suite.yaml
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from workflow_scripts import cli
from workflow_scripts.errors import ConfigError
from workflow_scripts.suite.check import DEFAULT, load_run_file
from workflow_scripts.suite.models import Model
from workflow_scripts.suite.run import Run

BYTES_OF = {"float16": 2, "bfloat16": 2, "float32": 4}
# Sustained rates, FLOP per second. One CPU core in float32: 50e9 of the 80-90e9 that a large matrix product reaches on
# a 2025 server core. One H100/H200 in bfloat16: 400e12 of 790e12.
CPU_RATE = 50e9
GPU_RATE = 400e12
# Tokens that one evaluation of one checkpoint forwards, per task, with shared prefixes computed once: 3.65e6 for the
# zero-shot list of the suite, measured with lm-eval 0.4.13's requests; five shots cost about twice as much.
EVALUATION_TOKENS = 3.65e6
SHOTS_FACTOR = {0: 1.0}
MORE_SHOTS_FACTOR = 2.0
POCKET_EVALUATION_TOKENS = 6e4
# A trained checkpoint keeps float32 weights, and the newest one two float32 moments as well.
TRAINING_STATE_BYTES = 4
OPTIMIZER_BYTES = 8
HOUR = 3600.0


@dataclass(frozen=True)
class Cost:
    """Cost of one model, or of everything: bytes to download and to keep, FLOPs to train and to evaluate."""

    checkpoints: int = 0
    download_bytes: float = 0.0
    disk_bytes: float = 0.0
    training_flops: float = 0.0
    evaluation_flops: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        """Sum of two costs."""
        return Cost(
            self.checkpoints + other.checkpoints,
            self.download_bytes + other.download_bytes,
            self.disk_bytes + other.disk_bytes,
            self.training_flops + other.training_flops,
            self.evaluation_flops + other.evaluation_flops,
        )


def forward_flops_per_token(model: Model) -> float:
    """2 FLOPs per weight outside the input embedding; attention over the context is left out (below 10 %)."""
    return 2.0 * (model.non_embedding_parameters + model.vocab_size * model.hidden_size)


def evaluation_tokens(run: Run) -> float:
    """Tokens forwarded to evaluate one checkpoint on all tasks and all numbers of shots."""
    once = POCKET_EVALUATION_TOKENS if run.suite.name == "pocket" else EVALUATION_TOKENS
    return once * sum(SHOTS_FACTOR.get(shots, MORE_SHOTS_FACTOR) for shots in run.shots)


def model_cost(run: Run, model: Model) -> Cost:
    """Cost of one model of ``run``."""
    steps = run.steps[model.name]
    fetched = len(steps) * float(model.parameters) * BYTES_OF[model.published_dtype]
    forward = forward_flops_per_token(model)
    evaluation = len(steps) * evaluation_tokens(run) * forward
    if not run.retrains:
        return Cost(len(steps), fetched, fetched, 0.0, evaluation)
    tokens = float(model.step(model.steps[-1]).tokens)
    published = len(model.steps) * float(model.parameters) * BYTES_OF[model.published_dtype]
    state = float(model.parameters) * (len(model.steps) * TRAINING_STATE_BYTES + OPTIMIZER_BYTES)
    return Cost(len(steps), 0.0, fetched + published + state, 3.0 * forward * tokens, evaluation)


def dataset_bytes(run: Run) -> float:
    """Bytes of the pretokenised data sets that the run downloads."""
    if run.section("dataset").get("source") == "mirror" or not run.retrains:
        return 0.0
    sizes = [run.suite.dataset(key).bin_bytes for key in run.datasets]
    return float(sum(size for size in sizes if size))


def total_cost(run: Run) -> Cost:
    """Cost of the whole run; a disk budget for checkpoints bounds what the fetched ones take together."""
    total = Cost(download_bytes=dataset_bytes(run), disk_bytes=dataset_bytes(run))
    for model in run.models:
        total = total + model_cost(run, model)
    budget = run.section("checkpoints").get("disk_budget_gb")
    if budget is None:
        return total
    fetched = sum(len(run.steps[m.name]) * float(m.parameters) * BYTES_OF[m.published_dtype] for m in run.models)
    return replace(total, disk_bytes=total.disk_bytes - max(fetched - float(budget) * 1e9, 0.0))


def hours(flops: float, run: Run) -> tuple[float, str]:
    """Hours on one device, and which device: made-up and small suites run on a core, the real one on a GPU."""
    rate, device = (CPU_RATE, "core") if run.suite.is_made_here else (GPU_RATE, "GPU")
    return flops / rate / HOUR, device


def check_limits(run: Run, total: Cost) -> None:
    """Refuse a run that exceeds a limit of its configuration."""
    spent, device = hours(total.training_flops + total.evaluation_flops, run)
    amounts = {
        "download_gb": total.download_bytes / 1e9,
        "disk_gb": total.disk_bytes / 1e9,
        "cpu_hours" if device == "core" else "gpu_hours": spent,
    }
    for key, limit in run.section("limits").items():
        if amounts.get(key, 0.0) > float(limit):
            raise ConfigError(
                f"run {run.name} would need {amounts[key]:,.1f} {key.replace('_', ' ')}, its limit is {limit}; raise "
                f"limits.{key} in the configuration, or choose fewer models or steps"
            )


def amount(number_of_bytes: float) -> str:
    """Bytes in the unit a disk is bought in."""
    for scale, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if number_of_bytes >= scale:
            return f"{number_of_bytes / scale:,.2f} {unit}"
    return f"{number_of_bytes / 1e3:,.0f} kB"


def time_text(number: float, device: str) -> str:
    """Hours, or minutes and seconds when there are few."""
    if number >= 1:
        return f"{number:,.1f} {device}-h"
    return f"{number * 60:,.1f} {device}-min" if number >= 1 / 60 else f"{number * HOUR:,.1f} {device}-s"


def row(name: str, cost: Cost, run: Run) -> str:
    """One line of the table."""
    training, device = hours(cost.training_flops, run)
    evaluation, _ = hours(cost.evaluation_flops, run)
    return (
        f"{name:28}{cost.checkpoints:>8}{amount(cost.download_bytes):>14}{amount(cost.disk_bytes):>14}"
        f"{time_text(training, device):>16}{time_text(evaluation, device):>16}"
    )


def table(run: Run) -> str:
    """The plan as text: a line per model and a total."""
    head = f"{'model':28}{'steps':>8}{'download':>14}{'disk':>14}{'train':>16}{'evaluate':>16}"
    lines = [f"plan of run {run.name} (suite {run.suite.name})", head]
    lines += [row(model.name, model_cost(run, model), run) for model in run.models]
    lines.append(row("total with data", total_cost(run), run))
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse arguments, print the plan, refuse what exceeds a limit."""
    parser = cli.parser(__doc__)
    parser.add_argument("--config", type=Path, default=DEFAULT, help="a configuration file, e.g. from config/runs")
    run = load_run_file(parser.parse_args(arguments).config)
    cli.say(table(run))
    check_limits(run, total_cost(run))


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
