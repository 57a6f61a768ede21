"""What rules/report.smk looks up: the settings of the run as short parameters, the tables behind a figure."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from workflow_scripts.suite import layout
from workflow_scripts.suite.experiment_files import TABLES, experiments_of
from workflow_scripts.suite.figure_names import (
    OWN_TABLES,
    PUBLISHED_FILES,
    figure_names,
    figure_needs,
    own_table,
)
from workflow_scripts.suite.run import Run
from workflow_scripts.workflow.published import comparison_table

DEFAULT_CONFIG = "config/config.yaml"

# Parameter beside the sections: a digest of what the suite's file says about the run's models and tasks.
FACTS = "suite_facts"


def settings_words(run: Run) -> dict[str, str]:
    """Each section of the configuration as one parameter ``NAME=JSON``, so that a plan names the one that changed.

    ``suite_facts`` is among them: it changes when the suite's file says something else, not with a comment in it.
    """
    sections = {**run.settings, FACTS: facts_digest(run)}
    return {name: f"{name}={json.dumps(value, sort_keys=True)}" for name, value in sections.items()}


def facts_digest(run: Run) -> str:
    """Twelve hexadecimal digits over the resolved run without its settings."""
    resolved = {name: value for name, value in run.as_json().items() if name != "settings"}
    return hashlib.sha256(json.dumps(resolved, sort_keys=True).encode()).hexdigest()[:12]


def report_code(checkout: Path) -> str:
    """Digest of the code that draws figures and page, as a parameter: an edit draws them again, which is cheap."""
    files = sorted((checkout / "workflow_scripts" / "report").rglob("*.*"))
    sha256 = hashlib.sha256()
    for path in files:
        if path.suffix in (".py", ".j2", ".css", ".js"):
            sha256.update(path.name.encode() + path.read_bytes())
    return f"report code {sha256.hexdigest()[:12]}"


def figure_tables(run: Run, figure: str) -> list[str]:
    """Tables and training logs that a figure is drawn from."""
    folder = f"{layout.run_folder(run.name)}/tables"
    scores = [f"{folder}/scores.parquet"] if run.models else []
    asked = experiments_of(run)
    tables = {
        "scores": scores,
        "published": [f"{folder}/published.parquet"],
        "own": scores if comparison_table(run) else [],
        "metrics": training_logs(run, "metrics"),
        "validation": training_logs(run, "validation"),
        **{name: [path] for name, path in PUBLISHED_FILES.items()},
        **{name: [f"{folder}/{table}.parquet" for table in made] for name, made in TABLES.items()},
    }
    for need in OWN_TABLES:
        tables[need] = [f"{folder}/{name}.parquet" for name in own_table(need, run.suite.name, asked)]
    return list(dict.fromkeys(path for need in figure_needs(figure) for path in tables[need]))


def training_logs(run: Run, name: str) -> list[str]:
    """The log ``metrics`` or ``validation`` of every model of the run."""
    return [f"{layout.training_folder(model.name)}/{name}.csv" for model in run.models]


def page_tables(run: Run) -> list[str]:
    """Tables that the page shows beside the figures."""
    ours = ("scores.parquet", "score_defects.tsv", "crosscheck.json") if run.models else ()
    published = ("published.parquet", "published_defects.tsv", "published_refused.tsv") if run.shows_published else ()
    folder = f"{layout.run_folder(run.name)}/tables"
    traced = ("traces_texts", "traces_losses", "traces_exposures") if "traces" in experiments_of(run) else ()
    shown = (*ours, *published, *(f"{name}.parquet" for name in traced))
    return [*(f"{folder}/{name}" for name in shown), *comparison_table(run)]


def figure_files(run: Run) -> list[str]:
    """Every file of every figure of the run."""
    folder = f"{layout.run_folder(run.name)}/figures"
    return [f"{folder}/{name}.{kind}" for name in figure_names(run) for kind in ("svg", "pdf", "png", "csv")]


def given_configs(files: Iterable[str | Path]) -> list[str]:
    """Configuration files that Snakemake was given, seen from the working directory; without the default run's.

    Of one that lies elsewhere the name alone, so that a copy of the results in another folder stays up to date.

    >>> given_configs(["config/config.yaml", "config/runs/books.yaml"])
    ['config/runs/books.yaml']
    """
    names = [os.path.relpath(file) for file in files]
    inside = [Path(name).name if name.startswith("..") else name for name in names]
    return [name for name in inside if name != DEFAULT_CONFIG]
