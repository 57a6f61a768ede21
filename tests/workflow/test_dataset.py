"""Names of a data set's files, from patterns."""

from types import SimpleNamespace

import pytest

from workflow_scripts.dataset import build_index_maps
from workflow_scripts.suite.registry import load_suite
from workflow_scripts.suite.run import load_run
from workflow_scripts.suite.safe_yaml import load_yaml
from workflow_scripts.workflow import dataset
from workflow_scripts.workflow.tools import check
from workflow_scripts.workflow.tools.check import DEFAULT


@pytest.fixture
def run():
    return load_run({**load_yaml(DEFAULT), "models": ["pocket-90k", "pocket-1m-deduped"]})


def job(**wildcards):
    return wildcards


def test_a_pattern_names_what_there_is_one_of(run):
    of_data = dataset.in_data(run)
    view = of_data("results/data/{suite}/{dataset}/view.json")
    assert view(job(model="pocket-90k")) == "results/data/pocket/standard/view.json"
    assert view(job(model="pocket-1m-deduped")) == "results/data/pocket/deduped/view.json"
    assert view(job(suite="pocket", dataset="deduped")) == "results/data/pocket/deduped/view.json"
    assert of_data("{repository}")(job(dataset="deduped")) == "pocket/pocket_deduped_idxmaps"


def test_a_pattern_names_all_files_or_that_of_the_job(run):
    of_data = dataset.in_data(run)
    shards = [f"raw/pocket_deduped_text_document-0000{number}-of-00002.bin" for number in range(3)]
    assert of_data("raw/{shard}")(job(dataset="deduped")) == shards
    assert of_data("raw/{file}")(job(dataset="deduped")) == [*shards, "raw/pocket_deduped_text_document.idx"]
    assert of_data("raw/{file}")(job(dataset="deduped", file="x.bin")) == "raw/x.bin"


def test_maps_have_the_names_that_are_written(run, tmp_path):
    """The rule's outputs are what the program makes, name by name."""
    from tests.training.training_runs import write_data

    write_data(tmp_path)
    order = dataset.order_of(run, "standard")
    build_index_maps.main(
        [
            *("--prefix", str(tmp_path / "text_document"), "--output-dir", str(tmp_path / "maps")),
            *("--seq-length", str(order.seq_length), "--seed", str(order.seed)),
            *("--train-iters", str(order.iterations), "--batch-size", str(order.batch_rows)),
        ]
    )
    made = sorted(path.name for path in (tmp_path / "maps").glob("*.npy"))
    named = dataset.in_data(run)("{map}")(job(dataset="standard"))
    assert sorted(name.replace("pocket_text_document", "text_document") for name in named) == made
    trained = dataset.in_data(run)("{train_map}")(job(dataset="standard"))
    assert trained == named[:3]
    assert all("_train_0_" in name for name in trained)


def test_the_list_of_a_released_data_set_is_part_of_the_repository():
    pythia = load_suite("pythia")
    look_up = dataset.lock_of(pythia)
    assert look_up(SimpleNamespace(dataset="standard")) == "config/suites/locks/pile-standard.tsv"


def test_the_order_of_the_rows_follows_from_four_numbers(root):
    # The Pile in 143,000 batches of 1,024 rows of 2,048 tokens, seed 1234: the suite's published training.
    settings = check.merge(load_yaml(DEFAULT), load_yaml(root / "config/runs/one-pythia-model.yaml"))
    retraining = load_run(check.merge(settings, {"checkpoints": {"source": "retrain"}}))
    order = dataset.order_of(retraining, retraining.datasets[0])
    assert order == dataset.Order(seq_length=2048, seed=1234, iterations=143_000, batch_rows=1024)


def books(root, **changes):
    settings = check.merge(load_yaml(DEFAULT), load_yaml(root / "config/runs/books.yaml"))
    return load_run(check.merge(settings, changes))


def test_the_books_run_fetches_its_texts(root):
    run = books(root)
    texts = dataset.books_of(run)
    assert len(texts) == 31
    assert texts["158-0.txt"].repository == "GITenberg/Emma_158"
    assert dataset.corpus_of(run) == "results/corpus/books/books.jsonl"
    files = dataset.data_files(run)
    assert {"results/corpus/books/books.jsonl", "results/corpus/books/texts/158-0.txt"} <= set(files)


def test_a_text_of_ones_own_takes_the_place_of_the_books(root, tmp_path):
    own = tmp_path / "own.jsonl"
    own.touch()
    run = books(root, corpus={"path": str(own)})
    assert dataset.books_of(run) == {}
    assert dataset.corpus_of(run) == str(own)
    assert not [name for name in dataset.data_files(run) if "books.jsonl" in name or "/texts/" in name]
