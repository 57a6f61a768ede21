"""Starting a run in the middle: from a checkpoint of another run, with its moments, or from published weights alone.

A run that starts at step N trains iterations N, N + 1 ... of its own recipe on its own rows. With the moments of
another run the optimizer goes on as if nothing had happened. With weights alone the moments start at zero, which is
said loudly, and the learning rate may climb again over some steps. It must not fall back from the first to the
second unasked.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from workflow_scripts.errors import ConfigError, DataError, MissingInputError
from workflow_scripts.storage.hashing import sha256_file
from workflow_scripts.storage.model_files import weight_files
from workflow_scripts.training.recipe import Recipe
from workflow_scripts.training.run import checkpoint
from workflow_scripts.training.run.checkpoint import RunState
from workflow_scripts.training.run.schedule import LossScale
from workflow_scripts.training.weight_files import refuse_other_config

LOG = logging.getLogger(__name__)
SHARD_INDEX = "model.safetensors.index.json"
OLD_WEIGHTS = "pytorch_model.bin"
# Buffers that old Hugging Face files hold beside the parameters; all are recomputed.
OLD_BUFFERS = (".attention.bias", ".attention.masked_bias", ".attention.rotary_emb.inv_freq")


@dataclass(frozen=True)
class Origin:
    """Somebody else's checkpoint that a run starts from.

    ``moments`` is empty where only the weights are used; ``steps_taken`` counts the updates the learning rate has
    behind it. ``label`` tells origins apart and is compared at resume.
    """

    step: int
    steps_taken: int
    weights: Mapping[str, Tensor]
    moments: Mapping[str, Tensor]
    moments_from: int
    rewarm_steps: int
    loss_scale: LossScale
    label: str


def read_origin(folder: Path, step: int | None, rewarm_steps: int | None, recipe: Recipe) -> Origin:
    """Origin in ``folder``: a step<N> folder of a run, or a Hugging Face folder.

    ``rewarm_steps`` (0 or more) asks for weights alone; it is needed for a Hugging Face folder, as is ``step``. Raises
    ConfigError where these are missing, and for a step outside the recipe.
    """
    is_run = (folder / checkpoint.STATE).is_file()
    if not is_run:
        refuse_other_config(folder, recipe)
    if rewarm_steps is not None and rewarm_steps < 0:
        raise ConfigError(f"--rewarm-steps {rewarm_steps} is negative")
    check_start(RunState.read(folder / checkpoint.STATE).step if is_run else step, recipe)
    origin = run_origin(folder, step, rewarm_steps) if is_run else published_origin(folder, step, rewarm_steps)
    if not origin.moments and origin.steps_taken > 0:
        LOG.warning(
            "WEIGHTS ALONE from %s: the optimizer's moments start at zero at step %d, the learning rate "
            "warms up over %d "
            "steps; this is not a continuation of the original run",
            folder,
            origin.step,
            origin.rewarm_steps,
        )
    return origin


def check_start(step: int | None, recipe: Recipe) -> None:
    """Raise ConfigError for a step at which nothing is left to train."""
    if step is not None and not 0 <= step < recipe.train_iterations:
        raise ConfigError(f"a run of {recipe.train_iterations} iterations cannot start at step {step}")


def run_origin(folder: Path, step: int | None, rewarm_steps: int | None) -> Origin:
    """Origin in a checkpoint folder of a run of ours."""
    state = RunState.read(folder / checkpoint.STATE)
    if step is not None and step != state.step:
        raise ConfigError(f"{folder} holds step {state.step}; omit --start-step or give the same")
    weights_only = rewarm_steps is not None
    has_moments = checkpoint.has_moments(folder)
    if not weights_only and not has_moments and state.steps_taken > state.moments_from:
        raise MissingInputError(
            f"{folder}: the optimizer state was not kept; train with --keep-optimizer {state.step}, or give "
            "--rewarm-steps to start from the weights alone"
        )
    moments = read_moments(folder) if has_moments and not weights_only else {}
    weights_file = folder / checkpoint.WEIGHTS
    weights = checkpoint.read_tensors(weights_file)
    return Origin(
        step=state.step,
        steps_taken=state.steps_taken,
        weights=weights,
        moments=moments,
        moments_from=state.moments_from if moments else state.steps_taken,
        rewarm_steps=state.rewarm_steps if moments else (rewarm_steps or 0),
        loss_scale=state.loss_scale,
        label=label(sha256_file(weights_file), state.step, rewarm_steps),
    )


def read_moments(folder: Path) -> dict[str, Tensor]:
    """Whole moments of a checkpoint of ours, from one file or from pieces."""
    if (folder / checkpoint.OPTIMIZER_PIECES).is_dir():
        from workflow_scripts.training.run.sharded_state import read_whole_moments

        return read_whole_moments(folder / checkpoint.OPTIMIZER_PIECES)
    moments = checkpoint.read_tensors(folder / checkpoint.OPTIMIZER)
    moments.pop(checkpoint.RANDOM_STATE, None)
    return moments


def published_origin(folder: Path, step: int | None, rewarm_steps: int | None) -> Origin:
    """Origin in a Hugging Face folder."""
    if step is None or rewarm_steps is None:
        raise ConfigError(
            f"{folder} is no checkpoint of a run, so it has weights alone: give --start-step (its step) and "
            "--rewarm-steps (0, or the number of warm-up steps)"
        )
    files = weight_files(folder)
    digest = ",".join(sha256_file(path) for path in files)
    return Origin(
        step=step,
        steps_taken=step,
        weights=read_published(files),
        moments={},
        moments_from=step,
        rewarm_steps=rewarm_steps,
        loss_scale=LossScale(),
        label=label(digest, step, rewarm_steps),
    )


def label(digest: str, step: int, rewarm_steps: int | None) -> str:
    """Text that differs where two origins do."""
    way = "with moments" if rewarm_steps is None else f"weights alone, re-warmed over {rewarm_steps} steps"
    return f"step {step} of {digest}, {way}"


def read_published(files: list[Path]) -> dict[str, Tensor]:
    """Float32 parameters in weight files of any age, under the names of this project; buffers are dropped."""
    return {name: tensor.float() for name, tensor in read_released(files).items()}


def read_released(files: list[Path]) -> dict[str, Tensor]:
    """As ``read_published``, in the precision of the files."""
    tensors: dict[str, Tensor] = {}
    for path in files:
        tensors |= read_old(path) if path.suffix == ".bin" else checkpoint.read_tensors(path)
    if "lm_head.weight" in tensors:
        tensors["embed_out.weight"] = tensors.pop("lm_head.weight")
    return {name: tensor for name, tensor in tensors.items() if not name.endswith(OLD_BUFFERS)}


def read_old(path: Path) -> dict[str, Tensor]:
    """Tensors of a ``pytorch_model.bin``; code in it is never run."""
    from pickle import UnpicklingError

    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError) as error:
        raise DataError(f"{path}: not a file of plain tensors ({str(error).splitlines()[0]})") from None
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise DataError(f"{path}: contains something other than named tensors")
    return found
