"""Checkpoints of a run on disk: ``step<N>/{model,optimizer}.safetensors, state.json, metrics.csv``, whole or absent.

Several processes write their moments in pieces, ``optimizer/*.safetensors`` (sharded.py), in place of one file.
A folder is written under a temporary name, flushed and renamed. The weights are float32. The optimizer's moments, the
random state and a copy of the metrics so far are kept only where a run may continue from: in the newest folder and in
those asked for. Step S has consumed exactly rows [0, batch_rows * S). It must not load anything but tensors and JSON.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from workflow_scripts.errors import DataError, MissingInputError
from workflow_scripts.json_values import JsonObject
from workflow_scripts.storage.atomic import write_json
from workflow_scripts.storage.leftovers import common_name
from workflow_scripts.training.recipe import Recipe
from workflow_scripts.training.run.schedule import LossScale
from workflow_scripts.training.run.whole_folders import whole_folder

WEIGHTS, OPTIMIZER, STATE, METRICS = "model.safetensors", "optimizer.safetensors", "state.json", "metrics.csv"
OPTIMIZER_PIECES = "optimizer"
FOLDER = re.compile(r"step(0|[1-9][0-9]*)", re.ASCII)
RANDOM_STATE = "random/torch"
FORMAT = 1


@dataclass(frozen=True)
class RunState:
    """Where a run stands: what a checkpoint says beside its tensors.

    ``step`` counts iterations (data consumed), ``steps_taken`` those whose update was applied: fp16 skips some. The run
    began at ``first_step``; its moments were zero after ``moments_from`` updates, from where the learning rate climbs
    over ``rewarm_steps``. ``threads``, ``micro_batch``, ``world`` and ``kernels`` change the last bits of a result and
    nothing else.
    """

    step: int
    steps_taken: int
    recipe: JsonObject
    recipe_identity: str
    data_fingerprint: str
    skipped_steps: tuple[int, ...] = ()
    loss_scale: LossScale = field(default_factory=LossScale)
    threads: int = 1
    micro_batch: int = 0
    world: int = 1
    kernels: str = "eager"
    origin: str = "scratch"
    first_step: int = 0
    moments_from: int = 0
    rewarm_steps: int = 0
    format: int = FORMAT

    @property
    def needs_moments(self) -> bool:
        """Whether continuing takes the optimizer's moments: not before the first update, nor after the last step."""
        return self.steps_taken > self.moments_from and self.step < int(self.recipe["train_iterations"])

    @classmethod
    def read(cls, path: Path) -> RunState:
        """State in the file ``path``; raises DataError."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if values["format"] != FORMAT:
                raise DataError(f"{path}: format {values['format']}, this code reads format {FORMAT}")
            scale = LossScale(**values.pop("loss_scale"))
            skipped = tuple(values.pop("skipped_steps"))
            return cls(loss_scale=scale, skipped_steps=skipped, **values)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{path}: not the state of a checkpoint ({error}); delete the folder {path.parent}"
            ) from None


def step_folder(run: Path, step: int) -> Path:
    """Folder of step ``step`` of the run in folder ``run``."""
    return run / f"step{step}"


def saved_steps(run: Path) -> list[int]:
    """Steps with a complete checkpoint folder, rising."""
    if not run.is_dir():
        return []
    matches = [(FOLDER.fullmatch(path.name), path) for path in run.iterdir()]
    return sorted(int(match[1]) for match, path in matches if match and (path / STATE).is_file())


def resumable_step(run: Path) -> int | None:
    """Newest step that a run can continue from, or None: it has its moments, or does not need any."""
    for step in reversed(saved_steps(run)):
        folder = step_folder(run, step)
        if has_moments(folder) or not RunState.read(folder / STATE).needs_moments:
            return step
    return None


def write_checkpoint(
    run: Path, state: RunState, weights: Mapping[str, Tensor], moments: Mapping[str, Tensor], metrics: Path
) -> Path:
    """Write the folder of ``state.step``, replacing an older one of the same step; returns it."""
    folder = step_folder(run, state.step)
    with whole_folder(folder) as temporary:
        write_parts(temporary, state, weights, moments, metrics)
    return folder


def write_parts(
    folder: Path, state: RunState, weights: Mapping[str, Tensor], moments: Mapping[str, Tensor], metrics: Path
) -> None:
    """Fill ``folder`` with what belongs to a checkpoint; no file for no moments."""
    save_tensors(folder / WEIGHTS, weights)
    if moments:
        save_tensors(folder / OPTIMIZER, {**moments, RANDOM_STATE: torch.get_rng_state()})
    if metrics.is_file():
        shutil.copyfile(metrics, folder / METRICS)
    write_json(folder / STATE, asdict(state))


def has_moments(folder: Path) -> bool:
    """Whether the checkpoint in ``folder`` still has its moments, in one file or in pieces."""
    return (folder / OPTIMIZER).is_file() or (folder / OPTIMIZER_PIECES).is_dir()


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write ``tensors`` as safetensors, contiguous and from the processor's memory."""
    ready = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    save_file(ready, path, metadata={"format": "pt"})


def save_random_state(path: Path) -> None:
    """Write an optimizer file without moments, for a checkpoint before the first update."""
    save_tensors(path, {RANDOM_STATE: torch.get_rng_state()})


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file; raises MissingInputError or DataError."""
    if not path.is_file():
        raise MissingInputError(f"{path}: no such file")
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except SafetensorError as error:
        raise DataError(f"{path}: not a whole safetensors file ({error}); delete its folder and run again") from None
    return tensors


def prune(run: Path, recipe: Recipe, newest: int, keep_optimizer: Collection[int]) -> None:
    """Drop what no run needs any more: older moments, and older folders outside the grid (made by a stop)."""
    for step in saved_steps(run):
        if step >= newest or step in keep_optimizer:
            continue
        folder = step_folder(run, step)
        if step not in recipe.checkpoint_steps:
            shutil.rmtree(folder)
            continue
        shutil.rmtree(folder / OPTIMIZER_PIECES, ignore_errors=True)
        for name in (OPTIMIZER, METRICS):
            (folder / name).unlink(missing_ok=True)
    remove_unfinished(run)


def remove_unfinished(run: Path) -> None:
    """Delete folders that a killed process of this run was filling; only one process trains a run at a time."""
    for path in run.iterdir():
        step = path.name.removeprefix(".").removesuffix(".tmp")
        if FOLDER.fullmatch(step) and path == common_name(run / step):
            shutil.rmtree(path, ignore_errors=True)
