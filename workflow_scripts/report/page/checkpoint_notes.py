"""What is wrong with the checkpoints of a run, as a section of the report: findings of the audit and on results."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from workflow_scripts.checkpoints.defect_table import Defect, read_defects


@dataclass(frozen=True)
class CheckpointNotes:
    """Findings on checkpoints; ``audited`` says whether the weights themselves were looked at too."""

    defects: Sequence[Defect]
    audited: bool


def checkpoint_notes(models: Sequence[str], scores: Path | None, audit: Path | None) -> CheckpointNotes | None:
    """Findings on ``models`` among the defects of the ``scores`` and in ``audit``; ``None`` when nothing was judged."""
    paths = [path for path in (audit, scores) if path is not None]
    if not paths:
        return None
    found = [defect for path in paths for defect in read_defects(path) if defect.model in models]
    return CheckpointNotes(found, audit is not None)
