"""The pocket suite through ``snakemake --profile slurm`` as typed: the same table as on this machine."""

import shutil
import subprocess
import sys

import pytest

RUN = ["run=small", "models=[pocket-90k]", "steps=[0,1]", "shots=[0]"]
TABLE = "results/runs/small/tables/scores.csv"
# On the cluster everything from training on is made again; the data is taken over, which saves a minute.
UPSTREAM = ("corpus", "data", "plans", "mirror/datasets")


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
    for name in UPSTREAM:
        shutil.copytree(place / "local" / name, place / "results" / name)

    arguments = ["--set-resources", "score_checkpoint:gpu=1", "train_model:gpu=1"]
    process = start_snakemake(
        TABLE,
        "--slurm-init-seconds-before-status-checks",
        "2",
        *arguments,
        "--config",
        *RUN,
        "--slurm-keep-successful-logs",
    )
    output, _ = process.communicate(timeout=420)

    assert process.returncode == 0, output[-4000:]
    assert (place / TABLE).read_text() == local
    columns = "Partition:20,tres-per-job:40,State:20,WorkDir:300"
    jobs = slurm.ask("squeue", "--states", "all", "--noheader", "--Format", columns).splitlines()
    ours = [line.split() for line in jobs if line.rstrip().endswith(str(place))]
    granted = {partition for partition, gpus, state, _ in ours if gpus.endswith("gpu:1") and state == "COMPLETED"}
    assert granted == {"gpu"}, jobs
    assert {partition for partition, *_ in ours} == {"cpu", "gpu"}
    assert len(ours) <= 6, "two checkpoints are fetched and scored in one allocation"
