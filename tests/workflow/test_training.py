"""Which job makes which checkpoints, and what a run's choices must not change about it."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from workflow_scripts.errors import ConfigError
from workflow_scripts.suite.run import load_run
from workflow_scripts.suite.safe_yaml import load_yaml
from workflow_scripts.training.recipe import recipe_of
from workflow_scripts.training.write_recipe import recipe_from
from workflow_scripts.workflow import training
from workflow_scripts.workflow.tools.check import DEFAULT

GRID = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 384, 512, 600)
ARMS = (474, 558)  # where the arms of the default declaration start: 79 and 93 % of 600 iterations


def run(**changes):
    return load_run({**load_yaml(DEFAULT), "models": ["pocket-1m"], **changes})


def test_a_training_is_one_job_with_the_models_whole_grid():
    (job,) = training.training_jobs(run())
    assert (job.part, job.models, job.before, job.end, job.is_last) == ("model", ("pocket-1m",), None, 600, True)
    assert job.steps == tuple(sorted({*GRID, *ARMS}))
    assert job.resumable == job.kept == ARMS


def test_segments_share_the_grid_and_each_ends_resumable():
    jobs = training.training_jobs(run(training={"segments": [64, 256]}))
    assert [(job.part, job.before, job.end) for job in jobs] == [
        ("segment_64", None, 64),
        ("segment_256", 64, 256),
        ("model", 256, 600),
    ]
    assert [job.steps for job in jobs] == [GRID[:8], (128, 256), (384, 474, 512, 558, 600)]
    assert [job.resumable for job in jobs] == [(64,), (256,), ARMS]
    assert {job.kept for job in jobs} == {(64, 256, *ARMS)}
    assert [job.is_last for job in jobs] == [False, False, True]


@pytest.mark.parametrize(
    "choice",
    [
        {"interventions": {"arms": ["identity-7"]}},
        {"interventions": {"models": []}},
        {"experiments": ["interventions"]},
        {"steps": [0, 1]},
        {"tasks": ["pocket_facts"]},
        {"models": ["pocket-1m", "pocket-90k"]},
    ],
    ids=["arms", "no-intervention", "experiments", "steps", "tasks", "models"],
)
def test_what_a_run_may_contain_does_not_change_a_training(choice):
    """Neither its outputs nor its parameters."""
    merged = {**load_yaml(DEFAULT).get("interventions", {}), **choice.pop("interventions", {})}
    (one,), (other,) = (training.training_jobs(run(**more)) for more in ({}, {**choice, "interventions": merged}))
    facts = ("part", "before", "end", "steps", "resumable", "kept")
    assert [getattr(one, name) for name in facts] == [getattr(other, name) for name in facts]


def test_models_with_other_grids_have_rules_of_their_own():
    names = ["pythia-160m", "pythia-160m-v0", "pythia-410m"]
    jobs = training.training_jobs(run(suite="pythia", models=names, steps="last", training={"segments": "whole"}))
    assert [(job.part, job.models) for job in jobs] == [
        ("model", ("pythia-160m", "pythia-410m")),
        ("model_2", ("pythia-160m-v0",)),
    ]
    assert jobs[1].end == 71_500


@pytest.fixture
def large(tmp_path, monkeypatch, root):
    """A run that trains pythia-1b for weeks, in a folder of its own, and the file of its site."""
    (tmp_path / "config").symlink_to(root / "config")
    monkeypatch.chdir(tmp_path)
    site = tmp_path / "site.yaml"
    site.write_text("partitions: {gpu: {max_runtime: 5d, max_gpu: 8}}")
    monkeypatch.setenv("SNAKEMAKE_SLURM_PARTITIONS", str(site))
    return site, run(suite="pythia", models=["pythia-1b"], steps="last", device="cuda")


def saved(step, *names):
    folder = Path("results/training/pythia-1b") / f"step{step}"
    folder.mkdir(parents=True)
    for name in ("model.safetensors", *names):
        (folder / name).touch()


def test_automatic_segments_that_moved_are_refused_before_they_are_trained_again(large):
    site, chosen = large
    ends = [job.end for job in training.training_jobs(chosen)]
    assert ends[:2] == [7000, 14_000]
    for end in ends[:2]:
        saved(end, "optimizer.safetensors")
    training.require_same_segments(chosen)
    site.write_text("partitions: {gpu: {max_runtime: 2d, max_gpu: 8}}")
    with pytest.raises(ConfigError, match=r"training\.segments: \[7000, 14000\]"):
        training.require_same_segments(chosen)
    held = run(suite="pythia", models=["pythia-1b"], steps="last", device="cuda", training={"segments": [7000, 14_000]})
    training.require_same_segments(held)
    assert [job.end for job in training.training_jobs(held)] == [7000, 14_000, 143_000]


def test_a_training_that_was_whole_is_not_cut_afterwards(large):
    _, chosen = large
    saved(143_000)
    (Path("results/training/pythia-1b") / "run.json").touch()
    with pytest.raises(ConfigError, match=r"training\.segments: whole"):
        training.require_same_segments(chosen)


def test_models_on_several_nodes_have_rules_of_their_own(large):
    site, _ = large
    site.write_text(
        "partitions: {gpu: {max_runtime: 90d, max_gpu: 16, max_nodes: 4}}\ngpus: {gpu: {per_node: 4, memory_mb: 40000}}"
    )
    jobs = training.training_jobs(run(suite="pythia", models=["pythia-70m", "pythia-12b"], steps="last", device="cuda"))
    assert {job.models for job in jobs} == {("pythia-70m",), ("pythia-12b",)}


def test_nothing_is_trained_where_checkpoints_come_from_elsewhere():
    assert training.training_jobs(run(checkpoints={"source": "mirror", "location": "results/mirror"})) == []


def test_every_step_is_published_and_the_last_as_main_too():
    (model,) = run().models
    assert training.revisions_of(model) == (*(f"step{step}" for step in GRID), "main")


def test_files_of_the_grid_do_not_follow_the_steps_of_the_run():
    job = SimpleNamespace(model="pocket-1m")
    found = [training.in_grid(run(steps=steps))("{model}/step{step}/a")(job) for steps in ("all", [0])]
    assert found[0] == found[1] == [f"pocket-1m/step{step}/a" for step in GRID]


def test_parameters_of_a_recipe_are_its_fields():
    one = run(overrides={"pocket-1m": {"learning_rate": 0.01}})
    parameters = training.recipe_parameters(one)
    texts = [look_up(SimpleNamespace(model="pocket-1m")) for look_up in parameters.values()]
    assert recipe_from(texts) == recipe_of(one.models[0])
    assert "learning_rate=0.01" in texts


def test_the_original_is_launched_as_the_run_says():
    neox = {"gpus": 16, "start_from": "hf/{model}/step0", "start_step": 0, "python": "venv/bin/python"}
    chosen = run(training={"neox": neox})
    options = training.neox_options(chosen)(SimpleNamespace(model="pocket-1m"))
    assert options == ["--start-step", "0", "--start-from", "hf/pocket-1m/step0"]
    assert training.neox_gpus_per_node(chosen) == 8
    assert training.neox_python(chosen) == ["--python", "venv/bin/python"]
    assert training.neox_options(run())(SimpleNamespace(model="pocket-1m")) == []
    assert training.neox_python(run()) == []
