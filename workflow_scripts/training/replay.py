r"""Replay certificate: train steps N..N+k again on the true batches and compare with the released checkpoint N+k.

    python -m workflow_scripts.training.replay --start-from results/training/pocket-1m/step8 --released \
        results/mirror/models/pocket/pocket-1m/step16 --last-step 16 --recipe recipe.json --view view.json \
        --index-maps index_maps --work-dir results/replay/pocket-1m --output certificate.json

The measure is the unexplained share, |replayed - released| / |released - start| over all weights (L2), after rounding
the replayed weights to the released precision. 0 means the same weights, 1 that the replay explains nothing of what
training did. The certificate is granted when it is at most --tolerance; it is written either way, and the exit code
says which. For the real suite start from the published step0 (--start-step 0 --rewarm-steps 0), where the moments are
truly zero.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from workflow_scripts import cli
from workflow_scripts.errors import ConfigError, ModelError
from workflow_scripts.json_values import JsonObject
from workflow_scripts.storage.atomic import write_json
from workflow_scripts.storage.model_files import weight_files
from workflow_scripts.storage.records import write_record
from workflow_scripts.training import retrain
from workflow_scripts.training.recipe import read_recipe
from workflow_scripts.training.run import checkpoint
from workflow_scripts.training.run.warm_start import Origin, read_origin, read_released

TOLERANCE = 0.01
RETRAIN_OPTIONS = {
    "start_from": "--start-from",
    "start_step": "--start-step",
    "rewarm_steps": "--rewarm-steps",
    "recipe": "--recipe",
    "view": "--view",
    "index_maps": "--index-maps",
    "work_dir": "--output-dir",
    "threads": "--threads",
    "last_step": "--stop-at",
}


@dataclass(frozen=True)
class Comparison:
    """How far replayed weights are from released ones, as L2 norms over all weights."""

    moved: float
    unexplained: float
    largest_difference: float
    worst_tensor: str

    @property
    def unexplained_share(self) -> float:
        """Distance to the released weights over the distance that training moved; 0 when neither moved."""
        if self.moved == 0:
            return 0.0 if self.unexplained == 0 else math.inf
        return self.unexplained / self.moved


def compare(start: Mapping[str, Tensor], replayed: Mapping[str, Tensor], released: Mapping[str, Tensor]) -> Comparison:
    """Compare tensor by tensor, rounded to the released precision; raises ModelError where names or shapes differ."""
    moved = unexplained = largest = 0.0
    worst = ""
    for name in sorted(released.keys() | replayed.keys()):
        if name not in released or name not in replayed or released[name].shape != replayed[name].shape:
            raise ModelError(f"tensor {name} is not the same in the replayed and the released checkpoint")
        target = released[name]
        off = replayed[name].to(target.dtype).double() - target.double()
        difference = float(off.abs().max())
        if difference > largest:
            largest, worst = difference, name
        unexplained += float(off.square().sum())
        moved += float((target.double() - start[name].to(target.dtype).double()).square().sum())
    return Comparison(math.sqrt(moved), math.sqrt(unexplained), largest, worst)


def argument_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = cli.parser(__doc__)
    parser.add_argument("--start-from", type=Path, required=True, help="step<N> folder of a run, or a published folder")
    parser.add_argument("--start-step", type=int, help="step of a published folder")
    parser.add_argument("--rewarm-steps", type=int, help="for a published folder; 0 at step 0")
    parser.add_argument("--released", type=Path, required=True, help="published folder of step N+k")
    parser.add_argument("--last-step", type=int, required=True, help="N+k, in optimizer iterations")
    parser.add_argument("--recipe", required=True, help="file with the recipe, or the JSON object itself")
    parser.add_argument("--view", type=Path, required=True, help="view.json of the data set")
    parser.add_argument("--index-maps", type=Path, help="folder of index maps; computed if omitted")
    parser.add_argument("--work-dir", type=Path, required=True, help="folder for the replayed run")
    parser.add_argument("--threads", type=int, default=1, help="threads of matrix products")
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, help="largest unexplained share")
    parser.add_argument("--output", type=Path, required=True, help="certificate to write (JSON)")
    return parser


def retrain_arguments(options: argparse.Namespace) -> list[str]:
    """Arguments of the retrain program for the replayed segment."""
    given = [(flag, getattr(options, name)) for name, flag in RETRAIN_OPTIONS.items()]
    return [part for flag, value in given if value is not None for part in (flag, str(value))]


def certificate(result: Comparison, origin: Origin, options: argparse.Namespace) -> JsonObject:
    """Content of the certificate."""
    return {
        "granted": result.unexplained_share <= options.tolerance,
        "first_step": origin.step,
        "last_step": options.last_step,
        "origin": origin.label,
        "recipe_identity": read_recipe(options.recipe).identity,
        "unexplained_share": result.unexplained_share if math.isfinite(result.unexplained_share) else None,
        "tolerance": options.tolerance,
        "moved": result.moved,
        "unexplained": result.unexplained,
        "largest_difference": result.largest_difference,
        "worst_tensor": result.worst_tensor,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Replay and write the certificate; raises ModelError when it is not granted."""
    options = argument_parser().parse_args(arguments)
    origin = read_origin(options.start_from, options.start_step, options.rewarm_steps, read_recipe(options.recipe))
    if not origin.step < options.last_step:
        raise ConfigError(f"--last-step {options.last_step} does not come after step {origin.step} of the start")
    files = weight_files(options.released)
    released = read_released(files)
    retrain.main(retrain_arguments(options))
    folder = checkpoint.step_folder(options.work_dir, options.last_step)
    result = compare(origin.weights, checkpoint.read_tensors(folder / checkpoint.WEIGHTS), released)
    write_json(options.output, certificate(result, origin, options))
    write_record(options.output, {str(path): path for path in [*files, options.view]}, {})
    if not result.unexplained_share <= options.tolerance:
        raise ModelError(
            f"{options.output}: not granted, {result.unexplained_share:.3g} of the movement from step {origin.step} to "
            f"{options.last_step} is unexplained (allowed {options.tolerance}); worst in {result.worst_tensor}"
        )


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
