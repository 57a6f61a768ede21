"""What the rules look up: input files, parameters and targets of a run, as functions of the wildcards.

The rule files hold no logic; what has branches is here, where it is typed and tested. Every function that takes
``wildcards`` is meant for a rule's ``input:`` or ``params:``; where a pattern with wildcards says the same, it is a
pattern, because Snakemake inspects a function anew for each of thousands of jobs.
"""

from __future__ import annotations

import gc
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from workflow_scripts.suite import layout
from workflow_scripts.suite.figure_names import (
    figure_names,
)
from workflow_scripts.suite.models import Model
from workflow_scripts.suite.run import Run
from workflow_scripts.workflow.checkpoints import audited, location_of, sample_checkpoint, source_of
from workflow_scripts.workflow.evaluation import score_tables
from workflow_scripts.workflow.report import page_tables

PUBLISHED_TABLE = "config/suites/published/pythia-evals.parquet"


def alternatives(names: Iterable[object]) -> str:
    """Regular expression that matches exactly these names, and nothing when there are none.

    >>> alternatives(["a", "b"]), alternatives([])
    ('a|b', '(?!)')
    """
    return "|".join(re.escape(str(name)) for name in names) or "(?!)"


def collect_garbage_rarely() -> None:
    """Let Python look for cycles every 100,000 objects instead of every 700.

    Planning makes millions of objects that stay and hardly a cycle. This saves a tenth of the time and costs no memory.
    """
    gc.set_threshold(100_000, 20, 100)


def use_this_interpreter() -> None:
    """Make ``python`` in a rule the interpreter that runs Snakemake, in jobs on other nodes too."""
    folder = str(Path(sys.executable).parent)
    path = os.environ.get("PATH", "")
    if path.split(os.pathsep)[0] != folder:
        os.environ["PATH"] = os.pathsep.join([folder, path])


class Graph:
    """The grid of one run. Methods that take ``wildcards`` answer for one job."""

    def __init__(self, run: Run) -> None:
        """Look up what every rule needs; raises UnknownNameError for a figure that does not exist."""
        self.run = run
        self.suite = run.suite
        self.models = {model.name: model for model in run.models}
        self.figures = figure_names(run)
        self.tables = f"{layout.run_folder(run.name)}/tables"
        self.report = f"{layout.run_folder(run.name)}/report.html"

    # Corpus and data sets

    def suites_with_corpus(self, source: str) -> list[str]:
        """The suite's name when its corpus comes from ``source`` (generated, jsonl), else nothing."""
        corpus = self.suite.corpus or {}
        return [self.suite.name] if corpus.get("source") == source else []

    def data_targets(self) -> list[str]:
        """What ``snakemake data`` makes."""
        names = ["verified.json", "index_maps/index_maps.json", "batches/samples.jsonl"]
        folders = {key: layout.dataset_folder(self.suite.name, key) for key in self.run.datasets}
        found = [f"{folder}/{name}" for folder in folders.values() for name in names]
        if self.run.section("dataset").get("joined"):
            found += [f"{folder}/joined/{self.suite.dataset(key).prefix}.bin" for key, folder in folders.items()]
        return found

    # Models

    def model(self, wildcards: Any) -> Model:
        """The model that the wildcards name."""
        return self.models[wildcards.model]

    def training_data(self, wildcards: Any) -> str:
        """Folder of the data set that a model is trained on."""
        return layout.dataset_folder(self.suite.name, self.model(wildcards).dataset)

    def trained(self) -> list[str]:
        """Receipts of all trained models."""
        return [f"{layout.training_folder(name)}/run.json" for name in self.models] if self.run.retrains else []


    def audit_of_report(self) -> list[str]:
        """The table of defects that the report shows; nothing where the run does not ask for it."""
        return audited(self.run)[:1] if self.run.section("checkpoints").get("audit") else []

    def audit_arguments(self) -> list[str]:
        """The same as an argument."""
        return [text for path in self.audit_of_report() for text in ("--audit", path)]

    def checkpoint_source(self) -> str:
        """Where checkpoints are fetched from."""
        return source_of(self.run)

    def checkpoint_location(self) -> str:
        """Folder or endpoint that checkpoints are fetched from."""
        return location_of(self.run)

    def sample_checkpoint(self) -> list[str]:
        """Folder of the checkpoint that stock lm-eval evaluates too."""
        sample = sample_checkpoint(self.run)
        return [layout.checkpoint_folder(*sample)] if sample else []

    # Evaluation

    def task_names(self) -> list[str]:
        """Names of the run's tasks."""
        return [task.name for task in self.run.tasks]

    def made_task_files(self, wildcards: Any = None) -> list[str]:  # noqa: ARG002 - Snakemake passes them
        """Evaluation data that is made here; data from elsewhere is read where it lies."""
        return [
            f"{layout.TASK_DATA}/{task.repository}/default/{split}.parquet"
            for task in self.suite.tasks.values()
            for split in task.splits
        ]

    def tokenizer(self) -> str:
        """The suite's tokenizer."""
        return layout.tokenizer_file(self.suite.name)

    def scores(self) -> list[str]:
        """The table of all scores, or nothing for a run without models."""
        return [f"{self.tables}/scores.parquet"] if self.models else []

    # Figures and report

    def figure_files(self) -> list[str]:
        """Every file of every figure."""
        folder = f"{layout.run_folder(self.run.name)}/figures"
        return [f"{folder}/{name}.{kind}" for name in self.figures for kind in ("svg", "pdf", "png", "csv")]

    def everything(self) -> list[str]:
        """What a finished run holds.

        Figures, tables and scores are named one by one: Snakemake does not miss a deleted file behind a report that is
        still there.
        """
        return [self.report, *self.figure_files(), *page_tables(self.run), *layout.score_files(self.run)]

    def notebook(self) -> list[str]:
        """The sample notebook with its outputs; nothing for a run without models."""
        return [f"{layout.run_folder(self.run.name)}/explore.ipynb"] if self.models else []
