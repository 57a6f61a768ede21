"""Plans built again by lm-eval from their data files: requests, tokens and right answers, byte for byte."""

from __future__ import annotations

import importlib.metadata
import io
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stderr
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np
from jinja2 import TemplateError

from workflow_scripts.errors import EvaluationError
from workflow_scripts.evaluation.build_plan import PLANNER_VERSION, build_plan, own_definitions
from workflow_scripts.evaluation.planning.plan_file import Plan, arrays_of, read_plan, write_plan
from workflow_scripts.evaluation.planning.tasks import load_tasks, offline
from workflow_scripts.json_values import JsonMapping
from workflow_scripts.provenance.release.sampling.release_files import Release
from workflow_scripts.provenance.release.sampling.sample_result import Group, Item, NotChecked, Outcome, Verdict
from workflow_scripts.provenance.release.sampling.sampler import Sampler
from workflow_scripts.suite.layout import FETCHED_DATA, TASK_DATA, tokenizer_file

PLANS = r"results/plans/([^/]+)/(?:probe/)?(?:(\d+)-shot(?:\.[\w-]+)?/([^/]+)|(\d+)-shot(?:\.[\w-]+)?)\.plan"
# The pocket suite's plans of 1.8 to 254 kB took 0.2 to 0.3 s each.
SECONDS, SECONDS_PER_BYTE = 0.3, 1e-6
SHOWN = 3
ARGUMENTS = ("tasks", "shots", "protocol", "max_length", "limit", "fewshot_seed", "renewal", "prefix_token")


class RebuiltPlans(Sampler):
    """Plans whose data files and tokenizer are here, and whose tasks are defined by lm-eval or by this code.

    Definitions of the release itself are not run: they may hold code.
    """

    kind = "plans"
    title = "Plans of evaluations, built again from their data files"
    unit = ""
    everything = True

    def __init__(self, release: Release) -> None:
        self.release = release
        reasons, groups = [], []
        for match in release.matching(PLANS):
            if reason := self.why_not(match[0], match[1], match[2] or match[4], match[3]):
                reasons.append(NotChecked(match[0], 1, reason))
            else:
                size = release.place(match[0]).stat().st_size
                groups.append(Group(match[0], 1, SECONDS + size * SECONDS_PER_BYTE))
        self.groups, self.not_checked = groups, reasons

    @cached_property
    def here(self) -> Mapping[str, object]:
        """What beside files and arguments decides a plan here."""
        return {
            "lm_eval": importlib.metadata.version("lm_eval"),
            "planner": PLANNER_VERSION,
            "definitions": own_definitions(),
        }

    def why_not(self, path: str, suite: str, shots: str, task: str | None) -> str:
        """Why a plan cannot be built here; empty where it can."""
        if not self.release.has(path):
            return "is not here"
        record = self.release.record(path)
        if not record:
            return "has no record here that says how it was built"
        return self.other_settings(record["parameters"], shots, task) or self.other_files(record["inputs"], suite)

    def other_settings(self, said: JsonMapping, shots: str, task: str | None) -> str:
        """Why parameters of a record are not those that a plan of that name is built with here."""
        if lacking := [name for name in (*ARGUMENTS, *self.here) if name not in said]:
            return f"its record does not give {', '.join(lacking)}"
        for name, value in self.here.items():
            if said[name] != value:
                what = "task definitions" if name == "definitions" else f"{name} {said[name]}"
                return f"was built with other {what} than are here, and those of a release are not run"
        same = str(said["shots"]) == shots and (task is None or said["tasks"] == [task])
        return "" if same else "its record is that of another task or number of shots"

    def other_files(self, inputs: JsonMapping, suite: str) -> str:
        """Why the files that a record names are not read."""
        for name, entry in inputs.items():
            data = [f"{folder}/{name}" for folder in (TASK_DATA, FETCHED_DATA)]
            if entry["path"] not in ([tokenizer_file(suite)] if name == "tokenizer" else data):
                return "was built from files at another place than a run's own"
            if not self.release.has(entry["path"]):
                return "was built from data files that are not here"
        return ""

    def check(self, group: str, numbers: Sequence[int]) -> Iterator[Outcome]:
        """Build the plan and compare the files."""
        with tempfile.TemporaryDirectory() as made:
            try:
                built = self.built(self.release.record(group))
            except (TemplateError, AssertionError, RuntimeError) as error:  # documents that a task's prompts do not fit
                raise EvaluationError(f"its data do not give prompts ({type(error).__name__}: {error})") from error
            target = Path(made) / PurePosixPath(group).name
            write_plan(target, built)
            same = target.read_bytes() == self.release.place(group).read_bytes()
        item = Item(group, numbers[0])
        if same:
            yield Outcome(item, Verdict.EQUAL)
        else:
            yield Outcome(item, Verdict.WRONG, detail=differences(built, read_plan(self.release.place(group))))

    def built(self, record: JsonMapping) -> Plan:
        """The plan that a record describes."""
        said = record["parameters"]
        folders = [self.release.place(folder) for folder in (TASK_DATA, FETCHED_DATA)]
        with offline(), redirect_stderr(io.StringIO()):  # lm-eval draws a bar for each task
            return build_plan(
                load_tasks(said["tasks"], folders, said["protocol"]),
                self.release.place(record["inputs"]["tokenizer"]["path"]),
                shots=said["shots"],
                max_length=said["max_length"],
                limit=said["limit"],
                seed=said["fewshot_seed"],
                renewal=said["renewal"],
                prefix_token=said["prefix_token"],
            )


def differences(built: Plan, sealed: Plan) -> str:
    """What of a sealed plan is not what was built: right answers by their number, all else by name."""
    own, other = built.table.gold, sealed.table.gold
    if own.shape == other.shape and (wrong := int((own != other).sum())):
        return f"built again from its data, {wrong} of {len(own)} requests are right answers where it says not, or not"
    parts, theirs = arrays_of(built.forest, built.table), arrays_of(sealed.forest, sealed.table)
    names = [name for name, array in parts.items() if not np.array_equal(array, theirs[name])]
    keys = built.header.keys() | sealed.header.keys()
    names += sorted(key for key in keys - {"identity", "counts"} if built.header.get(key) != sealed.header.get(key))
    return f"built again from its data it has other {', '.join(names[:SHOWN]) or 'bytes'}"
