"""The world as config/suites/pocket.yaml asks for it fits the models: epochs, passages, prompts."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from tests.pocket.conftest import Pocket, generate, read_lines
from workflow_scripts.dataset import train_tokenizer
from workflow_scripts.suite.registry import load_suite

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def suite():
    return load_suite("pocket")


@pytest.fixture(scope="module")
def full(suite, tmp_path_factory):
    """The suite's own world."""
    import json

    folder: Path = tmp_path_factory.mktemp("full")
    generate(folder, suite.corpus["seed"], suite.corpus["documents"])
    world = json.loads((folder / "world.json").read_text())
    return Pocket(folder, read_lines(folder / "standard.jsonl"), read_lines(folder / "deduped.jsonl"), world)


@pytest.fixture(scope="module")
def tokenizer(suite, full):
    output = full.folder / "tokenizer.json"
    vocabulary = str(suite.tokenizer["vocab_size"])
    train_tokenizer.main(
        ["--corpus", str(full.folder / "standard.jsonl"), "--vocab-size", vocabulary, "--output", str(output)]
    )
    return Tokenizer.from_file(str(output))


def length(tokenizer, text):
    return len(tokenizer.encode(text).ids)


def test_bytes_are_pinned(suite, full):
    """The same on every machine; a change of these hashes is a change of the suite."""
    assert (suite.corpus["seed"], suite.corpus["documents"]) == (1234, 4950)
    digests = {
        name: hashlib.sha256((full.folder / name).read_bytes()).hexdigest()
        for name in ("standard.jsonl", "deduped.jsonl", "world.json")
    }
    assert digests == {
        "standard.jsonl": "ef08c0f699444f228b877f922020c903e0c1976fb6912fc3d971ae98ae0ed2b3",
        "deduped.jsonl": "a81c5a5d8d2f46d0de2cff6815cef9469a8cc301d0cd3624aaf7616b094328ca",
        "world.json": "2cc0df15f526e0350e5523f514a59787cc1351f57450aeb853393a03ae2f8edd",
    }


def test_training_consumes_0_90_and_1_45_epochs(suite, full, tokenizer):
    """As in the real suite: not all of the standard corpus, the deduped one nearly one and a half times."""
    model = suite.model("pocket-1m")
    consumed = model.train_iterations * model.batch_rows * model.sequence_length
    lengths = {text: length(tokenizer, text) + 1 for text in full.texts("deduped")}  # one more ends a document
    tokens = {name: sum(lengths[text] for text in full.texts(name)) for name in ("standard", "deduped")}
    assert consumed / tokens["standard"] == pytest.approx(0.90, abs=0.02)
    assert consumed / tokens["deduped"] == pytest.approx(1.45, abs=0.03)


def test_passages_are_longer_than_a_row(full, tokenizer):
    assert min(length(tokenizer, passage["text"]) for passage in full.world["passages"]) > 128


@pytest.mark.parametrize(
    ("task", "separator", "shape"),
    [
        ("last_word", "\n\n", "{text}"),
        ("facts", "\n\n", "Question: {question}\nAnswer: {answer}"),
        ("arithmetic", "\n", "{context}{completion}"),
    ],
)
def test_five_examples_fit_the_context(full, tokenizer, task, separator, shape):
    def texts(split):
        for row in full.rows(task, split):
            for answer in row["choices"]["text"] if task == "facts" else [""]:
                yield shape.format(**row, answer=answer)

    longest_examples = sorted(length(tokenizer, text + separator) for text in texts("train"))[-5:]
    longest_item = max(length(tokenizer, text) for text in texts("test"))
    assert sum(longest_examples) + longest_item <= 128
