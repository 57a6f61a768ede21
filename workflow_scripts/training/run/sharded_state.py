"""Resume state of several processes: each writes what it holds, any number of processes reads what it needs.

``step<N>/optimizer/*.safetensors`` holds both moments of every parameter and each process's random state, written by
torch.distributed.checkpoint with its safetensors storage: the place of every piece stands in the files' headers.
Its usual storage keeps that in a pickle, which this project never reads. Weights stay whole in ``model.safetensors``.
It must not bring a whole model or its moments onto one device.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from workflow_scripts.errors import DataError, ModelError
from workflow_scripts.storage.atomic import atomic_path
from workflow_scripts.storage.leftovers import common_name
from workflow_scripts.training.run import checkpoint
from workflow_scripts.training.run.checkpoint import RunState
from workflow_scripts.training.run.optimizer import adopt_state
from workflow_scripts.training.run.processes import Processes, whole
from workflow_scripts.training.run.whole_folders import whole_folder


def random_state_name(rank: int) -> str:
    """Name of the random state of one process."""
    return f"{checkpoint.RANDOM_STATE}/{rank}"


def write_together(
    run: Path,
    state: RunState,
    *,
    model: nn.Module,
    moments: Mapping[str, Tensor],
    metrics: Path,
    processes: Processes,
) -> None:
    """Write the folder of ``state.step``; every process must call it, on a file system that all of them see."""
    with shared_folder(checkpoint.step_folder(run, state.step), processes) as folder:
        if moments:
            own = {random_state_name(processes.rank): torch.get_rng_state()}
            save_pieces(folder / checkpoint.OPTIMIZER_PIECES, {**moments, **own})
        weights = gathered(model, processes)
        if processes.is_main:
            checkpoint.write_parts(folder, state, weights, {}, metrics)


@contextmanager
def shared_folder(target: Path, processes: Processes) -> Iterator[Path]:
    """Folder that all processes fill; it gets its name when all have left the block."""
    with ExitStack() as stack:
        if processes.is_main:
            stack.enter_context(whole_folder(target))
        processes.barrier()
        yield common_name(target)
        processes.barrier()
    processes.barrier()


def gathered(model: nn.Module, processes: Processes) -> dict[str, Tensor]:
    """Whole weights in the main process's host memory, one tensor at a time; nothing in the others."""
    weights: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        tensor = whole(parameter.detach())
        if processes.is_main:
            weights[name] = tensor.to("cpu")
    return weights


def save_pieces(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write this process's share of ``tensors``; a collective call."""
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    save(dict(tensors), storage_writer=HuggingFaceStorageWriter(str(folder), save_distributed=True))


def load_pieces(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Fill ``tensors`` from the safetensors files in ``folder``, each process the parts that it holds.

    Raises ModelError naming the first tensor that is missing or of another shape, DataError for a damaged file. A
    collective call where there are several processes.
    """
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    stored = stored_shapes(folder)
    for name, tensor in sorted(tensors.items()):
        if name not in stored:
            raise ModelError(f"{folder}: tensor {name} is missing; the checkpoint is not whole or of another model")
        if stored[name] != tensor.shape:
            raise ModelError(f"{folder}: tensor {name} has shape {tuple(stored[name])}, not {tuple(tensor.shape)}")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        load(dict(tensors), storage_reader=HuggingFaceStorageReader(str(folder)))


def stored_shapes(folder: Path) -> dict[str, torch.Size]:
    """Shape of every whole tensor whose pieces lie in ``folder``; raises DataError for a damaged file."""
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata

    try:
        found = HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
    except (SafetensorError, ValueError, KeyError) as error:
        raise DataError(f"{folder}: not whole safetensors files ({error}); delete its folder and run again") from None
    return {name: item.size for name, item in found.items() if isinstance(item, TensorStorageMetadata)}


def read_whole_moments(folder: Path) -> dict[str, Tensor]:
    """All moments in ``folder`` as whole tensors in host memory, without the random states; for one process."""
    shapes = stored_shapes(folder)
    tensors = {
        name: torch.empty(shape) for name, shape in shapes.items() if not name.startswith(checkpoint.RANDOM_STATE)
    }
    load_pieces(folder, tensors)
    return tensors


def join_pieces(pieces: Path, target: Path) -> None:
    """Write the moments in the folder ``pieces`` as one file; for one process, which holds all of them meanwhile.

    The random state is that of the first process: they are all alike.
    """
    random_state = {random_state_name(0): torch.get_rng_state()}
    load_pieces(pieces, random_state)
    moments = read_whole_moments(pieces)
    with atomic_path(target) as temporary:
        checkpoint.save_tensors(temporary, moments | {checkpoint.RANDOM_STATE: random_state[random_state_name(0)]})


def load_together(folder: Path, state: RunState, model: nn.Module, optimizer: torch.optim.Optimizer, rank: int) -> None:
    """Fill weights, moments and random state from the checkpoint ``folder``; a collective call."""
    whole_files = (folder / checkpoint.OPTIMIZER).is_file()
    load_pieces(folder, {name: parameter.detach() for name, parameter in model.named_parameters()})
    if not state.needs_moments:
        return
    place = folder if whole_files else folder / checkpoint.OPTIMIZER_PIECES
    moments = adopt_state(model, optimizer, state.steps_taken - state.moments_from)
    random_state = checkpoint.RANDOM_STATE if whole_files else random_state_name(rank)
    kept = {random_state: torch.get_rng_state()} if random_state in stored_shapes(place) else {}
    load_pieces(place, moments | kept)
    for tensor in kept.values():
        torch.set_rng_state(tensor)
