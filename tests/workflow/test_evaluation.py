"""What the rules of the evaluation are told: tasks and their data, arguments, and what a results file holds."""

import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from workflow_scripts.evaluation.scoring import results
from workflow_scripts.suite import layout
from workflow_scripts.suite.run import load_run
from workflow_scripts.suite.safe_yaml import load_yaml
from workflow_scripts.workflow import evaluation
from workflow_scripts.workflow.tools import check


@pytest.fixture
def run_of(root):
    def make(file=None, **changes):
        settings = load_yaml(root / "config/config.yaml")
        for one in (load_yaml(root / file) if file else {}, changes):
            settings = check.merge(settings, one)
        return load_run(settings)

    return make


def test_arguments_are_there_only_where_a_run_says_something(run_of):
    plain = run_of()
    assert evaluation.definition_arguments(plain) == []
    own = run_of(evaluation={"include_path": ["a", "b"]})
    assert evaluation.definition_arguments(own) == ["--include-path", "a", "b"]
    assert evaluation.limit_arguments(plain) == []
    assert evaluation.limit_arguments(run_of(evaluation={"limit": 7})) == ["--limit", "7"]
    assert evaluation.renewal_arguments(plain) == evaluation.renewal_arguments(run_of(evaluation={"renewal": 1})) == []
    assert evaluation.renewal_arguments(run_of(evaluation={"renewal": 2})) == ["--renewal", "2"]


def test_the_seed_of_the_examples_is_no_matter_without_examples(run_of):
    seeds = [evaluation.seed_arguments(run_of(evaluation={"fewshot_seed": seed})) for seed in (1, 2)]
    none, five = SimpleNamespace(shots="0"), SimpleNamespace(shots="5")
    assert seeds[0](none) == seeds[1](none) == []
    assert (seeds[0](five), seeds[1](five)) == (["--fewshot-seed", "1"], ["--fewshot-seed", "2"])


def test_only_the_data_of_the_runs_tasks_is_waited_for(run_of):
    run = run_of(tasks=["pocket_facts"])
    pattern = f"{layout.TASK_DATA}/{{repository}}/default/{{split}}.parquet"
    folder = f"{layout.TASK_DATA}/pocket/facts/default"
    assert evaluation.each_split(pattern, run.tasks) == [f"{folder}/train.parquet", f"{folder}/test.parquet"]
    assert len(evaluation.each_split(pattern, run.suite.tasks.values())) == 10
    assert evaluation.each_split(pattern, run_of("config/runs/one-pythia-model.yaml").tasks) == []


def test_files_of_scores_are_named_by_shots_and_protocol(run_of):
    run = run_of(shots=[0, 5], evaluation={"protocols": ["current", "pythia-2023"], "stock_tasks": {"gsm8k": [5]}})
    names = ["0-shot", "5-shot", "0-shot.pythia-2023", "5-shot.pythia-2023", "5-shot.stock"]
    assert evaluation.score_names(run) == names
    assert evaluation.protocol_of(SimpleNamespace(kind="")) == "current"
    assert evaluation.protocol_of(SimpleNamespace(kind=".pythia-2023")) == "pythia-2023"
    stock = evaluation.stock_tasks(run)
    assert (stock(SimpleNamespace(shots="5")), stock(SimpleNamespace(shots="0"))) == (["gsm8k"], [])


def test_the_rules_and_the_program_call_the_loglikelihoods_alike():
    assert layout.LOGLIKELIHOODS == results.LOGLIKELIHOODS


def test_the_gate_needs_published_results_of_its_task(run_of):
    assert evaluation.gate(run_of()) == evaluation.probes(run_of()) == []
    pythia = run_of("config/runs/one-pythia-model.yaml")
    assert len(evaluation.probes(pythia)) == 3
    assert evaluation.gate(pythia) == ["results/audit/pythia/behaviour.tsv"]
    assert evaluation.evaluation_files(run_of("config/runs/published.yaml")) == []


def test_a_job_is_done_when_its_files_hold_every_task_of_the_run(run_of, tmp_path, monkeypatch):
    """The parameter is one for a run and for any run that asks for less, and another where a file lacks a task."""
    monkeypatch.chdir(tmp_path)
    job = SimpleNamespace(model="pocket-90k", step="1", kind="")

    def hold(shots, *tasks):
        path = Path(layout.loglikelihoods_file(layout.score_file("pocket-90k", 1, shots)))
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path, "w") as file:
            for task in tasks:
                file.writestr(f"{task}/greedy.npy", b"")

    def said(*tasks, shots=(0, 5)):
        return evaluation.tasks_of_scores(run_of(tasks=list(tasks), shots=list(shots)))(job)

    agreement, facts = "pocket_agreement", "pocket_facts"
    assert said(agreement) == agreement
    hold(0, agreement, facts)
    hold(5, agreement, facts)
    both = f"{agreement} {facts}"
    assert said(agreement) == said(facts) == said(agreement, facts) == both
    hold(5, agreement)
    assert said(agreement) == agreement, "what only one of the files holds would never be made for the other"
    assert said(agreement, shots=[0]) == both
    Path(layout.loglikelihoods_file(layout.score_file("pocket-90k", 1, 0))).write_bytes(b"cut")
    assert said(facts) == both
