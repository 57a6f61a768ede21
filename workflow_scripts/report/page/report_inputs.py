"""What the report reads: the run, its tables, figures, data receipts and records. Absent parts are left out.

Nothing is computed here; a file that is there and broken is a DataError, a file that this kind of run does not make
is simply not shown.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from workflow_scripts.errors import MissingInputError
from workflow_scripts.evaluation.scoring.score_files import read_run
from workflow_scripts.experiments.outputs import read_frame, read_verdict
from workflow_scripts.json_values import JsonMapping, JsonObject, read_object
from workflow_scripts.published.results_table import of_protocol, read_table
from workflow_scripts.report.report_tables import LOGS, join_models, own_scores
from workflow_scripts.report.traces.trace_box import TABLES as TRACE_TABLES
from workflow_scripts.report.traces.trace_box import read_trace_tables
from workflow_scripts.storage.given_files import GivenFiles
from workflow_scripts.storage.records import RECORD_SUFFIX

AUDIT = "audit"
# Files that a run may have, by their names in the record.
ENDS = {AUDIT: "defects.tsv", "defects": "published_defects.tsv", "comparison": "comparison.parquet"}
COMPARISON_COLUMNS = (
    "model", "step", "shots", "task", "metric", "value_published", "value_ours", "difference", "noise", "verdict",
)  # fmt: skip


@dataclass(frozen=True)
class ReportInputs:
    """Everything that the report is made from; frames are empty and mappings absent where a run has no such part."""

    run: JsonMapping
    run_dir: Path
    given: GivenFiles
    figures: Sequence[str]
    scores: pd.DataFrame
    published: pd.DataFrame
    defects: Sequence[Mapping[str, str]]
    metrics: pd.DataFrame
    validation: pd.DataFrame
    crosscheck: JsonMapping | None
    experiments: Sequence[JsonMapping] = ()
    comparison: pd.DataFrame = field(default_factory=pd.DataFrame)
    own: pd.DataFrame = field(default_factory=pd.DataFrame)
    traces: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)


def read_inputs(run_file: Path, run_dir: Path, figures: Sequence[str], given: GivenFiles) -> ReportInputs:
    """Read the figures in ``run_dir`` and, of the tables, verdicts, receipts and logs, those that were ``given``."""
    run = read_run(run_file)
    files = {"run": run_file}
    frames = {}
    for name in ("scores", "published"):
        path = given.find(f"{name}.parquet")
        frames[name] = of_protocol(read_table(path), "current") if path else pd.DataFrame()
        files |= {name: path} if path else {}
    if run["models"] and frames["scores"].empty:
        raise MissingInputError(
            f"{run_dir}/tables/scores.parquet: no scores of the run's models; run snakemake evaluate"
        )
    verdicts: dict[str, Path] = {}
    for name, end in ENDS.items():
        path = given.find(end)
        files |= {name: path} if path else {}
    for name in figures:
        files[f"figure {name}"] = existing(run_dir / "figures" / f"{name}.svg", name)
    for name in run.get("settings", {}).get("experiments", []):
        path = given.find(f"verdict_{name}.json")
        verdicts |= {f"verdict {name}": path} if path else {}
    files |= verdicts
    traced = {name: path for name in TRACE_TABLES if (path := given.find(f"{name}.parquet")) is not None}
    comparison = files.get("comparison")
    return ReportInputs(
        run=run,
        run_dir=run_dir,
        given=given,
        figures=figures,
        scores=frames["scores"],
        published=frames["published"],
        defects=read_tsv(files["defects"]) if "defects" in files else [],
        metrics=of_all_models(run, "metrics", given),
        validation=of_all_models(run, "validation", given),
        crosscheck=read_json(given.find("crosscheck.json")),
        experiments=[read_verdict(path) for path in verdicts.values()],
        comparison=read_frame(comparison, COMPARISON_COLUMNS) if comparison else pd.DataFrame(),
        own=own_scores(read_table(files["scores"])) if comparison and "scores" in files else pd.DataFrame(),
        traces=read_trace_tables(traced),
        files=files | traced,
    )


def existing(path: Path, figure: str) -> Path:
    """``path``; raises MissingInputError that says how to draw the figure."""
    if not path.is_file():
        raise MissingInputError(f"{path}: figure {figure} is not drawn yet; snakemake {path} draws it")
    return path


def of_all_models(run: JsonMapping, name: str, given: GivenFiles) -> pd.DataFrame:
    """Training log ``name`` of every model joined; empty unless all models have one."""
    paths = {model["name"]: given.find(f"{model['name']}/{name}.csv") for model in run["models"]}
    found = {model: path for model, path in paths.items() if path is not None}
    return join_models(run, found, LOGS[name]) if paths and len(found) == len(paths) else pd.DataFrame()


def read_json(path: Path | None) -> JsonObject | None:
    """Object of a JSON file, None where there is none; raises DataError when it is broken."""
    return None if path is None or not path.is_file() else read_object(path, "JSON file", "recreate it")


def read_tsv(path: Path) -> list[dict[str, str]]:
    """Rows of a TSV with a header."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def records_below(folder: Path) -> dict[str, JsonObject]:
    """Records below ``folder`` by the path of their output relative to it."""
    found = {}
    for path in sorted(folder.rglob(f"*{RECORD_SUFFIX}")):
        content = read_json(path)
        if content is not None:
            found[path.relative_to(folder).as_posix().removesuffix(RECORD_SUFFIX)] = content
    return found
