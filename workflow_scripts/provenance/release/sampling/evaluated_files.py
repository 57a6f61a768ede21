"""Scores files of a release with what they were made from: plans by their identity, weights by their hash."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from workflow_scripts.errors import IntegrityError, MissingInputError, PipelineError
from workflow_scripts.evaluation.engine.engine import Engine
from workflow_scripts.evaluation.planning.plan_file import Plan, read_plan
from workflow_scripts.evaluation.scoring.engine_choice import LM_EVAL
from workflow_scripts.evaluation.scoring.model_folder import elements, weights_identity
from workflow_scripts.evaluation.scoring.results import read_results
from workflow_scripts.evaluation.scoring.score_plan import DTYPES
from workflow_scripts.evaluation.scoring.scoring_job import ENGINE_VERSION
from workflow_scripts.json_values import JsonMapping
from workflow_scripts.provenance.release.sampling.fetched_weights import Fetcher
from workflow_scripts.provenance.release.sampling.release_files import Release
from workflow_scripts.provenance.release.sampling.sample_result import NotChecked
from workflow_scripts.storage.model_files import weight_files

SCORES = r"results/scores/([^/]+)/(step\d+)/(\d+-shot(?:\.[\w-]+)?)\.json"
PLAN = r"results/plans/[^/]+/(\d+-shot(?:\.[\w-]+)?)/([^/]+)\.plan"
STOCK = ".stock"
# What a processor does in a second, and how fast weights are read and hashed: cautious numbers for a laptop.
OPERATIONS, BYTES = 5e10, 3e8


@dataclass(frozen=True)
class EvaluatedFile:
    """A scores file; ``plans`` are those of its plans that are here, ``checkpoint`` the folder of its weights.

    ``checkpoint`` is None where no folder here holds the weights that the file names; their number is ``parameters``,
    ``threads`` is how many scored.
    """

    path: str
    content: JsonMapping
    plans: dict[str, Plan]
    checkpoint: Path | None
    threads: int
    parameters: int

    @property
    def pinned(self) -> tuple[str, str]:
        """Model and revision, as a ledger names them."""
        model, revision = self.path.split("/")[2:4]
        return model, revision

    @property
    def dtype(self) -> str:
        """Type of weights and matrix products."""
        return str(self.content["config"].get("dtype"))

    @property
    def device(self) -> str:
        """Where it is scored here: on a GPU if it was made on one and there is one."""
        made_on = str(self.content["config"]["device"])
        return made_on if made_on == "cpu" or torch.cuda.is_available() else "cpu"

    def seconds(self, plan: Plan) -> float:
        """What one pass over the tokens of ``plan`` takes by its arithmetic; reading the weights is not counted."""
        return 2 * self.parameters * nodes(plan) / OPERATIONS

    @property
    def loading(self) -> float:
        """What reading the weights takes."""
        return 4 * self.parameters / BYTES


def nodes(plan: Plan) -> int:
    """Tokens that a plan runs."""
    return len(plan.forest.token)


def parameters(checkpoint: Path) -> int:
    """Number of weights, by the headers of their files."""
    return sum(map(elements, weight_files(checkpoint)))


@dataclass
class Evaluations:
    """All scores files of a release, read once for every kind of item; one engine is held at a time.

    ``fetcher`` brings weights that are not here when an item of theirs is drawn; ``sizes`` are weights by model.
    """

    release: Release
    fetcher: Fetcher | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)
    files: dict[str, EvaluatedFile] = field(default_factory=dict)
    not_checked: list[NotChecked] = field(default_factory=list)
    engine_of: tuple[object, Engine] | None = None

    def __post_init__(self) -> None:
        plans = {(match[1], match[2]): match[0] for match in self.release.matching(PLAN)}
        read: dict[str, Plan] = {}
        for match in self.release.matching(SCORES):
            if match[3].endswith(STOCK):
                self.leave(match[0], "scored by stock lm-eval, which is not run again here")
            elif not self.release.has(match[0]):
                self.leave(match[0], "the file is not here")
            else:
                self.add(match[0], {name: path for (shots, name), path in plans.items() if shots == match[3]}, read)

    def leave(self, path: str, reason: str) -> None:
        """Say that nothing of a file is recomputed."""
        self.not_checked.append(NotChecked(path, 0, reason))

    def add(self, path: str, plans: dict[str, str], read: dict[str, Plan]) -> None:
        """Take in one scores file; plans that were read are kept in ``read``."""
        content = read_results(self.release.place(path))
        model, step = path.split("/")[2:4]
        found: dict[str, Plan] = {}
        for name, entry in content.get("plans", {}).items():
            where = plans.get(name)
            if where is None or not self.release.has(where):
                self.leave(f"{path} {name}", "its plan is not in the release")
                continue
            if where not in read:
                read[where] = read_plan(self.release.place(where))
            if read[where].identity == entry.get("identity"):
                found[name] = read[where]
            else:
                self.leave(f"{path} {name}", "scored on another plan than the one in the release")
        threads = self.release.record(path).get("parameters", {}).get("threads", 1)
        place = self.place_of(model, step, content["config"].get("weights_sha256"))
        size = self.sizes.get(model, 0) if place is None else parameters(place)
        self.files[path] = EvaluatedFile(path, content, found, place, int(threads), size)

    def place_of(self, model: str, step: str, identity: object) -> Path | None:
        """The folder here that holds the weights of a checkpoint, by their hashes."""
        roots = [self.release.folder / "results" / "checkpoints", *([self.fetcher.folder] if self.fetcher else [])]
        places = [root / model / step for root in roots]
        places += sorted((self.release.folder / "results" / "mirror" / "models").glob(f"*/{model}/{step}"))
        return next((place for place in places if holds(place, identity)), None)

    def absent(self) -> Iterator[NotChecked]:
        """Files whose loglikelihoods cannot be recomputed here, with the reason."""
        for path, file in self.files.items():
            if reason := self.why_not(file):
                yield NotChecked(path, sum(len(plan.table.words) for plan in file.plans.values()), reason)

    def why_not(self, file: EvaluatedFile) -> str:
        """Why the loglikelihoods of a file cannot be recomputed; empty where they can."""
        if (version := file.content["config"].get("engine")) == LM_EVAL:
            return "scored by lm-eval's own model, which is not run again here"
        if version != ENGINE_VERSION:
            return f"scored by version {version} of the engine, and this is {ENGINE_VERSION}; use the code of the seal"
        if file.checkpoint is None and (self.fetcher is None or file.pinned not in self.fetcher):
            return "its weights are not here, or are not those that were scored; --fetch fetches them"
        if file.dtype not in DTYPES:
            return f"scored in {file.dtype}, which is not known here"
        return ""

    def recomputable(self) -> Iterator[EvaluatedFile]:
        """Files whose weights are here."""
        return (file for file in self.files.values() if not self.why_not(file))

    def engine(self, file: EvaluatedFile) -> Engine:
        """The engine of the file's checkpoint in its arithmetic; the weights are held to their hashes when read."""
        folder = file.checkpoint or self.fetch(file)
        torch.set_num_threads(max(1, min(file.threads, os.cpu_count() or 1)))
        key = (folder, file.device, file.dtype)
        if self.engine_of is None or self.engine_of[0] != key:
            self.engine_of = None
            self.engine_of = (key, Engine(folder, file.device, DTYPES[file.dtype]))
        return self.engine_of[1]

    def fetch(self, file: EvaluatedFile) -> Path:
        """Fetch the weights of a file; raises IntegrityError where the pinned commit serves others than were scored."""
        if self.fetcher is None:
            raise MissingInputError(f"{file.path}: its weights are not here")
        folder = self.fetcher.fetch(*file.pinned)
        if not holds(folder, file.content["config"].get("weights_sha256")):
            raise IntegrityError(
                f"{file.path}: the weights at the pinned commit are not those that it says were scored"
            )
        return folder


def holds(folder: Path, identity: object) -> bool:
    """Whether ``folder`` is a checkpoint with that hash over its files; those that it lists are hashed when read."""
    try:
        return folder.is_dir() and weights_identity(folder) == identity
    except (PipelineError, OSError):
        return False
