"""Several checkpoints of a model in one process: the first job scores ahead, the others move what waits for them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading

import pytest
from evaluation_worlds import save_model

from workflow_scripts.errors import ConfigError, PipelineError
from workflow_scripts.evaluation import score as scorer
from workflow_scripts.evaluation.engine import attention
from workflow_scripts.evaluation.engine.engine import Engine
from workflow_scripts.evaluation.scoring import score_plan, siblings
from workflow_scripts.evaluation.scoring.results import loglikelihoods_path
from workflow_scripts.evaluation.scoring.scoring_job import unpublished
from workflow_scripts.storage.locks import exclusive, lock_path
from workflow_scripts.storage.records import record_path

STEPS = (1, 2, 4, 8)
DIE_AFTER = """
import os, signal, sys
from workflow_scripts.evaluation import score
from workflow_scripts.evaluation.scoring import score_plan
left = [int(sys.argv.pop(1))]
original = score_plan.score_checkpoint
def score_then_die(*arguments):
    original(*arguments)
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
score_plan.score_checkpoint = score_then_die
score.main(sys.argv[1:])
"""


class World:
    """Fetched checkpoints of one model, one plan, and the outputs that their jobs write."""

    def __init__(self, folder, plans, tokenizer):
        self.folder, self.plans = folder, plans
        for seed, step in enumerate(STEPS):
            save_model(self.checkpoint(step), tokenizer, seed)
            (self.checkpoint(step) / siblings.RECEIPT).write_text("{}")
        run = {"run": "small", "suite": "pocket", "models": [{"name": "pocket-90k"}], "shots": [0], "tasks": []}
        (folder / "run.json").write_text(json.dumps({**run, "steps": {"pocket-90k": list(STEPS)}}))

    def checkpoint(self, step):
        return self.folder / "checkpoints" / "pocket-90k" / f"step{step}"

    def outputs(self, step):
        return [
            self.folder / "scores" / "pocket-90k" / f"step{step}" / f"{k}-shot.json" for k in range(len(self.plans))
        ]

    def arguments(self, step, ahead=4, *more):
        command = ["--checkpoint", self.checkpoint(step), "--plan", *self.plans, "--output", *self.outputs(step)]
        return [str(each) for each in (*command, "--ahead", ahead, "--run", self.folder / "run.json", *more)]

    def score(self, step, ahead=4, *more):
        scorer.main(self.arguments(step, ahead, *more))

    def waiting(self):
        return [step for step in STEPS if all(unpublished(output).is_file() for output in self.outputs(step))]

    def published(self):
        return [step for step in STEPS if all(output.is_file() for output in self.outputs(step))]

    def files(self):
        """Content of every file of scores; of records only what does not depend on the moment."""
        found = {}
        for path in sorted((self.folder / "scores").rglob("*")):
            if path.is_file() and path.name.endswith(".record.json"):
                record = json.loads(path.read_text())
                found[path.name, path.parent.name] = record["output"], record["output_sha256"], record["parameters"]
            elif path.is_file():
                found[path.name, path.parent.name] = path.read_bytes()
        return found


@pytest.fixture
def world(tmp_path, plan_file, tokenizer_file):
    return World(tmp_path, [plan_file(0)], tokenizer_file)


@pytest.fixture
def engines(monkeypatch):
    """Revisions for which an engine was built."""
    built, original = [], Engine.__init__

    def counted(self, folder, *rest):
        built.append(folder.name)
        original(self, folder, *rest)

    monkeypatch.setattr(Engine, "__init__", counted)
    return built


def test_the_results_are_those_of_a_process_per_checkpoint_and_the_others_compute_nothing(
    tmp_path, plan_file, tokenizer_file, engines
):
    plans = [plan_file(0), plan_file(5)]
    apart, together = (World(tmp_path / name, plans, tokenizer_file) for name in ("apart", "together"))
    for step in STEPS:
        apart.score(step, 1)
    engines.clear()
    together.score(2)
    assert engines == ["step2", "step4", "step8", "step1"]
    assert (together.published(), together.waiting()) == ([2], [1, 4, 8])
    for step in (8, 1, 4):
        together.score(step)
    assert len(engines) == 4
    assert together.files() == apart.files()
    assert not list((together.folder / "scores").rglob(".*"))


def test_a_job_whose_scores_wait_does_not_even_load_torch(world):
    world.score(1)
    program = "import sys\nfrom workflow_scripts.evaluation import score\nscore.main(sys.argv[1:])\n"
    program += "assert 'torch' not in sys.modules and 'numpy' in sys.modules"
    subprocess.run([sys.executable, "-c", program, *world.arguments(2)], check=True, capture_output=True)
    assert world.published() == [1, 2]
    assert record_path(world.outputs(2)[0]).is_file()


@pytest.mark.parametrize(("ahead", "expected"), [(1, []), (2, [4]), (3, [4, 8]), (9, [1, 4, 8])])
def test_no_more_than_the_profile_says(world, ahead, expected):
    world.score(2, ahead)
    assert world.waiting() == expected


def test_what_is_not_wanted_not_fetched_or_of_another_group_is_left_alone(world, engines):
    run = json.loads((world.folder / "run.json").read_text())
    (world.folder / "run.json").write_text(json.dumps({**run, "steps": {"pocket-90k": [1, 2, 4]}}))
    (world.checkpoint(4) / siblings.RECEIPT).unlink()
    world.score(1)
    assert engines == ["step1", "step2"]
    (world.checkpoint(4) / siblings.RECEIPT).write_text("{}")
    other = world.folder / "checkpoints" / "pocket-280k" / "step8"
    world.score(4, 4, "--siblings", world.checkpoint(4), other, world.checkpoint(8))
    assert engines[2:] == ["step4", "step8"]


@pytest.mark.parametrize("text", [None, "", "[]", "{}"])
def test_without_a_list_of_the_run_only_its_own_checkpoint_is_scored(world, text):
    (world.folder / "run.json").unlink()
    if text is not None:
        (world.folder / "run.json").write_text(text)
    world.score(1)
    assert (world.published(), world.waiting()) == ([1], [])


def test_a_checkpoint_that_arrives_meanwhile_is_taken(world, monkeypatch):
    late = world.checkpoint(8) / siblings.RECEIPT
    late.unlink()
    original = score_plan.score_checkpoint

    def then_fetched(engine, job, *rest):
        original(engine, job, *rest)
        if job.checkpoint.name == "step4":
            late.write_text("{}")

    monkeypatch.setattr(score_plan, "score_checkpoint", then_fetched)
    world.score(2)
    assert world.waiting() == [1, 4, 8]


@pytest.mark.parametrize("spoil", ["weights", "no config", "gone", "tokenizer"])
def test_a_broken_sibling_does_not_fail_the_leader_but_its_own_job(world, spoil):
    folder = world.checkpoint(4)
    if spoil == "weights":
        (folder / "model.safetensors").write_bytes(b"\xff" * 64)
    elif spoil == "no config":
        (folder / "config.json").unlink()
    elif spoil == "tokenizer":
        (folder / "tokenizer.json").write_text("{}")
    else:
        shutil.rmtree(folder)
        folder.mkdir()
        (folder / siblings.RECEIPT).write_text("{}")
    world.score(2)
    assert (world.published(), world.waiting()) == ([2], [1, 8])
    with pytest.raises(PipelineError, match="step4"):
        world.score(4)


def test_a_sibling_that_is_fetched_anew_meanwhile_counts_for_nothing(world, monkeypatch, caplog):
    original = score_plan.score_checkpoint

    def then_fetched(engine, job, *rest):
        original(engine, job, *rest)
        if job.checkpoint.name == "step4":
            receipt = job.checkpoint / siblings.RECEIPT
            receipt.rename(receipt.with_name("old"))
            receipt.write_text("{}")

    monkeypatch.setattr(score_plan, "score_checkpoint", then_fetched)
    caplog.set_level("INFO")
    world.score(2)
    assert world.waiting() == [1, 8]
    assert "was fetched anew while it was scored" in caplog.text


@pytest.mark.parametrize("change", ["weights", "plan", "precision", "cut", "engine"])
def test_waiting_scores_of_something_else_are_computed_again(world, plan_file, engines, monkeypatch, change):
    world.score(1, 2)
    engines.clear()
    more = ()
    if change == "weights":
        save_model(world.checkpoint(2), world.checkpoint(2) / "tokenizer.json", 77)
    elif change == "plan":
        world.plans = [plan_file(5)]
    elif change == "precision":
        more = ("--dtype", "bfloat16")
    elif change == "cut":
        loglikelihoods_path(unpublished(world.outputs(2)[0])).write_bytes(b"PK")
    else:
        monkeypatch.setattr("workflow_scripts.evaluation.scoring.scoring_job.ENGINE_VERSION", 99)
    world.score(2, 1, *more)
    assert engines == ["step2"]
    assert not list(world.outputs(2)[0].parent.glob(".*"))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_leader_that_is_killed_loses_nothing_that_is_scored(world, engines, count):
    command = [sys.executable, "-c", DIE_AFTER, str(count), *world.arguments(1)]
    assert subprocess.run(command, check=False, capture_output=True).returncode == -signal.SIGKILL
    assert world.published() == []
    assert world.waiting() == list(STEPS[:count])
    for step in STEPS:
        world.score(step, 1)
    assert engines == [f"step{step}" for step in STEPS[count:]]
    assert not list((world.folder / "scores").rglob(".*"))


@pytest.mark.parametrize("moves", [1, 2, 3])
def test_a_job_that_is_killed_while_it_moves_its_scores_is_done_again(world, monkeypatch, engines, moves):
    world.score(1, 2)
    expected = unpublished(world.outputs(2)[0]).read_bytes()
    original, done = type(world.folder).replace, []

    def replace_then_die(self, target):
        original(self, target)
        done.append(target)
        if len(done) == moves:
            raise KeyboardInterrupt

    monkeypatch.setattr(type(world.folder), "replace", replace_then_die)
    with pytest.raises(KeyboardInterrupt):
        world.score(2, 1)
    monkeypatch.undo()
    world.score(2, 1)
    assert world.outputs(2)[0].read_bytes() == expected
    assert record_path(world.outputs(2)[0]).is_file()
    assert not list(world.outputs(2)[0].parent.glob(".*"))


def test_two_processes_at_once_score_no_checkpoint_twice(world):
    programs = []
    for step in (1, 4):
        command = [sys.executable, "-m", "workflow_scripts.evaluation.score", *world.arguments(step)]
        programs.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
    said = "".join(program.communicate()[1] for program in programs)
    assert [program.returncode for program in programs] == [0, 0]
    assert [said.count(f"score pocket-90k/step{step}: 100%") for step in STEPS] == [1, 1, 1, 1]
    assert (world.published(), world.waiting()) == ([1, 4], [2, 8])


def test_a_job_waits_for_the_process_that_is_working_on_its_checkpoint(world, engines):
    started = threading.Event()
    with exclusive(world.outputs(2)[0]):
        thread = threading.Thread(target=lambda: (started.set(), world.score(2, 1)))
        thread.start()
        assert started.wait(20)
        world.score(1, 2)
        assert world.waiting() == [4]  # the one whose lock is held is left alone
        assert "step2" not in engines
        assert thread.is_alive()
    thread.join(60)
    assert world.published() == [1, 2]


def test_where_the_file_system_does_not_lock_nobody_works_ahead(world, monkeypatch):
    monkeypatch.setattr("workflow_scripts.storage.locks.excludes", lambda path: False)
    world.score(1)
    assert (world.published(), world.waiting()) == ([1], [])


def test_a_lock_that_a_killed_process_left_holds_nobody_up(world):
    lock = lock_path(world.outputs(1)[0])
    lock.parent.mkdir(parents=True)
    lock.write_text(json.dumps({"pid": os.getpid(), "host": "elsewhere"}))
    world.score(1, 1)
    assert not lock.exists()


def test_numbers_that_cannot_be_meant(world):
    with pytest.raises(ConfigError, match="--ahead is 0 for 1 checkpoints; it goes with one"):
        world.score(1, 0)
    two = ["--checkpoint", "a", "b", "--plan", "p", "--output", "c", "d", "--ahead", "2"]
    with pytest.raises(ConfigError, match="--ahead is 2 for 2 checkpoints"):
        scorer.main(two)


def test_the_choices_are_those_of_the_engine():
    assert sorted(scorer.DTYPES) == sorted(score_plan.DTYPES)
    assert sorted(scorer.WAYS) == sorted(attention.WAYS)
