"""The processes of a run: one, or several under ``torchrun`` with replicated (DDP) or sharded (FSDP2) weights.

    torchrun --nproc-per-node 8 --module workflow_scripts.training.retrain --parallel ddp ...

Process r takes the r-th contiguous slice of each batch, as the original's sampler did. Checkpoints hold whole tensors
and do not know how many processes wrote them: a run may stop on eight and go on with two. It must not hide a
collective call in a branch that only some processes take.

Importing torch's sharded tensors takes most of a CPU-second (twenty steps of a pocket model), so it is done
only where several processes are; sharded tensors and wrapped modules are known by their methods.
"""

from __future__ import annotations

import atexit
import gc
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn

from workflow_scripts.errors import ConfigError
from workflow_scripts.training.run.model import GPTNeoX

SINGLE, DDP, FSDP = "single", "ddp", "fsdp"
KINDS = (SINGLE, DDP, FSDP)
BACKENDS = {"cpu": "gloo", "cuda": "nccl"}


@dataclass(frozen=True)
class Processes:
    """This process among its peers; ``kind`` says what they share."""

    kind: str
    rank: int
    world: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    def barrier(self) -> None:
        """Wait until every process is here."""
        if self.world > 1:
            distributed.barrier()

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """Let the main process through the block before the others."""
        if not self.is_main:
            self.barrier()
        yield
        if self.is_main:
            self.barrier()

    def mean(self, value: Tensor) -> Tensor:
        """Mean of a scalar over the processes."""
        if self.world > 1:
            distributed.all_reduce(value)
            value = value / self.world
        return value

    def agreed(self, flag: bool) -> bool:
        """Whether any process says yes."""
        if self.world == 1:
            return flag
        votes = torch.tensor(int(flag), device=self.device)
        distributed.all_reduce(votes, distributed.ReduceOp.MAX)
        return bool(votes)


ALONE = Processes(SINGLE, 0, 1, torch.device("cpu"))


@contextmanager
def joined(kind: str, device: str) -> Iterator[Processes]:
    """Join the processes that ``torchrun`` started; leaves them when the block ends.

    Raises ConfigError where ``kind`` and the environment do not fit, or the device is not there.
    """
    world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    if kind == SINGLE and world > 1:
        raise ConfigError(f"torchrun started {world} processes: give --parallel ddp or --parallel fsdp")
    if kind != SINGLE and "WORLD_SIZE" not in os.environ:
        raise ConfigError(f"--parallel {kind} needs torchrun, e.g. torchrun --nproc-per-node 2 --module ...")
    place = chosen_device(device)
    if kind == SINGLE:
        yield Processes(SINGLE, 0, 1, place)
        return
    distributed.init_process_group(BACKENDS[place.type])
    try:
        yield Processes(kind, rank, world, place)
    finally:
        leave()


def leave() -> None:
    """Leave the group of processes and keep its object to the end of this process.

    DDP must not be the last owner of the group: it frees it while it holds Python's lock and waits for gloo's threads,
    one of which may still wait for that lock to free the tensor of the last collective (pytorch#56297: on a busy
    machine a run of four processes hung about every second time). Python frees its own reference without the lock.
    """
    group = distributed.group.WORLD
    distributed.destroy_process_group()
    atexit.register(outlive, group)


def outlive(group: distributed.ProcessGroup | None) -> None:
    """Free what may still own ``group``; the caller's reference is the last."""
    del group
    gc.collect()


def chosen_device(name: str) -> torch.device:
    """Device called ``name`` (``cpu`` or ``cuda``), the local one under torchrun; raises ConfigError."""
    if name == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ConfigError("--device cuda: torch sees no CUDA device here; use --device cpu or install the CUDA lock")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device


def check_dtype(dtype: str, device: torch.device) -> None:
    """Refuse a compute dtype that ``device`` lacks; raises ConfigError."""
    if device.type == "cuda" and dtype == "bfloat16" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise ConfigError(f"the recipe computes in bfloat16 and {torch.cuda.get_device_name(device)} lacks it")


def check_compiler(device: torch.device) -> None:
    """Refuse to compile without the compiler that PyTorch calls, Triton on a GPU; raises ConfigError."""
    language, variable, usual = ("C++", "CXX", ["g++"]) if device.type == "cpu" else ("C", "CC", ["gcc", "clang"])
    compilers = [os.environ[variable]] if os.environ.get(variable) else usual
    if not any(map(shutil.which, compilers)):
        wanted = f"no {' or '.join(compilers)} here; install a {language} compiler"
        raise ConfigError(f"--kernels compiled: {wanted}, or use --kernels eager")


def shard(model: GPTNeoX, objective: nn.Module, processes: Processes) -> nn.Module:
    """Module to call for the loss: ``objective`` itself, replicated, or with weights sharded layer by layer.

    Must come before the optimizer is made and before the weights are filled.
    """
    if processes.kind == DDP:
        from torch.nn.parallel import DistributedDataParallel

        return DistributedDataParallel(objective)
    if processes.kind == FSDP:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh(processes.device.type, (processes.world,))
        for layer in model.gpt_neox.layers:
            fully_shard(layer, mesh=mesh)
        fully_shard(objective, mesh=mesh)
    return objective


def settle(module: nn.Module, kind: str, length: int, device: torch.device) -> None:
    """Let DDP see one backward pass before the first iteration; its gradients are dropped.

    DDP packs gradients anew after its first pass, which changes the order of sums over more than two processes: a run
    that is stopped and goes on would differ in the last bits from one that is not.
    """
    if kind != DDP:
        return
    tokens = torch.zeros((1, length), dtype=torch.int64, device=device)
    module(tokens, tokens).backward()
    module.zero_grad(set_to_none=True)


@contextmanager
def last_only(module: nn.Module, is_last: bool) -> Iterator[None]:
    """Let DDP exchange gradients only in the last micro-batch of an iteration.

    Sharded gradients are reduced in each micro-batch: FSDP2 would otherwise keep all gradients whole in each process
    until the last, 47 GB of them for 12 billion parameters, and sharding the rest would be in vain.
    """
    replicated = getattr(module, "no_sync", None)
    if replicated is not None and not is_last:
        with replicated():
            yield
    else:
        yield


def is_sharded(tensor: Tensor) -> bool:
    """Whether this process holds only a part of ``tensor``."""
    return hasattr(tensor, "placements")


def whole(tensor: Tensor) -> Tensor:
    """The whole of a tensor that may be sharded; a collective call where it is."""
    full: Tensor = tensor.full_tensor() if is_sharded(tensor) else tensor  # type: ignore[attr-defined]
    return full


def local(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor."""
    part: Tensor = tensor.to_local() if is_sharded(tensor) else tensor  # type: ignore[attr-defined]
    return part


def shared_like(parameter: Tensor, value: Tensor) -> Tensor:
    """``value`` on the device of ``parameter``, sharded as it is; every process must pass the same whole value."""
    if not is_sharded(parameter):
        return value.to(parameter.device, copy=True)
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(parameter, DTensor)
    return distribute_tensor(
        value.to(parameter.device), parameter.device_mesh, parameter.placements, src_data_rank=None
    )


@torch.no_grad()
def fill(parameter: Tensor, value: Tensor) -> None:
    """Give ``parameter`` the whole ``value``."""
    local(parameter).copy_(local(shared_like(parameter, value)))


def norm_squares(gradients: list[Tensor]) -> Tensor:
    """Sum of squares of all elements of the gradients, over all shards; float32 scalar."""
    parts = [local(gradient) for gradient in gradients]
    total: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(parts))).square()
    if any(is_sharded(gradient) for gradient in gradients):
        distributed.all_reduce(total)
    return total
