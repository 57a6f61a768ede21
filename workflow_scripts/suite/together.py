"""Which checkpoints the jobs of one allocation score, so that one process may score them together.

On a cluster Snakemake starts one Snakemake per allocation and gives it the jobs of a group as target jobs. A process
that went on with a checkpoint of another allocation would use up the time that its own was granted for.
"""

from __future__ import annotations

from typing import Any

from workflow_scripts.suite import layout

SCORING_RULE = "score_checkpoint"


def sibling_arguments(dag_settings: Any) -> list[str]:
    """Arguments of ``evaluation.score`` in a group of jobs: the checkpoints of the group; none outside of groups.

    ``dag_settings`` are Snakemake's, with ``target_jobs`` (``rulename`` and ``wildcards_dict`` each).
    """
    jobs = getattr(dag_settings, "target_jobs", None) or ()
    asked = [job.wildcards_dict for job in jobs if job.rulename == SCORING_RULE]
    folders = sorted({layout.checkpoint_folder(wildcards["model"], wildcards["step"]) for wildcards in asked})
    return ["--siblings", *folders] if folders else []
