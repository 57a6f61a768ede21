"""What Snakemake says of a run: its outputs with their rules, what is missing or to be made again, what was read."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from workflow_scripts.errors import MissingInputError, PipelineError
from workflow_scripts.json_values import JsonMapping
from workflow_scripts.provenance.adopt import snakemake

COLUMNS = ("output_file", "date", "rule", "log-file(s)", "input-file(s)", "shellcmd", "status", "plan")


class State(StrEnum):
    """How an output stands."""

    DONE = "done"
    TO_DO = "to be made"
    GONE = "deleted after use"


@dataclass(frozen=True)
class GraphOutput:
    """One output of the run; ``inputs`` are the files that Snakemake recorded when it was made."""

    path: str
    rule: str
    state: State
    inputs: tuple[str, ...]


def outputs_of(settings: JsonMapping, folder: Path) -> list[GraphOutput]:
    """Outputs of the run with these ``settings`` in ``folder``; raises PipelineError where Snakemake refuses it."""
    if not (folder / "Snakefile").is_file():
        raise MissingInputError(f"{folder}: has no Snakefile; --root is the folder that the workflow ran in")
    with tempfile.TemporaryDirectory() as made:
        config = Path(made) / "run.json"
        config.write_text(json.dumps(settings), encoding="utf-8")
        text = snakemake(["--detailed-summary", "--configfile", str(config)], folder)
    return list(read_summary(text, folder))


def read_summary(text: str, folder: Path) -> Iterator[GraphOutput]:
    """Rows of ``snakemake --detailed-summary``, by path; raises PipelineError for other text."""
    lines = [line.split("\t") for line in text.splitlines()]
    if tuple(COLUMNS) not in map(tuple, lines):
        raise PipelineError("snakemake --detailed-summary prints other columns than 9.27 does; use the locked version")
    start = next(number for number, line in enumerate(lines) if tuple(line) == COLUMNS) + 1
    rows = (dict(zip(COLUMNS, line, strict=True)) for line in lines[start:] if len(line) == len(COLUMNS))
    for row in sorted(rows, key=lambda row: row["output_file"]):
        path = row["output_file"]
        pending, there = row["plan"] != "no update", (folder / path).exists()
        inputs = tuple(name for name in row["input-file(s)"].split(",") if name not in ("", "-"))
        yield GraphOutput(path, row["rule"], State.TO_DO if pending else State.DONE if there else State.GONE, inputs)
