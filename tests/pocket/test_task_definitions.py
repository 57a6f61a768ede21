"""The YAML definitions: lm-eval accepts them, builds the prompts that documents have, and scores them as it should."""

from __future__ import annotations

import re
from typing import Any

import datasets
import numpy as np
import pytest

from tests.pocket.conftest import TASKS

FOLDER = "workflow_scripts/evaluation/planning/tasks/pocket"


class CountingModel:
    """A stand-in for a language model that keeps the requests and gives each the same loglikelihood."""

    def __new__(cls):
        from lm_eval.api.model import LM

        class Model(LM):
            def __init__(self):
                super().__init__()
                self.requests: list[tuple[str, str]] = []

            def loglikelihood(self, requests):
                self.requests += [request.args for request in requests]
                return [(-1.0, True) for _ in requests]

            def loglikelihood_rolling(self, requests):
                raise AssertionError("no pocket task asks for this")

            def generate_until(self, requests):
                raise AssertionError("no pocket task asks for this")

        return Model()


@pytest.fixture
def lm_eval_run(root, pocket, monkeypatch):
    """Run stock lm-eval on one pocket task with the data of the test's world."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    def load(path: str, name: str | None = None, **_: Any):
        folder = pocket.datasets / path / (name or "")
        return datasets.DatasetDict(
            {
                file.stem: datasets.Dataset.from_parquet(str(file), cache_dir=str(pocket.folder / "cache"))
                for file in sorted(folder.glob("*.parquet"))
            }
        )

    monkeypatch.setattr(datasets, "load_dataset", load)
    manager = TaskManager(include_path=str(root / FOLDER), include_defaults=False)

    def run(task: str, shots: int):
        model = CountingModel()
        results = simple_evaluate(
            model=model, tasks=[f"pocket_{task}"], num_fewshot=shots, task_manager=manager, bootstrap_iters=0
        )
        return results["results"][f"pocket_{task}"], model.requests

    return run


pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def test_lm_eval_finds_all_tasks(root):
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(root / FOLDER), include_defaults=False)
    assert sorted(manager.all_tasks) == sorted(f"pocket_{task}" for task in TASKS)


def test_sentence_pairs_are_scored_whole_and_without_shots(lm_eval_run, pocket):
    for task, good, bad in (("agreement", "sentence_good", "sentence_bad"), ("pronouns", "sent_more", "sent_less")):
        results, requests = lm_eval_run(task, 5)
        rows = pocket.rows(task)
        assert requests == [pair for row in rows for pair in (("", row[good]), ("", row[bad]))]
        assert results["acc,none"] == 1.0  # a tie counts as right


def test_last_words_are_the_targets(lm_eval_run, pocket):
    results, requests = lm_eval_run("last_word", 0)
    for (context, target), row in zip(requests, pocket.rows("last_word"), strict=True):
        assert context + target == row["text"]
        assert re.fullmatch(r" \w+", target)
    assert results["acc,none"] == 1.0
    assert results["perplexity,none"] == pytest.approx(np.e)


def test_five_stories_come_first(lm_eval_run, pocket):
    _, requests = lm_eval_run("last_word", 5)
    examples = {row["text"] for row in pocket.rows("last_word", "train")}
    for context, _ in requests:
        *shots, _ = context.split("\n\n")
        assert len(set(shots)) == 5
        assert set(shots) <= examples


def test_questions_have_the_form_of_the_documents(lm_eval_run, pocket):
    _, requests = lm_eval_run("facts", 5)
    shape = re.compile(r"(?:Question: What is [^\n]+\?\nAnswer: \w+\n\n){5}Question: What is [^\n]+\?\nAnswer:")
    rows = pocket.rows("facts")
    assert len(requests) == 4 * len(rows)
    for (context, target), row in zip(requests[::4], rows, strict=True):
        assert shape.fullmatch(context)
        assert target == " " + row["choices"]["text"][0]
    documents = [row["text"] for row in pocket.standard if row["kind"] == "questions"]
    assert all(re.match(shape, text) for text in documents)


def test_sums_have_the_form_of_the_documents(lm_eval_run, pocket):
    _, requests = lm_eval_run("arithmetic", 5)
    shape = re.compile(r"(?:\w+: \d+ plus \d+ equals \d+\n){5}(?:Sum|Total): \d+ plus \d+ equals")
    for context, target in requests:
        assert shape.fullmatch(context)
        assert re.fullmatch(r" \d+", target)
    documents = [row["text"] for row in pocket.standard if row["kind"] == "arithmetic"]
    assert all(re.match(shape, text) for text in documents)
