"""Runs the retrain program in several forked processes, as torchrun would: one import instead of one per process.

    python parallel_worker.py WORLD COMMANDS.json

COMMANDS is a list of argument lists; all processes run them one after another.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import socket
import sys
from pathlib import Path

import torch
import torch._dynamo.utils
import torch.distributed.checkpoint
import torch.distributed.fsdp
import torch.distributed.tensor

from workflow_scripts import cli
from workflow_scripts.training import retrain


def free_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


def note_compiled(run: Path) -> None:
    """Add a line to ``<run>.compiled``: how many graphs the compiler made since the last call."""
    stats = torch._dynamo.utils.counters["stats"]
    with run.with_name(f"{run.name}.compiled").open("a") as file:
        file.write(f"{stats['unique_graphs']}\n")
    stats.clear()


def work(rank: int, world: int, commands: list[list[str]], ports: list[str]) -> int:
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world), LOCAL_RANK=str(rank), MASTER_ADDR="127.0.0.1")
    for command, port in zip(commands, ports, strict=True):
        os.environ["MASTER_PORT"] = port
        torch._dynamo.reset()
        code = cli.run(retrain.main, command)
        if rank == 0:
            note_compiled(Path(command[command.index("--output-dir") + 1]))
        if code:
            return code
    return 0


def main() -> int:
    faulthandler.enable()
    world, commands = int(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())
    ports = [free_port() for _ in commands]
    children = []
    for rank in range(world):
        child = os.fork()  # before any thread of torch exists
        if child == 0:
            os._exit(work(rank, world, commands, ports))
        children.append(child)
    while children:  # one that fails would leave its peers waiting for it
        child, status = os.wait()
        children.remove(child)
        if status:
            for other in children:
                os.kill(other, signal.SIGKILL)
            return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
