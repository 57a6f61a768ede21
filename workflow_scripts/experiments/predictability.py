r"""How well small models and early checkpoints predict what the largest model memorizes at the end of training.

    python -m workflow_scripts.experiments.predictability --run results/runs/pocket/run.json --results results \
        --tables-dir results/runs/pocket/tables

writes predictability.parquet (a row per prediction and truth: cells, precision, recall and correlation by name, against
compute), predictability_published.parquet (the published confusions with corrected names) and
verdict_predictability.json. All comparisons are made on the rows that the earliest checkpoint has seen.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from workflow_scripts import cli
from workflow_scripts.evaluation.scoring.score_files import read_run
from workflow_scripts.experiments.memory.confusion import PUBLISHED, Booleans, Confusion, read_published
from workflow_scripts.experiments.memory.memorization_rows import read_rows
from workflow_scripts.experiments.outputs import Outcome, analysis_parser
from workflow_scripts.experiments.statistics.poisson import rate_interval
from workflow_scripts.json_values import JsonMapping, JsonObject
from workflow_scripts.published.frame_rows import row_of_largest
from workflow_scripts.suite.experiment_files import memorization_steps, models_of, one_per_size
from workflow_scripts.suite.models import Model
from workflow_scripts.suite.registry import load_suite
from workflow_scripts.suite.run import suite_of

FEWEST_EVENTS = 10  # memorized rows below which precision and recall say nothing
CHEAP = 0.5  # share of the largest model's compute up to which a prediction is worth something
Flags = dict[tuple[str, int], Booleans]
Pair = tuple[str, Model, int, Model, int]


def compute_of(model: Model, step: int) -> float:
    """Training compute of a checkpoint in floating-point operations, 6 x parameters x tokens.

    Deliberately a float: for the 12b model at its last step the product is above 2^63.

    >>> compute_of(load_suite("pythia").model("pythia-12b"), 143000) > 2**63
    True
    """
    return 6.0 * float(model.parameters) * float(model.step(step).tokens)


def read_flags(models: Sequence[Model], settings: JsonMapping, root: Path) -> tuple[Flags, dict[str, Path]]:
    """Flags of every model and step on the rows that the earliest step has seen, and the files they came from."""
    flags: Flags = {}
    files: dict[str, Path] = {}
    for model in models:
        steps = memorization_steps(model, settings)
        common = model.step(steps[0]).rows
        for step in steps:
            rows, read = read_rows(model, step, settings, root)
            flags[model.name, step] = rows.memorized[rows.row < common]
            files |= {str(path.relative_to(root)): path for path in read}
    return flags, files


def comparisons(models: Sequence[Model], flags: Flags) -> Iterator[Pair]:
    """(Kind, predicting model and step, true model and step): what is compared with what, within one data set.

    ``small``: with the largest model at the same step; ``early``: with the own last step; ``both``: with the largest
    model's last step.
    """
    for dataset in dict.fromkeys(model.dataset for model in models):
        same = [model for model in models if model.dataset == dataset]
        largest = max(same, key=lambda model: model.parameters)
        steps = {model.name: sorted(step for name, step in flags if name == model.name) for model in same}
        for model in same:
            for step in steps[model.name]:
                if model is not largest and step in steps[largest.name]:
                    yield "small", model, step, largest, step
                if step != steps[model.name][-1]:
                    yield "early", model, step, model, steps[model.name][-1]
                if (model.name, step) != (largest.name, steps[largest.name][-1]):
                    yield "both", model, step, largest, steps[largest.name][-1]


def compare(flags: Flags, pair: Pair) -> JsonObject:
    """One row of the table."""
    kind, model, step, truth, true_step = pair
    cells = Confusion.of(flags[model.name, step], flags[truth.name, true_step])
    predicted = int(cells.true_positive + cells.false_positive)
    memorized = int(cells.true_positive + cells.false_negative)
    precision, recall = (rate_interval(int(cells.true_positive), whole) for whole in (predicted, memorized))
    return {
        "kind": kind,
        "model": model.name,
        "size": model.size,
        "data": model.dataset,
        "step": step,
        "truth_model": truth.name,
        "truth_step": true_step,
        "compute": compute_of(model, step),
        "compute_share": compute_of(model, step) / compute_of(truth, true_step),
        "rows": len(flags[model.name, step]),
        **{name: int(value) for name, value in asdict(cells).items()},
        "precision": cells.precision,
        "precision_lower": precision[0],
        "precision_upper": precision[1],
        "recall": cells.recall,
        "recall_lower": recall[0],
        "recall_upper": recall[1],
        "correlation": cells.correlation,
    }


def sentence(line: pd.Series) -> str:
    """One comparison in words."""
    return (
        f"{line['model']}, step {line['step']} ({100 * line['compute_share']:.0f} % of the compute), predicts what "
        f"{line['truth_model']}, step {line['truth_step']}, memorizes with precision {line['precision']:.2f} "
        f"({line['precision_lower']:.2f} to {line['precision_upper']:.2f}) and recall {line['recall']:.2f} "
        f"({line['recall_lower']:.2f} to {line['recall_upper']:.2f})."
    )


def best_sentence(data: str, rows: pd.DataFrame) -> str:
    """The cheap prediction of best recall on one data set, or that there is none."""
    memorized = int((rows["true_positive"] + rows["false_negative"]).max())
    found = rows[rows["true_positive"] > 0]
    among = f"{memorized} of {int(rows['rows'].iloc[0])} compared rows are memorized by {rows['truth_model'].iloc[0]}"
    if memorized < FEWEST_EVENTS:
        return f"{data}: {among}, too few to assess a prediction (at least {FEWEST_EVENTS})."
    if found.empty:
        return f"{data}: {among}; no checkpoint of at most half of its compute predicts any of them."
    best = sentence(row_of_largest(found, "recall"))
    return f"{data}: {among}. Best recall of {len(rows)} cheap checkpoints: {best}"


def verdict(table: pd.DataFrame, published: pd.DataFrame) -> tuple[list[str], JsonObject]:
    """Sentences for the report: the prediction of best recall below half of the compute, and the published ones."""
    cheap = table[(table["kind"] == "both") & (table["compute_share"] <= CHEAP)]
    sentences = [best_sentence(str(data), part) for data, part in cheap.groupby("data", sort=False)]
    last = published[(published["kind"] == "small") & (published["step"] == published["step"].max())]
    small = last[last["size"] != "12b"]
    sentences.append(
        "Published, against 12b at the end: precision "
        f"{small['precision'].min():.3f} to {small['precision'].max():.3f}, recall {small['recall'].min():.3f} to "
        f"{small['recall'].max():.3f} from the smallest to the largest other model (with corrected cell names; they "
        "were printed with false positives and false negatives swapped)."
    )
    return sentences, {"lines": cheap.to_dict(orient="records"), "published": small.to_dict(orient="records")}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = analysis_parser(__doc__)
    parser.add_argument("--published", type=Path, default=PUBLISHED, help="published confusions, .csv")
    options = parser.parse_args(arguments)
    resolved = read_run(options.run)
    models = one_per_size(models_of(suite_of(resolved), resolved))
    settings = resolved["settings"]["memorization"]
    flags, files = read_flags(models, settings, options.results)
    table = pd.DataFrame([compare(flags, pair) for pair in comparisons(models, flags)])
    published = read_published(options.published, load_suite("pythia"))
    sentences, numbers = verdict(table, published)
    tables = {
        "predictability": (table, files),
        "predictability_published": (published, {"published": options.published}),
    }
    outcome = Outcome(tables, sentences, numbers, list(tables), {"settings": dict(settings)})
    outcome.write(options.tables_dir, "predictability")


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
