"""Where a run begins: anew, from its own newest checkpoint, or from somebody else's weights.

A checkpoint of another recipe or of other data is refused by name, or set aside when that was asked for. It must not
mix the two silently.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from workflow_scripts.errors import ModelError
from workflow_scripts.training.recipe import Recipe
from workflow_scripts.training.run import checkpoint
from workflow_scripts.training.run.checkpoint import RunState
from workflow_scripts.training.run.initialisation import initialise
from workflow_scripts.training.run.model import GPTNeoX
from workflow_scripts.training.run.optimizer import load_state_tensors
from workflow_scripts.training.run.processes import ALONE, SINGLE, Processes, fill
from workflow_scripts.training.run.warm_start import Origin

LOG = logging.getLogger(__name__)
WHEN_DIFFERENT = ("refuse", "restart")


def fresh_state(
    recipe: Recipe, fingerprint: str, threads: int, micro_batch: int, world: int = 1, *, kernels: str = "eager"
) -> RunState:
    """State of a run that has done nothing."""
    return RunState(
        step=0,
        steps_taken=0,
        recipe=recipe.to_json(),
        recipe_identity=recipe.identity,
        data_fingerprint=fingerprint,
        threads=threads,
        micro_batch=micro_batch,
        world=world,
        kernels=kernels,
    )


def begin(
    run: Path,
    fresh: RunState,
    recipe: Recipe,
    *,
    model: GPTNeoX,
    optimizer: torch.optim.Optimizer,
    when_different: str,
    origin: Origin | None = None,
    kept: Collection[int] = (),
    since: int = 0,
    processes: Processes = ALONE,
) -> RunState:
    """Give ``model`` and ``optimizer`` the values to continue from and return their state.

    ``fresh`` is the state of a new run, ``origin`` where it starts when not from scratch. ``when_different`` is
    ``refuse`` (ModelError) or ``restart`` (checkpoints of another run are deleted, with a message). Steps ``kept`` must
    have been saved with their moments; those below ``since`` belong to an earlier segment and may be absent.
    """
    if origin is not None:
        fresh = replace(
            fresh,
            step=origin.step,
            steps_taken=origin.steps_taken,
            first_step=origin.step,
            moments_from=origin.moments_from,
            rewarm_steps=origin.rewarm_steps,
            loss_scale=origin.loss_scale,
            origin=origin.label,
        )
    # Nothing draws from it today; it is saved with the moments, and equal runs save equal bytes.
    torch.manual_seed(recipe.weight_seed)
    with processes.main_first():
        state = resumable_state(run, fresh, recipe, when_different, kept, since)
    if state is not None:
        load(run, state, model, optimizer, processes)
        return continued(state, fresh)
    if origin is None:
        initialise(model, recipe)
    else:
        load_weights(model, origin.weights, "the run's origin")
        if origin.moments:
            load_state_tensors(model, optimizer, origin.moments, origin.steps_taken - origin.moments_from)
    return fresh


def resumable_state(  # noqa: PLR0917 - all six decide what may be continued
    run: Path, fresh: RunState, recipe: Recipe, when_different: str, kept: Collection[int] = (), since: int = 0
) -> RunState | None:
    """State of the newest checkpoint in ``run`` that the new run may continue from; None to begin."""
    while (found := checkpoint.resumable_step(run)) is not None:
        state = RunState.read(checkpoint.step_folder(run, found) / checkpoint.STATE)
        reason, keep_below = difference(state, fresh), 0
        if not reason and (gap := first_gap(run, recipe, state, kept, since)) is not None:
            reason, keep_below = f"step {gap} is wanted and was not saved", gap
        if not reason:
            return state
        if when_different == "refuse":
            raise ModelError(
                f"{checkpoint.step_folder(run, state.step)} belongs to another run ({reason}); choose another "
                "--output-dir, or --when-different restart to delete its checkpoints"
            )
        discard(run, reason, keep_below)
    return None


def first_gap(run: Path, recipe: Recipe, state: RunState, kept: Collection[int] = (), since: int = 0) -> int | None:
    """First step that the run should have saved before ``state`` and did not, or not with the moments of a ``kept``."""
    saved = set(checkpoint.saved_steps(run))
    due = sorted({*recipe.checkpoint_steps, *kept})
    before = [step for step in due if max(state.first_step, since) <= step < state.step]
    return next((step for step in before if step not in saved or (step in kept and is_bare(run, step))), None)


def is_bare(run: Path, step: int) -> bool:
    """Whether the checkpoint of ``step`` has lost the moments or the metrics that continuing from it takes."""
    folder = checkpoint.step_folder(run, step)
    if not (folder / checkpoint.METRICS).is_file():
        return True
    return not checkpoint.has_moments(folder) and RunState.read(folder / checkpoint.STATE).needs_moments


def difference(saved: RunState, fresh: RunState) -> str:
    """What makes ``saved`` the checkpoint of another run; empty when it may be continued."""
    if saved.recipe_identity != fresh.recipe_identity:
        lines = Recipe.from_json(saved.recipe, "state.json").differences(Recipe.from_json(fresh.recipe))
        return f"recipe: {'; '.join(lines)}"
    if saved.origin != fresh.origin:
        return f"origin: {saved.origin} -> {fresh.origin}"
    if saved.data_fingerprint != fresh.data_fingerprint:
        return f"data fingerprint: {saved.data_fingerprint[:16]} -> {fresh.data_fingerprint[:16]}"
    return ""


def discard(run: Path, reason: str, keep_below: int) -> None:
    """Delete the checkpoints from step ``keep_below`` on, in a run that is started over."""
    LOG.warning("training again: checkpoints in %s from step %d on do not serve (%s)", run, keep_below, reason)
    for step in checkpoint.saved_steps(run):
        if step >= keep_below:
            shutil.rmtree(checkpoint.step_folder(run, step))


def load(
    run: Path, state: RunState, model: GPTNeoX, optimizer: torch.optim.Optimizer, processes: Processes = ALONE
) -> None:
    """Load weights, moments and random state of ``state.step``, by however many processes they were written."""
    folder = checkpoint.step_folder(run, state.step)
    if processes.kind != SINGLE or (folder / checkpoint.OPTIMIZER_PIECES).is_dir():
        from workflow_scripts.training.run.sharded_state import load_together

        load_together(folder, state, model, optimizer, processes.rank)
        return
    load_weights(model, checkpoint.read_tensors(folder / checkpoint.WEIGHTS), folder / checkpoint.WEIGHTS)
    if state.needs_moments:
        tensors = checkpoint.read_tensors(folder / checkpoint.OPTIMIZER)
        torch.set_rng_state(tensors.pop(checkpoint.RANDOM_STATE))
        load_state_tensors(model, optimizer, tensors, state.steps_taken - state.moments_from)


def load_weights(model: GPTNeoX, weights: Mapping[str, Tensor], where: Path | str) -> None:
    """Copy ``weights`` into ``model``; raises ModelError naming the first tensor that does not fit."""
    parameters = dict(model.named_parameters())
    for name in sorted(parameters.keys() | weights.keys()):
        if name not in weights:
            raise ModelError(f"{where}: tensor {name} is missing")
        if name not in parameters:
            raise ModelError(f"{where}: tensor {name} belongs to no parameter of the recipe's model")
        if weights[name].shape != parameters[name].shape:
            seen, wanted = tuple(weights[name].shape), tuple(parameters[name].shape)
            raise ModelError(f"{where}: tensor {name} has shape {seen}, the recipe's model has {wanted}")
        fill(parameters[name], weights[name])


def continued(saved: RunState, fresh: RunState) -> RunState:
    """Saved state with the present way of running; says so when the last bits may differ."""
    now_running = {name: getattr(fresh, name) for name in ("threads", "micro_batch", "world", "kernels")}
    for name, now in now_running.items():
        before = getattr(saved, name)
        if before != now:
            LOG.warning("%s was %s and is %s: from step %d on the last bits may differ", name, before, now, saved.step)
    LOG.info("continuing from step %d", saved.step)
    return replace(saved, recipe=fresh.recipe, **now_running)
