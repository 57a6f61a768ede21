"""Summaries of the published results: the final scores of the suite, as in the paper's tables."""

import pandas as pd

from workflow_scripts.errors import DataError
from workflow_scripts.published.rules.findings import CONTROL, has_note, without_dropped
from workflow_scripts.suite.registry import load_suite

CORE_TASKS = ("lambada_openai", "piqa", "winogrande", "wsc", "arc_easy", "arc_challenge", "sciq", "logiqa")
MMLU_PREFIX, MMLU_SUBJECTS = "hendrycksTest-", 57
LAST_STEP = 143_000


def suite_rows(published: pd.DataFrame, shots: int, version: str = "v1") -> pd.DataFrame:
    """Rows of the 16 models of today's suite (or of ``v0``) from their main evaluation files, without dropped ones."""
    names = [m.name for m in load_suite("pythia").models.values() if m.version == version and m.arm == "baseline"]
    harness = published["harness"].astype(str).str.startswith("lm-eval<=0.3")
    rows = published[published["model"].isin(names) & harness & (published["shots"] == shots)]
    return without_dropped(rows[~has_note(rows, CONTROL)])


def final_scores(published: pd.DataFrame, shots: int, step: int = LAST_STEP) -> pd.DataFrame:
    """Accuracy of the suite at one step: columns task, data, size, value, stderr, n.

    ``mmlu`` is the unweighted mean over its 57 subjects, as in the paper, with the error of that mean; raises
    DataError when a subject is missing.
    """
    rows = suite_rows(published, shots)
    rows = rows[(rows["step"] == step) & (rows["metric"] == "acc")]
    columns = ["task", "data", "size", "value", "stderr", "n"]
    core = rows[rows["task"].isin(CORE_TASKS)][columns]
    core = core.astype({"task": str, "data": str, "size": str})
    return pd.concat([core, mmlu_means(rows)[columns]], ignore_index=True)


def mmlu_means(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean over the MMLU subjects for each data set and size."""
    subjects = rows[rows["task"].astype(str).str.startswith(MMLU_PREFIX)]
    means = []
    for (data, size), group in subjects.groupby(["data", "size"], observed=True):
        if len(group) != MMLU_SUBJECTS:
            raise DataError(f"MMLU of {size} {data}: {len(group)} subjects instead of {MMLU_SUBJECTS}")
        error = float((group["stderr"] ** 2).sum() ** 0.5) / len(group)
        means.append(("mmlu", str(data), str(size), float(group["value"].mean()), error, int(group["n"].sum())))
    return pd.DataFrame(means, columns=["task", "data", "size", "value", "stderr", "n"])


def final_table(scores: pd.DataFrame, data: str, column: str = "value") -> pd.DataFrame:
    """Tasks x sizes for one data set in the order of the paper: values or another column, unrounded."""
    table = scores[scores["data"] == data].pivot_table(index="task", columns="size", values=column, observed=True)
    sizes = [m.size for m in load_suite("pythia").models.values() if m.version == "v1" and m.dataset == data]
    return table.reindex(index=[*CORE_TASKS, "mmlu"], columns=[size for size in sizes if size in table.columns])
