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
from workflow_scripts.suite.experiment_files import TABLES
from workflow_scripts.suite.figure_names import (
    OWN_TABLES,
    PUBLISHED_FILES,
    figure_names,
    figure_needs,
    is_compared,
    own_table,
)
from workflow_scripts.suite.models import Dataset, Model
from workflow_scripts.suite.run import Run, corpus_path
from workflow_scripts.workflow.checkpoints import audited, location_of, sample_checkpoint, source_of
from workflow_scripts.workflow.evaluation import score_tables

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

    def corpus(self, key: str) -> Any:
        """One fact about the suite's corpus, such as its seed."""
        return (self.suite.corpus or {}).get(key)

    def corpus_text(self, wildcards: Any) -> str:  # noqa: ARG002 - Snakemake passes them
        """The text file that a suite is trained on."""
        return str(corpus_path(self.suite, self.run.settings))

    def dataset_in(self, repository: str) -> Dataset:
        """Data set behind the name of a repository."""
        return next(item for item in self.suite.datasets.values() if item.repository.split("/")[1] == repository)

    def mirror_hashes(self, wildcards: Any) -> list[str]:
        """Hash list of the data set in the local mirror, when it is this workflow that fills the mirror."""
        folder = layout.mirrored_dataset(self.suite.dataset(wildcards.dataset))
        return [f"{folder}/{layout.HASH_LIST}"] if self.suite.is_made_here else []

    def lock_arguments(self, wildcards: Any) -> list[str]:
        """List of sizes and hashes known beforehand: the suite's, or none when the source carries one."""
        lock = self.suite.dataset(wildcards.dataset).lock
        return ["--lock", lock] if lock else []

    def raw_folder(self, wildcards: Any) -> str:
        """Folder of a downloaded data set."""
        return f"{layout.dataset_folder(wildcards.suite, wildcards.dataset)}/raw"

    def raw_shards(self, wildcards: Any) -> list[str]:
        """Downloaded shards."""
        return [f"{self.raw_folder(wildcards)}/{name}" for name in self.suite.dataset(wildcards.dataset).shard_names]

    def raw_index(self, wildcards: Any) -> str:
        """Downloaded index."""
        return f"{self.raw_folder(wildcards)}/{self.suite.dataset(wildcards.dataset).index_name}"

    def order_numbers(self, wildcards: Any) -> list[str]:
        """Arguments that decide the training order; all models of a run on one data set share them."""
        model = next(item for item in self.run.models if item.dataset == wildcards.dataset)
        numbers = {
            "--seq-length": model.sequence_length,
            "--seed": model.data_seed,
            "--train-iters": model.train_iterations,
            "--batch-size": model.batch_rows,
        }
        return [text for name, value in numbers.items() for text in (name, str(value))]

    def data_targets(self) -> list[str]:
        """What ``snakemake data`` makes."""
        names = ["verified.json", "index_maps/index_maps.json", "batches/samples.jsonl"]
        if self.run.section("dataset").get("joined"):
            names.append("joined/joined.json")
        folders = [layout.dataset_folder(self.suite.name, key) for key in self.run.datasets]
        return [f"{folder}/{name}" for folder in folders for name in names]

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

    def trained_steps(self, wildcards: Any) -> list[str]:
        """Checkpoint folders of a trained model at the run's steps, named by trainer iteration."""
        model = self.model(wildcards)
        iterations = [model.step(hub).iteration for hub in self.run.steps[model.name]]
        return [f"{layout.training_folder(model.name)}/step{iteration}" for iteration in iterations]

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

    def made_task_patterns(self) -> list[str]:
        """The same files with the suite's name left open as ``{made}``, for the rule that makes them."""
        head = f"{layout.TASK_DATA}/"
        return [head + path.removeprefix(head).replace(self.suite.name, "{made}", 1) for path in self.made_task_files()]

    def suites_with_tokenizer(self, source: str) -> list[str]:
        """The suite's name when its tokenizer is ``trained`` here or ``released``, else nothing."""
        return [self.suite.name] if self.suite.tokenizer["source"] == source else []

    def tokenizer(self) -> str:
        """The suite's tokenizer."""
        return layout.tokenizer_file(self.suite.name)

    def scores(self) -> list[str]:
        """The table of all scores, or nothing for a run without models."""
        return [f"{self.tables}/scores.parquet"] if self.models else []

    # Figures and report

    def published_source(self) -> str:
        """Folder of the original result files, the receipt of their download, or the table of this project."""
        chosen = self.run.section("published")
        return str(chosen.get("source") or (layout.UPSTREAM_RECEIPT if chosen.get("repository") else PUBLISHED_TABLE))

    def published_arguments(self) -> list[str]:
        """Arguments that say where the results are; of a download also what they are held to."""
        if self.published_source() != layout.UPSTREAM_RECEIPT:
            return ["--source", self.published_source()]
        chosen = self.run.section("published")
        name = f"{chosen['repository']} {chosen.get('commit') or 'main'}"
        return ["--source", layout.UPSTREAM, "--source-name", name, "--expected", PUBLISHED_TABLE]

    def upstream_arguments(self) -> list[str]:
        """Arguments of the download of the original results."""
        chosen = self.run.section("published")
        commit = ["--commit", str(chosen["commit"])] if chosen.get("commit") else []
        return ["--location", str(chosen.get("repository")), *commit]

    def figure_tables(self, wildcards: Any) -> list[str]:
        """Tables that a figure is drawn from."""
        tables = {
            "scores": self.scores(),
            "published": [f"{self.tables}/published.parquet"],
            "own": self.scores() if self.comparison() else [],
            "metrics": self.trained(),
            "validation": [f"{layout.training_folder(name)}/validation.csv" for name in self.models],
            **{name: [path] for name, path in PUBLISHED_FILES.items()},
            **{need: self.own_tables(need) for need in OWN_TABLES},
        }
        made = {name: [f"{self.tables}/{table}.parquet" for table in TABLES[name]] for name in TABLES}
        return [path for need in figure_needs(wildcards.figure) for path in (tables | made)[need]]

    def own_tables(self, need: str) -> list[str]:
        """Table of an experiment of this run that lies over published numbers; nothing where there is none."""
        names = own_table(need, self.suite.name, self.run.settings.get("experiments", []))
        return [f"{self.tables}/{name}.parquet" for name in names]

    def figure_files(self) -> list[str]:
        """Every file of every figure."""
        folder = f"{layout.run_folder(self.run.name)}/figures"
        return [f"{folder}/{name}.{kind}" for name in self.figures for kind in ("svg", "pdf", "png", "csv")]

    def everything(self) -> list[str]:
        """What a finished run holds.

        Figures, tables and scores are named one by one: Snakemake does not miss a deleted file behind a report that is
        still there.
        """
        return [self.report, *self.figure_files(), *self.report_tables(), *layout.score_files(self.run)]

    def report_tables(self) -> list[str]:
        """Tables that the report shows beside the figures."""
        ours = [*self.scores(), *score_tables(self.run)[1:], f"{self.tables}/crosscheck.json"] if self.models else []
        published = [f"{self.tables}/published.parquet", f"{self.tables}/published_defects.tsv"]
        return [*ours, *published, *self.comparison()]

    def comparison(self) -> list[str]:
        """Ours against the published results: only where the run scores published models on published tasks."""
        models = [(model.version, model.arm) for model in self.run.models]
        is_published = is_compared(self.suite.name, models, self.task_names())
        return [f"{self.tables}/comparison.parquet"] if is_published else []

    def notebook(self) -> list[str]:
        """The sample notebook with its outputs; nothing for a run without models."""
        return [f"{layout.run_folder(self.run.name)}/explore.ipynb"] if self.models else []
