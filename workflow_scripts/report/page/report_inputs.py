"""What the report reads: the run, its tables, figures, data receipts and records. Absent parts are left out.

Nothing is computed here; a file that is there and broken is a DataError, a file that a run of this kind does not make
is simply not shown.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from workflow_scripts.errors import DataError, MissingInputError
from workflow_scripts.experiments.outputs import read_frame, read_verdict
from workflow_scripts.published.results_table import of_protocol, read_table
from workflow_scripts.report.report_tables import METRICS_COLUMNS, VALIDATION_COLUMNS, join_models, own_scores, read_run
from workflow_scripts.storage.records import RECORD_SUFFIX

AUDIT = "audit"  # its name among the files that were read
COMPARISON_COLUMNS = (
    "model", "step", "shots", "task", "metric", "value_published", "value_ours", "difference", "noise", "verdict",
)  # fmt: skip


@dataclass(frozen=True)
class ReportInputs:
    """Everything that the report is made from; frames are empty and mappings absent where a run has no such part."""

    run: Mapping[str, Any]
    run_dir: Path
    results_root: Path
    figures: Sequence[str]
    scores: pd.DataFrame
    published: pd.DataFrame
    defects: Sequence[Mapping[str, str]]
    metrics: pd.DataFrame
    validation: pd.DataFrame
    crosscheck: Mapping[str, Any] | None
    experiments: Sequence[Mapping[str, Any]] = ()
    comparison: pd.DataFrame = field(default_factory=pd.DataFrame)
    own: pd.DataFrame = field(default_factory=pd.DataFrame)
    files: Mapping[str, Path] = field(default_factory=dict)


def read_inputs(
    run_file: Path, run_dir: Path, results_root: Path, figures: Sequence[str], audit: Path | None = None
) -> ReportInputs:
    """Read what lies in ``run_dir`` (tables, figures) and ``results_root`` (data, training)."""
    run, tables = read_run(run_file), run_dir / "tables"
    files = {"run": run_file, **({AUDIT: audit} if audit else {})}
    frames = {}
    for name in ("scores", "published"):
        path = tables / f"{name}.parquet"
        frames[name] = of_protocol(read_table(path), "current") if path.is_file() else pd.DataFrame()
        files |= {name: path} if path.is_file() else {}
    if run["models"] and frames["scores"].empty:
        raise MissingInputError(f"{tables / 'scores.parquet'}: no scores of the run's models; run snakemake evaluate")
    defects = tables / "published_defects.tsv"
    files |= {"defects": defects} if defects.is_file() else {}
    for name in figures:
        files[f"figure {name}"] = existing(run_dir / "figures" / f"{name}.svg", name)
    verdicts = {name: tables / f"verdict_{name}.json" for name in run.get("settings", {}).get("experiments", [])}
    files |= {f"verdict {name}": path for name, path in verdicts.items() if path.is_file()}
    comparison, training = tables / "comparison.parquet", results_root / "training"
    files |= {"comparison": comparison} if comparison.is_file() else {}
    return ReportInputs(
        run=run,
        run_dir=run_dir,
        results_root=results_root,
        figures=figures,
        scores=frames["scores"],
        published=frames["published"],
        defects=read_tsv(defects) if defects.is_file() else [],
        metrics=of_all_models(run, training, "metrics", METRICS_COLUMNS),
        validation=of_all_models(run, training, "validation", VALIDATION_COLUMNS),
        crosscheck=read_json(tables / "crosscheck.json"),
        experiments=[read_verdict(path) for path in verdicts.values() if path.is_file()],
        comparison=read_frame(comparison, COMPARISON_COLUMNS) if comparison.is_file() else pd.DataFrame(),
        own=own_scores(read_table(files["scores"])) if comparison.is_file() and "scores" in files else pd.DataFrame(),
        files=files,
    )


def existing(path: Path, figure: str) -> Path:
    """``path``; raises MissingInputError that says how to draw the figure."""
    if not path.is_file():
        raise MissingInputError(f"{path}: figure {figure} is not drawn yet; snakemake {path} draws it")
    return path


def of_all_models(run: Mapping[str, Any], training: Path, name: str, columns: Sequence[str]) -> pd.DataFrame:
    """CSV of every model joined; empty unless all models have one."""
    paths = {model["name"]: training / model["name"] / f"{name}.csv" for model in run["models"]}
    if not paths or not all(path.is_file() for path in paths.values()):
        return pd.DataFrame()
    return join_models(run, paths, columns)


def read_json(path: Path) -> dict[str, Any] | None:
    """Contents of a JSON file, None where it is absent; raises DataError when it is broken."""
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: broken JSON: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: holds a {type(content).__name__}, a table was expected")
    return content


def read_tsv(path: Path) -> list[dict[str, str]]:
    """Rows of a TSV with a header."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def records_below(folder: Path) -> dict[str, dict[str, Any]]:
    """Records below ``folder`` by the path of their output relative to it."""
    found = {}
    for path in sorted(folder.rglob(f"*{RECORD_SUFFIX}")):
        content = read_json(path)
        if content is not None:
            found[path.relative_to(folder).as_posix().removesuffix(RECORD_SUFFIX)] = content
    return found
