"""Training by several processes in a Slurm job: cancelled in the middle and started again, the same bits."""

import dataclasses
import json
import sys

import pytest

from tests.cluster.test_drills import wait_for
from tests.training.training_runs import digest, write_data
from workflow_scripts.suite.registry import load_suite
from workflow_scripts.training.recipe import recipe_of
from workflow_scripts.training.run.finished_files import WORKING

STEPS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 400)


@pytest.fixture
def tiny():
    """Two layers of width 32 and 400 iterations: seconds of training after a start that takes longer."""
    sizes = {"layers": 2, "hidden_size": 32, "heads": 4, "vocab_size": 96, "sequence_length": 16, "batch_rows": 8}
    numbers = {"train_iterations": STEPS[-1], "lr_decay_iterations": STEPS[-1], "checkpoint_steps": STEPS}
    return dataclasses.replace(recipe_of(load_suite("pocket").model("pocket-90k")), name="tiny", **sizes, **numbers)


@pytest.mark.slow
def test_two_processes_that_are_cancelled_go_on_to_the_same_bits(root, slurm, tmp_path, tiny):
    view = write_data(tmp_path)
    (tmp_path / "recipe.json").write_text(json.dumps(tiny.to_json()))

    def submit(run):
        training = ["--recipe", "recipe.json", "--view", str(view), "--output-dir", run, "--parallel", "ddp"]
        launch = [sys.executable, "-m", "workflow_scripts.training.launch", "--processes", "2", "--", *training]
        script = tmp_path / f"{run}.sh"
        script.write_text(f"#!/bin/sh\nexport PYTHONPATH={root}\nexec {' '.join(launch)}\n")
        options = ["--parsable", "--partition", "gpu", "--gpus", "2", "--cpus-per-task", "2", "--mem", "4000"]
        return slurm.ask("sbatch", *options, "--chdir", str(tmp_path), "--output", f"{run}.log", str(script)).strip()

    def state(number):
        return slurm.ask("squeue", "--states", "all", "-h", "-j", number, "-o", "%T").strip()

    def ended(number):
        return state(number) not in ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING")

    whole = submit("whole")
    wait_for(lambda: ended(whole), 400)
    assert state(whole) == "COMPLETED", (tmp_path / "whole.log").read_text()[-2000:]

    first = submit("run")
    wait_for((tmp_path / "run" / WORKING / "step16").exists, 400)
    slurm.ask("scancel", first)
    wait_for(lambda: ended(first))
    assert state(first) == "CANCELLED"
    assert not (tmp_path / "run" / "run.json").exists(), "it was in the middle"
    second = submit("run")
    wait_for(lambda: ended(second), 400)
    assert state(second) == "COMPLETED", (tmp_path / "run.log").read_text()[-2000:]
    assert [digest(tmp_path / "run", step) for step in STEPS] == [digest(tmp_path / "whole", step) for step in STEPS]
