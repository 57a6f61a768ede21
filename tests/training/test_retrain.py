"""The program itself, on real files of the dataset stage: kill and resume, signals, receipts, bad input."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from training_runs import digest, timeless, write_data

from workflow_scripts import cli
from workflow_scripts.errors import DataError
from workflow_scripts.training import retrain
from workflow_scripts.training.recipe import Recipe
from workflow_scripts.training.run import checkpoint
from workflow_scripts.training.run.finished_files import WORKING
from workflow_scripts.training.run.training_log import read_metrics


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


SEGMENTS = {4: [0, 1, 2, 4], 16: [8, 16], 20: [20]}


def train_segments(view: Path, recipe: Path, run: Path, wanted: Sequence[int] = tuple(SEGMENTS)) -> None:
    """Train the segments of SEGMENTS that are ``wanted``, each from the checkpoint at which the one before ended."""
    for before, end in zip([None, *SEGMENTS], SEGMENTS, strict=False):
        start = [] if before is None else ["--continue-from", str(run / f"step{before}")]
        if end in wanted:
            keep = ("--keep-optimizer", "4", "16")
            retrain.main(command(recipe, view, run, "--stop-at", str(end), *keep, *start))


def files_in(run: Path) -> set[str]:
    """Files that a run shows, without its working folder."""
    names = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    return {name for name in names if not name.startswith(WORKING) and not name.endswith(".record.json")}


def test_segments_end_in_the_bits_of_the_whole_run(view: Path, recipe_file: Path, tmp_path: Path) -> None:
    """Each segment is a run of its own up to its end."""
    retrain.main(command(recipe_file, view, tmp_path / "whole"))
    run = tmp_path / "run"
    train_segments(view, recipe_file, run)
    for steps in SEGMENTS.values():
        assert [digest(run, step) for step in steps] == [digest(tmp_path / "whole", step) for step in steps]
    assert timeless(run) == timeless(tmp_path / "whole")
    receipts = [json.loads((folder / "run.json").read_text()) for folder in (run, tmp_path / "whole")]
    assert receipts[0] == receipts[1]
    resumable = {f"step{step}/{name}" for step in (4, 16) for name in ("optimizer.safetensors", "metrics.csv")}
    assert files_in(run) == files_in(tmp_path / "whole") | resumable


def test_a_lost_file_of_a_segment_is_linked_again_and_nothing_is_trained(
    view: Path, recipe_file: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    train_segments(view, recipe_file, run)
    before = {name: (run / name).read_bytes() for name in files_in(run)}
    inodes = {step: (run / f"step{step}" / checkpoint.WEIGHTS).stat().st_ino for step in (2, 8)}
    shutil.rmtree(run / "step2")
    shutil.rmtree(run / "step4")
    train_segments(view, recipe_file, run, [4])
    assert {name: (run / name).read_bytes() for name in files_in(run)} == before
    assert {step: (run / f"step{step}" / checkpoint.WEIGHTS).stat().st_ino for step in (2, 8)} == inodes


def test_a_segment_needs_no_more_than_the_checkpoint_before_it(view: Path, recipe_file: Path, tmp_path: Path) -> None:
    """The working folder may be gone, on another machine say; then the named checkpoint is enough."""
    run = tmp_path / "run"
    train_segments(view, recipe_file, run)
    weights, numbers = digest(run, 20), timeless(run)
    shutil.rmtree(run / WORKING)
    for name in ("step8", "step16", "step20"):
        shutil.rmtree(run / name)
    train_segments(view, recipe_file, run, [16, 20])
    assert (digest(run, 20), timeless(run)) == (weights, numbers)
    assert checkpoint.saved_steps(run / WORKING) == [4, 8, 16, 20]


def test_a_segment_after_nothing_is_one_line(
    view: Path, recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = command(recipe_file, view, tmp_path / "run", "--continue-from", str(tmp_path / "step4"))
    assert cli.run(retrain.main, options) == cli.USER_ERROR
    assert "no checkpoint of a run" in capsys.readouterr().err


def test_outputs_that_a_workflow_engine_deleted_come_back_without_training(
    view: Path, recipe_file: Path, tmp_path: Path
) -> None:
    """Snakemake deletes all outputs of a job before it runs it again, also when it only missed that the job ended."""
    run = tmp_path / "run"
    arguments = command(recipe_file, view, run, "--keep-optimizer", "8")
    retrain.main(arguments)
    before = {name: (run / name).read_bytes() for name in files_in(run)}
    for name in before:
        (run / name).unlink()
    trained = (run / WORKING / "step20" / checkpoint.WEIGHTS).stat().st_mtime_ns
    retrain.main(arguments)
    assert {name: (run / name).read_bytes() for name in files_in(run)} == before
    assert (run / "step20" / checkpoint.WEIGHTS).stat().st_mtime_ns == trained


def test_a_step_whose_optimizer_is_wanted_later_is_trained_again(view: Path, recipe_file: Path, tmp_path: Path) -> None:
    """Weights alone do not serve those who continue from a step; the bits stay."""
    run = tmp_path / "run"
    retrain.main(command(recipe_file, view, run))
    before = digest(run, 20)
    retrain.main(command(recipe_file, view, run, "--keep-optimizer", "0", "8", "--when-different", "restart"))
    assert digest(run, 20) == before
    assert (run / "step8" / checkpoint.OPTIMIZER).is_file()
    assert set(checkpoint.read_tensors(run / "step0" / checkpoint.OPTIMIZER)) == {checkpoint.RANDOM_STATE}


def test_steps_to_save_replace_the_grid(view: Path, recipe_file: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    retrain.main(command(recipe_file, view, run, "--save-steps", "3", "20"))
    assert checkpoint.saved_steps(run) == [3, 20]
    assert json.loads((run / "run.json").read_text())["steps"] == [3, 20]


@pytest.mark.slow
def test_kill_minus_nine_and_resume_give_the_same_bits(view: Path, recipe_file: Path, tmp_path: Path) -> None:
    """Killed again and again at points that nobody chose, the run still ends in the same bits."""
    keep = ("--keep-optimizer", "20")
    retrain.main(command(recipe_file, view, tmp_path / "whole", *keep))
    program = [sys.executable, "-m", "workflow_scripts.training.retrain"]
    run = tmp_path / "killed"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    kills = 0
    for _ in range(2):
        with subprocess.Popen(
            [*program, *command(recipe_file, view, run, *keep)], stderr=subprocess.DEVNULL, env=environment
        ) as process:
            seen = len(checkpoint.saved_steps(run / WORKING))
            while process.poll() is None and len(checkpoint.saved_steps(run / WORKING)) < seen + 2:
                time.sleep(0.001)
            process.kill()
        kills += process.returncode == -signal.SIGKILL
    assert kills
    assert files_in(run) == set(), "nothing has its final name before the end"
    retrain.main(command(recipe_file, view, run, *keep))
    assert [digest(run, s) for s in (8, 16, 20)] == [digest(tmp_path / "whole", s) for s in (8, 16, 20)]
    assert timeless(run) == timeless(tmp_path / "whole")
    last = [folder / "step20" / checkpoint.OPTIMIZER for folder in (run, tmp_path / "whole")]
    assert last[0].read_bytes() == last[1].read_bytes(), "moments and random state too"
    assert not [path for path in run.rglob("*") if path.name.endswith(".tmp")]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_writes_a_checkpoint_and_ends(
    view: Path, recipe: Recipe, recipe_file: Path, tmp_path: Path, number: signal.Signals
) -> None:
    run = tmp_path / "run"
    long = {**recipe.to_json(), "train_iterations": 100_000, "lr_decay_iterations": 100_000}
    recipe_file.write_text(json.dumps(long))
    program = [sys.executable, "-m", "workflow_scripts.training.retrain", *command(recipe_file, view, run)]
    with subprocess.Popen(program, stderr=subprocess.PIPE, text=True) as process:
        while not (run / WORKING / "step8").is_dir() and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(number)
        _, told = process.communicate(timeout=60)
    assert process.returncode == cli.INTERRUPTED
    last = checkpoint.resumable_step(run / WORKING)
    assert last is not None
    assert f"checkpoint of step {last} is written" in told
    assert len(timeless(run / WORKING)) == last


def test_one_request_that_arrives_twice_is_one_and_a_second_one_stops_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slurm signals every process of a job, and torchrun passes what it got on to its own."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        stop = retrain.StopRequest()
        assert not stop()
        stop.receive(signal.SIGTERM, None)
        stop.receive(signal.SIGTERM, None)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            stop.receive(signal.SIGINT, None)
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now + 60)
        with pytest.raises(KeyboardInterrupt):
            stop.receive(signal.SIGTERM, None)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_second_trainer_in_the_same_folder_is_refused(
    view: Path, recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trainer that outlived its Snakemake holds the folder; a second one is told its process and machine."""
    monkeypatch.setattr(retrain, "PATIENCE_SECONDS", 0.2)
    run = tmp_path / "run"
    with retrain.sole_writer(run):
        assert cli.run(retrain.main, command(recipe_file, view, run)) == cli.USER_ERROR
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"held by process {os.getpid()} on " in error
    assert not run.exists()
    retrain.main(command(recipe_file, view, run))
    assert len(timeless(run)) == 20
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".lock")] == []


def test_of_several_processes_the_first_holds_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with retrain.sole_writer(tmp_path / "run"):
        monkeypatch.setenv("RANK", "1")
        with retrain.sole_writer(tmp_path / "run"):
            pass


@pytest.mark.parametrize("fault", ["doubled", "missing", "words"])
def test_a_log_that_two_trainers_wrote_is_refused(view: Path, recipe_file: Path, tmp_path: Path, fault: str) -> None:
    retrain.main(command(recipe_file, view, tmp_path / "run", "--stop-at", "8"))
    log = tmp_path / "run" / WORKING / checkpoint.METRICS
    head, *lines = log.read_text().splitlines(keepends=True)
    changed = {"doubled": [*lines[:5], *lines[3:]], "missing": lines[:3] + lines[4:], "words": [*lines, "9,x\n"]}
    log.write_text("".join([head, *changed[fault]]))
    with pytest.raises(DataError, match=r"metrics\.csv: (step 4 follows step 5|step 5 follows step 3|line 10 is not)"):
        read_metrics(log)


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
    (run / WORKING / "step4" / "state.json").write_text("{}")
    assert cli.run(retrain.main, command(recipe_file, view, run)) == cli.USER_ERROR
    assert "delete the folder" in capsys.readouterr().err
    retrain.main(command(recipe_file, view, tmp_path / "b", "--stop-at", "4"))
    moments = tmp_path / "b" / WORKING / "step4" / "optimizer.safetensors"
    moments.write_bytes(moments.read_bytes()[:50])
    assert cli.run(retrain.main, command(recipe_file, view, tmp_path / "b")) == cli.USER_ERROR
    assert "not a whole safetensors file" in capsys.readouterr().err


def test_a_checkpoint_folder_that_was_never_finished_goes_with_the_next_one(tmp_path: Path) -> None:
    (tmp_path / ".step7.tmp").mkdir()
    (tmp_path / ".step7.tmp" / checkpoint.WEIGHTS).write_bytes(b"half")
    (tmp_path / ".notes.tmp").mkdir()
    checkpoint.remove_unfinished(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".notes.tmp"]
