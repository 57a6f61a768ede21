"""The program itself, on real files of the dataset stage: kill and resume, signals, receipts, bad input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from training_runs import digest, timeless, write_data

from workflow_scripts import cli
from workflow_scripts.training import retrain
from workflow_scripts.training.recipe import Recipe
from workflow_scripts.training.run import checkpoint


@pytest.fixture
def view(tmp_path: Path) -> Path:
    return write_data(tmp_path)


@pytest.fixture
def recipe_file(recipe: Recipe, tmp_path: Path) -> Path:
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(recipe.to_json()))
    return path


def command(recipe: Path, view: Path, run: Path, *more: str) -> list[str]:
    return ["--recipe", str(recipe), "--view", str(view), "--output-dir", str(run), *more]


def test_run_writes_grid_metrics_receipt_and_record(view: Path, recipe_file: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    retrain.main(command(recipe_file, view, run))
    receipt = json.loads((run / "run.json").read_text())
    assert receipt["steps"] == [0, 1, 2, 4, 8, 16, 20]
    assert receipt["weights_sha256"] == digest(run, 20)
    assert (run / "run.json.record.json").is_file()
    assert len(timeless(run)) == 20
    before = digest(run, 20)
    retrain.main(command(recipe_file, view, run))  # a finished run is left as it is
    assert digest(run, 20) == before


def test_segments_end_where_they_are_told(view: Path, recipe_file: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    retrain.main(command(recipe_file, view, run, "--stop-at", "4"))
    assert checkpoint.saved_steps(run) == [0, 1, 2, 4]
    assert not (run / "run.json").exists()


def test_segments_end_in_the_bits_of_the_whole_run(view: Path, recipe_file: Path, tmp_path: Path) -> None:
    """Each segment is a run of its own up to its end; a segment whose receipt was lost is not trained again."""
    retrain.main(command(recipe_file, view, tmp_path / "whole"))
    run, receipts = tmp_path / "run", tmp_path / "segments"
    for end in (4, 16, 20):
        receipt = receipts / f"step{end}.json"
        retrain.main(command(recipe_file, view, run, "--stop-at", str(end), "--segment-receipt", str(receipt)))
        content = json.loads(receipt.read_text())
        assert (content["step"], content["weights_sha256"]) == (end, digest(tmp_path / "whole", end))
        assert receipt.with_name(f"{receipt.name}.record.json").is_file()
    assert (run / "run.json").read_bytes() == (tmp_path / "whole" / "run.json").read_bytes()
    assert timeless(run) == timeless(tmp_path / "whole")
    before = (receipts / "step4.json").read_bytes()
    (receipts / "step4.json").unlink()
    retrain.main(command(recipe_file, view, run, "--stop-at", "4", "--segment-receipt", str(receipts / "step4.json")))
    assert (receipts / "step4.json").read_bytes() == before
    assert timeless(run) == timeless(tmp_path / "whole")


@pytest.mark.slow
def test_kill_minus_nine_and_resume_give_the_same_bits(view: Path, recipe_file: Path, tmp_path: Path) -> None:
    """Killed again and again at points that nobody chose, the run still ends in the same bits."""
    retrain.main(command(recipe_file, view, tmp_path / "whole"))
    program = [sys.executable, "-m", "workflow_scripts.training.retrain"]
    run = tmp_path / "killed"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    kills = 0
    for _ in range(2):
        with subprocess.Popen(
            [*program, *command(recipe_file, view, run)], stderr=subprocess.DEVNULL, env=environment
        ) as process:
            seen = len(checkpoint.saved_steps(run))
            while process.poll() is None and len(checkpoint.saved_steps(run)) < seen + 2:
                time.sleep(0.001)
            process.kill()
        kills += process.returncode == -signal.SIGKILL
    assert kills
    retrain.main(command(recipe_file, view, run))
    assert [digest(run, s) for s in (8, 16, 20)] == [digest(tmp_path / "whole", s) for s in (8, 16, 20)]
    assert timeless(run) == timeless(tmp_path / "whole")
    last = [folder / "step20" / checkpoint.OPTIMIZER for folder in (run, tmp_path / "whole")]
    assert last[0].read_bytes() == last[1].read_bytes(), "moments and random state too"
    assert not [path.name for path in run.iterdir() if path.name.endswith(".tmp")]


@pytest.mark.slow
def test_a_signal_writes_a_checkpoint_and_ends(view: Path, recipe: Recipe, recipe_file: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    long = {**recipe.to_json(), "train_iterations": 100_000, "lr_decay_iterations": 100_000}
    recipe_file.write_text(json.dumps(long))
    program = [sys.executable, "-m", "workflow_scripts.training.retrain", *command(recipe_file, view, run)]
    with subprocess.Popen(program, stderr=subprocess.PIPE, text=True) as process:
        while not (run / "step8").is_dir() and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=60)
    assert process.returncode == cli.INTERRUPTED
    last = checkpoint.resumable_step(run)
    assert last is not None
    assert f"checkpoint of step {last} is written" in told
    assert len(timeless(run)) == last


BAD = [
    (["--micro-batch", "3"], "--micro-batch 3 does not divide the 8 rows"),
    (["--stop-at", "21"], "--stop-at 21 is outside 0..20"),
    (["--threads", "999"], "--threads 999"),
]


@pytest.mark.parametrize(("options", "message"), BAD)
def test_bad_options_are_one_line_before_the_first_step(
    options: list[str], message: str, view: Path, recipe_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = view.parent / "run"
    assert cli.run(retrain.main, command(recipe_file, view, run, *options)) == cli.USER_ERROR
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error
    assert not run.exists()


def test_a_small_vocabulary_is_refused_with_token_and_position(
    view: Path, recipe: Recipe, recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe_file.write_text(json.dumps({**recipe.to_json(), "vocab_size": 90}))
    assert cli.run(retrain.main, command(recipe_file, view, tmp_path / "run")) == cli.USER_ERROR
    error = capsys.readouterr().err
    assert "outside the vocabulary of 90" in error
    assert "position" in error
    assert not (tmp_path / "run").exists()


def test_a_missing_view_or_map_is_one_line(
    view: Path, recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(retrain.main, command(recipe_file, tmp_path / "no.json", tmp_path / "run")) == cli.USER_ERROR
    assert "no such view" in capsys.readouterr().err
    (tmp_path / "maps").mkdir()
    options = command(recipe_file, view, tmp_path / "run", "--index-maps", str(tmp_path / "maps"))
    assert cli.run(retrain.main, options) == cli.USER_ERROR
    assert "maps" in capsys.readouterr().err


def test_another_recipe_is_refused_or_starts_over(
    view: Path, recipe: Recipe, recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    retrain.main(command(recipe_file, view, run, "--stop-at", "2"))
    recipe_file.write_text(json.dumps({**recipe.to_json(), "learning_rate": 0.002}))
    assert cli.run(retrain.main, command(recipe_file, view, run)) == cli.USER_ERROR
    assert "learning_rate: 0.004 -> 0.002" in capsys.readouterr().err
    retrain.main(command(recipe_file, view, run, "--when-different", "restart", "--stop-at", "4"))
    assert checkpoint.saved_steps(run) == [0, 1, 2, 4]


def test_a_damaged_checkpoint_is_one_line(
    view: Path, recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    retrain.main(command(recipe_file, view, run, "--stop-at", "4"))
    (run / "step4" / "state.json").write_text("{}")
    assert cli.run(retrain.main, command(recipe_file, view, run)) == cli.USER_ERROR
    assert "delete the folder" in capsys.readouterr().err
    retrain.main(command(recipe_file, view, tmp_path / "b", "--stop-at", "4"))
    moments = tmp_path / "b" / "step4" / "optimizer.safetensors"
    moments.write_bytes(moments.read_bytes()[:50])
    assert cli.run(retrain.main, command(recipe_file, view, tmp_path / "b")) == cli.USER_ERROR
    assert "not a whole safetensors file" in capsys.readouterr().err
