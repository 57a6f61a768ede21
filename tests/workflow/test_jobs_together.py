"""Checkpoints that share an allocation are read from the command line that Snakemake gives to a group of jobs."""

import pytest

from workflow_scripts.workflow.allocation import sibling_arguments

ZERO, FOUR = (f"results/checkpoints/pocket-90k/step{step}" for step in (0, 4))
JOBS = [
    "fetch_checkpoint:model=pocket-90k,step=0",
    "score_checkpoint:kind=,model=pocket-90k,step=0",
    "score_checkpoint:kind=.pythia-2023,model=pocket-90k,step=0",
    "score_checkpoint:kind=,model=pocket-90k,step=4",
]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-c2", "evaluate", "--config", "steps=[0]"], []),
        (["--target-jobs", *JOBS, "--allowed-rules", "score_checkpoint", "--cores", "1"], ["--siblings", ZERO, FOUR]),
        (["--cores", "1", "--target-jobs", JOBS[3], "--mode", "remote"], ["--siblings", FOUR]),
        (["--target-jobs", JOBS[0], "--cores", "1"], []),
    ],
    ids=["no-group", "group", "one-job", "nothing-scored"],
)
def test_the_checkpoints_of_a_group(words, expected):
    assert sibling_arguments(["/env/bin/snakemake", *words], {}) == expected


def test_the_snakemake_of_one_job_is_told_of_the_whole_allocation():
    environment = {}
    outer, inner = (["/env/bin/snakemake", "--target-jobs", *jobs, "--cores", "1"] for jobs in (JOBS, JOBS[3:]))
    assert sibling_arguments(outer, environment) == ["--siblings", ZERO, FOUR]
    assert sibling_arguments(inner, environment) == ["--siblings", ZERO, FOUR]


def test_a_run_that_was_started_for_no_job_tells_nothing():
    environment = {}
    assert sibling_arguments(["/env/bin/snakemake", "-c2"], environment) == []
    assert environment == {}
