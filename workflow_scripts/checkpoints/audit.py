r"""Judge what was observed of a suite's checkpoints and write the table of defects.

Reads the files of checkpoints.observe, one per model, and the ledger; asks no server. Every finding is logged with what
was seen. Exit code 0 whether or not there are defects: the table is the answer, and a run that names it as
checkpoints.defects leaves these checkpoints out.

Example:
  python -m workflow_scripts.checkpoints.audit --observed results/audit/pocket/pocket-90k.json \
    --output results/audit/pocket/defects.tsv
"""

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts import cli
from workflow_scripts.checkpoints.defect_table import write_defects
from workflow_scripts.checkpoints.inspection import Observation
from workflow_scripts.checkpoints.ledger_file import Ledger, read_ledger
from workflow_scripts.checkpoints.revision_defects import Seen, all_defects
from workflow_scripts.errors import DataError, MissingInputError
from workflow_scripts.json_values import JsonObject
from workflow_scripts.storage.records import write_record
from workflow_scripts.suite.run import changed_suite

log = logging.getLogger(__name__)


def read_seen(path: Path) -> tuple[Seen, JsonObject]:
    """Observations of one model and the traffic they cost; raises MissingInputError or DataError."""
    try:
        content = json.loads(path.read_text("utf-8"))
        model = changed_suite(str(content["suite"]), content.get("changes", {})).model(str(content["model"]))
        revisions = {str(name): Observation.from_json(value) for name, value in content["revisions"].items()}
        return Seen(model, revisions), dict(content["traffic"])
    except FileNotFoundError:
        raise MissingInputError(f"{path}: no such observations; create them with checkpoints.observe") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{path}: not written by checkpoints.observe ({error}); recreate it") from None


def main(arguments: Sequence[str] | None = None) -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--observed", type=Path, nargs="+", required=True, help="files of checkpoints.observe")
    parser.add_argument("--ledger", type=Path, help="ledger to compare commits with")
    parser.add_argument("--output", type=Path, required=True, help="table of defects to write")
    options = parser.parse_args(arguments)
    read = [read_seen(path) for path in options.observed]
    ledger = read_ledger(options.ledger) if options.ledger is not None else Ledger()
    defects = all_defects([seen for seen, _ in read], ledger)
    write_defects(options.output, defects)
    inputs = {path.stem: path for path in options.observed} | ({"ledger": options.ledger} if options.ledger else {})
    traffic = {name: sum(int(cost[name]) for _, cost in read) for name in ("requests", "bytes")}
    write_record(options.output, inputs, {"traffic": traffic, "defects": len(defects)})
    for defect in defects:
        log.warning("%s %s: %s: %s", defect.model, defect.revision, defect.kind, defect.detail)
    revisions = sum(len(seen.revisions) for seen, _ in read)
    log.info("%d revision(s) of %d model(s): %d defect(s)", revisions, len(read), len(defects))


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
