"""What the rules are told about a run that trains, one from a Hub and one of a mirror: inputs and arguments."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from workflow_scripts.suite import layout
from workflow_scripts.suite.run import load_run
from workflow_scripts.suite.safe_yaml import load_yaml
from workflow_scripts.workflow.graph import PUBLISHED_TABLE, Graph
from workflow_scripts.workflow.tools import check


@pytest.fixture(autouse=True)
def in_the_checkout(root, monkeypatch):
    monkeypatch.chdir(root)


def graph_of(file, **changes):
    settings = load_yaml(Path("config/config.yaml"))
    for one in (load_yaml(Path(file)) if file else {}, changes):
        settings = check.merge(settings, one)
    return Graph(load_run(settings))


@pytest.fixture
def trained():
    return graph_of(None, models=["pocket-90k"])


@pytest.fixture
def from_hub():
    return graph_of("config/runs/one-pythia-model.yaml")


def test_only_checkpoints_from_a_hub_are_held_to_the_ledger(tmp_path, monkeypatch):
    ledger = tmp_path / "ledger.tsv"
    ledger.write_text("model\tstep\tcommit\npythia-70m-deduped\t8\tabc\npocket-90k\t8\tdef\n")
    monkeypatch.setattr(layout, "LEDGER", str(ledger))
    from_hub = graph_of("config/runs/one-pythia-model.yaml")
    assert from_hub.pinned_commit(SimpleNamespace(model="pythia-70m-deduped", step="8")) == "abc"
    assert from_hub.pinned_commit(SimpleNamespace(model="pythia-70m-deduped", step="16")) == ""
    assert from_hub.ledger_arguments() == ["--ledger", str(ledger)]
    trained = graph_of(None, models=["pocket-90k"])
    assert trained.pinned_commit(SimpleNamespace(model="pocket-90k", step="8")) == ""
    assert trained.ledger_arguments() == []


def test_only_models_that_are_trained_here_are_published_here(trained, from_hub):
    assert trained.published_models() == ["results/mirror/models/pocket/pocket-90k/published.json"]
    assert trained.published_model() == ["results/mirror/models/pocket/{model}/published.json"]
    assert from_hub.published_models() == from_hub.published_model() == from_hub.trained() == []


def test_own_tasks_are_an_argument_only_where_there_are_some(trained):
    assert trained.task_folders() == []
    own = graph_of(None, evaluation={"include_path": ["a", "b"]})
    assert own.task_folders() == ["--include-path", "a", "b"]


def test_a_limit_of_documents_is_an_argument_only_where_there_is_one(trained):
    assert trained.limit_arguments() == []
    assert graph_of(None, evaluation={"limit": 7}).limit_arguments() == ["--limit", "7"]


def test_the_joined_file_is_made_when_it_is_asked_for(trained):
    names = ["verified.json", "index_maps/index_maps.json", "batches/samples.jsonl"]
    folder = layout.dataset_folder("pocket", "standard")
    assert trained.data_targets() == [f"{folder}/{name}" for name in names]
    joined = graph_of(None, models=["pocket-90k"], dataset={"joined": True})
    assert joined.data_targets() == [f"{folder}/{name}" for name in (*names, "joined/joined.json")]


def test_trained_checkpoints_are_named_by_trainer_iteration(trained):
    wildcards = SimpleNamespace(model="pocket-90k")
    steps = trained.run.steps["pocket-90k"]
    folders = [Path(path).name for path in trained.trained_steps(wildcards)]
    assert folders == [f"step{trained.models['pocket-90k'].step(hub).iteration}" for hub in steps]


def test_stock_lm_eval_scores_the_last_checkpoint_of_the_first_model_too(trained, from_hub):
    assert trained.sample_checkpoint() == [layout.checkpoint_folder("pocket-90k", trained.run.steps["pocket-90k"][-1])]
    assert from_hub.sample_checkpoint() == [layout.checkpoint_folder("pythia-70m-deduped", 143_000)]
    assert graph_of("config/runs/published.yaml").sample_checkpoint() == []


def test_the_order_of_the_rows_follows_from_four_numbers(from_hub):
    # The Pile in 143,000 batches of 1,024 rows of 2,048 tokens, seed 1234: the suite's published training.
    retraining = graph_of("config/runs/one-pythia-model.yaml", checkpoints={"source": "retrain"})
    wildcards = SimpleNamespace(dataset=from_hub.run.datasets[0])
    words = retraining.order_numbers(wildcards)
    assert words[::2] == ["--seq-length", "--seed", "--train-iters", "--batch-size"]
    assert words[1::2] == ["2048", "1234", "143000", "1024"]


@pytest.mark.parametrize(
    ("published", "expected"),
    [
        ({}, ["--source", PUBLISHED_TABLE]),
        ({"source": "folder"}, ["--source", "folder"]),
        (
            {"repository": "a/b"},
            ["--source", layout.UPSTREAM, "--source-name", "a/b main", "--expected", PUBLISHED_TABLE],
        ),
        (
            {"repository": "a/b", "commit": "c" * 40},
            ["--source", layout.UPSTREAM, "--source-name", f"a/b {'c' * 40}", "--expected", PUBLISHED_TABLE],
        ),
    ],
)
def test_published_results_come_from_the_table_a_folder_or_a_download(published, expected):
    assert graph_of(None, published=published).published_arguments() == expected
