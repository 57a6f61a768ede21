"""Sections of the report as plain values for the template: figures, tables, defects, provenance."""

import base64
import csv
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from workflow_scripts.errors import DataError
from workflow_scripts.published.summary import final_scores, final_table
from workflow_scripts.report.drawing.curve_panels import select
from workflow_scripts.report.figures.final_tables import DATA_TITLES, OWN_REMARK, own_final, score_text, table_lines
from workflow_scripts.report.page.report_inputs import ReportInputs, read_json, records_below
from workflow_scripts.report.report_tables import Tables
from workflow_scripts.report.score_rows import TaskRows, at_last_step, shot_words, task_rows
from workflow_scripts.storage.records import record_path

LARGEST_SVG = 600_000  # bytes
SVG_WIDTH = re.compile(rb'width="([0-9.]+)pt"')
SHORT_HASH = 12
FINAL_TABLES = {"published_final_zero_shot": 0, "published_final_five_shot": 5}  # figures that the page has as tables
SEVERITIES = ("wrong", "doubtful", "missing", "noted")
# How much the findings of each rule matter to a reader of the figures, and what they are.
WEIGHT = {
    "five-shot-that-is-zero-shot": ("wrong", "Files that are called five-shot hold zero-shot results."),
    "identical-across-data": (
        "wrong",
        "Two models of different data have the same results, so one is not what it says.",
    ),
    "disagreeing-data-paths": (
        "wrong",
        "The configuration beside a result names other training data than its model had.",
    ),
    "interventions-without-effect": (
        "doubtful",
        "Models trained on changed data score as if nothing had been changed.",
    ),
    "winobias-harness": ("doubtful", "Compared results were made by different programs."),
    "mixed-metrics": ("doubtful", "A number is quoted with another metric than the one that it is."),
    "misleading-file-name": ("doubtful", "A file's name says something else than its content."),
    "recipe": ("doubtful", "Two sources state different training parameters."),
    "missing-steps": ("missing", "Checkpoints without results."),
    "missing-tasks": ("missing", "Tasks without results."),
    "winobias-measure": ("missing", "The numbers of a figure of the paper are in no file."),
    "duplicate-files": ("noted", "A checkpoint was scored more than once; the newest file counts."),
    "equal-results": ("noted", "Groups of files have the same results."),
    "identical-to-step-0": ("noted", "Steps 0 and 1 score the same, as the first learning rate is 0."),
    "measured-twice": ("noted", "Checkpoints were scored a second time as controls."),
    "size-vocabularies": ("noted", "Model sizes are written in more than one way."),
    "trainer-steps": ("noted", "Step numbers count larger batches; they are converted."),
    "varying-batch-size": ("noted", "The evaluation's batch size varies, which changes rounding alone."),
}


@dataclass(frozen=True)
class FigureBlock:
    """One figure of the page: the picture as a data address, its words, and its numbers' place beside the page."""

    name: str
    title: str
    caption: str
    alternative: str
    address: str
    points: int
    target: str
    width: int  # points, as drawn


@dataclass(frozen=True)
class Table:
    """A table: ``head`` are column titles, each row starts with its own title."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True)
class DefectGroup:
    """Findings of one rule: how much they matter, what the rule finds in a sentence, and each."""

    rule: str
    severity: str
    sentence: str
    defects: Sequence[Mapping[str, str]]


def figure_block(inputs: ReportInputs, name: str) -> FigureBlock:
    """Figure with the words of its record."""
    stem = inputs.run_dir / "figures" / name
    words = (read_json(record_path(stem)) or {}).get("parameters", {})
    picture = stem.with_name(f"{name}.svg").read_bytes()
    with stem.with_name(f"{name}.csv").open(encoding="utf-8", newline="") as file:
        points = sum(1 for _ in csv.reader(file)) - 1
    return FigureBlock(
        name=name,
        title=words.get("title", name.replace("_", " ")),
        caption=words.get("caption", ""),
        alternative=words.get("alternative", name.replace("_", " ")),
        address=address_of(stem, picture),
        points=points,
        width=width_of_svg(picture),
        target=f"results/runs/{inputs.run['run']}/figures/{name}.svg",
    )


def address_of(stem: Path, picture: bytes) -> str:
    """Data address of a figure: its SVG, or its PNG where the SVG would make the page heavy."""
    kind, content = "svg+xml", picture
    if len(picture) > LARGEST_SVG:
        kind, content = "png", stem.with_name(f"{stem.name}.png").read_bytes()
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def width_of_svg(picture: bytes) -> int:
    """Width in points that matplotlib writes into the head of an SVG; raises DataError where there is none."""
    match = SVG_WIDTH.search(picture[:2000])
    if not match:
        raise DataError("a figure is not an SVG written by this workflow: its head states no width in points")
    return round(float(match[1]))


def own_final_table(inputs: ReportInputs) -> Table | None:
    """Scores of the last checkpoint of each model, with standard errors."""
    if inputs.scores.empty:
        return None
    suites = sorted(set(inputs.scores["suite"].astype(str)))
    parts = [part for suite in suites for part in task_rows(select(inputs.scores, suite=suite), suite, inputs.run)]
    models = [model["name"] for model in inputs.run["models"]]
    rows = [[part.title, *model_scores(part, models)] for part in parts]
    return Table(
        "Scores of the last checkpoints",
        ["task", *models],
        rows,
        "Score ± standard error; the metric is each task's own.",
    )


def model_scores(part: TaskRows, models: Sequence[str]) -> list[str]:
    """Score of each model, empty where there is none."""
    last = at_last_step(part.rows).set_index(part.rows["model"].astype(str).loc[at_last_step(part.rows).index])
    cells = []
    for model in models:
        row = last.loc[[model]].iloc[0] if model in last.index else None
        cells.append("" if row is None else f"{score_text(row['value'])} ± {score_text(row['stderr'])}")
    return cells


def published_tables(inputs: ReportInputs) -> list[Table]:
    """Published final scores for both data sets and the shots whose table the run asks for, ours below each task."""
    shots = [k for name, k in FINAL_TABLES.items() if name in inputs.figures]
    return [table for k in shots for table in final_tables(inputs, k)]


def final_tables(inputs: ReportInputs, shots: int) -> list[Table]:
    """Published final scores with one number of shots, a table per data set."""
    own = own_final(Tables(inputs.run, published=inputs.published, own=inputs.own), shots)
    scores, remark = final_scores(inputs.published, shots), OWN_REMARK if len(own) else ""
    return [
        Table(
            f"Published final accuracy, {shot_words(shots)}, models {title}",
            ["task", *final_table(scores, data).columns],
            [[line.name, *(text for text, _ in line.cells)] for line in table_lines(scores, own, data)],
            f"Step 143000, accuracy (acc).{remark}",
        )
        for data, title in DATA_TITLES.items()
    ]


def defect_groups(inputs: ReportInputs) -> list[DefectGroup]:
    """Defects of the published results by rule, the worst first."""
    groups: dict[str, list[Mapping[str, str]]] = defaultdict(list)
    for defect in inputs.defects:
        groups[defect["rule"]].append(defect)
    found = [
        DefectGroup(rule, *WEIGHT.get(rule, ("noted", "Found by this rule.")), group) for rule, group in groups.items()
    ]
    return sorted(found, key=lambda group: SEVERITIES.index(group.severity))


def provenance(inputs: ReportInputs) -> Table:
    """Outputs of the run with hash, inputs and code version, from their records."""
    rows = []
    for name, record in records_below(inputs.run_dir).items():
        if name == "report.html":
            continue
        sha256 = record.get("output_sha256") or (record.get("parameters", {}).get("sha256") or {}).get("csv") or ""
        version = str(record.get("code_version", ""))
        rows.append([name, str(sha256)[:SHORT_HASH], str(len(record.get("inputs", {}))), version])
    head = ["output", "sha256", "inputs", "code version"]
    # No seconds: the page is the same whenever it is made from the same data.
    note = "Each output has a .record.json with all inputs and their hashes, and the time that it took."
    return Table("Records of this run", head, rows, note)


def versions(inputs: ReportInputs) -> dict[str, str]:
    """Versions of the libraries that made the tables, from the newest record."""
    found: dict[str, str] = {}
    for record in records_below(inputs.run_dir).values():
        found |= record.get("versions", {})
    return dict(sorted(found.items()))


def run_facts(inputs: ReportInputs) -> list[tuple[str, str]]:
    """The run in numbers."""
    models, steps = inputs.run["models"], inputs.run.get("steps", {})
    facts = [("run", str(inputs.run["run"])), ("suite", str(inputs.run["suite"]))]
    if models:
        facts.append(("models", str(len(models))))
        facts.append(("checkpoints", f"{sum(len(of_model) for of_model in steps.values()):,}"))
        facts.append(("tasks", str(len(inputs.run.get("tasks", [])))))
    if len(inputs.published):
        rows = inputs.published
        facts.append(("published numbers", f"{len(rows):,} from {rows['source_file'].nunique():,} files"))
    return facts


def model_table(inputs: ReportInputs) -> Table | None:
    """Shape of each model of the run."""
    models = inputs.run["models"]
    if not models:
        return None
    keys = ("architecture", "parameters", "layers", "hidden_size", "heads", "learning_rate", "train_iterations")
    present = [key for key in keys if any(model.get(key) is not None for model in models)]
    rows = [[model["name"], *(fact_text(model.get(key)) for key in present)] for model in models]
    return Table("Models", ["model", *(key.replace("_", " ") for key in present)], rows)


def fact_text(value: object) -> str:
    """A fact for a cell.

    >>> fact_text(1048576), fact_text(0.0006), fact_text("llama"), fact_text(None)
    ('1,048,576', '0.0006', 'llama', '-')
    """
    if value is None or isinstance(value, str):
        return value or "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"
