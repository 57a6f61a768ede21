"""What the rules of the evaluation are told: tasks and their data, arguments, and what a results file holds."""

import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from workflow_scripts.evaluation.planning.task_lock import LockedFile, write_task_lock
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


def test_an_architecture_and_a_prefix_token_are_mentioned_only_where_they_are_not_pythias(run_of):
    plain = run_of()
    assert evaluation.planning_arguments(plain) == evaluation.crosscheck_arguments(plain, plain.models[0].name) == []
    device = ["--device", "cuda"]
    assert evaluation.engine_arguments(plain, device) is device
    suite = replace(plain.suite, tokenizer={**plain.suite.tokenizer, "prefix_token": "<s>"})
    first, *others = (replace(model, architecture="gpt_neox") for model in plain.models)
    other = replace(first, architecture="mistral")
    suite = replace(suite, models={**suite.models, other.name: other})
    run = replace(plain, suite=suite, models=(other, *others))
    of_job = evaluation.engine_arguments(run, device)
    assert of_job(SimpleNamespace(model=other.name)) == [*device, "--architecture", "mistral"]
    assert of_job(SimpleNamespace(model=others[0].name)) == device
    length = str(max(model.sequence_length for model in run.models))
    told = ["--prefix-token", "<s>", "--architecture", "mistral", "--max-length", length]
    assert evaluation.crosscheck_arguments(run, other.name) == told


def test_the_seed_of_the_examples_is_no_matter_without_examples(run_of):
    seeds = [evaluation.seed_arguments(run_of(evaluation={"fewshot_seed": seed})) for seed in (1, 2)]
    none, five = SimpleNamespace(shots="0"), SimpleNamespace(shots="5")
    assert seeds[0](none) == seeds[1](none) == []
    assert (seeds[0](five), seeds[1](five)) == (["--fewshot-seed", "1"], ["--fewshot-seed", "2"])


def test_only_the_data_of_the_runs_tasks_is_waited_for(run_of):
    run = run_of(tasks=["pocket_facts"])
    folder = f"{layout.TASK_DATA}/pocket/facts/default"
    assert evaluation.task_files(run, run.tasks) == [f"{folder}/train.parquet", f"{folder}/test.parquet"]
    assert len(evaluation.task_files(run, run.suite.tasks.values())) == 10
    assert evaluation.fetched_data(run, run.tasks) == []


def test_data_that_is_not_made_here_is_fetched(run_of):
    run = run_of("config/runs/one-pythia-model.yaml", tasks=["arc_easy", "hendrycksTest-anatomy"])
    easy, anatomy = "results/datasets/allenai/ai2_arc/ARC-Easy", "results/datasets/cais/mmlu/anatomy"
    wanted = [f"{easy}/{split}.parquet" for split in ("test", "train", "validation")]
    assert evaluation.task_files(run, run.tasks) == [*wanted, f"{anatomy}/test.parquet", f"{anatomy}/dev.parquet"]
    assert {f"{easy}/fetched.json", f"{anatomy}/fetched.json"} < set(evaluation.fetched_data(run, run.tasks))
    assert set(evaluation.fetched_data(run, run.tasks)) < set(evaluation.evaluation_files(run))
    assert evaluation.task_files(run, ["gsm8k"]) == []
    assert evaluation.data_folders(run) == ["results/datasets"]
    assert (evaluation.data_source(run), evaluation.data_location(run)) == ("hub", "")


def test_the_results_of_a_run_belong_to_one_job_each(run_of):
    run = run_of(shots=[0, 5], evaluation={"protocols": ["current", "pythia-2023"], "stock_tasks": {"gsm8k": [0, 5]}})
    jobs = evaluation.scored(run)
    together = [path for files in jobs for path in files]
    assert sorted(together) == sorted(evaluation.score_files(run))
    assert len(set(together)) == len(together)
    assert {len(files) for files in jobs} == {4, 1}
    assert not [files for files in jobs if len({path.rpartition("/")[0] for path in files}) > 1]


def test_a_folder_of_the_run_comes_first_and_serves_a_data_set_alone(run_of, tmp_path):
    folder = tmp_path / "allenai/ai2_arc/ARC-Easy"
    folder.mkdir(parents=True)
    run = run_of("config/runs/one-pythia-model.yaml", tasks=["arc_easy"], evaluation={"data": [str(tmp_path)]})
    (folder / "train.parquet").touch()
    assert evaluation.task_files(run, run.tasks)[0] == "results/datasets/allenai/ai2_arc/ARC-Easy/test.parquet"
    (folder / "test.parquet").touch()
    assert evaluation.task_files(run, run.tasks) == [f"{folder}/test.parquet", f"{folder}/train.parquet"]
    assert evaluation.fetched_data(run, run.tasks) == []
    assert evaluation.data_folders(run) == [str(tmp_path), "results/datasets"]


def test_a_data_set_is_fetched_with_all_splits_that_any_task_reads(run_of):
    run = run_of("config/runs/books-full.yaml", evaluation={"data": []}, tasks=["sciq_validation"])
    folder = "results/datasets/allenai/sciq/default"
    assert evaluation.task_files(run, run.tasks) == [f"{folder}/validation.parquet", f"{folder}/train.parquet"]
    assert f"{folder}/test.parquet" in evaluation.fetched_data(run, run.tasks)
    names = [listed.name for listed in evaluation.split_lists()]
    assert len(set(names)) == len(names) < 10
    assert sum(len(listed.data_sets) for listed in evaluation.split_lists()) == len(evaluation.data_sets())


def test_a_data_set_without_an_entry_in_the_lock_has_no_commit(monkeypatch, tmp_path):
    monkeypatch.setattr(layout, "TASK_LOCK", str(tmp_path / "tasks.tsv"))
    write_task_lock(tmp_path / "tasks.tsv", [LockedFile("a/b", "c", "test", "d" * 40, "x.parquet", 1, 1, "e" * 64)])
    commit = evaluation.locked_commits()
    assert commit(SimpleNamespace(repository="a/b", configuration="c")) == "d" * 40
    assert commit(SimpleNamespace(repository="a/b", configuration="d")) == ""


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
