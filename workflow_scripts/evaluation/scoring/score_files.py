"""Which result files a run should have, and what their paths say: ``<model>/step<N>/<k>-shot[.<kind>].json``."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from workflow_scripts.errors import DataError
from workflow_scripts.json_values import JsonObject, read_object
from workflow_scripts.suite.steps import hub_step_of_revision

RUN_KEYS = ("run", "suite", "models", "steps", "shots", "tasks")
FILE_NAME = re.compile(r"([0-9]{1,3})-shot(?:\.(pythia-2023|stock))?\.json", re.ASCII)
CURRENT, STOCK = "current", "stock"


@dataclass(frozen=True)
class ScoreFile:
    """One results file and what it is about: a model of the suite, a Hub step, the plan's number of shots.

    ``kind`` is the protocol, or ``stock`` for tasks that stock lm-eval ran.
    """

    path: Path
    model: str
    step: int
    shots: int
    kind: str = CURRENT

    @property
    def protocol(self) -> str:
        """Protocol of the file's tasks: what stock lm-eval runs are its present tasks."""
        return CURRENT if self.kind == STOCK else self.kind


def parse_path(path: Path) -> ScoreFile:
    """What the path says; :class:`DataError` when it is not of the form ``<model>/step<N>/<k>-shot[.<kind>].json``.

    >>> parse_path(Path("results/scores/pocket-1m/step512/5-shot.json")).step
    512
    >>> parse_path(Path("results/scores/pocket-1m/step512/5-shot.pythia-2023.json")).kind
    'pythia-2023'
    """
    match = FILE_NAME.fullmatch(path.name)
    if match is None or len(path.parts) < 3:
        raise DataError(f"{path}: results files are called <model>/step<N>/<k>-shot.json")
    return ScoreFile(path, path.parts[-3], hub_step_of_revision(path.parts[-2]), int(match[1]), match[2] or CURRENT)


def read_run(path: Path) -> JsonObject:
    """The resolved run that the workflow wrote (``run.json``); raises MissingInputError or DataError."""
    return read_object(path, "run file", "give results/runs/<run>/run.json, which snakemake writes", *RUN_KEYS)


def expected_files(run: JsonObject, root: Path) -> Iterator[ScoreFile]:
    """Every results file of ``run`` under ``root``: models in the run's order, steps and shots ascending."""
    for model in run["models"]:
        for step in run["steps"][model["name"]]:
            for kind, shots in run.get("score_kinds", [[CURRENT, shots] for shots in run["shots"]]):
                suffix = "" if kind == CURRENT else f".{kind}"
                path = root / model["name"] / f"step{step}" / f"{shots}-shot{suffix}.json"
                yield ScoreFile(path, model["name"], step, shots, kind)
