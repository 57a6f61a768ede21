"""Costs of experiments: the real suite's known numbers, and sampling that cuts them."""

from __future__ import annotations

import dataclasses

import pytest

from workflow_scripts.suite.check import load_run_file
from workflow_scripts.suite.experiment_costs import experiment_costs, line, main, memorization_cost
from workflow_scripts.suite.experiments import EXPERIMENTS
from workflow_scripts.suite.registry import load_suite


@pytest.fixture(scope="module")
def suite_run(root):
    return load_run_file(root / "config" / "runs" / "suite.yaml")


def test_memorization_of_12b_costs_what_the_paper_s_grid_asks(suite_run):
    """Seven checkpoints, 594.9 million rows, 37.5 billion tokens, about 600 H100-hours (teacher-forced)."""
    cost = memorization_cost(suite_run, [load_suite("pythia").model("pythia-12b")])
    assert cost.tokens == pytest.approx(594.9e6 * 63, rel=1e-3)
    assert cost.gpu_hours == pytest.approx(600, rel=0.1)


def test_every_tenth_batch_costs_a_tenth(suite_run):
    settings = {**suite_run.settings, "memorization": {**suite_run.section("memorization"), "every": 10}}
    sampled = dataclasses.replace(suite_run, settings=settings)
    models = [load_suite("pythia").model("pythia-70m")]
    whole, tenth = memorization_cost(suite_run, models), memorization_cost(sampled, models)
    assert tenth.tokens == pytest.approx(whole.tokens / 10)
    assert tenth.flops == pytest.approx(whole.flops / 10)


def test_every_experiment_has_a_line(suite_run):
    costs = experiment_costs(suite_run, EXPERIMENTS)
    assert [cost.name for cost in costs] == list(EXPERIMENTS)
    assert all("GPU-hours" in line(cost) for cost in costs)
    assert {cost.name for cost in costs if cost.tokens} == {"memorization", "term_frequency", "interventions"}


def test_program_prints_the_run_s_own_experiments(root, capsys):
    main(["--config", str(root / "config" / "runs" / "experiments.yaml")])
    assert [text.split()[0] for text in capsys.readouterr().out.splitlines()] == list(EXPERIMENTS)
