"""Rows of the memorization experiment scored again from the weights."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from workflow_scripts.errors import IntegrityError, MissingInputError
from workflow_scripts.evaluation.engine.engine import Engine
from workflow_scripts.evaluation.scoring.score_plan import DTYPES
from workflow_scripts.experiments.memory.greedy import chains, first_false
from workflow_scripts.json_values import JsonMapping
from workflow_scripts.provenance.release.sampling.evaluated_files import OPERATIONS, Evaluations, parameters
from workflow_scripts.provenance.release.sampling.sample_result import Group, Item, NotChecked, Outcome, Verdict
from workflow_scripts.provenance.release.sampling.sampler import Sampler
from workflow_scripts.provenance.release.sampling.scored_documents import edge_margins, is_possible
from workflow_scripts.provenance.release.sampling.tolerances import FORWARD
from workflow_scripts.training.recipe import read_recipe
from workflow_scripts.training.run.training_rows import open_rows

TABLE = r"results/experiments/memorization/([^/]+)/(step\d+)/rows-\d+-\d+\.parquet"


@dataclass(frozen=True)
class ScoredRows:
    """One table of the experiment: its rows, how it was made, the weights and the data here."""

    table: pd.DataFrame
    facts: JsonMapping
    checkpoint: Path
    recipe: Path
    view: Path
    threads: int

    def tokens(self, row: int) -> NDArray[np.int64]:
        """Prompt and continuation of one row of the training order, [1, prompt + continuation]."""
        maps = self.view.parent / "index_maps"
        source = open_rows(self.view, maps if maps.is_dir() else None, read_recipe(str(self.recipe)))
        if source.fingerprint != self.facts["data_fingerprint"]:
            raise IntegrityError(f"{self.view}: the table was made from the rows of another order")
        width = int(self.facts["prompt"]) + int(self.facts["continuation"])
        return np.asarray(source.rows(row, row + 1), dtype=np.int64)[:, :width]


class MemorizedRows(Sampler):
    """Rows of the training order: the first token that a checkpoint does not reproduce."""

    kind = "memorized-rows"
    title = "Memorized rows, scored again from the weights"
    unit = "tokens"

    def __init__(self, evaluations: Evaluations) -> None:
        self.release = evaluations.release
        self.tables: dict[str, ScoredRows] = {}
        self.groups: list[Group] = []
        self.not_checked: list[NotChecked] = []
        for match in self.release.matching(TABLE):
            try:
                found = self.read(match[0], evaluations.place_of(match[1], match[2], self.identity(match[0])))
            except MissingInputError as error:
                self.not_checked.append(NotChecked(match[0], 0, str(error)))
                continue
            width = int(found.facts["prompt"]) + int(found.facts["continuation"])
            seconds = 2 * parameters(found.checkpoint) * width / OPERATIONS
            self.tables[match[0]] = found
            self.groups.append(Group(match[0], len(found.table), seconds))

    def identity(self, path: str) -> object:
        """Hash of the weights that a table was made from."""
        return self.release.record(path).get("inputs", {}).get("weights", {}).get("sha256")

    def read(self, path: str, checkpoint: Path | None) -> ScoredRows:
        """A table with all that it was made from; raises MissingInputError naming what is not here."""
        model = path.split("/")[3]
        record, recipe = self.release.record(path), f"results/training/{model}/recipe.json"
        view = self.release.input_path(path, "view")
        if checkpoint is None:
            raise MissingInputError("its weights are not here, or are not those that were scored")
        if not self.release.has(path) or view is None or not (self.release.has(view) and self.release.has(recipe)):
            raise MissingInputError("the table, its record, its recipe or its data set is not here")
        place = self.release.place
        table = pd.read_parquet(place(path))
        return ScoredRows(table, record["parameters"], checkpoint, place(recipe), place(view), 1)

    def check(self, group: str, numbers: Sequence[int]) -> Iterator[Outcome]:
        """Score each row and compare the place of its first miss."""
        found = self.tables[group]
        dtype = str(found.facts["dtype"])
        device = "cuda" if str(found.facts["device"]) != "cpu" and torch.cuda.is_available() else "cpu"
        torch.set_num_threads(max(1, min(found.threads, os.cpu_count() or 1)))
        engine = Engine(found.checkpoint, device, DTYPES[dtype])
        prompt, continuation = int(found.facts["prompt"]), int(found.facts["continuation"])
        allowed = FORWARD[dtype]
        for number in numbers:
            stored = found.table.iloc[number]
            item, first = Item(group, number), int(stored["first_miss"])
            forest = chains(found.tokens(int(stored["row"])), prompt)
            _, right = engine.score(forest)
            miss = int(first_false(right.reshape(1, continuation))[0])
            if miss == first and bool(stored["memorized"]) == (first == continuation):
                yield Outcome(item, Verdict.EQUAL)
                continue
            margins = edge_margins(engine, forest)
            near = is_possible(True, margins[: min(first, continuation)], allowed.logit) and (
                first == continuation or is_possible(False, margins[first : first + 1], allowed.logit)
            )
            consistent = bool(stored["memorized"]) == (first == continuation)
            verdict = Verdict.WITHIN if near and consistent else Verdict.WRONG
            detail = "" if verdict is Verdict.WITHIN else f"row {stored['row']}: first miss {first}, recomputed {miss}"
            yield Outcome(item, verdict, float(abs(miss - first)), detail)
