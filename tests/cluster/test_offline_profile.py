"""``snakemake --profile slurm-offline``: what downloads runs where Snakemake runs, and no job of the cluster does."""

import shutil
import subprocess
import sys

import pytest

RUN = ["run=small", "models=[pocket-90k]", "steps=[0,1]", "shots=[0]"]
TABLE = "results/runs/small/tables/scores.csv"
# Made before: everything that no download comes after.
UPSTREAM = ("corpus", "plans", "mirror", "training")
DOWNLOADS = ("list_dataset_files", "download_dataset_file", "fetch_tokenizer", "fetch_checkpoint", "observe_model")


@pytest.mark.slow
def test_downloads_run_on_the_login_node_and_the_rest_as_jobs(place, start_snakemake, slurm):
    targets = [TABLE, "results/data/pocket/standard/view.json"]
    command = [sys.executable, "-m", "snakemake", *targets, "-c2", "--scheduler", "greedy", "--config", *RUN]
    outcome = subprocess.run(command, cwd=place, capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stderr[-3000:]
    local = (place / TABLE).read_text()
    (place / "results").rename(place / "local")
    for name in UPSTREAM:
        shutil.copytree(place / "local" / name, place / "results" / name)

    quick = ("--slurm-init-seconds-before-status-checks", "2", "--rerun-triggers", "mtime")
    shown = "--printshellcmds"  # Snakemake's own lines too, which tell local jobs from others
    process = start_snakemake(
        *targets, *quick, shown, "--config", *RUN, program=("snakemake", "--profile", "slurm-offline")
    )
    output, _ = process.communicate(timeout=900)
    assert process.returncode == 0, output[-4000:]
    assert (place / TABLE).read_text() == local
    jobs = slurm.ask("squeue", "--states", "all", "--noheader", "-o", "%k|%T|%Z").splitlines()
    ours = [line for line in jobs if line.endswith(str(place))]
    assert any("score_checkpoint" in line for line in ours), jobs
    assert not [line for line in ours if any(rule in line for rule in DOWNLOADS)], "no job of the cluster downloads"
    for rule in ("download_dataset_file", "fetch_checkpoint"):
        assert f"localrule {rule}:" in output
    assert "localrule score_checkpoint:" not in output
    said = [path.read_text() for path in sorted((place / "results/logs/score_checkpoint").iterdir())]
    assert all(text.count("scored results/checkpoints/") == 1 for text in said), "each job scores its own checkpoint"
    assert len([line for line in ours if "score_checkpoint" in line]) == 1, "an allocation holds those of one model"
