r"""What of a run has been scored: one row per model, step, shots and task with a status.

present  the results file is there, is sound and holds the task
missing  there is no results file
failed   the file is there and must not be used; the reason is in the column "reason"
absent   the file is sound but does not hold the task
left out the task takes no shots, so the few-shot plan leaves it out on purpose

    python -m workflow_scripts.evaluation.coverage --run results/runs/pocket/run.json --scores-dir results/scores \
        --output results/runs/pocket/tables/coverage.csv
"""

import csv
import io
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from workflow_scripts import cli
from workflow_scripts.errors import DataError
from workflow_scripts.evaluation.collect import check_owner
from workflow_scripts.evaluation.planning.protocols import name_in
from workflow_scripts.evaluation.scoring.results import read_results
from workflow_scripts.evaluation.scoring.score_files import STOCK, ScoreFile, expected_files, read_run
from workflow_scripts.json_values import JsonObject
from workflow_scripts.storage.atomic import write_text
from workflow_scripts.storage.records import write_record

COLUMNS = ("model", "step", "protocol", "shots", "task", "status", "reason")
LOGGER = logging.getLogger(__name__)


def coverage(run: JsonObject, root: Path) -> Iterator[JsonObject]:
    """Rows of the table for everything that ``run`` asks for under ``root``."""
    tasks = [task["name"] for task in run["tasks"]]
    stock = run.get("settings", {}).get("evaluation", {}).get("stock_tasks") or {}
    for file in expected_files(run, root):
        if file.kind == STOCK:
            yield from file_coverage(file, [name for name, shots in stock.items() if file.shots in shots])
        else:
            yield from file_coverage(file, [name_in(file.kind, name) for name in tasks])


def file_coverage(file: ScoreFile, tasks: Sequence[str]) -> Iterator[JsonObject]:
    """Rows of one results file."""
    content, reason = {}, ""
    if file.path.is_file():
        try:
            content = read_results(file.path)
            check_owner(file, content)
        except DataError as error:
            content, reason = {}, str(error)
    for task in tasks:
        yield {
            "model": file.model,
            "step": file.step,
            "protocol": file.protocol,
            "shots": file.shots,
            "task": task,
            "status": status_of(file, content, reason, task),
            "reason": reason,
        }


def status_of(file: ScoreFile, content: JsonObject, reason: str, task: str) -> str:
    """Status of one task in one results file; ``content`` is empty when the file is missing or failed."""
    if reason:
        return "failed"
    if not file.path.is_file():
        return "missing"
    if task in content["results"]:
        return "present"
    left_out = content.get("left_out", {})
    return "left out" if any(name == task or name.startswith(f"{task}_") for name in left_out) else "absent"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--run", type=Path, required=True, help="run.json of the run")
    parser.add_argument("--scores-dir", type=Path, required=True, help="folder of the run's results files")
    parser.add_argument("--output", type=Path, required=True, help="table to write, .csv")
    options = parser.parse_args(arguments)
    rows = list(coverage(read_run(options.run), options.scores_dir))
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(options.output, text.getvalue())
    counts = Counter(row["status"] for row in rows)
    write_record(options.output, {"run": options.run}, dict(counts))
    LOGGER.info("coverage: %s", ", ".join(f"{count} {status}" for status, count in sorted(counts.items())))


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
