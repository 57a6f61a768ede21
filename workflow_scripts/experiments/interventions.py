r"""What changing the last part of the data did: each arm against the identity arm, item by item, at the same steps.

    python -m workflow_scripts.experiments.interventions --run results/runs/pocket/run.json --results results \
        --tables-dir results/runs/pocket/tables

writes interventions.parquet (model, arm, benchmark, measure and step: both values, their difference with a paired
bootstrap interval, and McNemar's p), interventions_patches.parquet (tokens changed, words of both kinds before and
after), interventions_published.parquet (the published effect on CrowS-Pairs, as found) and verdict_interventions.json.
An identity arm whose last weights differ from the baseline's by a bit is an error: then nothing can be concluded.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from workflow_scripts import cli
from workflow_scripts.dataset.order.patched_rows import read_patch
from workflow_scripts.errors import ConfigError, DataError, shorten
from workflow_scripts.evaluation.scoring.score_files import read_run
from workflow_scripts.experiments.bias.bias_items import GUARD_DATA
from workflow_scripts.experiments.bias.published_effect import TABLE, published_effects
from workflow_scripts.experiments.memory.memorization_rows import placed
from workflow_scripts.experiments.outputs import Outcome, analysis_parser, probability, read_frame
from workflow_scripts.experiments.statistics.resampling import mcnemar, paired_difference
from workflow_scripts.json_values import JsonMapping, JsonObject, read_object
from workflow_scripts.published.frame_rows import rows_of
from workflow_scripts.suite.arms import IDENTITY, Arm, chosen_arms, load_declaration, start_iteration
from workflow_scripts.suite.experiment_files import arm_folder, models_of
from workflow_scripts.suite.models import Model
from workflow_scripts.suite.run import suite_of

POOLED = "pooled"
COLUMNS = ("step", "benchmark", "item", "outcome", "score", "log_odds")
MEASURES = ("outcome", "log_odds", "score")


def reference_arm(model: Model, arms: Sequence[Arm]) -> Arm:
    """The identity arm that starts earliest: it is saved at every step at which another arm is.

    Raises ConfigError where there is none, or where another arm starts before it.
    """
    starts = {arm.name: start_iteration(model, arm) for arm in arms}
    found = [arm for arm in arms if arm.direction == IDENTITY]
    if not found:
        raise ConfigError("interventions.arms holds no identity arm, and the others are compared with it; add one")
    reference = min(found, key=lambda arm: starts[arm.name])
    before = [name for name, start in starts.items() if start < starts[reference.name]]
    if before:
        raise ConfigError(
            f"interventions.arms: {shorten(before)} start before the identity arm {reference.name} ({reference.start}) "
            "and cannot be compared with it; let it start as early"
        )
    return reference


def read_items(model: Model, arm: Arm, root: Path) -> tuple[pd.DataFrame, Path]:
    """Items of one arm and where they lie."""
    path = placed(f"{arm_folder(model.name, arm.name)}/items.parquet", root)
    return read_frame(path, COLUMNS), path


def check_identity(model: Model, arm: Arm, root: Path) -> str:
    """Hash of the last weights of an identity arm; raises DataError unless it is the baseline's."""
    folder = placed(arm_folder(model.name, arm.name), root)
    paths = (root / "training" / model.name / "run.json", folder / "training" / "run.json")
    remedy = f"train {model.name} and its arms first"
    found = [str(read_object(path, "receipt", remedy, "weights_sha256")["weights_sha256"]) for path in paths]
    if found[0] != found[1]:
        raise DataError(
            f"{model.name}: arm {arm.name} changes no token and ends with other weights than the baseline; the two "
            "were trained with other threads, micro-batches or code, so no arm can be compared; retrain both"
        )
    return found[1]


def compare_arm(facts: JsonMapping, arm: pd.DataFrame, reference: pd.DataFrame) -> Iterator[JsonObject]:
    """Rows of one arm: each benchmark and measure at each step after the start, and pooled over those steps."""
    start = int(arm["step"].min())
    key = ["step", "benchmark", "item"]
    both = arm.merge(reference, on=key, suffixes=("", "_reference"), validate="one_to_one")
    if len(both) != len(arm):
        raise DataError(f"arm {facts['arm']}: {len(arm)} items, of which the identity arm has {len(both)}; rescore")
    for benchmark, part in both[both["step"] > start].groupby("benchmark", sort=False):
        for measure in MEASURES:
            known = part[part[measure].notna()]
            if known.empty:
                continue
            named = {**facts, "benchmark": benchmark, "measure": measure, "start_step": start}
            for step, at_step in known.groupby("step"):
                yield {
                    **named,
                    "step": str(step),
                    **difference(at_step, measure),
                    "p_mcnemar": exact_p(at_step, measure),
                }
            # Steps of one item are not independent: pooled values are of the items' means over the steps.
            means = known.groupby("item")[[measure, f"{measure}_reference"]].mean()
            yield {**named, "step": POOLED, **difference(means, measure), "p_mcnemar": float("nan")}


def difference(rows: pd.DataFrame, measure: str) -> JsonObject:
    """Both means and their paired difference."""
    ours, theirs = rows[measure].astype(float), rows[f"{measure}_reference"].astype(float)
    found = paired_difference(ours, theirs, seed=0)
    return {
        "items": found.items,
        "value": float(ours.mean()),
        "reference": float(theirs.mean()),
        "difference": found.mean,
        "lower": found.lower,
        "upper": found.upper,
    }


def exact_p(rows: pd.DataFrame, measure: str) -> float:
    """McNemar's p where the measure is an outcome, NaN for others."""
    return mcnemar(rows[measure], rows[f"{measure}_reference"]) if measure == "outcome" else float("nan")


def patch_row(model: Model, arm: Arm, root: Path) -> JsonObject:
    """What the patch of an arm changed."""
    patch = read_patch(placed(f"{arm_folder(model.name, arm.name)}/patch.safetensors", root))
    return {
        "model": model.name,
        "arm": arm.name,
        "direction": arm.direction,
        "first_row": patch.first_row,
        "stop_row": patch.stop_row,
        "tokens": (patch.stop_row - patch.first_row) * patch.row_tokens,
        "tokens_changed": len(patch.positions),
        **patch.facts.get("counts", {}),
    }


def sentences_of(table: pd.DataFrame, patches: pd.DataFrame, published: pd.DataFrame) -> list[str]:
    """The last step of every arm in words, then the published effects."""
    changed = {(row.model, row.arm): int(row.tokens_changed) for row in rows_of(patches)}
    steps = table[table["step"] != POOLED]
    last = steps[
        steps["step"].astype(int) == steps.groupby(["model", "arm"])["step"].transform(lambda s: s.astype(int).max())
    ]
    sentences = [
        arm_sentence(f"{model}, {arm}", changed[model, arm], part)
        for (model, arm), part in last.groupby(["model", "arm"], sort=False)
    ]
    return [*sentences, *(published_sentence(str(name), part) for name, part in published.groupby("version"))]


def published_sentence(version: str, rows: pd.DataFrame) -> str:
    """The published effects of one version of the suite, as found."""
    words = [
        f"{row.size} ({row.arm}) {row.effect:+.1f} points"
        + (f" ({row.lower:+.1f} to {row.upper:+.1f}), {probability(row.p)}," if row.checkpoints > 1 else "")
        + f" at {row.checkpoints} common step{'s' * (row.checkpoints > 1)}"
        for row in rows_of(rows)
    ]
    return f"Published effect on CrowS-Pairs (gender), {version}, arm minus baseline: {'; '.join(words)}."


def arm_sentence(name: str, changed: int, rows: pd.DataFrame) -> str:
    """One arm at its last step; ``changed`` is the number of tokens that its patch exchanges."""
    if changed == 0 and not rows["difference"].any():
        return f"{name}: no token changed, and every item is scored as with the original data."
    parts = []
    for row in rows_of(rows):
        is_guard = row.benchmark in GUARD_DATA
        if row.measure == "log_odds":
            nats = f"{row.difference:+.2f} nats ({row.lower:+.2f} to {row.upper:+.2f})"
            parts.append(f"log-odds of masculine words on {row.benchmark} by {nats}")
        elif row.measure == "outcome":
            points = f"{100 * row.difference:+.1f} points ({100 * row.lower:+.1f} to {100 * row.upper:+.1f}"
            what = "accuracy of the control task" if is_guard else "stereotyped choices on"
            parts.append(f"{what} {row.benchmark} by {points}, {probability(row.p_mcnemar)})")
        elif is_guard:
            nats = f"{row.difference:+.4f} nats ({row.lower:+.4f} to {row.upper:+.4f})"
            parts.append(f"log-probability of its words by {nats}")
    return f"{name} ({changed} tokens changed), against the original data at the end: {'; '.join(parts)}."


def collect(resolved: JsonMapping, root: Path) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Path]]:
    """Comparisons and patches of all arms of a resolved run, and the files that were read."""
    settings = resolved["settings"]["interventions"]
    arms = chosen_arms(load_declaration(settings["declaration"]), settings["arms"])
    rows: list[JsonObject] = []
    patches: list[JsonObject] = []
    files: dict[str, Path] = {}
    models = [model for model in models_of(suite_of(resolved), resolved) if model.name in settings["models"]]
    for model in models:
        base, _ = read_items(model, reference_arm(model, arms), root)
        for arm in arms:
            if arm.direction == IDENTITY:
                check_identity(model, arm, root)
            items, path = read_items(model, arm, root)
            files[f"{model.name} {arm.name}"] = path
            patches.append(patch_row(model, arm, root))
            facts = {"model": model.name, "size": model.size, "arm": arm.name, "direction": arm.direction}
            rows += compare_arm(facts, items, base)
    return pd.DataFrame(rows), pd.DataFrame(patches), files


def main(arguments: Sequence[str] | None = None) -> None:
    parser = analysis_parser(__doc__)
    parser.add_argument("--published", type=Path, default=TABLE, help="table of published results")
    options = parser.parse_args(arguments)
    table, patches, files = collect(read_run(options.run), options.results)
    published = published_effects(options.published)
    numbers = {"lines": table.to_dict(orient="records"), "published": published.to_dict(orient="records")}
    tables = {
        "interventions": (table, files),
        "interventions_patches": (patches, files),
        "interventions_published": (published, {"published": options.published}),
    }
    sources = ["interventions", "interventions_published"]
    Outcome(tables, sentences_of(table, patches, published), numbers, sources).write(
        options.tables_dir, "interventions"
    )


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
