"""Our scores of tasks that were published in groups (MMLU, BLiMP) and of WikiText, under their names of 2023.

The comparison with the published numbers goes by single tasks and leaves these out; the figures show means of them.
"""

import numpy as np
import pandas as pd

from workflow_scripts.evaluation.planning.protocols import CURRENT, PYTHIA_2023, name_in
from workflow_scripts.published.results_table import of_protocol

GROUPS = ("mmlu_", "blimp_")
WIKITEXT = "wikitext"


def todays_groups(scores: pd.DataFrame) -> pd.DataFrame:
    """Rows of today's tasks with ``comparability``: WikiText has the text of 2023, the prompts of the groups changed.

    docs/evaluation.md has the evidence.
    """
    today = of_protocol(scores, CURRENT)
    names = today["task"].astype(str)
    kept = today[names.str.startswith(GROUPS) | (names == WIKITEXT)]
    tasks = kept["task"].astype(str)
    return kept.assign(
        protocol=CURRENT,
        task=[name_in(PYTHIA_2023, task) for task in tasks],
        comparability=np.where(tasks == WIKITEXT, "same", "changed"),
    )
