"""Iterations of a training computed again: losses from any saved weights, updates from states that hold the moments.

``Losses``: the weights of step S and the rows of iteration S give loss and gradient norm of the next line of
metrics.csv. It takes no moments, so it ties every saved checkpoint to the log and the data at the price of one
iteration. ``Updates``: from a state with moments, or from the seed of the weights at step 0, the iterations that
follow, compared line by line, and weight by weight wherever a checkpoint was saved.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch

from workflow_scripts.errors import DataError, PipelineError
from workflow_scripts.provenance.release.sampling.evaluated_files import OPERATIONS
from workflow_scripts.provenance.release.sampling.release_files import Release
from workflow_scripts.provenance.release.sampling.sample_result import Group, Item, NotChecked, Outcome, Verdict
from workflow_scripts.provenance.release.sampling.sampler import Sampler
from workflow_scripts.provenance.release.sampling.tolerances import TRAINING
from workflow_scripts.training.recipe import Recipe
from workflow_scripts.training.replay import compare
from workflow_scripts.training.run import checkpoint
from workflow_scripts.training.run.checkpoint import RunState
from workflow_scripts.training.run.initialisation import initialise
from workflow_scripts.training.run.model import GPTNeoX
from workflow_scripts.training.run.optimizer import build_optimizer, load_state_tensors
from workflow_scripts.training.run.starting_point import load_weights
from workflow_scripts.training.run.trainer import Plan, Trainer
from workflow_scripts.training.run.training_log import COLUMNS, StepMetrics
from workflow_scripts.training.run.training_rows import RowSource, open_rows
from workflow_scripts.training.run.warm_start import read_moments, read_origin

RECEIPT = r"(results/(?:training/([^/]+)|experiments/interventions/([^/]+)/[^/]+/training))/run\.json"
# Iterations after a saved state that are replayed at most, unless the next checkpoint lies further.
MOST_ITERATIONS = 64
# Columns of metrics.csv that do not depend on how fast the machine was.
REPEATED = ("step", "tokens", "loss", "gradient_norm", "learning_rate", "loss_scale", "skipped")


@dataclass(frozen=True)
class Training:
    """One finished training of a release, an arm of an intervention included.

    ``steps`` are those whose weights are here; ``starts`` gives the folder of the state, moments included, from which
    a step can be continued (None: from the seed).
    """

    release: Release
    folder: str
    steps: tuple[int, ...]
    starts: dict[int, str | None]
    view: str
    patch: str | None

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe as the last state holds it."""
        return Recipe.from_json(self.state(self.steps[-1]).recipe, self.folder)

    def state(self, step: int) -> RunState:
        """The state beside the weights of ``step``."""
        return RunState.read(self.release.place(f"{self.folder}/step{step}/{checkpoint.STATE}"))

    def weights(self, step: int) -> dict[str, torch.Tensor]:
        """The weights of ``step``."""
        return checkpoint.read_tensors(self.release.place(f"{self.folder}/step{step}/{checkpoint.WEIGHTS}"))

    @cached_property
    def rows(self) -> RowSource:
        """The rows in their order."""
        maps = self.release.place(self.view).parent / "index_maps"
        patch = None if self.patch is None else self.release.place(self.patch)
        return open_rows(self.release.place(self.view), maps if maps.is_dir() else None, self.recipe, patch)

    @cached_property
    def lines(self) -> dict[int, dict[str, str]]:
        """Lines of metrics.csv by step, as written; raises DataError."""
        path = self.release.place(f"{self.folder}/{checkpoint.METRICS}")
        head, *lines = path.read_text(encoding="utf-8").splitlines()
        if head != ",".join(COLUMNS):
            raise DataError(f"{path}: columns are {head}, expected {','.join(COLUMNS)}")
        parted = [dict(zip(COLUMNS, line.split(","), strict=False)) for line in lines]
        return {int(line["step"]): line for line in parted}

    @cached_property
    def seconds(self) -> float:
        """What an iteration takes by its arithmetic."""
        return self.recipe.flops_per_token * self.recipe.batch_tokens / OPERATIONS


def trainings_of(release: Release) -> tuple[list[Training], list[NotChecked]]:
    """Trainings that can be continued here, and the others with the reason."""
    found, without = [], []
    for match in release.matching(RECEIPT):
        folder, view = match[1], release.input_path(match[0], "view")
        steps = [int(each[1]) for each in release.matching(rf"{re.escape(folder)}/step(\d+)/{checkpoint.STATE}")]
        here = tuple(sorted(s for s in steps if has_all(release, f"{folder}/step{s}", checkpoint.WEIGHTS)))
        try:
            if view is None or not release.has(view):
                raise DataError("its data set is not here, or its rows came from a preshuffled one")
            if not here or not release.has(f"{folder}/{checkpoint.METRICS}"):
                raise DataError("its weights or its metrics.csv are not here")
            patch = release.input_path(match[0], "patch")
            if patch is not None and not release.has(patch):
                raise DataError("the patch of its rows is not here")
            baseline = f"results/training/{match[2] or match[3]}"
            starts = starts_of(release, folder, here, baseline)
            training = Training(release, folder, here, starts, view, patch)
            training.rows  # noqa: B018 - the data are opened, or the reason is known
            found.append(training)
        except (PipelineError, OSError) as error:
            without.append(NotChecked(folder, len(steps), str(error)))
    return found, without


def has_all(release: Release, folder: str, *names: str) -> bool:
    """Whether the files of a checkpoint are here."""
    return all(release.has(f"{folder}/{name}") for name in (*names, checkpoint.STATE))


def starts_of(release: Release, folder: str, steps: Sequence[int], baseline: str) -> dict[int, str | None]:
    """Where a training can be continued: its seed, its own states with moments, the state that an arm started from."""
    starts: dict[int, str | None] = {
        step: f"{folder}/step{step}"
        for step in steps
        if has_all(release, f"{folder}/step{step}", checkpoint.WEIGHTS, checkpoint.OPTIMIZER)
    }
    first = RunState.read(release.place(f"{folder}/step{steps[0]}/{checkpoint.STATE}"))
    if first.origin == "scratch":
        return {0: None, **starts}
    origin = f"{baseline}/step{first.first_step}"
    if has_all(release, origin, checkpoint.WEIGHTS, checkpoint.OPTIMIZER):
        starts[first.first_step] = origin
    return starts


class Replay:
    """A trainer that stands at a step of a training and writes nothing into the release."""

    def __init__(self, training: Training, state: RunState, working: Path) -> None:
        """Build the network; the caller gives it its weights."""
        torch.set_num_threads(max(1, min(state.threads, os.cpu_count() or 1)))
        self.training = training
        self.model = GPTNeoX(training.recipe)
        self.optimizer = build_optimizer(self.model, training.recipe)
        self.trainer = Trainer(
            training.recipe,
            training.rows,
            model=self.model,
            optimizer=self.optimizer,
            state=replace(state, world=1),
            plan=Plan(working, training.recipe.train_iterations, state.micro_batch),
        )

    def line(self, metrics: StepMetrics) -> dict[str, str]:
        """A line of metrics.csv."""
        fields = self.trainer.metrics.line(metrics, float(metrics.loss), float(metrics.gradient_norm), 1.0)
        return dict(zip(COLUMNS, map(str, fields), strict=True))


class OfTrainings(Sampler):
    """What the kinds of items of trainings have in common."""

    unit = "relative"

    def __init__(self, trainings: Sequence[Training], not_checked: Sequence[NotChecked]) -> None:
        self.trainings = {training.folder: training for training in trainings}
        self.not_checked: list[NotChecked] = list(not_checked)


class Losses(OfTrainings):
    """Loss and gradient norm of the iteration that follows a saved checkpoint."""

    kind = "losses"
    title = "Losses and gradient norms, computed again from saved weights and the rows of the step"

    def __init__(self, trainings: Sequence[Training], not_checked: Sequence[NotChecked]) -> None:
        super().__init__(trainings, not_checked)
        self.steps = {each.folder: [step for step in each.steps if step + 1 in each.lines] for each in trainings}
        self.groups = [Group(each.folder, len(self.steps[each.folder]), each.seconds) for each in trainings]

    def check(self, group: str, numbers: Sequence[int]) -> Iterator[Outcome]:
        """Run the iteration behind each checkpoint and compare its line."""
        training = self.trainings[group]
        for number in numbers:
            step = self.steps[group][number]
            with tempfile.TemporaryDirectory() as working:
                replay = Replay(training, training.state(step), Path(working))
                load_weights(replay.model, training.weights(step), f"{group}/step{step}")
                line = replay.line(replay.trainer.iterate())
            allowed = TRAINING[training.recipe.compute_dtype]
            detail, off = line_difference(line, training.lines[step + 1], allowed.line)
            yield outcome_of(Item(group, number), off, detail)


class Updates(OfTrainings):
    """The iterations that follow a saved state, with the weights that they end in; a group is one start."""

    kind = "updates"
    title = "Stretches of training, replayed from saved states"

    def __init__(self, trainings: Sequence[Training], not_checked: Sequence[NotChecked]) -> None:
        super().__init__(trainings, not_checked)
        self.stretches = {
            f"{each.folder} steps {start} to {end}": (each, start, end)
            for each in trainings
            for start in each.starts
            if (end := end_after(each.steps, start)) is not None
        }
        self.groups = [
            Group(name, 1, each.seconds * (end - start)) for name, (each, start, end) in self.stretches.items()
        ]
        for each in trainings:
            if not each.starts:
                self.not_checked.append(NotChecked(each.folder, 0, "no state with the optimizer's moments is here"))

    def check(self, group: str, numbers: Sequence[int]) -> Iterator[Outcome]:
        """Replay a stretch and compare its lines and its checkpoints."""
        training, start, end = self.stretches[group]
        with tempfile.TemporaryDirectory() as working:
            found = list(compared_stretch(started(training, start, Path(working)), end))
        largest = max(each.difference for each in found)
        detail = next((each.problem for each in found if each.problem), "") or strayed(found)
        yield outcome_of(Item(group, numbers[0]), largest, detail)


def end_after(steps: Sequence[int], start: int) -> int | None:
    """Last saved step to replay to from ``start``: within ``MOST_ITERATIONS``, or the next one; None after the last.

    >>> end_after([0, 1, 2, 64, 128], 0), end_after([0, 1, 2, 64, 200], 64), end_after([0, 64], 64)
    (64, 200, None)
    """
    later = sorted(step for step in steps if step > start)
    near = [step for step in later if step <= start + MOST_ITERATIONS]
    return near[-1] if near else next(iter(later), None)


def started(training: Training, start: int, working: Path) -> Replay:
    """A replay that stands at ``start`` with weights and moments; raises ModelError or DataError."""
    place = training.starts[start]
    first = training.state(training.steps[0])
    if place is None:
        zero = replace(first, step=0, steps_taken=0, skipped_steps=(), loss_scale=type(first.loss_scale)())
        replay = Replay(training, zero, working)
        initialise(replay.model, training.recipe)
        return replay
    folder = training.release.place(place)
    state = RunState.read(folder / checkpoint.STATE)
    if start == first.first_step and first.origin != "scratch":
        origin = read_origin(folder, None, None, training.recipe)
        if origin.label != first.origin:
            raise DataError(f"{training.folder}: says that it started from {first.origin}, not from {place}")
    replay = Replay(training, replace(state, micro_batch=first.micro_batch, threads=first.threads), working)
    load_weights(replay.model, checkpoint.read_tensors(folder / checkpoint.WEIGHTS), place)
    if state.needs_moments:
        load_state_tensors(replay.model, replay.optimizer, read_moments(folder), state.steps_taken - state.moments_from)
    return replay


@dataclass(frozen=True)
class Compared:
    """A line of metrics.csv, or a checkpoint, beside the replayed one: how far apart, and what is wrong with it."""

    name: str
    difference: float
    problem: str

    @property
    def is_checkpoint(self) -> bool:
        """Whether weights were compared."""
        return self.name.startswith("weights")


def strayed(found: Sequence[Compared]) -> str:
    """What differs before a checkpoint of the same bits: rounding does not heal, so that is no rounding."""
    same = [place for place, each in enumerate(found) if each.is_checkpoint and not each.difference]
    before = found[: same[-1]] if same else []
    return next((f"{each.name} differs, and later weights are the same bits" for each in before if each.difference), "")


def compared_stretch(replay: Replay, end: int) -> Iterator[Compared]:
    """Each line and each saved checkpoint from where the replay stands to ``end``."""
    training, trainer = replay.training, replay.trainer
    allowed = TRAINING[training.recipe.compute_dtype]
    start = {name: tensor.detach().clone() for name, tensor in replay.model.named_parameters()}
    if trainer.state.step == 0 and 0 in training.steps:
        yield weight_difference(start, start, training.weights(0), "weights of step 0", 0.0)
    while trainer.state.step < end:
        line = replay.line(trainer.iterate())
        step = trainer.state.step
        stored = training.lines.get(step)
        detail, off = line_difference(line, stored, allowed.replayed) if stored else (f"no line {step}", 1.0)
        yield Compared(f"line {step}", off, detail)
        if step in training.steps:
            now = {name: tensor.detach() for name, tensor in replay.model.named_parameters()}
            yield weight_difference(start, now, training.weights(step), f"weights of step {step}", allowed.weights)


def weight_difference(
    start: dict[str, torch.Tensor],
    replayed: dict[str, torch.Tensor],
    stored: dict[str, torch.Tensor],
    where: str,
    allowed: float,
) -> Compared:
    """Unexplained share of the movement since ``start`` (training/replay.py); ``allowed`` of it is no problem."""
    if replayed.keys() == stored.keys() and all(torch.equal(replayed[name], stored[name]) for name in stored):
        return Compared(where, 0.0, "")
    found = compare(start, replayed, stored)
    share = found.unexplained_share
    problem = f"{where}: {share:.3g} of the movement is unexplained, worst in {found.worst_tensor}"
    return Compared(where, share, "" if share <= allowed else problem)


def line_difference(line: dict[str, str], stored: dict[str, str], allowed: float) -> tuple[str, float]:
    """What is wrong with a stored line of metrics.csv, and the largest relative difference of its numbers."""
    largest, detail = 0.0, ""
    for name in REPEATED:
        if line[name] == stored.get(name):
            continue
        try:
            ours, theirs = float(line[name]), float(stored[name])
        except (KeyError, ValueError):
            return f"step {line['step']}: no {name}", 1.0
        off = abs(ours - theirs) / max(abs(ours), abs(theirs))
        if not off <= allowed or name in ("step", "tokens", "skipped"):
            detail = detail or f"step {line['step']}: {name} is {stored[name]}, recomputed {line[name]}"
        largest = max(largest, off)
    return detail, largest


def outcome_of(item: Item, difference: float, detail: str) -> Outcome:
    """Equal where nothing differs, wrong where something is wrong."""
    verdict = Verdict.WRONG if detail else Verdict.WITHIN if difference else Verdict.EQUAL
    return Outcome(item, verdict, difference, detail)
