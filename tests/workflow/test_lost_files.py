"""What is lost is made again by its own rule, and by nothing else: data and training, in a fabricated run."""

import os
import time

import pytest

from tests.workflow.finished_run import RUN, FinishedRun, in_folder

LARGE = 2_000_000  # bytes; Snakemake compares the contents of files below one million, and dates above


@pytest.fixture(scope="module")
def finished(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lost")
    for _ in in_folder(folder):
        yield FinishedRun(folder, root, **RUN)


@pytest.fixture(scope="module")
def books(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("books")
    for _ in in_folder(folder):
        yield FinishedRun(folder, root, ["data"], **{**RUN, "suite": "books", "models": "all", "tasks": ["blimp"]})


def rebuilt_for(finished, target, **config):
    """Jobs per rule that a plan for one file alone has."""
    finished.targets = {target}
    try:
        return finished.rebuilt(**config)
    finally:
        finished.targets = set()


@pytest.fixture(scope="module")
def outputs(finished):
    """Outputs of the run's jobs, by rule."""
    found = {}
    for job in finished.jobs(forceall=True):
        found.setdefault(job.rule.name, []).extend(map(str, job.output))
    return found


RULES = (
    "generate_corpus", "generate_tasks", "train_tokenizer", "tokenize_corpus", "publish_dataset_standard",
    "download_dataset_file", "verify_dataset", "view_dataset", "index_maps_standard", "write_recipe", "train_model",
    "publish_model",
)  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
def test_a_lost_file_is_made_again_by_its_rule_alone(finished, outputs, rule):
    """The first, a middle and the last output of the rule, one at a time."""
    names = outputs[rule]
    for name in {names[0], names[len(names) // 2], names[-1]}:
        path = finished.folder / name
        facts, content = path.stat(), path.read_bytes()
        path.unlink()
        try:
            assert rebuilt_for(finished, name) == {rule: 1}
        finally:
            path.write_bytes(content)
            os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert finished.rebuilt() == {}


def made_again(finished, name):
    """Put a large file of a later date in the place of an output; returns how to take it back."""
    path = finished.folder / name
    facts, content = path.stat(), path.read_bytes()
    path.write_bytes(bytes(LARGE))
    os.utime(path, (time.time() + 60, time.time() + 60))

    def restore():
        path.write_bytes(content)
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))

    return restore


def test_a_shard_that_was_fetched_again_is_verified_and_trains_nothing(finished, outputs):
    """Its content is fixed by the list of hashes, so it is the same shard."""
    restore = made_again(finished, outputs["download_dataset_file"][0])
    try:
        assert finished.rebuilt() == {"verify_dataset": 1, "build_report": 1, "all": 1}
    finally:
        restore()


def test_maps_that_were_built_again_train_nothing(finished, outputs):
    restore = made_again(finished, outputs["index_maps_standard"][0])
    try:
        assert finished.rebuilt() == {}
    finally:
        restore()


def test_a_shard_that_was_published_again_is_fetched_by_nobody(finished, outputs):
    restore = made_again(finished, outputs["publish_dataset_standard"][0])
    try:
        assert finished.rebuilt() == {}
    finally:
        restore()


@pytest.mark.parametrize(
    "choice",
    [
        {"interventions": {"declaration": "pronouns", "models": [], "arms": ["identity-7"]}},
        {"experiments": ["interventions"], "interventions": {"declaration": "pronouns", "models": [], "arms": "all"}},
        {"training": {"neox": {"gpus": 4}}},
    ],
    ids=["arms", "experiments", "neox"],
)
def test_choices_of_a_run_train_nothing_again(finished, choice):
    assert "train_model" not in rebuilt_for(finished, "results/training/pocket-90k/run.json", **choice)
    assert not {"train_model", "publish_model", "write_recipe"} & set(finished.rebuilt(**choice))


@pytest.mark.parametrize(
    ("name", "rule"), [("texts/158-0.txt", "fetch_book"), ("books.jsonl", "cut_books"), ("texts/62.txt", "fetch_book")]
)
def test_a_lost_text_of_the_books_is_made_again_by_its_rule_alone(books, name, rule):
    path = books.folder / "results" / "corpus" / "books" / name
    content = path.read_bytes()
    path.unlink()
    try:
        assert rebuilt_for(books, f"results/corpus/books/{name}") == {rule: 1}
    finally:
        path.write_bytes(content)


@pytest.mark.parametrize("name", ["texts/158-0.txt", "books.jsonl"])
def test_a_text_of_the_books_that_came_again_changes_nothing(books, name):
    """Its content is fixed by a hash, so a model that was trained on it is not trained again."""
    restore = made_again(books, f"results/corpus/books/{name}")
    try:
        assert rebuilt_for(books, "data") == {}
    finally:
        restore()
