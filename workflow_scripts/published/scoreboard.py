"""The scoreboard: for each figure and table of the paper how many of its numbers were reproduced.

Figures and tables are those of arXiv 2304.01373, appendix G: curves over training (figures 10 to 15), scores against
parameters at the end and at step 93000 (figures 8 and 9), final tables (7, 8, 11 and 12) and those at step 93000 (9,
10, 13 and 14). All of them show accuracies.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from workflow_scripts.published.summary import CORE_TASKS, LAST_STEP

EARLIER_STEP = 93_000
REPRODUCED, DIFFERS, MISSING = "reproduced", "differs", "missing"
NOT_COMPARABLE, DOUBTFUL_VALUE = "not comparable", "published value doubtful"
VERDICTS = (REPRODUCED, DIFFERS, NOT_COMPARABLE, DOUBTFUL_VALUE, MISSING)


@dataclass(frozen=True)
class PaperFigure:
    """What a figure or table of the paper shows; ``steps`` is empty for all steps."""

    name: str
    tasks: Sequence[str]
    shots: int
    steps: Sequence[int] = ()


PAPER = (
    PaperFigure("Figure 8: final scores against parameters", CORE_TASKS, 0, (LAST_STEP,)),
    PaperFigure("Figure 9: the same at step 93000", CORE_TASKS, 0, (EARLIER_STEP,)),
    PaperFigure("Figure 10: LAMBADA over training", ("lambada_openai",), 0),
    PaperFigure("Figure 11: WSC over training", ("wsc",), 0),
    PaperFigure("Figure 12: WinoGrande over training", ("winogrande",), 0),
    PaperFigure("Figure 13: ARC-easy over training", ("arc_easy",), 0),
    PaperFigure("Figure 14: SciQ over training", ("sciq",), 0),
    PaperFigure("Figure 15: LogiQA over training", ("logiqa",), 0),
    PaperFigure("Tables 7 and 8: final zero-shot scores", CORE_TASKS, 0, (LAST_STEP,)),
    PaperFigure("Tables 11 and 12: final five-shot scores", CORE_TASKS, 5, (LAST_STEP,)),
    PaperFigure("Tables 9, 10, 13 and 14 at step 93000, zero-shot", CORE_TASKS, 0, (EARLIER_STEP,)),
    PaperFigure("Tables 9, 10, 13 and 14 at step 93000, five-shot", CORE_TASKS, 5, (EARLIER_STEP,)),
)


def scoreboard(comparison: pd.DataFrame) -> pd.DataFrame:
    """One row per figure or table: ``figure``, ``numbers`` and a column of counts per verdict.

    Counted are the numbers of the models in ``comparison``; a figure of which nothing is in it has zeros.
    """
    rows = []
    for figure in PAPER:
        part = comparison[
            (comparison["metric"] == "acc")
            & (comparison["shots"] == figure.shots)
            & comparison["task"].isin(figure.tasks)
            & (comparison["step"].isin(figure.steps) if figure.steps else True)
        ]
        counts = part["verdict"].value_counts()
        rows.append({"figure": figure.name, "numbers": len(part), **{v: int(counts.get(v, 0)) for v in VERDICTS}})
    return pd.DataFrame(rows)


def largest_differences(comparison: pd.DataFrame, count: int) -> pd.DataFrame:
    """Comparable numbers that differ, farthest beyond the expected noise first, at most ``count``."""
    differing = comparison[comparison["verdict"] == DIFFERS]
    beyond = (differing["difference"].abs() / differing["noise"]).sort_values(ascending=False, kind="stable")
    return differing.loc[beyond.index[:count]]
