"""Faults of the evaluation: a killed job, a full disk while scores are written, values that are not numbers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.faults.evaluating import CHECKPOINT, make_world
from workflow_scripts.errors import DataError, EvaluationError
from workflow_scripts.evaluation import collect, score
from workflow_scripts.evaluation.scoring.results import read_results
from workflow_scripts.storage.atomic import write_bytes

DIE_IN_THE_MIDDLE = """
import os, signal, sys
from workflow_scripts.evaluation import score
from workflow_scripts.evaluation.engine import row_tensors
from workflow_scripts.evaluation.scoring import partial_scores
row_tensors.segments.__defaults__ = (60,)
partial_scores.SECONDS = 0.0
original = partial_scores.write_bytes
def write_then_die(path, content):
    original(path, content)
    os.kill(os.getpid(), signal.SIGKILL)
partial_scores.write_bytes = write_then_die
score.main(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a checkpoint and the plan of one task."""
    return make_world(tmp_path_factory.mktemp("evaluating"))


def arguments(world: Path, output: Path, checkpoint: Path | None = None) -> list[str]:
    """Command line of the scorer."""
    folder = checkpoint or world / CHECKPOINT
    return ["--checkpoint", str(folder), "--plan", str(world / "0-shot.plan"), "--output", str(output)]


def test_fault_44_an_evaluation_that_is_killed_half_way_goes_on(world: Path, tmp_path: Path, caplog) -> None:
    """SIGKILL in the middle of a checkpoint: the next run goes on from the answers kept, with the same results."""
    output = tmp_path / "out" / "0-shot.json"
    command = [sys.executable, "-c", DIE_IN_THE_MIDDLE, *arguments(world, output)]
    assert subprocess.run(command, check=False, capture_output=True).returncode == -signal.SIGKILL
    kept = output.parent / ".0-shot.json.unfinished.npz"
    assert [path for path in output.parent.iterdir() if not path.name.endswith((".tmp", ".lock"))] == [kept]
    score.main(arguments(world, output))
    assert read_results(output)["results"]
    assert not kept.exists()


def test_fault_44_a_device_that_is_full_gets_a_smaller_batch(world: Path, tmp_path: Path, monkeypatch) -> None:
    """The device has no memory for a pass: it is tried again in smaller pieces, with the same results."""
    from workflow_scripts.evaluation.engine.engine import Engine

    original, sizes = Engine.try_rows, []

    def cramped(self, forest, *rest):
        sizes.append(rest[2])
        if rest[2] > 1024:
            raise torch.OutOfMemoryError
        return original(self, forest, *rest)

    monkeypatch.setattr(Engine, "try_rows", cramped)
    score.main(arguments(world, tmp_path / "0-shot.json"))
    assert sizes[:2] == [2048, 1024]
    assert read_results(tmp_path / "0-shot.json")["results"]


@pytest.mark.slow
@pytest.mark.parametrize("room", [0, 4096, 8192, 12288])
def test_fault_45_scores_on_a_full_disk_leave_no_half_file(world: Path, small_disk: Path, room: int) -> None:
    """The disk fills up while scores are written: one line, and no half-written file."""
    ballast = small_disk / "ballast"
    free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_bsize
    ballast.write_bytes(b"\0" * (free - room))
    command = [sys.executable, "-m", "workflow_scripts.evaluation.score", *arguments(world, small_disk / "0-shot.json")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert "the disk is full; free some space and rerun" in done.stderr.splitlines()[-1]
    left = sorted(path.name for path in small_disk.glob("0-shot.json*"))
    written = max(0, room // 4096 - 1)  # one block goes to the lock
    assert left == sorted(["0-shot.json.loglikelihoods.npz", "0-shot.json"][:written])
    for name in left:  # what stands is whole; only the record of it is missing
        assert json.loads((small_disk / name).read_text()) if name.endswith("json") else np.load(small_disk / name)
    ballast.unlink()
    score.main(arguments(world, small_disk / "0-shot.json"))
    assert read_results(small_disk / "0-shot.json")["results"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_fault_46_numbers_that_are_not_finite_stop_the_job_by_name(world: Path, tmp_path: Path, value: float) -> None:
    """NaN or infinity among the answers: the job stops and names where, nothing is written."""
    folder = tmp_path / "pocket-90k" / "step7"
    folder.mkdir(parents=True)
    for path in (world / CHECKPOINT).iterdir():
        write_bytes(folder / path.name, path.read_bytes())
    weights = load_file(folder / "model.safetensors")
    weights["gpt_neox.layers.1.mlp.dense_h_to_4h.weight"][0, 0] = value
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EvaluationError, match="step7: logits that are not finite, first in layer 1 of 2"):
        score.main(arguments(world, tmp_path / "out" / "0-shot.json", folder))
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("text", ["", "{}", "[]", "null"])
def test_fault_46_an_empty_result_does_not_count(world: Path, tmp_path: Path, text: str) -> None:
    """An empty or cut result file: refused by name instead of drawn as a gap."""
    output = tmp_path / CHECKPOINT / "0-shot.json"
    score.main(arguments(world, output))
    output.write_text(text)
    table = ["--suite", "pocket", "--scores", str(output), "--output", str(tmp_path / "scores.parquet")]
    with pytest.raises(DataError, match=r"0-shot\.json: not a results file \((not JSON|lacks|holds no JSON object)"):
        collect.main(table)
    assert not (tmp_path / "scores.parquet").exists()
    score.main(arguments(world, output))
    collect.main(table)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "null", '"0.5"'])
def test_fault_46_a_metric_that_is_no_number_is_refused(world: Path, tmp_path: Path, value: str) -> None:
    """A metric that is NaN, infinite or text: refused by name."""
    output = tmp_path / CHECKPOINT / "0-shot.json"
    score.main(arguments(world, output))
    content = json.loads(output.read_text())
    content["results"]["pocket_agreement"]["acc,none"] = "@"
    output.write_text(json.dumps(content).replace('"@"', value))
    with pytest.raises(DataError, match=r"task 'pocket_agreement': acc,none is .*, not a finite number"):
        collect.main(["--suite", "pocket", "--scores", str(output), "--output", str(tmp_path / "scores.parquet")])
