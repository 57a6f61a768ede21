"""Consistent forgeries: everything that follows from what is changed is computed anew, so that nothing disagrees."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.provenance.sampling.sampled_release import SCORES
from workflow_scripts.evaluation.planning.plan_file import read_plan
from workflow_scripts.evaluation.scoring.metrics import Answers
from workflow_scripts.evaluation.scoring.results import (
    make_results,
    merge_parts,
    part_of,
    read_answers,
    read_archive,
    read_results,
    write_archive,
)
from workflow_scripts.storage.atomic import write_json

OF_THE_PLAN = ("limit", "fewshot_seed", "bootstrap_iters")


def forge_documents(
    root: Path,
    task: str,
    documents: Sequence[int],
    *,
    path: str = SCORES,
    plan: str = "",
    loglikelihood: float = 0.0,
    flip_greedy: bool = False,
) -> None:
    """Change documents of a task in a scores file: its loglikelihoods, and the scores that follow from them."""
    output = root / path
    read = read_plan(root / (plan or f"results/plans/made/0-shot/{task}.plan"))
    stored = read_answers(output, read)
    chosen = np.isin(read.table.document, documents)
    # The first choice gains; a pair or a list of choices is decided otherwise than before where it was close.
    first = chosen & np.append(True, np.diff(read.table.document) > 0)
    values = np.where(first, stored.loglikelihood + loglikelihood, stored.loglikelihood)
    flags = np.where(chosen, ~stored.greedy, stored.greedy) if flip_greedy else stored.greedy
    archive = read_archive(output)
    archive |= {f"{task}/loglikelihood": values, f"{task}/greedy": flags}
    content = read_results(output)
    config = {key: value for key, value in content["config"].items() if key not in OF_THE_PLAN}
    others = [part_of(content, name) for name in content["plans"] if name != task]
    if np.isfinite(values).all():
        write_json(output, merge_parts([make_results(read, Answers(values, flags), config, 0, task), *others]))
    write_archive(output, archive)
