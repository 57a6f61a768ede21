"""The experiments in the graph: traces by default, all of them on request, each job once."""

import hashlib
from pathlib import Path

from workflow_scripts.storage.lockfile import read_lock
from workflow_scripts.suite import layout
from workflow_scripts.suite.run import load_run
from workflow_scripts.suite.safe_yaml import load_yaml
from workflow_scripts.workflow import experiments
from workflow_scripts.workflow.tools import check


def test_the_default_run_makes_no_experiment_but_traces(plan):
    jobs = plan()
    assert not {"score_memorization", "train_arm", "count_terms", "measure_weights", "collect_probe"} & set(jobs)
    assert jobs["scan_texts"] == jobs["place_texts"] == jobs["traces"] == jobs["generate_trace_texts"] == 1
    assert jobs["score_texts"] == 3  # the first model of each size


def test_all_experiments_of_the_pocket_suite(plan):
    jobs = plan(["experiments"], configfile="config/runs/experiments.yaml")
    # Six models at three steps; seven arms of one model; two data sets; one verdict each.
    assert jobs["score_memorization"] == 18
    assert jobs["make_patch"] == 7
    for name in ("train_arm", "publish_arm", "score_bias"):  # one rule for the arms that start together
        assert jobs[name] + jobs[f"{name}_2"] == 7
    assert jobs["count_terms"] == jobs["find_exposures"] == 2
    assert jobs["score_terms"] == 6
    assert jobs["train_model"] + jobs["train_model_2"] == 9  # two grids of checkpoints
    for name in (
        "memorization",
        "predictability",
        "term_frequency",
        "interventions",
        "seeds",
        "scaling",
        "traces",
        "dynamics",
    ):
        assert jobs[name] == 1


def test_memorization_of_the_real_suite_needs_no_training(plan):
    jobs = plan(
        ["experiments"],
        configfile="config/runs/suite.yaml",
        models=["pythia-70m"],
        experiments=["memorization"],
        memorization={"steps": "23000..43000:20000", "rows_per_job": 8388608},
    )
    # 23,552,000 and 44,032,000 rows in portions of 8,388,608.
    assert jobs["score_memorization"] == 3 + 6
    assert jobs["fetch_checkpoint"] == 2
    assert "train_model" not in jobs


def test_winobias_is_fetched_for_real_models_unless_a_folder_has_it(root, tmp_path):
    settings = check.merge(load_yaml(root / "config/config.yaml"), load_yaml(root / "config/runs/suite.yaml"))
    run = load_run(settings)
    files = experiments.bias_files(run)
    assert files[:2] == [
        "results/datasets/jannalu/crows_pairs_multilingual/english/test.parquet",
        "results/datasets/EleutherAI/lambada_openai/default/test.parquet",
    ]
    assert files[2:] == [f"{experiments.WINOBIAS_FOLDER}/{name}" for name in experiments.WINOBIAS_FILES]
    assert experiments.bias_folders(run) == ["results/datasets", experiments.WINOBIAS_FOLDER]
    assert experiments.winobias_place(run)[:2] == ["--source", "git-lfs"]
    locked = [entry.path for entry in read_lock(root / layout.WINOBIAS_LOCK)]
    assert {f"results/datasets/{experiments.WINOBIAS_REPOSITORY}/{path}" for path in locked} == set(files[2:])
    (tmp_path / "winobias").mkdir()
    (tmp_path / "winobias" / experiments.WINOBIAS_FILES[0]).touch()
    own = load_run(
        check.merge(settings, {"evaluation": {"data": [str(tmp_path)], "source": "mirror", "location": "m"}})
    )
    assert experiments.bias_files(own)[2] == f"{tmp_path}/winobias/{experiments.WINOBIAS_FILES[0]}"
    assert experiments.winobias_place(own) == ["--source", "mirror", "--location", "m"]
    pocket = load_run(load_yaml(root / "config/config.yaml"))
    assert not any("winobias" in path.lower() for path in experiments.bias_files(pocket))


def test_the_lock_of_winobias_is_that_of_its_files(root, shared):
    entries = read_lock(root / layout.WINOBIAS_LOCK)
    for entry in entries:
        content = (shared / "winobias" / Path(entry.path).name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (entry.size, entry.sha256)
    assert len(entries) == len(experiments.WINOBIAS_FILES)
