r"""What the experiments of a run cost, before anything starts: tokens, GPU-hours (or core-hours) and bytes.

Example:
  python -m workflow_scripts.suite.experiment_costs --config config/runs/suite.yaml --experiments memorization seeds

Arithmetic on the grid of the run, with the sustained rates of suite.resources and the measured rates below; good to
about a factor of two. Without --experiments the list of the run is taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workflow_scripts import cli
from workflow_scripts.suite.check import DEFAULT, load_run_file
from workflow_scripts.suite.experiments import EXPERIMENTS, experiments_of, memorization_steps, one_per_size, term_steps
from workflow_scripts.suite.interventions import chosen_arms, load_declaration, saved_iterations, start_iteration
from workflow_scripts.suite.models import Model
from workflow_scripts.suite.resources import CPU_RATE, GPU_RATES, HOUR, forward_flops_per_token
from workflow_scripts.suite.run import Run

# Tokens per second and core, measured on a busy 2-core machine: both ways of counting with decoding; rewriting.
COUNT_RATE = 1.0e6
REWRITE_RATE = 5.0e7
SCORE_BYTES = 12  # row, batch, first miss and flag in a compressed table
BIAS_TOKENS = {"pocket": 1.2e4, "pythia": 6.0e5}  # CrowS-Pairs (gender), WinoBias and LAMBADA, prefixes shared
QUESTION_TOKENS = {"pocket": 1.5e4, "pythia": 3.0e5}  # one number of shots: 10,000 questions of about 30 tokens
OPTIMIZER_STATE_BYTES = 12  # float32 weights and two moments per parameter
TRAIN_FACTOR = 3  # forward and backward pass against a forward pass alone


@dataclass(frozen=True)
class ExperimentCost:
    """Cost of one experiment: token-forwards through models, their FLOPs, core-seconds beside them, bytes kept."""

    name: str
    tokens: float = 0.0
    flops: float = 0.0
    core_seconds: float = 0.0
    kept_bytes: float = 0.0

    @property
    def gpu_hours(self) -> float:
        """Hours of one H100 or H200 in 16 bits."""
        return self.flops / GPU_RATES["bfloat16"] / HOUR

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
    return ExperimentCost("memorization", sum(tokens.values()), flops, 0.0, SCORE_BYTES * sum(rows.values()))


def term_cost(run: Run, models: Sequence[Model]) -> ExperimentCost:
    """One pass of counting over each training order, and the questions at every asked checkpoint."""
    settings = run.section("term_frequency")
    counted = {model.dataset: float(model.step(model.steps[-1]).tokens) for model in models}
    per_shot = of_suite(run, QUESTION_TOKENS)
    factor = sum(1 + shots for shots in settings["shots"])
    asked = {model.name: per_shot * factor * len(term_steps(model, settings)) for model in models}
    flops = sum(asked[model.name] * forward_flops_per_token(model) for model in models)
    return ExperimentCost("term_frequency", sum(asked.values()), flops, sum(counted.values()) / COUNT_RATE)


def intervention_cost(run: Run) -> ExperimentCost:
    """The late part of training of every arm, its patch, its items, and the states that are kept."""
    settings = run.section("interventions")
    arms = chosen_arms(load_declaration(settings["declaration"]), settings["arms"])
    models = [model for model in run.models if model.name in settings["models"]]
    total = ExperimentCost("interventions")
    for model in models:
        for arm in arms:
            start = start_iteration(model, arm)
            tokens = float((model.train_iterations - start) * model.batch_tokens)
            items = of_suite(run, BIAS_TOKENS) * len(saved_iterations(model, arm))
            flops = (TRAIN_FACTOR * tokens + items) * forward_flops_per_token(model)
            kept = float(model.parameters) * OPTIMIZER_STATE_BYTES * len(saved_iterations(model, arm)) / 3
            total = added(total, ExperimentCost(total.name, tokens + items, flops, tokens / REWRITE_RATE, kept))
    return total


def added(first: ExperimentCost, second: ExperimentCost) -> ExperimentCost:
    """Sum of two costs under the first one's name."""
    return ExperimentCost(
        first.name,
        first.tokens + second.tokens,
        first.flops + second.flops,
        first.core_seconds + second.core_seconds,
        first.kept_bytes + second.kept_bytes,
    )


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
    }
    return [makers[name]() if name in makers else ExperimentCost(name) for name in names]


def line(cost: ExperimentCost) -> str:
    """One line of the answer."""
    return (
        f"{cost.name:<16} {cost.tokens:10.3g} tokens  {cost.gpu_hours:10.3g} GPU-hours or {cost.core_hours:10.3g} "
        f"core-hours  {cost.core_seconds / HOUR:8.3g} core-hours beside  {cost.kept_bytes / 1e9:8.3g} GB kept"
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
