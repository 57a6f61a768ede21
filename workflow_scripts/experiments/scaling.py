r"""Loss and scores against parameters, tokens and compute, with a power law where there are three or more sizes.

    python -m workflow_scripts.experiments.scaling --run results/runs/pocket/run.json \
        --logs results/training/*/metrics.csv --scores results/runs/pocket/tables/scores.parquet \
        --tables-dir results/runs/pocket/tables

writes scaling.parquet (model, step, parameters, tokens, compute 6 N D, and the training loss or a score),
scaling_fits.parquet (every fit with the range it was made on) and verdict_scaling.json. Losses are means over the last
tenth of the steps before a checkpoint. All checkpoints of one run share one learning-rate schedule, so its early ones
are not what a shorter run would have reached: exponents in D are descriptions of these runs.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from workflow_scripts import cli
from workflow_scripts.evaluation.scoring.score_files import read_run
from workflow_scripts.experiments.outputs import Outcome, analysis_parser, read_frame
from workflow_scripts.experiments.predictability import compute_of
from workflow_scripts.experiments.statistics.power_law import FEWEST_SIZES, PowerLaw, describe, fit
from workflow_scripts.experiments.statistics.resampling import rank_correlation
from workflow_scripts.json_values import JsonObject
from workflow_scripts.published.frame_rows import rows_of
from workflow_scripts.storage.given_files import GivenFiles
from workflow_scripts.suite.experiment_files import models_of, one_per_size
from workflow_scripts.suite.models import Model
from workflow_scripts.suite.run import suite_of
from workflow_scripts.suite.steps import require_every_step

AVERAGED = 0.1
EARLIEST = 0.1  # share of training before which losses are left out of fits: warm-up and the first fall
LOSS = "training loss"


def losses_of(model: Model, steps: Sequence[int], metrics: pd.DataFrame) -> Iterator[JsonObject]:
    """Mean training loss before each step of one model."""
    for step in steps:
        iteration = model.step(step).iteration
        recent = metrics[(metrics["step"] > (1 - AVERAGED) * iteration) & (metrics["step"] <= iteration)]
        if iteration > 0 and len(recent):
            yield {**point(model, step), "measure": LOSS, "shots": 0, "value": float(recent["loss"].mean())}


def point(model: Model, step: int) -> JsonObject:
    """Coordinates of a checkpoint; compute is deliberately a float."""
    return {
        "model": model.name,
        "size": model.size,
        "data": model.dataset,
        "step": step,
        "parameters": float(model.parameters),
        "tokens": float(model.step(step).tokens),
        "compute": compute_of(model, step),
    }


def scores_of(models: Mapping[str, Model], scores: pd.DataFrame) -> Iterator[JsonObject]:
    """Accuracies of each task at each step."""
    present = scores[scores["protocol"] == "current"] if "protocol" in scores else scores
    for row in rows_of(present[present["metric"] == "acc"]):
        if str(row.model) in models:
            place = point(models[str(row.model)], int(row.step))
            yield {**place, "measure": str(row.task), "shots": int(row.shots), "value": float(row.value)}


def fits_of(points: pd.DataFrame) -> Iterator[JsonObject]:
    """Fits of the loss for each data set: against N at the last step, and against N and D over the later steps."""
    for data, part in points[points["measure"] == LOSS].groupby("data", sort=False):
        if part["parameters"].nunique() < FEWEST_SIZES:
            continue
        last = part[part["tokens"] == part.groupby("model")["tokens"].transform("max")]
        yield fit_row(str(data), "N", fit(last["value"], last["parameters"]))
        late = part[part["tokens"] >= EARLIEST * part.groupby("model")["tokens"].transform("max")]
        if late["tokens"].nunique() >= FEWEST_SIZES:
            yield fit_row(str(data), "N and D", fit(late["value"], late["parameters"], late["tokens"]))


def fit_row(data: str, form: str, law: PowerLaw) -> JsonObject:
    """A fit as a row of the table."""
    names = tuple(form.split(" and "))
    padded: JsonObject = {}
    for place, name in enumerate(("N", "D")):
        has = place < len(law.factors)
        padded |= {
            f"factor_{name}": law.factors[place] if has else float("nan"),
            f"exponent_{name}": law.exponents[place] if has else float("nan"),
            f"lowest_{name}": law.ranges[place][0] if has else float("nan"),
            f"highest_{name}": law.ranges[place][1] if has else float("nan"),
            f"exponent_{name}_lower": law.exponent_bounds[place][0] if has and law.exponent_bounds else float("nan"),
            f"exponent_{name}_upper": law.exponent_bounds[place][1] if has and law.exponent_bounds else float("nan"),
        }
    return {
        "data": data,
        "form": form,
        "irreducible": law.irreducible,
        **padded,
        "points": law.points,
        "degrees_of_freedom": law.degrees_of_freedom,
        "error": law.error,
        "sentence": describe(law, names),
    }


def verdict(points: pd.DataFrame, fits: pd.DataFrame) -> list[str]:
    """Fits in words, and how the scores go with compute."""
    sentences = [f"{row.data}: {row.sentence}." for row in fits.itertuples()]
    if not sentences:
        sentences = [f"No power law is fitted: this requires losses of {FEWEST_SIZES} or more sizes."]
    for (data, shots), part in points[points["measure"] != LOSS].groupby(["data", "shots"], sort=False):
        found = {
            str(task): rank_correlation(rows["compute"], rows["value"], seed=0)
            for task, rows in part.groupby("measure", sort=False)
        }
        words = ", ".join(
            f"{task} {rank.rho:+.2f} ({rank.lower:+.2f} to {rank.upper:+.2f})"
            for task, rank in found.items()
            if not math.isnan(rank.rho)
        )
        if words:
            number = max(rank.items for rank in found.values())
            sentences.append(
                f"{data}, {shots} examples: rank correlation of accuracy with training compute over {number} "
                f"checkpoints (95 % as if they were independent): {words}."
            )
    return sentences


def main(arguments: Sequence[str] | None = None) -> None:
    parser = analysis_parser(__doc__)
    parser.add_argument("--logs", type=Path, nargs="*", default=[], help="training logs, <model>/metrics.csv")
    parser.add_argument("--scores", type=Path, help="table of scores (evaluation.collect)")
    options = parser.parse_args(arguments)
    resolved, logs = read_run(options.run), GivenFiles(options.logs)
    models = {model.name: model for model in one_per_size(models_of(suite_of(resolved), resolved))}
    rows: list[JsonObject] = []
    files: dict[str, Path] = {}
    for name, model in models.items() if options.logs else ():
        files[name] = logs.need(f"{name}/metrics.csv", "train the model first (snakemake retrain)")
        metrics = read_frame(files[name], ("step", "loss"))
        require_every_step(metrics["step"], files[name])
        rows += losses_of(model, resolved["steps"][name], metrics)
    if options.scores:
        files["scores"] = options.scores
        rows += scores_of(models, read_frame(options.scores, ("model", "step", "task", "metric", "shots", "value")))
    points = pd.DataFrame(rows)
    fits = pd.DataFrame(list(fits_of(points)), columns=None)
    tables = {"scaling": (points, files), "scaling_fits": (fits, files)}
    numbers = {"fits": fits.to_dict(orient="records")}
    Outcome(tables, verdict(points, fits), numbers, ["scaling"]).write(options.tables_dir, "scaling")


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
