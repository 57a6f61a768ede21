"""Which checkpoints the jobs of one allocation score, so that one process may score them together.

On a cluster each allocation gets a Snakemake of its own, with the jobs of a group as target jobs on its command line. A
process that went on with a checkpoint of another allocation would use up the time that its own was granted for.
"""

from __future__ import annotations

from collections.abc import Sequence

from workflow_scripts.suite import layout

SCORING_RULE = "score_checkpoint"
TARGET_JOBS = "--target-jobs"


def sibling_arguments(words: Sequence[str]) -> list[str]:
    """Arguments of ``evaluation.score`` under the command line ``words`` (program first): the checkpoints of the group.

    None for a Snakemake that was not started for a job or a group of jobs.
    """
    if TARGET_JOBS not in words:
        return []
    from snakemake.cli import get_argument_parser

    options, _ = get_argument_parser().parse_known_args(list(words[1:]))
    asked = [job.wildcards_dict for job in options.target_jobs if job.rulename == SCORING_RULE]
    folders = sorted({layout.checkpoint_folder(wildcards["model"], wildcards["step"]) for wildcards in asked})
    return ["--siblings", *folders] if folders else []
