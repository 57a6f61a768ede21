r"""Look for wrong checkpoints in their results, and compare a short probe with the published curve before a long sweep.

Reads a table of scores; with --published and --probe-task the accuracy on that task is compared with the published one
of the same step, as the gate before a sweep does with the first 200 items of LAMBADA. Writes a table of defects like
that of the audit. Exit code 0 unless --when-found refuse is given and there are any.

Examples:
  python -m workflow_scripts.evaluation.audit_scores --scores results/runs/pocket/tables/scores.parquet \
    --output results/runs/pocket/tables/score_defects.tsv
  python -m workflow_scripts.evaluation.audit_scores --scores probe.parquet --probe-task lambada_openai \
    --published config/suites/published/pythia-evals.parquet --when-found refuse --output behaviour.tsv
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from workflow_scripts import cli
from workflow_scripts.checkpoints.defect_table import write_defects
from workflow_scripts.errors import ConfigError, DataError, EvaluationError, MissingInputError, shorten
from workflow_scripts.evaluation.scoring.forensics import behaviour, score_defects
from workflow_scripts.storage.records import write_record

NEEDED = ("model", "step", "shots", "task", "metric", "value", "stderr", "n")
log = logging.getLogger(__name__)


def read_scores(path: Path) -> pd.DataFrame:
    """Table at ``path``; raises MissingInputError or DataError when it is not a table of scores."""
    if not path.is_file():
        raise MissingInputError(f"{path}: no such table; create it with evaluation.collect")
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a Parquet table ({str(error).splitlines()[0]})") from None
    missing = [name for name in NEEDED if name not in table.columns]
    if missing:
        raise DataError(f"{path}: not a table of scores, it lacks {', '.join(missing)}")
    return table


def protocols_of(scores: pd.DataFrame) -> list[pd.DataFrame]:
    """The rows of each protocol; scores are only compared with scores of their own."""
    if "protocol" not in scores:
        return [scores]
    return [part for _, part in scores.groupby("protocol", sort=True)]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--scores", type=Path, required=True, help="table of scores")
    parser.add_argument("--published", type=Path, help="table of published results, for a probe")
    parser.add_argument("--probe-task", help="task to compare with the published results")
    parser.add_argument("--when-found", choices=("report", "refuse"), default="report", help="what defects lead to")
    parser.add_argument("--output", type=Path, required=True, help="table of defects to write")
    options = parser.parse_args(arguments)
    if (options.published is None) != (options.probe_task is None):
        raise ConfigError("--published and --probe-task go together")
    scores, inputs = read_scores(options.scores), {"scores": options.scores}
    defects = [defect for part in protocols_of(scores) for defect in score_defects(part)]
    if options.published is not None:
        defects += behaviour(scores, read_scores(options.published), options.probe_task)
        inputs["published"] = options.published
    write_defects(options.output, defects)
    write_record(options.output, inputs, {"probe_task": options.probe_task, "defects": len(defects)})
    for defect in defects:
        log.warning("%s %s: %s: %s", defect.model, defect.revision, defect.kind, defect.detail)
    log.info("%s: %d defect(s) in %d rows", options.output, len(defects), len(scores))
    if defects and options.when_found == "refuse":
        names = shorten([f"{defect.model} {defect.revision}" for defect in defects], 3)
        raise EvaluationError(
            f"{options.output}: {len(defects)} defect(s), first {names}; check them before the sweep continues"
        )


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
