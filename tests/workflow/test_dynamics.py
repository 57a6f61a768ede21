"""The dynamics in the graph: two jobs per checkpoint, data only where the probe reads them, arguments of programs."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest

from workflow_scripts.errors import UnknownNameError
from workflow_scripts.experiments.dynamics import collect_probe, measure_probe, measure_weights
from workflow_scripts.suite.dynamics_settings import build_dynamics, load_dynamics
from workflow_scripts.suite.registry import load_suite
from workflow_scripts.workflow import readiness, resources
from workflow_scripts.workflow.dynamics import (
    dynamics_files,
    measured,
    of_checkpoint,
    probe_arguments,
    row_arguments,
    weight_arguments,
)
from workflow_scripts.workflow.experiment_costs import dynamics_cost
from workflow_scripts.workflow.resources import JobResources, forward_flops_per_token, probe_tokens
from workflow_scripts.workflow.tools.check import load_run_file


@pytest.fixture(scope="module")
def run(root):
    return load_run_file(root / "config" / "runs" / "experiments.yaml")


def with_section(run, **section):
    settings = {**run.settings, "dynamics": {**run.section("dynamics"), **section}}
    return dataclasses.replace(run, settings=settings)


def test_each_checkpoint_has_two_jobs_and_each_data_set_a_probe(plan):
    jobs = plan(["experiments"], configfile="config/runs/experiments.yaml")
    assert jobs["measure_weights"] == jobs["measure_probe"] == 6 * 9
    assert jobs["collect_probe"] == 2
    assert jobs["dynamics"] == 1


def test_released_models_are_measured_without_the_data_they_were_trained_on(plan):
    jobs = plan(
        ["experiments"],
        configfile="config/runs/one-pythia-model.yaml",
        experiments=["dynamics"],
        dynamics={"steps": [0, 512, 143000]},
    )
    assert jobs["measure_weights"] == jobs["measure_probe"] == jobs["fetch_checkpoint"] == 3
    assert not {"download_dataset_file", "index_maps_deduped", "train_model"} & set(jobs)


def test_files_are_those_that_the_declaration_asks_for(run):
    files = measured(run, "weights")
    assert len(files) == 6 * 9 * 2
    assert "results/experiments/dynamics/pocket/pocket-1m/step600/weights.parquet" in files
    assert len(dynamics_files(run)) == 2 + 2 * len(files)
    without = dataclasses.replace(run, settings={**run.settings, "experiments": ["seeds"]})
    assert dynamics_files(without) == []


def test_a_checkpoint_is_kept_until_it_is_measured(run):
    look_up = of_checkpoint(run)
    folder = "results/experiments/dynamics/pocket/pocket-1m/step64"
    names = ("weights.parquet", "sketches.safetensors", "probe.parquet", "fingerprints.safetensors")
    assert look_up(SimpleNamespace(model="pocket-1m", step="64")) == [f"{folder}/{name}" for name in names]
    assert look_up(SimpleNamespace(model="pocket-1m", step="1")) == []


def test_arguments_are_those_of_the_programs(tmp_path):
    """Every word that the rules pass is taken by the parsers, and comes out as the declaration has it."""
    declaration = dataclasses.replace(load_dynamics("pocket"), layers=[0, -1])
    files = ["--output", "o.parquet"]
    options = measure_weights.parse(
        ["--checkpoint", "c", *weight_arguments(declaration), "--sketches", "s.safetensors", *files]
    )
    assert options.metrics == declaration.weights["metrics"]
    assert (options.sketch, options.near_zero, options.layers) == (32768, 0.05, [0, -1])
    options = measure_probe.parse(
        ["--checkpoint", "c", "--probe", "p", *probe_arguments(declaration), "--fingerprints", "f", *files]
    )
    assert (options.metrics, options.cka_tokens) == (declaration.probe["metrics"], declaration.probe["cka_tokens"])
    given = ["--tokenizer", "t", "--view", "v", "--recipe", "{}", "--text", "x.txt", "--output", "p"]
    options = collect_probe.parse([*row_arguments(declaration), *given])
    assert (options.iterations, options.rows, options.text_rows) == ([0, 300, 599], 4, 12)
    assert (options.repeated, options.gradient) == ([48, 32], [592, 64])


def test_only_what_is_there_becomes_an_argument():
    probe = {"metrics": ["logit_lens"], "length": 32, "text": "pocket.jsonl"}
    declaration = build_dynamics({"dynamics": "a", "probe": probe}, "a.yaml")
    assert row_arguments(declaration) == ["--length", "32", "--text-rows", "8"]
    assert "--layers" not in probe_arguments(declaration)


def test_a_declaration_that_is_not_there_is_refused_before_any_job(run):
    with pytest.raises(UnknownNameError, match="did you mean 'pocket'"):
        readiness.require_experiment_names(with_section(run, declaration="pockets"))


def test_requests_grow_with_the_model_and_hold_what_a_job_needs():
    suite, declaration = load_suite("pythia"), load_dynamics("pythia")
    names = ("pythia-70m", "pythia-1.4b", "pythia-12b")
    weights = [resources.measure_weights(suite.model(name)) for name in names]
    assert [need.memory_mb for need in weights] == sorted(need.memory_mb for need in weights)
    # One tensor of 12b in float32 and as stored, never its 24 GB.
    assert 3_000 < weights[-1].memory_mb < 8_000
    large = resources.measure_probe(suite.model("pythia-12b"), declaration, "cpu")
    assert large.memory_mb > 4 * 11.8e9 / 1e6
    on_gpu = resources.measure_probe(suite.model("pythia-12b"), declaration, "cuda")
    assert (on_gpu.gpus, on_gpu.minutes <= large.minutes) == (1, True)
    with_gradient = build_dynamics(
        {"dynamics": "a", "probe": {**declaration.probe, "gradient": {"iteration": 0, "rows": 3}}}, "a.yaml"
    )
    assert (
        resources.measure_probe(suite.model("pythia-12b"), with_gradient, "cpu").memory_mb
        > large.memory_mb + 2 * 47_000
    )


def test_tokens_and_costs_are_those_of_the_rows(run):
    model, declaration = load_suite("pocket").model("pocket-1m"), load_dynamics("pocket")
    asked = (3 * 4 + 12) * 128 + 2 * 32 * 96 + 6 * 64 * 128
    assert probe_tokens(model, declaration) == asked
    cost = dynamics_cost(run, [model])
    assert cost.tokens == 9 * asked
    assert cost.flops == pytest.approx(9 * asked * forward_flops_per_token(model))
    assert cost.read_bytes == 0
    assert JobResources(run).work["pocket-1m"]["measure_probe"] == asked
