"""Runs the retrain program in several forked processes, as torchrun would: one import instead of one per process.

    python parallel_worker.py WORLD COMMANDS.json

COMMANDS is a list of argument lists; all processes run them one after another. As under torchrun the parent keeps the
stores at which they meet, one a command. A port that is free when it is picked may not be free later: a process that
retries to connect to it can be given that very port for its own end, and the store then finds it in use.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import socket
import sys
import traceback
from pathlib import Path

import torch
import torch._dynamo.utils
import torch.distributed.checkpoint
import torch.distributed.fsdp
import torch.distributed.tensor
from torch._C._distributed_c10d import TCPStore

from workflow_scripts import cli
from workflow_scripts.training import retrain


def note_compiled(run: Path) -> None:
    """Add a line to ``<run>.compiled``: how many graphs the compiler made since the last call."""
    stats = torch._dynamo.utils.counters["stats"]
    with run.with_name(f"{run.name}.compiled").open("a") as file:
        file.write(f"{stats['unique_graphs']}\n")
    stats.clear()


def serve(listener: socket.socket) -> TCPStore:
    host, port = listener.getsockname()
    return TCPStore(host, port, is_master=True, wait_for_workers=False, master_listen_fd=listener.detach())


def work(rank: int, world: int, commands: list[list[str]], ports: list[int]) -> int:
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world), LOCAL_RANK=str(rank))
    os.environ.update(MASTER_ADDR="127.0.0.1", TORCHELASTIC_USE_AGENT_STORE="True")
    for command, port in zip(commands, ports, strict=True):
        os.environ["MASTER_PORT"] = str(port)
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
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in commands]
    ports = [listener.getsockname()[1] for listener in listeners]
    children = []
    for rank in range(world):
        child = os.fork()  # before any thread of torch exists
        if child == 0:
            code = 1
            try:
                code = work(rank, world, commands, ports)
            except Exception:
                traceback.print_exc()
            finally:  # an interpreter that ends in order could wait for gloo's threads for ever
                os._exit(code)
        children.append(child)
    stores = [serve(listener) for listener in listeners]
    while children:  # one that fails would leave its peers waiting for it
        child, status = os.wait()
        children.remove(child)
        if status:
            for other in children:
                os.kill(other, signal.SIGKILL)
            return 1
    del stores
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
