r"""Write the lock of evaluation data: commit, rows, bytes and sha256 of every file that lm-eval's tasks read.

Each configuration is fetched as its rule fetches it, unless it is in the folder already, and its receipt becomes lines
of the lock. What the lock knows stays at its commit; to take a newer one, delete the lines first.

    python -m workflow_scripts.workflow.tools.lock_tasks --source hub --lock config/suites/locks/tasks.tsv
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts import cli
from workflow_scripts.errors import DataError
from workflow_scripts.evaluation import fetch_data
from workflow_scripts.evaluation.planning.task_lock import LockedFile, write_task_lock
from workflow_scripts.suite import layout
from workflow_scripts.workflow.evaluation import DataSet, data_sets

LOGGER = logging.getLogger(__name__)


def locked(data: DataSet, receipt: Path) -> list[LockedFile]:
    """Lines of the lock for what ``receipt`` lists; raises DataError for a receipt without a commit."""
    said = json.loads(receipt.read_text("utf-8"))
    if not said["commit"]:
        raise DataError(f"{receipt}: fetched from a {said['source']}, which knows no commit; fetch it from the Hub")
    return [LockedFile(data.repository, data.config, commit=said["commit"], **file) for file in said["files"]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, fetch what is missing, write the lock."""
    parser = cli.parser(__doc__)
    parser.add_argument("--source", choices=("hub", "mirror"), default="hub", help="kind of place to fetch from")
    parser.add_argument("--location", default="", help="endpoint of the Hub; the public one where none is named")
    parser.add_argument("--folder", type=Path, default=Path(layout.FETCHED_DATA), help="folder to fetch into")
    parser.add_argument("--lock", type=Path, default=Path(layout.TASK_LOCK), help="lock to write")
    options = parser.parse_args(arguments)
    files = []
    for data in data_sets():
        folder = options.folder / data.repository / data.config
        receipt = folder / layout.FETCHED
        if not receipt.is_file():
            place = ["--source", options.source, f"--location={options.location}", "--repository", data.repository]
            what = ["--config", data.config, "--splits", *data.splits, "--lock", str(options.lock)]
            fetch_data.main([*place, *what, "--output-dir", str(folder), "--receipt", str(receipt)])
        files += locked(data, receipt)
    write_task_lock(options.lock, files)
    LOGGER.info("%s: %d files of %d data sets", options.lock, len(files), len(data_sets()))


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
