r"""How much do results depend on the seed? Spread over seeds, agreement with the own last step and between seeds.

    python -m workflow_scripts.experiments.seeds --run results/runs/pocket/run.json --results results \
        --plans results/plans/pocket/0-shot/pocket_facts.plan --tables-dir results/runs/pocket/tables

Models of one size and data set that differ in their seeds form a group. Writes seeds.parquet (a row per group, task,
shots and step: median, quartiles and range of the accuracy, median kappa with the own last step, median kappa between
seeds), seeds_models.parquet (the same per model, with its z score at that step), seeds_training_map.parquet (the
published map of hidden states over training, PolyPythias) and verdict_seeds.json.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from workflow_scripts import cli
from workflow_scripts.errors import ConfigError
from workflow_scripts.evaluation.planning.plan_file import Plan, read_plan
from workflow_scripts.evaluation.scoring.results import read_answers
from workflow_scripts.evaluation.scoring.score_files import read_run
from workflow_scripts.experiments.outputs import Outcome, analysis_parser
from workflow_scripts.experiments.statistics.agreement import Integers, kappa, predictions_of
from workflow_scripts.experiments.statistics.training_map import TRAINING_MAP, map_sentence, read_training_map
from workflow_scripts.json_values import JsonObject
from workflow_scripts.suite.experiment_files import models_of
from workflow_scripts.suite.models import Model
from workflow_scripts.suite.run import suite_of

OUTLIER = 2.0  # standard deviations from the mean of the seeds, PolyPythias' rule
FEWEST_FOR_OUTLIERS = 4
SAME = 1e-12  # accuracies that differ by rounding alone
Predictions = dict[tuple[str, int, str, int], tuple[Integers, float]]


def seed_groups(models: Sequence[Model]) -> dict[tuple[str, str], list[Model]]:
    """Models by (size, data set) where at least two differ in a seed; raises ConfigError if none do."""
    groups: dict[tuple[str, str], list[Model]] = {}
    for model in models:
        groups.setdefault((model.size, model.dataset), []).append(model)
    found = {
        key: members
        for key, members in groups.items()
        if len({(model.weight_seed, model.data_seed) for model in members}) > 1
    }
    if not found:
        raise ConfigError("seeds: no two models of the run differ only in their seeds; add some to models")
    return found


def read_predictions(
    models: Sequence[Model], steps: Mapping[str, Sequence[int]], plans: Sequence[Plan], root: Path
) -> tuple[Predictions, dict[str, Path]]:
    """Predictions and accuracy by (model, step, task, shots), and the files they came from."""
    found: Predictions = {}
    files: dict[str, Path] = {}
    for model in models:
        for step in steps[model.name]:
            for plan in plans:
                shots = int(plan.header["shots"])
                path = root / "scores" / model.name / f"step{step}" / f"{shots}-shot.json"
                files[f"{model.name}/step{step}/{shots}"] = path
                for task, value in predictions_of(plan, read_answers(path, plan)).items():
                    found[model.name, step, task, shots] = value
    return found, files


def per_model(group: Sequence[Model], found: Predictions) -> Iterator[JsonObject]:
    """Accuracy, agreement with the own last step and z score of each model of a group."""
    names = {model.name for model in group}
    keys = sorted({(step, task, shots) for name, step, task, shots in found if name in names})
    for step, task, shots in keys:
        having = [model for model in group if (model.name, step, task, shots) in found]
        accuracy = np.array([found[model.name, step, task, shots][1] for model in having])
        spread = float(accuracy.std(ddof=1)) if len(having) > 1 else 0.0
        for model, value in zip(having, accuracy, strict=True):
            last = max(own for name, own, other, k in found if (name, other, k) == (model.name, task, shots))
            own = found[model.name, step, task, shots][0]
            yield {
                "model": model.name,
                "size": model.size,
                "data": model.dataset,
                "weight_seed": model.weight_seed,
                "data_seed": model.data_seed,
                "task": task,
                "shots": shots,
                "step": step,
                "accuracy": float(value),
                "self_agreement": kappa(own, found[model.name, last, task, shots][0]),
                "z": float((value - accuracy.mean()) / spread) if spread > SAME else 0.0,
            }


def over_seeds(group: Sequence[Model], rows: pd.DataFrame, found: Predictions) -> Iterator[JsonObject]:
    """Median and spread over the seeds of a group, one row per task, shots and step."""
    for key, part in rows.groupby(["task", "shots", "step"], sort=True):
        task, shots, step = cast("tuple[str, int, int]", key)
        names = list(part["model"])
        pairs = combinations([found[name, int(step), str(task), int(shots)][0] for name in names], 2)
        between = [kappa(a, b) for a, b in pairs]
        quartiles = part["accuracy"].quantile([0.25, 0.5, 0.75]).to_list()
        yield {
            "size": group[0].size,
            "data": group[0].dataset,
            "task": task,
            "shots": shots,
            "step": step,
            "seeds": len(names),
            "median": quartiles[1],
            "lower_quartile": quartiles[0],
            "upper_quartile": quartiles[2],
            "lowest": float(part["accuracy"].min()),
            "highest": float(part["accuracy"].max()),
            "self_agreement": median(list(part["self_agreement"])),
            "between_seeds": median(between),
            "outliers": int((part["z"].abs() > OUTLIER).sum()) if len(names) >= FEWEST_FOR_OUTLIERS else 0,
        }


def median(values: Sequence[float]) -> float:
    """Median of the values that are defined, NaN where none is."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.median(known)) if known else float("nan")


def verdict(table: pd.DataFrame) -> list[str]:
    """One sentence per group and number of shots, about the last step."""
    sentences = []
    for (size, data, shots), part in table.groupby(["size", "data", "shots"], sort=False):
        last = part[part["step"] == part["step"].max()]
        widest = last.loc[(last["highest"] - last["lowest"]).idxmax()]
        sentences.append(
            f"{size}, {data}, {shots} examples: over {int(last['seeds'].max())} seeds the accuracy at step "
            f"{int(last['step'].iloc[0])} spreads most on {widest['task']}, {widest['lowest']:.3f} to "
            f"{widest['highest']:.3f} (median {widest['median']:.3f}); two seeds agree with a median kappa of "
            f"{median(list(last['between_seeds'])):.2f} over {len(last)} tasks."
        )
    return sentences


def main(arguments: Sequence[str] | None = None) -> None:
    parser = analysis_parser(__doc__)
    parser.add_argument("--plans", type=Path, nargs="+", required=True, help="plans of the scores")
    parser.add_argument("--training-map", type=Path, default=TRAINING_MAP, help="published map of hidden states, .csv")
    options = parser.parse_args(arguments)
    resolved = read_run(options.run)
    plans = [read_plan(path) for path in options.plans]
    found: list[tuple[pd.DataFrame, pd.DataFrame]] = []
    files: dict[str, Path] = {}
    for group in seed_groups(models_of(suite_of(resolved), resolved)).values():
        predictions, read = read_predictions(group, resolved["steps"], plans, options.results)
        rows = pd.DataFrame(list(per_model(group, predictions)))
        found.append((pd.DataFrame(list(over_seeds(group, rows, predictions))), rows))
        files |= read
    table, models = (pd.concat(parts, ignore_index=True) for parts in zip(*found, strict=True))
    published = read_training_map(options.training_map)
    tables = {
        "seeds": (table, files),
        "seeds_models": (models, files),
        "seeds_training_map": (published, {"published": options.training_map}),
    }
    numbers = {"lines": table.to_dict(orient="records")}
    Outcome(tables, [*verdict(table), map_sentence(published)], numbers, ["seeds"]).write(options.tables_dir, "seeds")


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
