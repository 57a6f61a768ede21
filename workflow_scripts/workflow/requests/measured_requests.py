"""Peaks and times that jobs of this workflow had on this machine, as a table that requests are made from.

``storage.refine_requests`` writes the table from Snakemake's benchmark files; where it is present, ``JobResources``
asks for what was measured and a margin in place of what arithmetic says. A measurement stands for its stage, its model
and its device only; its time is scaled by the work of the job (tokens, bytes), its memory is not.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from workflow_scripts.errors import ConfigError

TABLE = Path("results") / "requests.tsv"
COLUMNS = ("stage", "model", "device", "work", "jobs", "peak_mb", "seconds")
MARGIN = 1.25
# Resident size of the two Snakemakes that a cluster's job holds beside the program: 170 to 180 MB were seen.
SNAKEMAKE_MB = 200
LEAST_MB = 500
Key = tuple[str, str, str]


@dataclass(frozen=True)
class Measured:
    """What the jobs of one stage and model took at most.

    ``device`` is cpu or cuda, ``work`` the tokens or bytes of one job, ``jobs`` how many were measured, ``peak_mb``
    the largest resident size in MB (1e6 bytes), ``seconds`` the longest time.
    """

    stage: str
    model: str
    device: str
    work: float
    jobs: int
    peak_mb: float
    seconds: float

    @property
    def key(self) -> Key:
        """What the measurement stands for."""
        return self.stage, self.model, self.device

    @property
    def memory_mb(self) -> int:
        """Memory to ask for: the peak with a margin, and room for Snakemake itself."""
        return max(LEAST_MB, math.ceil(MARGIN * self.peak_mb + SNAKEMAKE_MB))

    def seconds_of(self, work: float) -> float:
        """Expected seconds of a job with ``work`` tokens or bytes."""
        return self.seconds * (work / self.work if self.work else 1.0)


def read_table(path: Path = TABLE) -> dict[Key, Measured]:
    """Measurements in the table at ``path``; none where there is no table. Raises ConfigError for a damaged one."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    rows = list(csv.reader(text.splitlines(), delimiter="\t"))
    if not rows or tuple(rows[0]) != COLUMNS:
        raise ConfigError(f"{path}: not a table of measured requests; remove it or recreate it with refine_requests")
    measured = [read_row(path, number, row) for number, row in enumerate(rows[1:], start=2)]
    return {each.key: each for each in measured}


def read_row(path: Path, number: int, row: list[str]) -> Measured:
    """One line of the table."""
    try:
        stage, model, device, work, jobs, peak, seconds = row
        return Measured(stage, model, device, float(work), int(jobs), float(peak), float(seconds))
    except ValueError:
        raise ConfigError(f"{path}: line {number} is damaged; remove it or recreate it with refine_requests") from None


def write_text(measured: Mapping[Key, Measured]) -> str:
    """The table as text, by stage and model."""
    lines = ["\t".join(COLUMNS)]
    for _, each in sorted(measured.items()):
        numbers = (f"{each.work:.0f}", str(each.jobs), f"{each.peak_mb:.1f}", f"{each.seconds:.1f}")
        lines.append("\t".join((*each.key, *numbers)))
    return "\n".join(lines) + "\n"
