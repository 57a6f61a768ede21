"""Scores computed again from the loglikelihoods stored beside them: cheap, so every file is wanted."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence

from workflow_scripts.evaluation.scoring.results import make_results, merge_parts, read_answers
from workflow_scripts.json_values import JsonValue
from workflow_scripts.provenance.release.sampling.evaluated_files import EvaluatedFile, Evaluations
from workflow_scripts.provenance.release.sampling.sample_result import Group, Item, NotChecked, Outcome, Verdict
from workflow_scripts.provenance.release.sampling.sampler import Sampler
from workflow_scripts.provenance.release.sampling.tolerances import STATISTICS

SECONDS = 0.02
# Entries of the configuration that the plan and the rounds of the bootstrap decide.
OF_THE_PLAN = ("limit", "fewshot_seed", "bootstrap_iters")


class StoredScores(Sampler):
    """Scores files: metrics, standard errors and groups from the stored loglikelihoods."""

    kind = "stored-scores"
    title = "Scores files, computed again from their stored loglikelihoods"
    unit = "relative"
    everything = True

    def __init__(self, evaluations: Evaluations) -> None:
        self.evaluations = evaluations
        whole = {path: set(file.content["plans"]) == set(file.plans) for path, file in evaluations.files.items()}
        self.groups = [Group(path, 1, SECONDS) for path, complete in whole.items() if complete]
        lacking = [NotChecked(path, 1, "a plan is not here") for path, complete in whole.items() if not complete]
        self.not_checked = [*evaluations.not_checked, *lacking]

    def check(self, group: str, numbers: Sequence[int]) -> Iterator[Outcome]:
        """Compute the file and compare every entry."""
        file = self.evaluations.files[group]
        computed = json.loads(json.dumps(self.computed(file)))
        differences = dict(differing(computed, dict(file.content)))
        largest = max(differences.values(), default=0.0)
        item = Item(group, numbers[0])
        if largest <= STATISTICS:
            yield Outcome(item, Verdict.WITHIN if differences else Verdict.EQUAL, largest)
            return
        worst = max(differences, key=lambda name: differences[name])
        yield Outcome(item, Verdict.WRONG, largest, f"{worst} is not what the stored loglikelihoods give")

    def computed(self, file: EvaluatedFile) -> JsonValue:
        """The content that the file should have."""
        config = {key: value for key, value in file.content["config"].items() if key not in OF_THE_PLAN}
        rounds = int(file.content["config"].get("bootstrap_iters", 0))
        place = self.evaluations.release.place(file.path)
        return merge_parts(
            [make_results(plan, read_answers(place, plan), config, rounds, name) for name, plan in file.plans.items()]
        )


def differing(computed: JsonValue, stored: JsonValue, name: str = "") -> Iterator[tuple[str, float]]:
    """Names of values that are not equal, and how far numbers are apart, relatively; other values infinitely.

    Two NaN are equal; one is as far from any number as can be.

    >>> dict(differing({"a": {"b": 1.0}, "c": [1]}, {"a": {"b": 2.0}}))
    {'a/b': 0.5, 'c': inf}
    """
    if isinstance(computed, dict) and isinstance(stored, dict):
        for key in sorted(computed.keys() | stored.keys()):
            below = f"{name}/{key}" if name else str(key)
            if key in computed and key in stored:
                yield from differing(computed[key], stored[key], below)
            else:
                yield below, math.inf
    elif type(computed) is float and type(stored) is float:
        if computed != stored and not (math.isnan(computed) and math.isnan(stored)):
            off = abs(computed - stored) / max(abs(computed), abs(stored))
            yield name, math.inf if math.isnan(off) else off
    elif computed != stored or type(computed) is not type(stored):
        yield name, math.inf
