r"""Check a configuration before Snakemake reads it, and say in a few lines what the run will make, or has made.

Snakemake merges config/config.yaml with the file given by --configfile; this program does the same, strictly: duplicate
keys, alias bombs, access tokens and unknown names are refused with one line.

Example:
  python -m workflow_scripts.workflow.tools.check --config config/runs/books.yaml
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from workflow_scripts import cli
from workflow_scripts.errors import MissingInputError, StorageError
from workflow_scripts.json_values import JsonMapping, JsonObject
from workflow_scripts.suite.figure_names import figure_names
from workflow_scripts.suite.layout import RESULTS, run_folder, score_files
from workflow_scripts.suite.run import Run, load_run
from workflow_scripts.suite.safe_yaml import load_yaml
from workflow_scripts.workflow.checkpoints import leave_out_defects
from workflow_scripts.workflow.readiness import report_of, require_experiment_names, require_folders, require_own_tasks
from workflow_scripts.workflow.requests.partition_fit import groups_of_profile, report_of_site
from workflow_scripts.workflow.resources import JobResources

DEFAULT = Path("config/config.yaml")


def merge(base: JsonMapping, changes: JsonMapping) -> JsonObject:
    """``base`` with ``changes`` on top, mappings merged key by key as Snakemake merges them."""
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def load_run_file(path: Path) -> Run:
    """The run described by ``path`` on top of the default configuration."""
    base = load_yaml(DEFAULT)
    changes = load_yaml(path) if path != DEFAULT else {}
    return leave_out_defects(load_run(merge(base, changes)))


def require_writable(folder: Path) -> None:
    """Refuse to start where outputs cannot be written; creates the folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"{folder}: cannot be created ({error.strerror}); run from a folder you may write to"
        ) from None
    if not os.access(folder, os.W_OK):
        raise StorageError(f"{folder}: is read-only; run from a folder you may write to, or change its permissions")


def describe(run: Run) -> str:
    """What a run is about to make."""
    checkpoints = sum(len(steps) for steps in run.steps.values())
    trained = "trained here" if run.retrains else f"from the {run.section('checkpoints')['source']}"
    sizes = f"{len(run.models)} model{'s' * (len(run.models) != 1)}, {checkpoints} checkpoint{'s' * (checkpoints != 1)}"
    lines = [f"run {run.name}: suite {run.suite.name}, {sizes} {trained}"]
    if run.models:
        shots = " and ".join(str(number) for number in run.shots)
        lines.append(f"  {len(run.tasks)} tasks, {shots} shots: {len(score_files(run))} result files")
    lines.append(f"  {len(figure_names(run))} figures and a report in {run_folder(run.name)}/")
    return "\n".join(lines)


def finished(run: Run, what: str = "report") -> str:
    """Where the outcome of a run lies: the report and the figures, or the figures alone."""
    report = Path(run_folder(run.name)) / "report.html"
    if what == "figures":
        return f"done. figures: {report.parent}/figures/"
    if not report.is_file():
        raise MissingInputError(f"{report}: missing, so the run is not finished; rerun the same command")
    figures = len(list((report.parent / "figures").glob("*.svg")))
    size = report.stat().st_size / 1e6
    return f"done. report: {report} ({size:.1f} MB, open it in a browser), {figures} figures: {report.parent}/figures/"


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse arguments, check, and describe."""
    parser = cli.parser(__doc__)
    parser.add_argument("--config", type=Path, default=DEFAULT, help="a configuration file, e.g. from config/runs")
    parser.add_argument("--finished", nargs="?", const="report", choices=("report", "figures"),
                        help="print where the finished outputs are")  # fmt: skip
    options = parser.parse_args(arguments)
    run = load_run_file(options.config)
    if options.finished:
        cli.say(finished(run, options.finished))
        return
    require_writable(Path(RESULTS))
    require_folders(run)
    require_own_tasks(run)
    require_experiment_names(run)
    asked = JobResources(run, groups=groups_of_profile())
    cli.say("\n".join([describe(run), *run.renamed, *report_of(run), *report_of_site(run, asked)]))


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
