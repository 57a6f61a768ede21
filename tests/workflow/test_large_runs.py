"""A run as large as PolyPythias: 61 models with 154 checkpoints each is planned, and no command line grows with it."""

import json
import os
import subprocess
import sys

import pytest

CHECKPOINTS = 61 * 154
RUN = {"run": "polypythias", "models": ["all", "pythia-*m-seed*"], "shots": [0]}
LONGEST_LINE = 400
pytestmark = pytest.mark.slow


@pytest.fixture
def snakemake(root, tmp_path):
    """Function that starts Snakemake on the large run in an empty folder that sees the project by links."""
    for name in ("config", "rules", "envs", "notebooks", "Snakefile", "workflow_scripts"):
        (tmp_path / name).symlink_to(root / name)
    (tmp_path / "large.json").write_text(json.dumps(RUN))

    def start(*arguments):
        files = ["--configfile", "config/runs/suite.yaml", "large.json"]
        code = [str(root), str(root / "workflow_scripts/snakemake_plugins")]
        return subprocess.run(
            [sys.executable, "-m", "snakemake", "--cores", "1", "--scheduler", "greedy", *arguments, *files],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(code)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )

    return start


def test_the_large_run_is_planned(snakemake):
    done = snakemake("-n", "--quiet", "rules")
    assert done.returncode == 0, done.stderr[-3000:]
    jobs = dict(line.split() for line in (done.stdout + done.stderr).splitlines() if len(line.split()) == 2)
    fetching = sum(int(jobs[name]) for name in jobs if name.startswith("fetch_checkpoint"))  # a rule per list of files
    assert int(jobs["score_checkpoint"]) == fetching == CHECKPOINTS


def test_its_settings_are_written_and_name_every_checkpoint(snakemake, tmp_path):
    target = "results/runs/polypythias/run.json"
    done = snakemake(target)
    assert done.returncode == 0, done.stderr[-3000:]
    resolved = json.loads((tmp_path / target).read_text())
    assert sum(map(len, resolved["steps"].values())) == CHECKPOINTS


def test_no_line_of_its_plan_is_longer_than_one_can_read(snakemake):
    """After one changed value; the line that says what changed is among them."""
    target = "results/runs/polypythias/run.json"
    assert snakemake(target).returncode == 0
    done = snakemake("-n", target, "--config", "device=cpu")
    assert done.returncode == 0, done.stderr[-3000:]
    lines = (done.stdout + done.stderr).splitlines()
    assert max(map(len, lines)) <= LONGEST_LINE, max(lines, key=len)
    assert [line for line in lines if "device" in line and "cuda" in line and "cpu" in line]
