"""Where a run begins: anew, from its own newest checkpoint, or from somebody else's weights.

A checkpoint of another recipe or of other data is refused by name, or set aside when that was asked for. It must never
mix the two silently.
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from workflow_scripts.errors import ModelError
from workflow_scripts.training import checkpoint
from workflow_scripts.training.checkpoint import RunState
from workflow_scripts.training.initialisation import initialise
from workflow_scripts.training.model import GPTNeoX
from workflow_scripts.training.optimizer import load_state_tensors
from workflow_scripts.training.recipe import Recipe

LOG = logging.getLogger(__name__)
WHEN_DIFFERENT = ("refuse", "restart")


def fresh_state(recipe: Recipe, fingerprint: str, threads: int, micro_batch: int) -> RunState:
    """State of a run that has done nothing."""
    return RunState(
        step=0,
        steps_taken=0,
        recipe=recipe.to_json(),
        recipe_identity=recipe.identity,
        data_fingerprint=fingerprint,
        threads=threads,
        micro_batch=micro_batch,
    )


def begin(
    run: Path,
    fresh: RunState,
    recipe: Recipe,
    *,
    model: GPTNeoX,
    optimizer: torch.optim.Optimizer,
    when_different: str,
) -> RunState:
    """Give ``model`` and ``optimizer`` the values to go on from and return their state.

    ``fresh`` is the state of a new run. ``when_different`` is ``refuse`` (ModelError) or ``restart`` (the old run's
    checkpoints are deleted, with a message).
    """
    found = checkpoint.resumable_step(run)
    state = None if found is None else RunState.read(checkpoint.step_folder(run, found) / checkpoint.STATE)
    if state is not None and (reason := difference(state, fresh)):
        if when_different == "refuse":
            raise ModelError(
                f"{checkpoint.step_folder(run, state.step)} belongs to another run ({reason}); choose another "
                "--output-dir, or --when-different restart to delete its checkpoints"
            )
        discard(run, reason)
        state = None
    if state is None:
        initialise(model, recipe)
        return fresh
    load(run, state, model, optimizer)
    return continued(state, fresh)


def difference(saved: RunState, fresh: RunState) -> str:
    """What makes ``saved`` the checkpoint of another run; empty when it may be continued."""
    if saved.recipe_identity != fresh.recipe_identity:
        lines = Recipe.from_json(saved.recipe, "state.json").differences(Recipe.from_json(fresh.recipe))
        return f"recipe: {'; '.join(lines)}"
    if saved.data_fingerprint != fresh.data_fingerprint:
        return f"data fingerprint: {saved.data_fingerprint[:16]} -> {fresh.data_fingerprint[:16]}"
    return ""


def discard(run: Path, reason: str) -> None:
    """Delete the checkpoints of a run that is started over."""
    LOG.warning("starting over: the checkpoints in %s belong to another run (%s)", run, reason)
    for step in checkpoint.saved_steps(run):
        shutil.rmtree(checkpoint.step_folder(run, step))


def load(run: Path, state: RunState, model: GPTNeoX, optimizer: torch.optim.Optimizer) -> None:
    """Load weights, moments and random state of ``state.step``."""
    folder = checkpoint.step_folder(run, state.step)
    load_weights(model, checkpoint.read_tensors(folder / checkpoint.WEIGHTS), folder / checkpoint.WEIGHTS)
    if state.steps_taken > 0:
        tensors = checkpoint.read_tensors(folder / checkpoint.OPTIMIZER)
        torch.set_rng_state(tensors.pop(checkpoint.RANDOM_STATE))
        load_state_tensors(model, optimizer, tensors, state.steps_taken)


@torch.no_grad()
def load_weights(model: GPTNeoX, weights: dict[str, Tensor], where: Path) -> None:
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
        parameters[name].copy_(weights[name])


def continued(saved: RunState, fresh: RunState) -> RunState:
    """Saved state with the present way of running; says so when the last bits may differ."""
    for name in ("threads", "micro_batch", "world"):
        before, now = getattr(saved, name), getattr(fresh, name)
        if before != now:
            LOG.warning("%s was %s and is %s: from step %d on the last bits may differ", name, before, now, saved.step)
    LOG.info("going on from step %d", saved.step)
    return replace(saved, recipe=fresh.recipe, threads=fresh.threads, micro_batch=fresh.micro_batch, world=fresh.world)
