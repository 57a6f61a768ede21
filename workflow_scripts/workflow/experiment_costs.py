r"""What experiments cost, before anything starts: tokens, GPU-hours (or core-hours) and bytes.

Example:
  python -m workflow_scripts.workflow.experiment_costs --config config/runs/suite.yaml --experiments memorization seeds

Arithmetic on the grid of the run, good to about a factor of two. Rates of cores are measured (benchmarks/experiments.py
prints them for any machine); those of GPUs are those of suite.resources and were not measured by this project. Without
--experiments the list of the run is taken; `make plan` shows all, and marks those that the run asks for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workflow_scripts import cli
from workflow_scripts.suite.arms import chosen_arms, load_declaration, saved_iterations, start_iteration
from workflow_scripts.suite.dynamics_settings import dynamics_steps
from workflow_scripts.suite.experiment_files import (
    EXPERIMENTS,
    experiments_of,
    memorization_steps,
    one_per_size,
    term_steps,
    trace_steps,
    traced_models,
)
from workflow_scripts.suite.models import Model
from workflow_scripts.suite.run import Run
from workflow_scripts.workflow.dynamics import declaration_of
from workflow_scripts.workflow.requests.training_requests import CPU_RATE, GPU_RATES, forward_flops_per_token
from workflow_scripts.workflow.resources import HOUR, measured_seconds, memorization_dtype, probe_tokens
from workflow_scripts.workflow.tools.check import DEFAULT, load_run_file

# Tokens per second and core, from benchmarks/experiments.py: both ways of counting with decoding; exchanging words.
COUNT_RATE = 1.0e6
REWRITE_RATE = 5.0e7
SCAN_RATE = 5.0e8  # from benchmarks/traces.py, for a thousand texts at once on a busy machine
TRACED_TOKENS = 1.0e5  # a thousand texts of 100 tokens: what files hold is not known before they are read
SCORE_BYTES = 12  # row, batch, first miss and flag in a compressed table
BIAS_TOKENS = {"pocket": 1.2e4, "pythia": 6.0e5}  # CrowS-Pairs (gender), WinoBias and LAMBADA, prefixes shared
QUESTION_TOKENS = {"pocket": 1.5e4, "pythia": 3.0e5}  # one number of shots: 10,000 questions of about 30 tokens
TOKEN_BYTES = 2
OPTIMIZER_STATE_BYTES = 12  # float32 weights and two moments per parameter
EXPENSIVE = ("memorization", "term_frequency", "interventions", "traces", "dynamics")
TRAIN_FACTOR = 3  # forward and backward pass against a forward pass alone


@dataclass(frozen=True)
class ExperimentCost:
    """Cost of one experiment: token-forwards through models, their FLOPs and precision, core-seconds beside them.

    ``read_bytes`` are token files that it reads and a run without training does not download otherwise; ``kept_bytes``
    are what it leaves on the disk.
    """

    name: str
    tokens: float = 0.0
    flops: float = 0.0
    dtype: str = "float32"
    core_seconds: float = 0.0
    read_bytes: float = 0.0
    kept_bytes: float = 0.0

    @property
    def reads_tables_only(self) -> bool:
        """True where nothing is computed but statistics of tables that other jobs made."""
        return self.name not in EXPENSIVE

    @property
    def gpu_hours(self) -> float:
        """Hours of one H100 or H200."""
        return self.flops / GPU_RATES[self.dtype] / HOUR

    @property
    def core_hours(self) -> float:
        """Hours of one core that does all of it."""
        return (self.flops / CPU_RATE + self.core_seconds) / HOUR


def memorization_cost(run: Run, models: Sequence[Model]) -> ExperimentCost:
    """One pass over prompt + continuation - 1 tokens of every scored row."""
    settings = run.section("memorization")
    length = int(settings["prompt"]) + int(settings["continuation"]) - 1
    rows = {
        model.name: sum(model.step(step).rows for step in memorization_steps(model, settings)) / int(settings["every"])
        for model in models
    }
    tokens = {name: length * number for name, number in rows.items()}
    flops = sum(tokens[model.name] * forward_flops_per_token(model) for model in models)
    return ExperimentCost(
        "memorization",
        sum(tokens.values()),
        flops,
        memorization_dtype(run),
        read_bytes=token_bytes(run, models),
        kept_bytes=SCORE_BYTES * sum(rows.values()),
    )


def token_bytes(run: Run, models: Sequence[Model]) -> float:
    """Size of the token files that the models were trained on; 0 where they are made here."""
    return float(sum(run.suite.dataset(key).bin_bytes or 0 for key in {model.dataset for model in models}))


def term_cost(run: Run, models: Sequence[Model]) -> ExperimentCost:
    """One pass of counting over each training order, and the questions at every asked checkpoint."""
    settings = run.section("term_frequency")
    counted = {model.dataset: float(model.step(model.steps[-1]).tokens) for model in models}
    per_shot = of_suite(run, QUESTION_TOKENS)
    factor = sum(1 + shots for shots in settings["shots"])
    asked = {model.name: per_shot * factor * len(term_steps(model, settings)) for model in models}
    flops = sum(asked[model.name] * forward_flops_per_token(model) for model in models)
    return ExperimentCost(
        "term_frequency",
        sum(asked.values()),
        flops,
        str(run.section("evaluation").get("dtype", "float32")),
        core_seconds=sum(counted.values()) / COUNT_RATE,
        read_bytes=token_bytes(run, models),
    )


def intervention_cost(run: Run) -> ExperimentCost:
    """The late part of training of every arm, its patch, its items, and the states that are kept."""
    settings = run.section("interventions")
    arms = chosen_arms(load_declaration(settings["declaration"]), settings["arms"])
    models = [model for model in run.models if model.name in settings["models"]]
    total = ExperimentCost("interventions", dtype="bfloat16", read_bytes=token_bytes(run, models))
    for model in models:
        for arm in arms:
            start = start_iteration(model, arm)
            tokens = float((model.train_iterations - start) * model.batch_tokens)
            items = of_suite(run, BIAS_TOKENS) * len(saved_iterations(model, arm))
            flops = (TRAIN_FACTOR * tokens + items) * forward_flops_per_token(model)
            kept = float(model.parameters) * OPTIMIZER_STATE_BYTES * len(saved_iterations(model, arm)) / 3
            total = replace(
                total,
                tokens=total.tokens + tokens + items,
                flops=total.flops + flops,
                core_seconds=total.core_seconds + tokens / REWRITE_RATE,
                kept_bytes=total.kept_bytes + kept,
            )
    return total


def trace_cost(run: Run, models: Sequence[Model]) -> ExperimentCost:
    """One scan of the data of the traced models, and a thousand texts at each of their checkpoints in the run."""
    chosen = traced_models(models, run.section("traces"))
    stored = {model.dataset: run.suite.dataset(model.dataset).bin_bytes for model in chosen}
    trained = {model.dataset: float(model.step(model.steps[-1]).tokens) for model in chosen}
    scanned = sum(bytes_ / TOKEN_BYTES if bytes_ else trained[key] for key, bytes_ in stored.items())
    steps = {model.name: trace_steps(model, run.section("traces"), run.steps[model.name]) for model in chosen}
    tokens = {model.name: TRACED_TOKENS * len(steps[model.name]) for model in chosen}
    return ExperimentCost(
        "traces",
        sum(tokens.values()),
        sum(tokens[model.name] * forward_flops_per_token(model) for model in chosen),
        str(run.section("evaluation").get("dtype", "float32")),
        core_seconds=scanned / SCAN_RATE,
        read_bytes=token_bytes(run, chosen),
    )


def dynamics_cost(run: Run, models: Sequence[Model]) -> ExperimentCost:
    """The probe of every measured checkpoint, and the arithmetic on its weights on cores."""
    declaration, total = declaration_of(run), ExperimentCost("dynamics")
    for model in models:
        steps = len(dynamics_steps(model, run.section("dynamics")))
        tokens = steps * probe_tokens(model, declaration)
        weights = measured_seconds(model) if declaration.weights else 0.0
        prints = (model.layers + 1) * 2.0 * int(declaration.probe.get("cka_tokens", 0)) ** 2
        sketches = 4.0 * int(declaration.weights.get("sketch", 0)) * (4 * model.layers + 2)
        total = replace(
            total,
            tokens=total.tokens + tokens,
            flops=total.flops + tokens * forward_flops_per_token(model),
            core_seconds=total.core_seconds + steps * weights,
            kept_bytes=total.kept_bytes + steps * (prints + sketches),
        )
    return replace(total, read_bytes=token_bytes(run, models) if declaration.reads_training_rows else 0.0)


def of_suite(run: Run, numbers: dict[str, float]) -> float:
    """The number of the run's suite, or that of the real one."""
    return numbers.get(run.suite.name, numbers["pythia"])


def experiment_costs(run: Run, names: Iterable[str]) -> list[ExperimentCost]:
    """Costs of the named experiments; those that only read tables cost seconds and are listed with zeros."""
    models = one_per_size(run.models)
    makers: dict[str, Any] = {
        "memorization": lambda: memorization_cost(run, models),
        "term_frequency": lambda: term_cost(run, models),
        "interventions": lambda: intervention_cost(run),
        "traces": lambda: trace_cost(run, models),
        "dynamics": lambda: dynamics_cost(run, models),
    }
    return [makers[name]() if name in makers else ExperimentCost(name) for name in names]


def line(cost: ExperimentCost) -> str:
    """One line of the answer."""
    if cost.reads_tables_only:
        return f"{cost.name:<16} seconds: it only reads existing tables"
    return (
        f"{cost.name:<16} {cost.tokens:9.3g} tokens, {cost.gpu_hours:,.3g} GPU-hours ({cost.dtype}) or "
        f"{cost.core_hours:,.3g} core-hours; additional {cost.core_seconds / HOUR:,.3g} core-hours; reads "
        f"{cost.read_bytes / 1e9:,.3g} GB of tokens, keeps {cost.kept_bytes / 1e9:,.3g} GB"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the costs."""
    parser = cli.parser(__doc__)
    parser.add_argument("--config", type=Path, default=DEFAULT, help="configuration of the run")
    parser.add_argument("--experiments", nargs="+", choices=EXPERIMENTS, help="experiments instead of the run's own")
    options = parser.parse_args(arguments)
    run = load_run_file(options.config)
    for cost in experiment_costs(run, options.experiments or experiments_of(run)):
        cli.say(line(cost))


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
