"""The shape of the graph: which jobs a run has, which targets need which rules, what is refused."""

import subprocess
import sys

import pytest

from workflow_scripts.suite.registry import load_suite

MADE_ONCE = ("generate_corpus", "generate_tasks", "train_tokenizer", "collect_scores", "crosscheck", "build_report")


def test_the_default_run_has_one_job_per_checkpoint_for_fetch_and_score(plan):
    jobs = plan()
    steps = jobs["fetch_checkpoint"]
    assert jobs["score_checkpoint"] == steps
    assert steps % 6 == 0
    assert {name: jobs[name] for name in MADE_ONCE} == dict.fromkeys(MADE_ONCE, 1)
    assert (jobs["train_model"], jobs["publish_model"], jobs["plan_evaluation"]) == (6, 6, 2)
    assert jobs["verify_dataset"] == jobs["view_dataset"] == 2
    assert jobs["index_maps_standard"] == jobs["index_maps_deduped"] == 1
    assert jobs["download_dataset_file"] == 5 + 1 + 3 + 1  # shards and index of each data set
    assert jobs["write_recipe"] == 6


def test_one_result_needs_one_model(plan):
    jobs = plan(["results/scores/pocket-90k/step1/0-shot.json"])
    assert (jobs["train_model"], jobs["fetch_checkpoint"], jobs["score_checkpoint"]) == (1, 1, 1)
    assert "draw_figure" not in jobs


@pytest.mark.parametrize(
    ("target", "has", "lacks"),
    [
        ("data", "sample_batches", "train_model"),
        ("retrain", "train_model", "publish_model"),
        ("checkpoints", "fetch_checkpoint", "score_checkpoint"),
        ("evaluate", "score_checkpoint", "draw_figure"),
        ("published", "import_published", "train_model"),
        ("figures", "draw_figure", "build_report"),
        ("report", "build_report", "compare_published"),
        ("notebook", "run_notebook", "draw_figure"),
    ],
)
def test_named_targets(plan, target, has, lacks):
    jobs = plan([target])
    assert jobs[has] > 0
    assert jobs[lacks] == 0


def test_a_run_without_models_only_draws_published_figures(plan):
    jobs = plan(configfile="config/runs/published.yaml")
    assert jobs["draw_figure"] >= 4
    assert set(jobs) == {"import_published", "run_settings", "draw_figure", "build_report", "all"}


def test_published_models_are_compared_with_the_published_numbers(plan):
    jobs = plan(["report"], configfile="config/runs/suite.yaml", models=["pythia-70m"])
    assert (jobs["compare_published"], jobs["import_published"]) == (1, 1)
    assert jobs["draw_figure"] > 22


def test_the_whole_suite_is_planned_from_the_hub_without_training(plan):
    jobs = plan(["evaluate"], configfile="config/runs/suite.yaml", models=["pythia-70m", "pythia-12b-deduped"])
    # A rule's outputs are the same for all its jobs, and the weights of the largest model are in three files.
    assert (jobs["fetch_checkpoint"], jobs["fetch_checkpoint_in_3_parts"]) == (154, 154)
    assert jobs["score_checkpoint"] == 2 * 154
    assert "train_model" not in jobs


def snakemake(root, *arguments):
    command = [sys.executable, "-m", "snakemake", "-n", "--quiet", "rules", *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("models=pocket-1n", "unknown model 'pocket-1n'; did you mean 'pocket-1m'?"),
        ("stepz=all", "unknown key 'stepz'; did you mean 'steps'?"),
        ("steps=999", "no checkpoint at step 999"),
        ("tasks=pocket_fact", "did you mean 'pocket_facts'?"),
    ],
)
def test_a_wrong_name_is_one_line_and_exit_code_2(root, config, message):
    outcome = snakemake(root, "--config", config)
    assert outcome.returncode == 2
    assert message in outcome.stderr
    assert "Traceback" not in outcome.stderr


@pytest.mark.slow
def test_a_wildcard_cannot_smuggle_a_command(root, tmp_path):
    target = "results/scores/pocket-90k;touch pwned;/step1/0-shot.json"
    outcome = snakemake(root, "--directory", str(tmp_path), target)
    assert outcome.returncode != 0
    assert not (tmp_path / "pwned").exists()


def test_a_disk_budget_adds_one_release_per_checkpoint_that_is_not_kept(plan):
    jobs = plan(checkpoints={"source": "retrain", "disk_budget_gb": 0.1, "keep": ["last"]})
    assert jobs["release_checkpoint"] == jobs["fetch_checkpoint"] - jobs["train_model"]
    assert plan()["release_checkpoint"] == 0


def test_audit_and_quickstart_have_targets(plan):
    audit = plan(["audit"])
    assert (audit["observe_model"], audit["audit_checkpoints"], audit["checkpoint_ledger"]) == (6, 1, 1)
    assert audit["fetch_checkpoint"] == 0
    assert plan(["quickstart"])["run_quickstart"] == 1


def test_a_report_waits_for_an_audit_only_where_the_run_asks_for_it(plan):
    assert plan(["report"])["audit_checkpoints"] == 0
    asked = plan(["report"], checkpoints={"audit": True})
    assert (asked["observe_model"], asked["audit_checkpoints"], asked["build_report"]) == (6, 1, 1)
    without_models = plan(["report"], configfile="config/runs/published.yaml", checkpoints={"audit": True})
    assert without_models["audit_checkpoints"] == 0


def test_experiments_on_published_models_are_inputs_of_the_published_figures(plan):
    target = "results/runs/suite/figures/published_memorization_rates.svg"
    suite = {"configfile": "config/runs/suite.yaml", "models": ["pythia-70m", "pythia-160m"]}
    assert plan([target], **suite)["predictability"] == 0
    asked = plan([target], **suite, experiments=["memorization", "predictability"])
    assert (asked["predictability"], asked["draw_figure"]) == (1, 1)


def test_the_gate_probes_three_checkpoints_of_each_model_that_has_published_results(plan):
    jobs = plan(["gate"], configfile="config/runs/suite.yaml", models=["pythia-70m", "pythia-410m"])
    assert (jobs["probe_checkpoint"], jobs["fetch_checkpoint"]) == (6, 6)
    assert (jobs["plan_probe"], jobs["collect_probes"], jobs["pass_gate"]) == (1, 1, 1)
    assert plan(["gate"])["probe_checkpoint"] == 0


def test_a_training_in_segments_is_a_chain_of_jobs(plan):
    jobs = plan(["results/training/pocket-90k/run.json"], training={"segments": [64, 256]})
    assert (jobs["train_segment_64"], jobs["train_segment_256"], jobs["train_model"]) == (1, 1, 1)
    grid = load_suite("pocket").model("pocket-90k").steps
    jobs = plan(["retrain"], training={"segments": 4})
    assert segments_in(jobs) == 6 * ((len(grid) - 1 + 3) // 4 - 1)
    assert segments_in(plan(["retrain"])) == 0


def segments_in(jobs):
    return sum(number for name, number in jobs.items() if name.startswith("train_segment"))


def test_the_original_is_only_made_when_it_is_asked_for(plan):
    jobs = plan(["results/neox/pocket-90k/trained.json"])
    assert (jobs["prepare_neox"], jobs["launch_neox"], jobs["join_dataset"], jobs["train_model"]) == (1, 1, 1, 0)


def test_protocols_and_further_tasks_have_jobs_of_their_own(plan):
    evaluation = {"protocols": ["current", "pythia-2023"], "stock_tasks": {"gsm8k": [5], "drop": [1, 5]}}
    run = {"tasks": ["lambada_openai"], "models": ["pythia-70m"], "steps": [0, 512], "shots": [0, 5]}
    jobs = plan(["evaluate"], "config/runs/suite.yaml", evaluation=evaluation, **run)
    assert (jobs["plan_evaluation"], jobs["score_checkpoint"], jobs["score_stock_tasks"]) == (4, 4, 4)
    scores = "results/scores/pythia-70m/step512"
    one = plan([f"{scores}/5-shot.pythia-2023.json"], "config/runs/suite.yaml", evaluation=evaluation, **run)
    assert (one["plan_evaluation"], one["score_checkpoint"], one["score_stock_tasks"]) == (2, 1, 0)
    further = plan([f"{scores}/1-shot.stock.json"], "config/runs/suite.yaml", evaluation=evaluation, **run)
    assert (further["plan_evaluation"], further["score_checkpoint"], further["score_stock_tasks"]) == (0, 0, 1)
