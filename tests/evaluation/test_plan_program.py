"""Planning: names, splits, limits, few-shot rules, and a file whose identity follows its content."""

from __future__ import annotations

import json
import os
import shutil
import socket

import numpy as np
import pytest
from evaluation_worlds import TASKS, plan_arguments, write_parquet, write_task_data
from huggingface_hub import constants
from safetensors.numpy import load_file, save_file

from workflow_scripts.errors import ConfigError, DataError, EvaluationError, MissingInputError, UnknownNameError
from workflow_scripts.evaluation import build_plan as planner
from workflow_scripts.evaluation.planning.plan_file import read_plan, write_plan
from workflow_scripts.evaluation.planning.tasks import leaf_names, load_tasks, make_manager
from workflow_scripts.storage.hashing import sha256_file


def make(tmp_path, data, tokenizer, tasks=TASKS, shots=0, *, more=()):
    path = tmp_path / "test.plan"
    planner.main([*plan_arguments(tasks, shots, data, tokenizer, path), *more])
    return read_plan(path)


def test_header_says_what_the_plan_is(plan_file, task_data):
    plan = read_plan(plan_file(0))
    assert [task["name"] for task in plan.header["tasks"]] == list(TASKS)
    facts = next(task for task in plan.header["tasks"] if task["name"] == "pocket_facts")
    assert facts["metrics"] == [
        {"name": "acc", "aggregation": "mean", "higher_is_better": True},
        {"name": "acc_norm", "aggregation": "mean", "higher_is_better": True},
    ]
    assert facts["dataset"] == "pocket/facts/default"
    assert facts["original_documents"] == 12
    assert plan.header["left_out"] == {}
    assert plan.header["counts"]["requests"] == plan.requests
    assert plan.header["lm_eval"] == "0.4.13"
    name = "pocket/facts/default/test.parquet"
    assert plan.header["data"][name] == sha256_file(task_data / name)


def test_tasks_with_fixed_zero_shots_are_only_in_the_zero_shot_plan(plan_file):
    plan = read_plan(plan_file(5))
    assert [task["name"] for task in plan.header["tasks"]] == ["pocket_last_word", "pocket_facts", "pocket_arithmetic"]
    assert set(plan.header["left_out"]) == {"pocket_agreement", "pocket_pronouns"}
    assert "fixes num_fewshot at 0" in plan.header["left_out"]["pocket_agreement"]
    assert all(task["num_fewshot"] == 5 for task in plan.header["tasks"])


def test_no_task_for_these_shots(tmp_path, task_data, tokenizer_file):
    with pytest.raises(ConfigError, match="no task takes 5 shots: pocket_agreement"):
        make(tmp_path, task_data, tokenizer_file, ("pocket_agreement",), 5)


def test_same_input_same_bytes(plan_file, tmp_path, task_data, tokenizer_file):
    make(tmp_path, task_data, tokenizer_file, TASKS, 5)
    assert (tmp_path / "test.plan").read_bytes() == plan_file(5).read_bytes()


def test_identity_follows_data_tokenizer_seed_and_limit(plan_file, tmp_path, task_data, tokenizer_file):
    identities = [read_plan(plan_file(5)).identity]
    identities.append(make(tmp_path, task_data, tokenizer_file, TASKS, 5, more=["--fewshot-seed", "7"]).identity)
    identities.append(make(tmp_path, task_data, tokenizer_file, TASKS, 5, more=["--limit", "3"]).identity)
    other = write_task_data(tmp_path / "data", 13)
    identities.append(make(tmp_path, other, tokenizer_file, TASKS, 5).identity)
    tokenizer = tmp_path / "tokenizer.json"
    tokenizer.write_text(json.dumps(json.loads(tokenizer_file.read_text()), indent=3))
    identities.append(make(tmp_path, task_data, tokenizer, TASKS, 5).identity)
    assert len(set(identities)) == 5


def test_limit_takes_the_first_documents_with_the_same_shots(plan_file, tmp_path, task_data, tokenizer_file):
    whole = read_plan(plan_file(5))
    part = make(tmp_path, task_data, tokenizer_file, TASKS, 5, more=["--limit", "4"])
    for full, cut in zip(whole.header["tasks"], part.header["tasks"], strict=True):
        assert cut["documents"][1] - cut["documents"][0] == 4
        assert cut["original_documents"] == 12
        count = cut["requests"][1] - cut["requests"][0]
        assert inputs_of(whole, full["requests"][0], count) == inputs_of(part, cut["requests"][0], count)


def inputs_of(plan, first, count):
    """All tokens (prompt and targets) of ``count`` requests from number ``first``."""
    forest, found = plan.forest, []
    for piece in np.flatnonzero((plan.table.piece_request >= first) & (plan.table.piece_request < first + count)):
        edges = forest.piece_edge[forest.piece_start[piece] : forest.piece_start[piece + 1]]
        last = forest.slot_node[forest.edge_slot[edges[-1]]]
        begin = forest.row_start[np.searchsorted(forest.row_start, last, side="right") - 1]
        nodes = np.arange(begin, last + 1)
        prompt = forest.token[nodes[forest.end[nodes] > last - begin]]
        found.append((prompt.tolist(), forest.edge_token[edges].tolist()))
    return found


def test_a_program_keeps_the_libraries_offline_and_its_process_as_it_was(
    tmp_path, task_data, tokenizer_file, monkeypatch
):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    seen = []

    def loading(*arguments):
        seen.append((os.environ["HF_HUB_OFFLINE"], constants.is_offline_mode()))
        return load_tasks(*arguments)

    monkeypatch.setattr(planner, "load_tasks", loading)
    before = dict(os.environ)
    make(tmp_path, task_data, tokenizer_file)
    with pytest.raises(UnknownNameError):
        make(tmp_path / "other", task_data, tokenizer_file, tasks=["arc_eazy"])
    assert seen == [("1", True), ("1", True)]
    assert (dict(os.environ), constants.is_offline_mode()) == (before, False)


def test_unknown_names_get_the_nearest(task_data):
    with pytest.raises(UnknownNameError, match="unknown task 'arc_eazy'; did you mean 'arc_easy"):
        load_tasks(["arc_eazy"], [task_data])


@pytest.mark.shared
def test_a_task_is_not_asked_for_twice(shared):
    with pytest.raises(ConfigError, match="Duplicate task"):
        load_tasks(["mmlu_humanities", "mmlu_philosophy"], [shared / "hub" / "datasets"])


def test_a_missing_test_split_is_named(tmp_path, task_data, tokenizer_file):
    data = tmp_path / "data"
    shutil.copytree(task_data, data)
    (data / "pocket" / "facts" / "default" / "test.parquet").unlink()
    with pytest.raises(MissingInputError, match=r"task 'pocket_facts': .*pocket/facts/default/test\.parquet"):
        make(tmp_path, data, tokenizer_file)
    assert not (tmp_path / "test.plan").exists()


def test_a_split_only_wanted_for_shots_is_dropped(tmp_path, task_data, tokenizer_file, caplog):
    data = tmp_path / "data"
    shutil.copytree(task_data, data)
    (data / "pocket" / "facts" / "default" / "train.parquet").unlink()
    plan = make(tmp_path, data, tokenizer_file, ("pocket_facts",), 2)
    assert plan.header["tasks"][0]["dropped_splits"] == ["train"]
    assert "task 'pocket_facts': split train is not on disk" in caplog.text


def test_several_data_folders_are_searched_in_order(tmp_path, task_data, tokenizer_file):
    half = tmp_path / "half"
    shutil.copytree(task_data / "pocket" / "facts", half / "pocket" / "facts")
    tasks = ("pocket_facts", "pocket_arithmetic")
    plan = make(tmp_path, half, tokenizer_file, tasks, 0, more=["--data-dir", str(task_data)])
    assert len(plan.header["tasks"]) == 2


def test_broken_data_is_named(tmp_path, task_data, tokenizer_file):
    data = tmp_path / "data"
    shutil.copytree(task_data, data)
    path = data / "pocket" / "facts" / "default" / "test.parquet"
    path.write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(DataError, match=r"test\.parquet: not a readable parquet file"):
        make(tmp_path, data, tokenizer_file)
    write_parquet(path, [])
    with pytest.raises(DataError, match=r"test\.parquet: holds no rows"):
        make(tmp_path, data, tokenizer_file)


def test_planning_opens_no_connection(tmp_path, task_data, tokenizer_file, monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("the planner went to the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert make(tmp_path, task_data, tokenizer_file).requests > 0


def test_the_quick_folders_hold_the_tasks_of_the_paper():
    names = ("blimp", "lambada_openai", "arc_easy", "arc_challenge", "piqa", "sciq", "wsc", "winogrande", "logiqa")
    manager = make_manager([*names, "wikitext", "mmlu", "crows_pairs_english"])
    assert len(manager.all_tasks) < 600  # the whole package has many thousand
    assert len(leaf_names(manager.task_index, ["blimp"])) == 67
    assert len(leaf_names(manager.task_index, ["mmlu"])) == 57


def test_a_task_whose_results_are_computed_otherwise_is_refused(tmp_path, task_data, tokenizer_file, monkeypatch):
    from lm_eval.api.task import ConfigurableTask

    other = {"acc": 0.25, "acc_norm": 0.25}
    monkeypatch.setattr(ConfigurableTask, "process_results", lambda self, doc, results: other)
    with pytest.raises(EvaluationError, match=r"task 'pocket_facts': metric 'acc' is .* here and 0\.25 in lm-eval"):
        make(tmp_path, task_data, tokenizer_file, ("pocket_facts",))


def test_impossible_numbers(tmp_path, task_data, tokenizer_file):
    for more in (["--max-length", "0"], ["--shots", "-1"]):
        with pytest.raises(ConfigError, match="1 or more"):
            make(tmp_path, task_data, tokenizer_file, TASKS, 0, more=more)
    for limit in ("0", "-2", "2.5"):
        with pytest.raises(ConfigError, match="neither a whole number nor a share"):
            make(tmp_path, task_data, tokenizer_file, TASKS, 0, more=["--limit", limit])


def test_a_share_of_the_documents(tmp_path, task_data, tokenizer_file):
    plan = make(tmp_path, task_data, tokenizer_file, ("pocket_facts",), 0, more=["--limit", "0.2"])
    assert plan.header["tasks"][0]["documents"] == [0, 3]  # ceil(0.2 x 12)


def test_damaged_plans_are_refused(plan_file, tmp_path):
    path = tmp_path / "bad.plan"
    content = plan_file(0).read_bytes()
    path.write_bytes(content[:-10])
    with pytest.raises(EvaluationError, match=r"bad\.plan: not an evaluation plan"):
        read_plan(path)
    flipped = bytearray(content)
    flipped[-5] ^= 1
    path.write_bytes(flipped)
    with pytest.raises(EvaluationError, match="content and identity differ"):
        read_plan(path)
    save_file({"x": np.zeros(2)}, path)
    with pytest.raises(EvaluationError, match="format is None"):
        read_plan(path)
    with pytest.raises(MissingInputError, match="no such plan"):
        read_plan(tmp_path / "none.plan")


def test_a_changed_header_is_refused(plan_file, tmp_path):
    plan = read_plan(plan_file(0))
    path = tmp_path / "edited.plan"
    write_plan(path, plan)
    assert path.read_bytes() == plan_file(0).read_bytes()
    header = json.dumps({**plan.header, "max_length": 99}, sort_keys=True)
    save_file(load_file(path), path, {"header": header})
    with pytest.raises(EvaluationError, match="content and identity differ"):
        read_plan(path)


def make_each(folder, data, tokenizer, tasks, shots, *more):
    """A plan of its own for each task; returns their files by task."""
    files = {task: folder / f"{task}.plan" for task in tasks}
    first, *others = files.values()
    arguments = plan_arguments(tasks, shots, data, tokenizer, first)
    planner.main([*arguments, *map(str, others), *more])
    return files


def test_each_task_has_a_plan_that_is_made_once(plan_file, tmp_path, task_data, tokenizer_file, monkeypatch):
    folder = tmp_path / "plans"
    files = make_each(folder, task_data, tokenizer_file, TASKS, 5)
    together = read_plan(plan_file(5))
    tasks = [task["name"] for file in files.values() for task in read_plan(file).header["tasks"]]
    assert tasks == [task["name"] for task in together.header["tasks"]]
    empty = read_plan(files["pocket_agreement"])
    assert (empty.requests, empty.header["counts"]["rows"], empty.header["tasks"]) == (0, 0, [])
    assert "pocket_agreement" in empty.header["left_out"]

    loaded = []
    original = planner.load_tasks
    monkeypatch.setattr(planner, "load_tasks", lambda names, *rest: loaded.append(*names) or original(names, *rest))
    before = {file: file.stat().st_mtime_ns for file in files.values()}
    make_each(folder, task_data, tokenizer_file, TASKS, 5)
    assert loaded == []
    files["pocket_facts"].unlink()
    make_each(folder, task_data, tokenizer_file, TASKS, 5)
    assert loaded == ["pocket_facts"]
    others = {file: at for file, at in before.items() if file != files["pocket_facts"]}
    assert {file: file.stat().st_mtime_ns for file in others} == others


@pytest.mark.parametrize("change", ["seed", "data", "tokenizer", "damage", "renewal", "definitions", "record"])
def test_a_plan_is_made_again_for_whatever_decides_it(tmp_path, task_data, tokenizer_file, monkeypatch, change):
    data, tokenizer, more = tmp_path / "data", tmp_path / "tokenizer.json", []
    shutil.copytree(task_data, data)
    shutil.copy(tokenizer_file, tokenizer)
    tasks = ("pocket_facts", "pocket_arithmetic")
    files = make_each(tmp_path, data, tokenizer, tasks, 2)
    if change == "data":
        shutil.copytree(
            write_task_data(tmp_path / "other", 13) / "pocket/facts", data / "pocket/facts", dirs_exist_ok=True
        )
    elif change == "tokenizer":
        tokenizer.write_text(json.dumps(json.loads(tokenizer.read_text()), indent=3))
    elif change == "damage":
        files["pocket_facts"].write_bytes(files["pocket_facts"].read_bytes()[:-4] + b"1234")
    elif change == "definitions":
        monkeypatch.setattr(planner, "PLANNER_VERSION", 99)
    elif change == "record":
        (tmp_path / "pocket_facts.plan.record.json").unlink()
    else:
        more = {"seed": ["--fewshot-seed", "7"], "renewal": ["--renewal", "1"]}[change]
    loaded = []
    original = planner.load_tasks
    monkeypatch.setattr(planner, "load_tasks", lambda names, *rest: loaded.append(*names) or original(names, *rest))
    make_each(tmp_path, data, tokenizer, tasks, 2, *more)
    assert loaded == (["pocket_facts"] if change in ("data", "damage", "record") else list(tasks))
