"""The pocket suite through ``snakemake --profile slurm`` as typed, from its corpus on: the table of a local run.

The whole default run trains six models, of which the two largest alone take longer on two cores than a test may. This
is its largest part that fits into eight minutes: both arms of the smallest model with every task, at three of the eight
checkpoints, without and with examples.
"""

import subprocess
import sys
import time

import pytest

RUN = ["run=small", "models=[pocket-90k,pocket-90k-deduped]", "steps=[0,128,600]"]
TABLE = "results/runs/small/tables/scores.csv"
PATIENCE_SECONDS = 1800  # a hang fails; how long it takes is printed, as times are no tests
# Its four jobs of training and evaluation ask for a GPU, the others do not.
ON_GPUS = ("score_checkpoint:gpu=1", "train_model:gpu=1")


def here(place):
    """The table of the local run."""
    command = [sys.executable, "-m", "snakemake", TABLE, "-c2", "--scheduler", "greedy", "--config", *RUN]
    outcome = subprocess.run(command, cwd=place, capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stderr[-3000:]
    return (place / TABLE).read_text()


@pytest.mark.slow
def test_the_table_is_that_of_the_local_run(place, start_snakemake, slurm):
    local = here(place)
    (place / "results").rename(place / "local")

    started = time.monotonic()
    quick = ("--slurm-init-seconds-before-status-checks", "2", "--slurm-keep-successful-logs")
    process = start_snakemake(TABLE, *quick, "--set-resources", *ON_GPUS, "--config", *RUN)
    output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    seconds = time.monotonic() - started

    assert process.returncode == 0, output[-4000:]
    assert (place / TABLE).read_text() == local
    columns = "JobID:10,Partition:20,tres-per-job:40,State:20,WorkDir:300"
    jobs = slurm.ask("squeue", "--states", "all", "--noheader", "--Format", columns).splitlines()
    ours = [line.split() for line in jobs if line.rstrip().endswith(str(place))]
    with_gpu = {number for number, _, gpus, state, _ in ours if gpus.endswith("gpu:1") and state == "COMPLETED"}
    assert {partition for number, partition, *_ in ours if number in with_gpu} == {"gpu"}, jobs
    assert {partition for _, partition, *_ in ours} == {"cpu", "gpu"}
    seen = slurm.visible_gpus()
    assert {seen[number] for number in with_gpu} <= {"0", "1"}, "each job sees the one GPU that it was granted"
    assert {seen[number] for number, *_ in ours if number not in with_gpu} == {"none"}
    # Two trainings; six checkpoints are scored in two allocations, one for each model, and fetched without a GPU.
    assert len(with_gpu) == 4, jobs
    print(f"{len(ours)} jobs in {seconds:.0f} s, bring-up not counted (about a second)")
