"""What the audit works on and what it says: results with notes, defects with evidence.

A note is a slug that travels with the rows of a result (column ``note``); docs/published-results.md explains each.
Notes in ``DROPPED`` keep a row out of curves because a better measurement of the same point exists; notes in
``DOUBTFUL`` are drawn as open circles. Nothing else changes a row.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import astuple, dataclass, fields
from typing import Any, TypeVar

import pandas as pd

from workflow_scripts.published.claims import Claim
from workflow_scripts.published.formats.identity import Identity
from workflow_scripts.published.formats.measurements import Content

RELABELLED = "named-five-shot-is-zero-shot"
SUPERSEDED = "superseded-by-newer-file"
COPY = "copy-of-other-file"
SAME_AS_OTHER_DATA = "identical-to-other-data"
SAME_AS_STEP_0 = "identical-to-step-0"
CONTROL = "control-of-intervention"
DOUBLED_STEP = "trainer-step-converted"
MISNAMED = "file-name-misleads"
OTHER_DATA_PATH = "training-data-path-disagrees"
NO_EFFECT = "no-intervention-effect"
OTHER_HARNESS = "not-comparable-with-baseline"

DROPPED = (RELABELLED, SUPERSEDED, COPY)
DOUBTFUL = (SAME_AS_OTHER_DATA,)

Key = TypeVar("Key", bound=Hashable)


@dataclass
class Result:
    """The content of one file with what its name claims and who it is; rules append to ``notes``."""

    source_file: str
    named: Claim
    content: Content
    identity: Identity
    notes: list[str]
    sha256: str = ""

    @property
    def folder(self) -> str:
        """Folder of the file below ``evals/``."""
        return self.source_file.rpartition("/")[0]

    @property
    def tasks(self) -> frozenset[str]:
        """Tasks in the file."""
        return frozenset(measurement.task for measurement in self.content.measurements)

    def value(self, task: str, metric: str) -> float | None:
        """One number of the file, None where it has none."""
        found = (m.value for m in self.content.measurements if m.task == task and m.metric == metric)
        return next(found, None)

    def fingerprint(self) -> int:
        """Equal for two files with equal results (within one process)."""
        return hash(tuple(sorted((m.task, m.metric, m.value) for m in self.content.measurements)))


@dataclass(frozen=True)
class Defect:
    """One finding: the rule that fired, what is wrong, the numbers that show it, and what is done about it."""

    rule: str
    what: str
    evidence: str
    files: int
    treatment: str


def tsv_text(kind: type[Any], rows: Iterable[Any]) -> str:
    """Instances of the dataclass ``kind`` as tab-separated text under a header; tabs in a value become spaces."""
    lines = ["\t".join(field.name for field in fields(kind))]
    lines += ["\t".join(str(value).replace("\t", " ") for value in astuple(row)) for row in rows]
    return "\n".join(lines) + "\n"


def grouped(results: Iterable[Result], key: Callable[[Result], Key]) -> dict[Key, list[Result]]:
    """Results by ``key``, groups in the order of their first member."""
    groups: dict[Key, list[Result]] = defaultdict(list)
    for result in results:
        groups[key(result)].append(result)
    return dict(groups)


def note_all(results: Iterable[Result], note: str) -> None:
    """Append ``note`` to each result."""
    for result in results:
        result.notes.append(note)


def has_note(rows: pd.DataFrame, *slugs: str) -> pd.Series:
    """Which rows of a tidy table carry one of the notes; none where the table has no notes."""
    if "note" not in rows:
        return pd.Series(data=False, index=rows.index)
    notes = rows["note"].astype("string").fillna("")
    wanted = [note for note in notes.unique() if set(note.split("; ")) & set(slugs)]
    return notes.isin(wanted).astype(bool)


def without_dropped(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows without those that repeat a better measurement."""
    return rows[~has_note(rows, *DROPPED)]
