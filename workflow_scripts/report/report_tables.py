"""The tables that figures and report are made from, read once and checked.

``scores`` and ``published`` are tidy tables (one number per row); ``own`` are our scores beside published ones;
``metrics`` joins the training logs of the run's models, ``validation`` their losses on held-out text; ``experiments``
holds the tables of experiments by name. A table that a figure does not need is not read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from workflow_scripts.errors import MissingInputError
from workflow_scripts.evaluation.scoring.score_files import read_run
from workflow_scripts.experiments.memory.confusion import read_published
from workflow_scripts.experiments.outputs import read_frame
from workflow_scripts.experiments.statistics.training_map import read_training_map
from workflow_scripts.json_values import JsonMapping
from workflow_scripts.published.compare import KEY, renamed
from workflow_scripts.published.results_table import of_protocol, read_table
from workflow_scripts.report.figures.own_groups import todays_groups
from workflow_scripts.storage.given_files import GivenFiles
from workflow_scripts.suite.experiment_files import TABLES
from workflow_scripts.suite.figure_names import OWN_TABLES, PUBLISHED_FILES, is_compared, own_table
from workflow_scripts.suite.registry import load_suite
from workflow_scripts.suite.steps import require_every_step

TRAINING_LOG = "metrics.csv"
RETRAIN = "train the model first (snakemake retrain)"
# Logs of a training by name, with the columns that are shown.
LOGS = {"metrics": ("step", "tokens", "loss"), "validation": ("step", "bits_per_byte")}
TABLE_OF_FILE = {"published_memorization": "predictability_published", "published_training_map": "seeds_training_map"}


@dataclass(frozen=True)
class Tables:
    """Inputs of figures; ``files`` maps a name to each file that was read, for the record."""

    run: JsonMapping
    scores: pd.DataFrame = field(default_factory=pd.DataFrame)
    published: pd.DataFrame = field(default_factory=pd.DataFrame)
    metrics: pd.DataFrame = field(default_factory=pd.DataFrame)
    validation: pd.DataFrame = field(default_factory=pd.DataFrame)
    experiments: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    own: pd.DataFrame = field(default_factory=pd.DataFrame)
    files: Mapping[str, Path] = field(default_factory=dict)


def load_tables(run_file: Path, needs: Sequence[str], given: GivenFiles) -> Tables:
    """Read what ``needs`` names (scores, published, own, metrics, validation, or an experiment) and nothing else.

    ``own`` are our scores that have a published counterpart, under the names of 2023, and ``own_<experiment>`` is the
    experiment's table that lies over published numbers; none where a run has no such. Files are among ``given``.
    """
    run = read_run(run_file)
    has_own = "own" in needs and is_compared_run(run)
    tidy = {name: table_file(given, name) for name in ("scores", "published") if name in needs}
    frames = {name: of_protocol(read_table(path), "current") for name, path in tidy.items()}
    files: dict[str, Path] = {"run": run_file, **tidy}
    if has_own:
        files["scores"] = table_file(given, "scores")
    for name, columns in LOGS.items():
        if name in needs:
            paths = logs_of(run, name, given)
            frames[name] = join_models(run, paths, columns)
            files |= {f"{name} {model}": path for model, path in paths.items()}
    asked = run.get("settings", {}).get("experiments", [])
    over = [table for need in needs if need in OWN_TABLES for table in own_table(need, run["suite"], asked)]
    made = {name: table_file(given, name) for name in [*(t for need in needs for t in TABLES.get(need, ())), *over]}
    experiments = {table: read_frame(path, ()) for table, path in made.items()}
    part_of_project = {name: given.find(path) or Path(path) for name, path in PUBLISHED_FILES.items() if name in needs}
    experiments |= {TABLE_OF_FILE[name]: read_published_file(name, path) for name, path in part_of_project.items()}
    own = own_scores(read_table(files["scores"])) if has_own else pd.DataFrame()
    return Tables(run, files=files | made | part_of_project, experiments=experiments, own=own, **frames)


def table_file(given: GivenFiles, name: str) -> Path:
    """File of the tidy table ``name``; raises MissingInputError."""
    return given.need(f"{name}.parquet", f"snakemake makes it as results/runs/<run>/tables/{name}.parquet")


def logs_of(run: JsonMapping, name: str, given: GivenFiles) -> dict[str, Path]:
    """Training logs (metrics or validation) of the run's models by model; raises MissingInputError."""
    return {model["name"]: given.need(f"{model['name']}/{name}.csv", RETRAIN) for model in run["models"]}


def own_scores(scores: pd.DataFrame) -> pd.DataFrame:
    """Rows of our scores that have a published counterpart, text as plain columns.

    Rows that were asked as in 2023 replace those of today's tasks.
    """
    text = ("model", "size", "data", "task", "metric", "comparability")
    parts = [rows.astype(dict.fromkeys(text, str)) for rows in (renamed(scores), todays_groups(scores))]
    return pd.concat(parts, ignore_index=True).drop_duplicates(KEY)


def is_compared_run(run: JsonMapping) -> bool:
    """True for a resolved run that scores published models on published tasks."""
    models = [(str(model.get("version")), str(model.get("arm"))) for model in run["models"]]
    return is_compared(run["suite"], models, [task["name"] for task in run.get("tasks", [])])


def read_published_file(name: str, path: Path) -> pd.DataFrame:
    """Published numbers that are part of this project, as the experiment beside which they are shown has them."""
    return read_training_map(path) if name == "published_training_map" else read_published(path, load_suite("pythia"))


def join_models(run: JsonMapping, paths: Mapping[str, Path], columns: Sequence[str]) -> pd.DataFrame:
    """One frame of a CSV per model, with columns model, size and data in front."""
    facts = {model["name"]: model for model in run["models"]}
    frames = []
    for name, path in paths.items():
        frame = read_frame(path, columns, RETRAIN)
        if path.name == TRAINING_LOG:
            require_every_step(frame["step"], path)
        frame.insert(0, "model", name)
        frame.insert(1, "size", facts[name]["size"])
        frame.insert(2, "data", facts[name]["dataset"])
        if "tokens" not in frame:
            frame["tokens"] = frame["step"] * facts[name]["batch_rows"] * facts[name]["sequence_length"]
        frames.append(frame)
    if not frames:
        raise MissingInputError(f"run {run['run']}: no models, so there are no {', '.join(columns)} to show")
    return pd.concat(frames, ignore_index=True)
