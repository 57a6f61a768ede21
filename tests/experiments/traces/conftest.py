"""The real pocket corpora as sharded data sets, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from workflow_scripts.dataset import make_view, publish_shards, tokenize_corpus, train_tokenizer
from workflow_scripts.pocket import generate_corpus
from workflow_scripts.suite.registry import load_suite

SUITE = load_suite("pocket")


def call(program, *arguments):
    """Run a program as its rule does."""
    program.main([str(word) for word in arguments])


def shard(prefix: Path, folder: Path, name: str, shards: int) -> Path:
    """View of ``prefix`` cut into ``shards`` of odd sizes."""
    call(publish_shards, "--prefix", prefix, "--name", name, "--num-shards", shards, "--output-dir", folder)
    files = sorted(folder.glob(f"{name}-*.bin"))
    call(make_view, "--idx", folder / f"{name}.idx", "--shards", *files, "--output", folder / "view.json")
    return folder / "view.json"


@pytest.fixture(scope="session")
def pocket_corpus(tmp_path_factory):
    """Folder with tokenizer, world and, for both data sets, documents and view.json of five and three shards."""
    folder = tmp_path_factory.mktemp("pocket")
    call(generate_corpus, "--seed", SUITE.corpus["seed"], "--documents", SUITE.corpus["documents"],
         "--output-standard", folder / "standard.jsonl", "--output-deduped", folder / "deduped.jsonl",
         "--world", folder / "world.json")  # fmt: skip
    call(train_tokenizer, "--corpus", folder / "standard.jsonl", "--vocab-size", SUITE.tokenizer["vocab_size"],
         "--output", folder / "tokenizer.json")  # fmt: skip
    for name, shards in (("standard", 5), ("deduped", 3)):
        call(tokenize_corpus, "--corpus", folder / f"{name}.jsonl", "--tokenizer", folder / "tokenizer.json",
             "--append-eod", "--output-prefix", folder / name)  # fmt: skip
        shard(folder / name, folder / f"{name}-shards", name, shards)
    return folder
