r"""Compare scores of this workflow with the published ones: per model, step, shots, task and metric.

    python -m workflow_scripts.published.compare --scores results/runs/suite/tables/scores.parquet \
        --published results/runs/suite/tables/published.parquet --output comparison.parquet

Each of our numbers that has a published counterpart gets the difference, the noise expected when the same weights are
scored in another number format, and a verdict: reproduced, differs, or not comparable because lm-eval has changed the
task since. Scores under protocol pythia-2023, where there are any, stand in for those of today's tasks. Published
numbers without one of ours are counted as missing. Writes the table, the same as .csv, the counts per figure of the
paper (comparison.scoreboard.csv) and all together (comparison.summary.json).
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from workflow_scripts import cli
from workflow_scripts.errors import DataError
from workflow_scripts.published.results_table import of_protocol, read_table
from workflow_scripts.published.rules.findings import DOUBTFUL, has_note
from workflow_scripts.published.scoreboard import scoreboard
from workflow_scripts.published.summary import suite_rows
from workflow_scripts.storage.atomic import atomic_path, write_json, write_text
from workflow_scripts.storage.records import write_record

logger = logging.getLogger(__name__)
TODAY, FAIR = "current", "pythia-2023"  # protocols, see docs/evaluation.md
KEY = ["model", "step", "shots", "task", "metric"]
# In fp16 about 4 of 300 multiple-choice answers flip against fp32 (measured on a small random model).
FLIPPED_SHARE = 4 / 300
ALLOWED_DEVIATIONS = 3.0
RELATIVE_PERPLEXITY = 0.02  # published 142.4 against 141.3 in a later run of the same weights


class Counterpart(NamedTuple):
    """How a task and metric of lm-eval 0.4 was called in 2023, and how far zero-shot scores may be compared.

    ``zero_shot`` is same, nearly or changed: requests equal string by string, equal but for a few items, or asked
    differently (docs/evaluation.md has the evidence).
    """

    task: str
    metric: str
    zero_shot: str


FIVE_SHOT = "changed"  # examples are drawn by another rule since 2023
# The data of CrowS-Pairs on the Hub have lost rows since: 1,677 then, 1,508 now; of gender 320 then.
COUNTERPARTS = {("lambada_openai", "perplexity"): Counterpart("lambada_openai", "ppl", "same")} | {
    (task, metric): Counterpart(task, metric, zero_shot)
    for zero_shot, metrics, tasks in (
        ("same", ("acc",), ("lambada_openai", "winogrande")),
        ("same", ("acc", "acc_norm"), ("piqa", "arc_easy", "arc_challenge", "logiqa")),
        ("nearly", ("acc",), ("wsc",)),
        ("nearly", ("acc", "acc_norm"), ("sciq",)),
        ("nearly", ("pct_stereotype",), ("crows_pairs_english",)),
        ("changed", ("pct_stereotype",), ("crows_pairs_english_gender",)),
    )
    for task in tasks
    for metric in metrics
}


def compare(scores: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Our numbers beside the published ones, one row for each that exists on both sides or only in the publication."""
    ours = renamed(scores)
    models = ours["model"].unique()
    theirs = pd.concat([suite_rows(published, shots) for shots in (0, 5)])
    theirs = theirs[theirs["model"].isin(models)].assign(doubtful=lambda rows: has_note(rows, *DOUBTFUL))
    known = {(c.task, c.metric) for c in COUNTERPARTS.values()} | {*zip(ours["task"], ours["metric"], strict=True)}
    theirs = theirs[[pair in known for pair in zip(theirs["task"], theirs["metric"], strict=True)]]
    columns = [*KEY, "value", "stderr", "n"]
    merged = with_items(plain(theirs[[*columns, "doubtful"]])).merge(
        with_items(plain(ours[[*columns, "protocol", "comparability"]])),
        on=KEY,
        how="left",
        suffixes=("_published", "_ours"),
    )
    difference = merged["value_ours"] - merged["value_published"]
    noise = expected_noise(merged)
    return merged.assign(difference=difference, noise=noise, verdict=verdicts(merged, difference, noise))


def plain(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with text and whole numbers as plain columns that merge."""
    return rows.astype({"model": str, "task": str, "metric": str, "step": "Int64", "shots": "Int64"})


def with_items(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with the number of items filled in from other rows of the task.

    The published files do not state it; it follows from the standard error unless that is 0, as it is where no item is
    answered (LAMBADA before step 1000).
    """
    return rows.assign(n=rows["n"].fillna(rows.groupby("task")["n"].transform("max")))


def renamed(scores: pd.DataFrame) -> pd.DataFrame:
    """Our rows that have a counterpart, under the names of 2023; raises DataError when there is none.

    Rows of protocol pythia-2023 are asked as then and have these names already; they take the place of today's rows.
    """
    fair = scores[scores["protocol"] == FAIR] if "protocol" in scores else scores[:0]
    today = translated(of_protocol(scores, TODAY)).assign(protocol=TODAY)
    both = pd.concat([fair.assign(comparability="same"), today]) if len(fair) else today
    if both.empty:
        raise DataError(
            f"no score has a published counterpart; these have: {', '.join(sorted({t for t, _ in COUNTERPARTS}))}"
        )
    return both.drop_duplicates(KEY)


def translated(scores: pd.DataFrame) -> pd.DataFrame:
    """Rows of today's tasks that have a counterpart, under the names of 2023."""
    pairs = [COUNTERPARTS.get(pair) for pair in zip(scores["task"], scores["metric"], strict=True)]
    kept = scores[[pair is not None for pair in pairs]]
    found = [pair for pair in pairs if pair is not None]
    shots = kept["shots"].to_numpy()
    return kept.assign(
        task=[pair.task for pair in found],
        metric=[pair.metric for pair in found],
        comparability=[pair.zero_shot if k == 0 else FIVE_SHOT for pair, k in zip(found, shots, strict=True)],
    )


def expected_noise(merged: pd.DataFrame) -> pd.Series:
    """Difference that rounding may make: 3 deviations of the answers that flip, 2 % of a perplexity."""
    items = merged["n_published"].astype(float)
    flips = pd.Series(ALLOWED_DEVIATIONS * np.sqrt(FLIPPED_SHARE * items) / items, index=merged.index)
    return flips.where(merged["metric"] != "ppl", RELATIVE_PERPLEXITY * merged["value_published"])


def verdicts(merged: pd.DataFrame, difference: pd.Series, noise: pd.Series) -> list[str]:
    """Verdict of each row: missing, not comparable, doubtful, reproduced or differs."""
    same_items = (merged["n_ours"] == merged["n_published"]).fillna(value=False)
    choices = [
        (difference.isna(), "missing"),
        (~merged["comparability"].isin(["same", "nearly"]) | ~same_items, "not comparable"),
        (merged["doubtful"], "published value doubtful"),
        (difference.abs() <= noise, "reproduced"),
    ]
    return [str(v) for v in np.select([c.to_numpy(dtype=bool) for c, _ in choices], [v for _, v in choices], "differs")]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--scores", type=Path, required=True, help="our tidy table")
    parser.add_argument("--published", type=Path, required=True, help="the published tidy table")
    parser.add_argument("--output", type=Path, required=True, help="table of the comparison (.parquet)")
    options = parser.parse_args(arguments)
    table = compare(read_table(options.scores), read_table(options.published))
    with atomic_path(options.output) as temporary:
        table.to_parquet(temporary, index=False)
    write_text(options.output.with_suffix(".csv"), table.to_csv(index=False, lineterminator="\n"))
    board = scoreboard(table).to_csv(index=False, lineterminator="\n")
    write_text(options.output.with_suffix(".scoreboard.csv"), board)
    counts = {str(verdict): int(count) for verdict, count in table["verdict"].value_counts().items()}
    write_json(options.output.with_suffix(".summary.json"), counts)
    write_record(options.output, {"scores": options.scores, "published": options.published}, counts)
    logger.info("%s", ", ".join(f"{count} {verdict}" for verdict, count in counts.items()))


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
