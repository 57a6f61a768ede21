"""Which checkpoints the jobs of one allocation score, so that one process may score them together.

On a cluster each allocation gets a Snakemake of its own, with the jobs of a group as target jobs on its command line,
and that starts another Snakemake for each of them: the list is handed down in the environment. A process that went on
with a checkpoint of another allocation would use up the time that its own was granted for.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, MutableMapping, Sequence
from typing import Any

from workflow_scripts.suite import layout

SCORING_RULE = "score_checkpoint"
TARGET_JOBS = "--target-jobs"
VARIABLE = "PYTHIA_WORKFLOW_SIBLINGS"


def going_on(run: str) -> Callable[[Any, Any], list[str]]:
    """Function for a rule's ``params:``: how many checkpoints a job of ``run`` scores, and where they are listed.

    Snakemake never makes a result again because of parameters that it derives from resources; these change none.
    """
    listed = ["--run", f"{layout.run_folder(run)}/run.json", *sibling_arguments(sys.argv)]

    def arguments(wildcards: Any, resources: Any) -> list[str]:  # noqa: ARG001 - Snakemake looks at these names
        return ["--ahead", str(resources.checkpoints_per_process), *listed]

    return arguments


def sibling_arguments(words: Sequence[str], environment: MutableMapping[str, str] = os.environ) -> list[str]:
    """Arguments of ``evaluation.score`` in a job of a cluster: the checkpoints of its allocation.

    ``words`` is the command line (program first). None in a Snakemake that was started for no job; what the outermost
    one that was finds is left in ``environment`` for those that it starts.
    """
    if VARIABLE not in environment:
        if TARGET_JOBS not in words:
            return []
        environment[VARIABLE] = os.pathsep.join(scored_folders(words))
    folders = [folder for folder in environment[VARIABLE].split(os.pathsep) if folder]
    return ["--siblings", *folders] if folders else []


def scored_folders(words: Sequence[str]) -> list[str]:
    """Folders of the checkpoints that the target jobs of a command line score."""
    from snakemake.cli import get_argument_parser

    options, _ = get_argument_parser().parse_known_args(list(words[1:]))
    asked = [job.wildcards_dict for job in options.target_jobs if job.rulename == SCORING_RULE]
    return sorted({layout.checkpoint_folder(wildcards["model"], wildcards["step"]) for wildcards in asked})
