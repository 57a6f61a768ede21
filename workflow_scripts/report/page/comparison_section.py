"""Ours against the published numbers, as a section of the report: the scoreboard and the largest differences."""

import pandas as pd

from workflow_scripts.published.frame_rows import rows_of
from workflow_scripts.published.scoreboard import DIFFERS, MISSING, VERDICTS, largest_differences, scoreboard
from workflow_scripts.report.figures.final_tables import score_text
from workflow_scripts.report.page.sections import Table

MOST_DIFFERENCES = 20


def comparison_tables(comparison: pd.DataFrame) -> list[Table]:
    """Scoreboard per figure of the paper, and what differs; nothing for a run that is not compared."""
    return [scoreboard_table(comparison), *difference_tables(comparison)] if len(comparison) else []


def scoreboard_table(comparison: pd.DataFrame) -> Table:
    """How many numbers of each figure of the paper were reproduced."""
    rows = [[str(cell) for cell in row] for row in scoreboard(comparison).itertuples(index=False)]
    return Table(
        "Numbers of the paper's figures and tables, for the models of this run",
        ["figure", "numbers", *VERDICTS],
        rows,
        "Reproduced: within three deviations of the answers that can flip between number formats. Not comparable: "
        "lm-eval builds the requests differently today, or other items were used; five-shot prompts differ "
        "unless protocol pythia-2023 was used. Missing: not scored in this run.",
    )


def difference_tables(comparison: pd.DataFrame) -> list[Table]:
    """The numbers that differ most; nothing when all agree."""
    found = largest_differences(comparison, MOST_DIFFERENCES)
    if found.empty:
        return []
    rows = [
        [row.model, str(row.step), str(row.shots), row.task, row.metric, score_text(row.value_published),
         score_text(row.value_ours), f"{row.difference:+.4f}", f"{row.noise:.4f}"]
        for row in rows_of(found)
    ]  # fmt: skip
    head = ["model", "step", "shots", "task", "metric", "published", "ours", "difference", "expected at most"]
    count = int((comparison["verdict"] == DIFFERS).sum())
    return [Table(f"Comparable numbers that differ ({len(found)} of {count})", head, rows)]


def comparison_sentence(comparison: pd.DataFrame) -> str:
    """The comparison in one sentence."""
    counts = comparison["verdict"].value_counts()
    words = [f"{counts[verdict]:,} {verdict}" for verdict in VERDICTS if counts.get(verdict, 0) and verdict != MISSING]
    shown = ", ".join(words) or "none could be compared"
    missing = f"{counts.get(MISSING, 0):,} not scored here"
    return f"Of {len(comparison):,} published numbers of these models: {shown}; {missing}."
