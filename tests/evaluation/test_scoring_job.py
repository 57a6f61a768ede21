"""Scores of several plans share a file: each is computed once, joins the others, and depends on none of them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from evaluation_worlds import TASKS, plan_arguments, save_model
from test_interrupted_scoring import KILLED

from workflow_scripts.errors import ConfigError, EvaluationError, IntegrityError
from workflow_scripts.evaluation import build_plan as planner
from workflow_scripts.evaluation import score as scorer
from workflow_scripts.evaluation.engine import attention, row_tensors
from workflow_scripts.evaluation.engine.engine import Engine
from workflow_scripts.evaluation.planning.plan_file import read_plan
from workflow_scripts.evaluation.scoring import score_plan
from workflow_scripts.evaluation.scoring.results import loglikelihoods_path, read_answers, read_results
from workflow_scripts.storage.locks import exclusive, lock_path


@pytest.fixture(scope="session")
def task_plans(tmp_path_factory, tokenizer_file, task_data):
    """Plans of each pocket task for 0 and 5 shots, by (shots, task)."""
    made = {}
    for shots in (0, 5):
        folder = tmp_path_factory.mktemp(f"{shots}-shot")
        files = [folder / f"{task}.plan" for task in TASKS]
        first = plan_arguments(TASKS, shots, task_data, tokenizer_file, files[0])
        planner.main([*first, *map(str, files[1:])])
        made |= {(shots, task): file for task, file in zip(TASKS, files, strict=True)}
    return made


@pytest.fixture
def loaded(monkeypatch):
    """Checkpoints whose weights are loaded, and requests that are scored."""
    found = []
    original = Engine.__init__

    def noted(self, folder, *rest):
        found.append(folder)
        original(self, folder, *rest)

    monkeypatch.setattr(Engine, "__init__", noted)
    return found


def run(checkpoints, plans, outputs, *more):
    arguments = ["--checkpoint", *checkpoints, "--plan", *plans, "--output", *outputs]
    scorer.main([str(argument) for argument in (*arguments, *more)])


def both(output):
    return output.read_bytes(), loglikelihoods_path(output).read_bytes()


def note_rows(monkeypatch, note):
    """List that grows by ``note(forest, first row)`` whenever the engine scores rows."""
    scored = []
    original = Engine.score_rows

    def noted(self, forest, first, *rest):
        scored.append(note(forest, first))
        return original(self, forest, first, *rest)

    monkeypatch.setattr(Engine, "score_rows", noted)
    return scored


def test_scores_of_tasks_are_those_of_one_plan_with_all(task_plans, plan_file, checkpoint, tmp_path):
    """Also by the bytes of the numbers that lm-eval shows: metrics, counts, groups."""
    outputs = [tmp_path / "each" / f"{shots}-shot.json" for shots in (0, 5)]
    run([checkpoint], task_plans.values(), outputs)
    for shots, output in zip((0, 5), outputs, strict=True):
        whole = tmp_path / "whole" / output.name
        run([checkpoint], [plan_file(shots)], [whole])
        each, one = read_results(output), read_results(whole)
        assert set(each["plans"]) == set(TASKS)
        for part in set(one) - {"results", "groups", "plans"}:
            assert each[part] == one[part], part
        for task, entry in one["results"].items():
            ours = each["results"][task]
            assert ours.keys() == entry.keys()
            for key in entry:
                assert ours[key] == (entry[key] if isinstance(entry[key], str) else pytest.approx(entry[key], rel=1e-5))
        plan = read_plan(plan_file(shots))
        for task in plan.header["tasks"]:
            ours = read_answers(output, read_plan(task_plans[shots, task["name"]]))
            theirs = read_answers(whole, plan).loglikelihood[slice(*task["requests"])]
            np.testing.assert_allclose(ours.loglikelihood, theirs, atol=2e-5)


def test_a_further_task_is_scored_alone_and_nothing_depends_on_the_way(task_plans, checkpoint, tmp_path, monkeypatch):
    plans = [task_plans[0, task] for task in TASKS]
    at_once, in_steps = tmp_path / "at-once" / "0-shot.json", tmp_path / "in-steps" / "0-shot.json"
    run([checkpoint], plans, [at_once])
    scored = note_rows(monkeypatch, lambda forest, first: len(forest.token))
    for count in (2, 1, 5, 3):
        scored.clear()
        run([checkpoint], plans[:count], [in_steps])
        new = {2: plans[:2], 1: [], 5: plans[2:], 3: []}[count]
        assert scored == [len(read_plan(plan).forest.token) for plan in new]
    assert both(in_steps) == both(at_once)


def test_nothing_is_loaded_when_nothing_is_missing(task_plans, checkpoint, tmp_path, loaded):
    output = tmp_path / "0-shot.json"
    plans = [task_plans[0, task] for task in TASKS[:2]]
    run([checkpoint], plans, [output])
    before = both(output)
    run([checkpoint], plans, [output])
    run([checkpoint], plans[:1], [output])
    assert loaded == [checkpoint]
    assert both(output) == before
    run([checkpoint], plans, [output], "--renewal", "2")
    run([checkpoint], plans, [output], "--renewal", "2")
    assert loaded == [checkpoint, checkpoint]
    assert read_results(output)["config"]["renewal"] == 2
    run([checkpoint], plans, [output])
    assert both(output) == before


def test_scores_of_other_weights_or_another_cut_are_dropped(task_plans, copy_of, task_data, tokenizer_file, tmp_path):
    folder, output = copy_of("step21"), tmp_path / "0-shot.json"
    agreement, facts = task_plans[0, "pocket_agreement"], task_plans[0, "pocket_facts"]
    run([folder], [agreement], [output])
    save_model(folder, folder / "tokenizer.json", 7)
    run([folder], [facts], [output])
    assert set(read_results(output)["results"]) == {"pocket_facts"}
    cut = tmp_path / "pocket_arithmetic.plan"
    arguments = plan_arguments(("pocket_arithmetic",), 0, task_data, tokenizer_file, cut)
    planner.main([*arguments, "--limit", "3"])
    with pytest.raises(EvaluationError, match="pocket_facts differs in limit or seed"):
        run([folder], [facts, cut], [output])
    assert set(read_results(output)["results"]) == {"pocket_facts"}
    run([folder], [cut], [output])
    assert set(read_results(output)["results"]) == {"pocket_arithmetic"}


def test_a_task_in_two_plans_is_refused_where_both_are_asked_for(task_plans, plan_file, checkpoint, tmp_path):
    output = tmp_path / "0-shot.json"
    agreement = task_plans[0, "pocket_agreement"]
    with pytest.raises(EvaluationError, match="pocket_agreement is in two of them"):
        run([checkpoint], [plan_file(0), agreement], [output])
    run([checkpoint], [plan_file(0)], [output])
    run([checkpoint], [agreement], [output])
    assert set(read_results(output)["plans"]) == {"pocket_agreement"}
    other = tmp_path / "other" / agreement.name
    other.parent.mkdir()
    shutil.copy(task_plans[0, "pocket_facts"], other)
    with pytest.raises(ConfigError, match="two of its plans have one name"):
        run([checkpoint], [agreement, other], [output])


def test_a_killed_job_resumes_in_its_second_plan(task_plans, checkpoint, tmp_path, monkeypatch):
    plans = [task_plans[0, task] for task in ("pocket_agreement", "pocket_facts")]
    rows = [len(read_plan(plan).forest.row_start) - 1 for plan in plans]
    monkeypatch.setattr(row_tensors.segments, "__defaults__", (1,))
    whole, output = tmp_path / "whole" / "0-shot.json", tmp_path / "killed" / "0-shot.json"
    run([checkpoint], plans, [whole])
    # One row at a time; killed after one row of the second plan.
    program = KILLED.replace("len(written) == 3", f"len(written) == {rows[0] + 1}")
    command = [sys.executable, "-c", program, "1", "--checkpoint", checkpoint, "--plan", *plans, "--output", output]
    assert subprocess.run(list(map(str, command)), check=False, capture_output=True).returncode == -signal.SIGKILL
    scored = note_rows(monkeypatch, lambda forest, first: first)
    run([checkpoint], plans, [output])
    assert scored == list(range(1, rows[1]))
    assert both(output) == both(whole)


def test_bytes_that_changed_since_the_fetch_are_refused(task_plans, copy_of, tmp_path):
    """A bit flips on the disk after the fetch, and the time of the file stays: no score comes of it."""
    from workflow_scripts.storage.hashing import sha256_file

    folder, output = copy_of("step22"), tmp_path / "0-shot.json"
    names = ("config.json", "model.safetensors", "tokenizer.json")
    (folder / "sha256.txt").write_text("".join(f"{sha256_file(folder / name)}  {name}\n" for name in names))
    plan = task_plans[0, "pocket_agreement"]
    run([folder], [plan], [output])
    sound = both(output)
    output.unlink()
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1000] ^= 0x40
    weights.write_bytes(content)
    with pytest.raises(IntegrityError, match=r"step22/model\.safetensors: its sha256 is .* file changed on this"):
        run([folder], [plan], [output])
    assert not output.exists()
    content[-1000] ^= 0x40
    weights.write_bytes(content)
    run([folder], [plan], [output])
    assert both(output) == sound
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"rotary_pct": 0.5}))
    with pytest.raises(IntegrityError, match=r"config\.json: its sha256 is"):
        run([folder], [plan], [output])


def test_a_job_with_nothing_to_compute_does_not_even_load_torch(task_plans, checkpoint, tmp_path):
    output = tmp_path / "0-shot.json"
    words = ["--checkpoint", checkpoint, "--plan", task_plans[0, "pocket_facts"], "--output", output]
    run([checkpoint], [task_plans[0, "pocket_facts"]], [output])
    program = "import sys\nfrom workflow_scripts.evaluation import score\nscore.main(sys.argv[1:])\n"
    program += "assert 'torch' not in sys.modules and 'numpy' in sys.modules"
    subprocess.run([sys.executable, "-c", program, *map(str, words)], check=True, capture_output=True)


def test_two_processes_at_once_score_no_checkpoint_twice(task_plans, checkpoint, tmp_path):
    output, plan = tmp_path / "0-shot.json", task_plans[0, "pocket_facts"]
    words = ["--checkpoint", checkpoint, "--plan", plan, "--output", output]
    command = [sys.executable, "-m", "workflow_scripts.evaluation.score", *map(str, words)]
    with exclusive(output):
        programs = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
        time.sleep(0.5)
        assert not output.exists(), "a job waits for the process that is working on its checkpoint"
    said = "".join(program.communicate()[1] for program in programs)
    assert [program.returncode for program in programs] == [0, 0]
    assert said.count("score pocket-90k/step4: 100%") == 1


def test_a_lock_that_a_killed_process_left_holds_nobody_up(task_plans, checkpoint, tmp_path):
    output = tmp_path / "0-shot.json"
    lock = lock_path(output)
    lock.write_text(json.dumps({"pid": os.getpid(), "host": "elsewhere"}))
    run([checkpoint], [task_plans[0, "pocket_facts"]], [output])
    assert output.is_file()
    assert not lock.exists()


def test_the_choices_are_those_of_the_engine():
    assert sorted(scorer.DTYPES) == sorted(score_plan.DTYPES)
    assert sorted(scorer.WAYS) == sorted(attention.WAYS)
