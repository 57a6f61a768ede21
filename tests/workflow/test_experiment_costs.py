"""Costs of experiments: the real suite's known numbers, and sampling that cuts them."""

from __future__ import annotations

import dataclasses

import pytest

from workflow_scripts.errors import ConfigError
from workflow_scripts.suite.arms import chosen_arms, load_declaration, saved_iterations, start_iteration
from workflow_scripts.suite.experiment_files import EXPERIMENTS
from workflow_scripts.suite.registry import load_suite
from workflow_scripts.workflow.experiment_costs import (
    BIAS_TOKENS,
    SCAN_RATE,
    TRACED_TOKENS,
    experiment_costs,
    line,
    main,
    memorization_cost,
    of_suite,
)
from workflow_scripts.workflow.plan import check_limits, experiments_table, total_cost
from workflow_scripts.workflow.tools.check import load_run_file


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
    assert all("GPU-hours" in line(cost) or "seconds" in line(cost) for cost in costs)
    assert {cost.name for cost in costs if cost.tokens} == {
        "memorization",
        "term_frequency",
        "interventions",
        "traces",
        "dynamics",
    }


def test_the_plan_of_the_real_suite_has_a_line_per_experiment(suite_run):
    lines = {text.split()[0]: text for text in experiments_table(suite_run).splitlines()[1:]}
    assert list(lines) == list(EXPERIMENTS)
    assert all("(not requested)" in text for text in lines.values())
    # 16 models, 7 checkpoints of 84,992,000 rows on average, 63 tokens; both data sets; 12 bytes a row.
    assert " ".join(lines["memorization"].split()[3:]) == "6e+11 2,459.9 GPU-h 0.0 core-s 1.08 TB 114.23 GB"
    # 11 checkpoints of 16 models, five numbers of examples, 10,000 questions.
    assert "GPU-h" in lines["term_frequency"]
    # Seven arms of four models at 7 % or 21 % of 300 billion tokens.
    assert lines["interventions"].split()[3] == "9.23e+11"
    assert pytest.approx(9.23e11, rel=0.01) == 4 * (5 * 0.07 + 2 * 0.21) * 299.9e9


def test_the_precision_of_memorization_decides_its_hours(suite_run):
    models = [load_suite("pythia").model("pythia-70m")]
    half = memorization_cost(suite_run, models)
    settings = {**suite_run.settings, "memorization": {**suite_run.section("memorization"), "dtype": "float32"}}
    full = memorization_cost(dataclasses.replace(suite_run, settings=settings), models)
    assert (half.dtype, full.dtype) == ("float16", "float32")
    assert full.gpu_hours == pytest.approx(half.gpu_hours * 400 / 45)


def test_experiments_that_are_asked_for_count_towards_the_limit(root):
    run = load_run_file(root / "config" / "runs" / "experiments.yaml")
    settings = {**run.settings, "limits": {"cpu_hours": 0.14}}
    without = dataclasses.replace(run, settings={**settings, "experiments": ["memorization"]})
    check_limits(without, total_cost(without))
    with pytest.raises(ConfigError, match="cpu hours"):
        check_limits(dataclasses.replace(run, settings=settings), total_cost(run))


def test_arms_of_interventions_train_and_are_asked_about_their_items(root):
    run = load_run_file(root / "config" / "runs" / "experiments.yaml")
    section = run.section("interventions")
    arms = chosen_arms(load_declaration(section["declaration"]), section["arms"])
    pairs = [(run.suite.model(name), arm) for name in section["models"] for arm in arms]
    trained = sum((model.train_iterations - start_iteration(model, arm)) * model.batch_tokens for model, arm in pairs)
    scored = sum(len(saved_iterations(model, arm)) for model, arm in pairs)
    cost = experiment_costs(run, ["interventions"])[0]
    assert cost.tokens - trained == pytest.approx(scored * of_suite(run, BIAS_TOKENS))
    assert cost.read_bytes == 0  # the rows are made here, nothing is downloaded


def test_program_prints_the_run_s_own_experiments(root, capsys):
    main(["--config", str(root / "config" / "runs" / "experiments.yaml")])
    assert [text.split()[0] for text in capsys.readouterr().out.splitlines()] == list(EXPERIMENTS)


def test_the_table_tells_experiments_that_are_asked_for_from_others(root):
    run = load_run_file(root / "config" / "runs" / "experiments.yaml")
    only = dataclasses.replace(run, settings={**run.settings, "experiments": ["memorization"]})
    lines = {text.split()[0]: text for text in experiments_table(only).splitlines()[1:]}
    assert [name for name, text in lines.items() if "(not requested)" not in text] == ["memorization"]
    # rows of the run's jobs, 63 or 64 tokens each: the number of tokens is the first column
    assert float(lines["memorization"].split()[1]) == pytest.approx(
        experiment_costs(only, ["memorization"])[0].tokens, 1e-2
    )


def test_traces_scan_each_data_set_once_and_score_every_checkpoint(root, suite_run):
    pocket = load_run_file(root / "config" / "config.yaml")
    cost = experiment_costs(pocket, ["traces"])[0]
    assert cost.tokens == 3 * len(pocket.steps["pocket-1m"]) * TRACED_TOKENS  # the first model of each size
    assert cost.core_seconds * SCAN_RATE == pocket.suite.model("pocket-1m").step(600).tokens
    real = experiment_costs(suite_run, ["traces"])[0]
    assert real.read_bytes == suite_run.suite.dataset("standard").bin_bytes
    assert 0.1 < real.core_seconds / 3600 < 0.4  # 300 billion tokens
