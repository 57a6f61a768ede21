"""A generated pocket world, made once for all tests of this folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from workflow_scripts.pocket import generate_corpus, generate_tasks

SEED = 1234
DOCUMENTS = 1500
TASKS = ("agreement", "last_word", "facts", "pronouns", "arithmetic")


@dataclass(frozen=True)
class Pocket:
    """Everything the programs wrote: folders, corpora as rows, the world and the task rows."""

    folder: Path
    standard: list[dict[str, str]]
    deduped: list[dict[str, str]]
    world: dict[str, Any]

    @property
    def datasets(self) -> Path:
        return self.folder / "datasets"

    def rows(self, task: str, split: str = "test") -> list[dict[str, Any]]:
        import pyarrow.parquet

        return pyarrow.parquet.read_table(self.datasets / f"pocket/{task}/default/{split}.parquet").to_pylist()

    def texts(self, corpus: str = "standard") -> list[str]:
        return [row["text"] for row in getattr(self, corpus)]


def generate(folder: Path, seed: int = SEED, documents: int = DOCUMENTS) -> None:
    """Run both programs into ``folder``."""
    world = str(folder / "world.json")
    generate_corpus.main(
        [f"--seed={seed}", f"--documents={documents}", f"--output-standard={folder / 'standard.jsonl'}"]
        + [f"--output-deduped={folder / 'deduped.jsonl'}", f"--world={world}"]
    )
    generate_tasks.main([f"--seed={seed}", f"--world={world}", f"--output-dir={folder / 'datasets'}"])


def read_lines(path: Path) -> list[dict[str, str]]:
    """Rows of a corpus."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="session")
def pocket(tmp_path_factory: pytest.TempPathFactory) -> Pocket:
    """The world of seed 1234 with 1500 different documents."""
    folder = tmp_path_factory.mktemp("pocket")
    generate(folder)
    return Pocket(
        folder,
        read_lines(folder / "standard.jsonl"),
        read_lines(folder / "deduped.jsonl"),
        json.loads((folder / "world.json").read_text(encoding="utf-8")),
    )
