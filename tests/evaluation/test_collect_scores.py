"""The tidy table of scores and the coverage table, from results files of a made-up run."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pandas as pd
import pytest
from evaluation_worlds import TASKS

from workflow_scripts.errors import ConfigError, DataError, MissingInputError, UnknownNameError
from workflow_scripts.evaluation import collect, coverage
from workflow_scripts.evaluation import score as scorer
from workflow_scripts.evaluation.planning.plan_file import read_plan
from workflow_scripts.evaluation.scoring.results import read_answers
from workflow_scripts.evaluation.scoring.score_files import parse_path
from workflow_scripts.suite.registry import load_suite


@pytest.fixture(scope="module")
def scores_dir(checkpoint, plan_file, tmp_path_factory):
    """Scores of pocket-90k/step4 for 0 and 5 shots."""
    root = tmp_path_factory.mktemp("scores")
    outputs = [str(root / "pocket-90k" / "step4" / f"{shots}-shot.json") for shots in (0, 5)]
    plans = [str(plan_file(shots)) for shots in (0, 5)]
    scorer.main(["--checkpoint", str(checkpoint), "--plan", *plans, "--output", *outputs])
    return root


@pytest.fixture
def run_file(tmp_path):
    """A run that asks for steps 4 and 8 of one model."""
    run = {
        "run": "test",
        "suite": "pocket",
        "models": [{"name": "pocket-90k"}],
        "steps": {"pocket-90k": [4, 8]},
        "shots": [0, 5],
        "tasks": [{"name": "pocket_agreement"}, {"name": "pocket_facts"}],
    }
    path = tmp_path / "run.json"
    path.write_text(json.dumps(run))
    return path


def one_step(run_file):
    run = json.loads(run_file.read_text())
    run_file.write_text(json.dumps(run | {"steps": {"pocket-90k": [4]}}))
    return run_file


def test_table_by_run(scores_dir, run_file, tmp_path):
    output = tmp_path / "scores.parquet"
    collect.main(["--run", str(one_step(run_file)), "--scores-dir", str(scores_dir), "--output", str(output)])
    frame = pd.read_parquet(output)
    assert list(frame.columns) == list(collect.COLUMNS)
    # Zero-shot agreement and facts with two metrics; with five shots facts alone. Other tasks are of other runs.
    assert frame.groupby(["shots", "task"]).size().to_dict() == {
        (0, "pocket_agreement"): 1,
        (0, "pocket_facts"): 2,
        (5, "pocket_facts"): 2,
    }
    row = frame[(frame.task == "pocket_facts") & (frame.metric == "acc_norm") & (frame.shots == 5)].iloc[0]
    assert (row.model, row["size"], row.data, row.arm, row.step) == ("pocket-90k", "90k", "standard", "baseline", 4)
    assert row.tokens == load_suite("pocket").model("pocket-90k").step(4).tokens
    assert row.n == 12
    assert (row.harness, row.engine) == ("lm-eval 0.4.13", "prefix-tree")
    assert row.source_file == "pocket-90k/step4/5-shot.json"
    content = json.loads((scores_dir / row.source_file).read_text())
    assert row.value == content["results"]["pocket_facts"]["acc_norm,none"]
    assert row.stderr == content["results"]["pocket_facts"]["acc_norm_stderr,none"]
    again = pd.read_csv(output.with_suffix(".csv"), dtype={"task_version": str})
    pd.testing.assert_frame_equal(again, frame, check_dtype=False)


def test_table_by_files_is_the_same(scores_dir, run_file, tmp_path):
    first, second = tmp_path / "a.parquet", tmp_path / "b.parquet"
    run = json.loads(run_file.read_text())
    run_file.write_text(json.dumps(run | {"tasks": [{"name": name} for name in TASKS]}))
    collect.main(["--run", str(one_step(run_file)), "--scores-dir", str(scores_dir), "--output", str(first)])
    files = [str(scores_dir / "pocket-90k" / "step4" / f"{shots}-shot.json") for shots in (0, 5)]
    collect.main(["--suite", "pocket", "--scores", *files, "--output", str(second)])
    assert first.read_bytes() == second.read_bytes()


def test_a_file_without_a_task_of_the_run_is_refused(scores_dir, run_file, tmp_path):
    run = json.loads(one_step(run_file).read_text())
    run_file.write_text(json.dumps(run | {"tasks": [{"name": "pocket_facts"}, {"name": "arc_easy"}]}))
    arguments = ["--run", str(run_file), "--scores-dir", str(scores_dir), "--output", str(tmp_path / "s.parquet")]
    with pytest.raises(DataError, match=r"step4/0-shot\.json: lacks task arc_easy; rerun the workflow"):
        collect.main(arguments)
    assert not (tmp_path / "s.parquet").exists()


def test_gains_of_examples_are_paired_by_document(scores_dir, run_file, tmp_path, plan_file):
    """Errors of five-shot minus zero-shot from the answers themselves, and none without the plans."""
    plans = {shots: plan_file(shots) for shots in (0, 5)}
    arguments = ["--run", str(one_step(run_file)), "--scores-dir", str(scores_dir)]
    collect.main([*arguments, "--plans", *map(str, plans.values()), "--output", str(tmp_path / "s.parquet")])
    frame = pd.read_parquet(tmp_path / "s.parquet")
    right = {}
    for shots, path in plans.items():
        plan = read_plan(path)
        answers = read_answers(scores_dir / "pocket-90k" / "step4" / f"{shots}-shot.json", plan)
        task = next(task for task in plan.header["tasks"] if task["name"] == "pocket_facts")
        first, last = task["requests"]
        choices = answers.loglikelihood[first:last].reshape(12, -1)
        gold = plan.table.gold[first:last].reshape(12, -1)
        right[shots] = gold[np.arange(12), choices.argmax(axis=1)].astype(float)
    row = frame[(frame.task == "pocket_facts") & (frame.metric == "acc") & (frame.shots == 5)].iloc[0]
    assert row.gain_stderr == pytest.approx((right[5] - right[0]).std(ddof=1) / 12**0.5)
    assert frame[frame.shots == 0]["gain_stderr"].isna().all()
    assert frame[(frame.shots == 5) & (frame.metric == "perplexity")]["gain_stderr"].isna().all()
    collect.main([*arguments, "--output", str(tmp_path / "t.parquet")])
    assert pd.read_parquet(tmp_path / "t.parquet")["gain_stderr"].isna().all()


def test_missing_files_are_counted_and_named(scores_dir, run_file, tmp_path):
    arguments = ["--run", str(run_file), "--scores-dir", str(scores_dir), "--output", str(tmp_path / "s.parquet")]
    with pytest.raises(MissingInputError, match=r"2 results files are missing: .*step8/0-shot\.json"):
        collect.main(arguments)
    assert not (tmp_path / "s.parquet").exists()


def test_a_file_in_the_wrong_folder_is_refused(scores_dir, tmp_path):
    wrong = tmp_path / "pocket-90k" / "step8" / "0-shot.json"
    wrong.parent.mkdir(parents=True)
    shutil.copy(scores_dir / "pocket-90k" / "step4" / "0-shot.json", wrong)
    with pytest.raises(DataError, match=r"step8/0-shot\.json: was scored from pocket-90k/step4"):
        collect.main(["--suite", "pocket", "--scores", str(wrong), "--output", str(tmp_path / "s.parquet")])


def test_nan_is_refused(scores_dir, tmp_path):
    broken = tmp_path / "pocket-90k" / "step4" / "0-shot.json"
    broken.parent.mkdir(parents=True)
    content = json.loads((scores_dir / "pocket-90k" / "step4" / "0-shot.json").read_text())
    content["results"]["pocket_facts"]["acc,none"] = float("nan")
    broken.write_text(json.dumps(content))
    with pytest.raises(DataError, match="task 'pocket_facts': acc,none is nan"):
        collect.main(["--suite", "pocket", "--scores", str(broken), "--output", str(tmp_path / "s.parquet")])


def test_arguments_of_collect(tmp_path, run_file):
    with pytest.raises(ConfigError, match=r"must end in \.parquet"):
        collect.main(["--run", str(run_file), "--scores-dir", "x", "--output", "s.csv"])
    for arguments in ([], ["--run", str(run_file)], ["--suite", "pocket"]):
        with pytest.raises(ConfigError, match="give either"):
            collect.main([*arguments, "--output", "s.parquet"])
    other = tmp_path / "other.json"
    other.write_text("{}")
    with pytest.raises(DataError, match="lacks run"):
        collect.main(["--run", str(other), "--scores-dir", "x", "--output", "s.parquet"])


def test_unknown_models_and_paths(scores_dir, tmp_path):
    strange = tmp_path / "pocket-91k" / "step4" / "0-shot.json"
    strange.parent.mkdir(parents=True)
    content = json.loads((scores_dir / "pocket-90k" / "step4" / "0-shot.json").read_text())
    content["config"]["model_name"] = "pocket-91k"
    strange.write_text(json.dumps(content))
    with pytest.raises(UnknownNameError, match="did you mean 'pocket-90k'"):
        collect.main(["--suite", "pocket", "--scores", str(strange), "--output", str(tmp_path / "s.parquet")])
    with pytest.raises(DataError, match="results files are called"):
        parse_path(tmp_path / "step4" / "zero-shot.json")
    with pytest.raises(ConfigError, match="is not of the form step0"):
        parse_path(tmp_path / "main" / "0-shot.json")


def test_coverage_names_every_state(scores_dir, run_file, tmp_path):
    root = tmp_path / "scores"
    shutil.copytree(scores_dir, root)
    broken = root / "pocket-90k" / "step8" / "0-shot.json"
    broken.parent.mkdir()
    broken.write_text("")
    output = tmp_path / "coverage.csv"
    coverage.main(["--run", str(run_file), "--scores-dir", str(root), "--output", str(output)])
    with output.open() as file:
        rows = list(csv.DictReader(file))
    status = {(row["step"], row["shots"], row["task"]): row["status"] for row in rows}
    assert status == {
        ("4", "0", "pocket_agreement"): "present",
        ("4", "0", "pocket_facts"): "present",
        ("4", "5", "pocket_agreement"): "left out",
        ("4", "5", "pocket_facts"): "present",
        ("8", "0", "pocket_agreement"): "failed",
        ("8", "0", "pocket_facts"): "failed",
        ("8", "5", "pocket_agreement"): "missing",
        ("8", "5", "pocket_facts"): "missing",
    }
    assert "not JSON" in next(row["reason"] for row in rows if row["status"] == "failed")


def test_coverage_of_a_task_that_was_not_planned(scores_dir, run_file, tmp_path):
    run = json.loads(run_file.read_text())
    run_file.write_text(json.dumps(run | {"tasks": [{"name": "arc_easy"}], "shots": [0], "steps": {"pocket-90k": [4]}}))
    output = tmp_path / "coverage.csv"
    coverage.main(["--run", str(run_file), "--scores-dir", str(scores_dir), "--output", str(output)])
    assert "pocket-90k,4,current,0,arc_easy,absent," in output.read_text()
