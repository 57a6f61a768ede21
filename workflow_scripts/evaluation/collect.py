r"""Collect results files of many checkpoints into one tidy table: a row per model, step, shots, task and metric.

Each file is checked before it counts: its keys, its numbers (NaN and infinity are refused) and that it is about the
model and step its path says. Facts about models come from the suite. With the plans, scores with examples in the prompt
also get the error of their difference from zero-shot, paired by document. Writes <output> (parquet) and the same table
as .csv beside it; docs/data-format-scores.md lists columns and units.

    python -m workflow_scripts.evaluation.collect --run results/runs/pocket/run.json --scores-dir results/scores \
        --output results/runs/pocket/tables/scores.parquet
    python -m workflow_scripts.evaluation.collect --suite pythia --scores scores/pythia-70m/step1000/0-shot.json \
        --output scores.parquet
"""

import argparse
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from workflow_scripts import cli
from workflow_scripts.errors import ConfigError, DataError, MissingInputError, shorten
from workflow_scripts.evaluation.paired import Pairing
from workflow_scripts.evaluation.planning.protocols import name_in
from workflow_scripts.evaluation.scoring.engine_choice import engine_of
from workflow_scripts.evaluation.scoring.metrics import NOT_AVAILABLE
from workflow_scripts.evaluation.scoring.results import metric_values, read_results
from workflow_scripts.evaluation.scoring.score_files import (
    CURRENT,
    STOCK,
    ScoreFile,
    expected_files,
    parse_path,
    read_run,
)
from workflow_scripts.json_values import JsonObject
from workflow_scripts.storage.atomic import atomic_path, write_text
from workflow_scripts.storage.hashing import sha256_file
from workflow_scripts.storage.records import write_record
from workflow_scripts.suite.models import Suite
from workflow_scripts.suite.registry import load_suite
from workflow_scripts.suite.run import suite_of

# Name and pandas type of each column, in order; docs/data-format-scores.md explains them.
COLUMNS = {
    "suite": "str",
    "version": "str",
    "model": "str",
    "size": "str",
    "data": "str",
    "arm": "str",
    "protocol": "str",
    "shots": "int64",
    "step": "int64",
    "tokens": "int64",
    "task": "str",
    "task_version": "str",
    "metric": "str",
    "value": "float64",
    "stderr": "float64",
    "n": "int64",
    "source_file": "str",
    "source_sha256": "str",
    "harness": "str",
    "gain_stderr": "float64",
    "engine": "str",
}
NO_PLANS = Pairing({})
LOGGER = logging.getLogger(__name__)


def collect(
    files: Iterable[ScoreFile], suite: Suite, tasks: Sequence[str] | None = None, pairing: Pairing = NO_PLANS
) -> list[JsonObject]:
    """Rows of all ``files`` in their order; all missing files are named in one :class:`MissingInputError`.

    ``tasks``: only these, with the tasks of theirs that are groups; a file may hold more, of other runs.
    """
    listed = list(files)
    missing = [str(file.path) for file in listed if not file.path.is_file()]
    if missing:
        raise MissingInputError(f"{len(missing)} results files are missing: {shorten(missing, 3)}")
    return [row for file in listed for row in file_rows(file, suite, tasks, pairing)]


def file_rows(
    file: ScoreFile, suite: Suite, tasks: Sequence[str] | None = None, pairing: Pairing = NO_PLANS
) -> list[JsonObject]:
    """Rows of one results file: its tasks and the groups that have a mean."""
    content = read_results(file.path)
    check_owner(file, content)
    wanted = set(content["results"]) if tasks is None or file.kind == STOCK else wanted_names(file, content, tasks)
    errors = {} if file.kind == STOCK else pairing.errors(file.protocol, file.shots, zero_shot_path(file), file.path)
    model = suite.model(file.model)
    facts = {
        "suite": suite.name,
        "version": model.version,
        "model": model.name,
        "size": model.size,
        "data": model.dataset,
        "arm": model.arm,
        "protocol": file.protocol,
        "step": file.step,
        "tokens": model.step(file.step).tokens,
        "source_file": f"{file.model}/step{file.step}/{file.path.name}",
        "source_sha256": sha256_file(file.path),
        "harness": f"lm-eval {content['lm_eval_version']}",
        "engine": engine_of(content["config"]),
    }
    return [
        {
            **facts,
            **numbers,
            "shots": content["n-shot"].get(task, file.shots),
            "gain_stderr": errors.get((task, numbers["metric"]), float("nan")),
        }
        for task, entry in content["results"].items()
        if task in wanted
        for numbers in task_rows(task, entry, content["versions"].get(task))
    ]


def wanted_names(file: ScoreFile, content: JsonObject, tasks: Sequence[str]) -> set[str]:
    """Names in a results file that belong to ``tasks``; :class:`DataError` when it lacks one of these."""
    known = content["results"].keys() | content.get("left_out", {}).keys()
    found: set[str] = set()
    for task in tasks:
        single = name_in(file.kind, task)
        plan = content.get("plans", {}).get(task, {"names": [single] if single in known else []})
        if not plan["names"]:
            raise DataError(f"{file.path}: lacks task {task}; rerun the workflow to score what is missing")
        found |= set(plan["names"])
    return found


def zero_shot_path(file: ScoreFile) -> Path:
    """Where the zero-shot results of the same checkpoint and protocol are."""
    return file.path.with_name(file.path.name.replace(f"{file.shots}-shot", "0-shot", 1))


def check_owner(file: ScoreFile, content: JsonObject) -> None:
    """:class:`DataError` when a file is stored under the name of another model or step than it was made from."""
    config = content["config"]
    if content.get("protocol", CURRENT) != file.protocol:
        raise DataError(f"{file.path}: was scored under protocol {content['protocol']}; its name is wrong")
    said = (config.get("model_name"), config.get("revision"))
    if said != (file.model, f"step{file.step}"):
        raise DataError(f"{file.path}: was scored from {said[0]}/{said[1]}; it is in the wrong folder")


def task_rows(task: str, entry: JsonObject, version: Any) -> Iterable[JsonObject]:
    """One row per metric of a task."""
    for key, value in metric_values(entry).items():
        metric, _, kind = key.partition(",")
        if metric.endswith("_stderr"):
            continue
        error = entry.get(f"{metric}_stderr,{kind}", NOT_AVAILABLE)
        yield {
            "task": task,
            "task_version": str(version),
            "metric": metric if kind == "none" else key,
            "value": float(value),
            "stderr": float("nan") if error == NOT_AVAILABLE else float(error),
            "n": int(entry["sample_len"]),
        }


def write_table(path: Path, rows: Sequence[JsonObject]) -> None:
    """Write ``rows`` as parquet and as ``.csv`` beside it, both atomically; equal rows give equal bytes."""
    import pandas as pd

    frame = pd.DataFrame(list(rows), columns=list(COLUMNS)).astype(COLUMNS)
    with atomic_path(path) as temporary:
        frame.to_parquet(temporary, index=False)
    write_text(path.with_suffix(".csv"), frame.to_csv(index=False, lineterminator="\n"))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.parser(__doc__)
    parser.add_argument("--run", type=Path, help="run.json; all results files of the run are collected")
    parser.add_argument("--scores-dir", type=Path, help="folder of the run's results files")
    parser.add_argument("--scores", type=Path, nargs="+", default=[], help="results files, instead of --run")
    parser.add_argument("--suite", help="suite of the models of --scores")
    parser.add_argument("--plans", type=Path, nargs="*", default=[], help="plans of the scores, zero-shot among them")
    parser.add_argument("--output", type=Path, required=True, help="table to write, .parquet")
    options = parser.parse_args(arguments)
    if options.output.suffix != ".parquet":
        raise ConfigError(f"--output {options.output} must end in .parquet; the .csv is written beside it")
    by_run, by_list = (options.run, options.scores_dir), (options.suite, options.scores)
    if not (all(by_run) or all(by_list)) or any(by_run) == any(by_list):
        raise ConfigError("give either --run with --scores-dir, or --scores with --suite")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    if options.run:
        run = read_run(options.run)
        files, suite = list(expected_files(run, options.scores_dir)), suite_of(run)
        rows = collect(files, suite, [task["name"] for task in run["tasks"]], Pairing.read(options.plans))
    else:
        files, suite = [parse_path(path) for path in options.scores], load_suite(options.suite)
        rows = collect(files, suite, pairing=Pairing.read(options.plans))
    write_table(options.output, rows)
    known = {row["source_file"]: row["source_sha256"] for row in rows}
    write_record(
        options.output,
        {f"{file.model}/step{file.step}/{file.path.name}": file.path for file in files},
        {"suite": suite.name, "rows": len(rows)},
        known_hashes=known,
    )
    LOGGER.info("%d rows from %d results files", len(rows), len(files))


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
