"""Memory of a training on CPUs beside the arithmetic that requests are made from, shape by shape.

    python benchmarks/training_memory.py
    python benchmarks/training_memory.py --only 0 3

Each shape trains two iterations in processes of its own, by the trainer's network, loss, sharding and optimizer; what
the process held before it made the network is subtracted from its peak. In MB of a million bytes, for each process.
"""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from workflow_scripts.suite.models import Model
from workflow_scripts.suite.registry import load_suite

SHAPES = [
    {"layers": 6, "width": 512, "rows": 1, "dtype": "float32", "recompute": False, "processes": 1},
    {"layers": 6, "width": 512, "rows": 8, "dtype": "float32", "recompute": False, "processes": 1},
    {"layers": 6, "width": 512, "rows": 8, "dtype": "float32", "recompute": True, "processes": 1},
    {"layers": 24, "width": 256, "rows": 8, "dtype": "float32", "recompute": False, "processes": 1},
    {"layers": 24, "width": 256, "rows": 8, "dtype": "float32", "recompute": True, "processes": 1},
    {"layers": 6, "width": 512, "rows": 4, "dtype": "bfloat16", "recompute": False, "processes": 1},
    {"layers": 6, "width": 512, "rows": 4, "dtype": "bfloat16", "recompute": True, "processes": 1},
    {"layers": 24, "width": 512, "rows": 1, "dtype": "float32", "recompute": False, "processes": 1},
    {"layers": 24, "width": 512, "rows": 1, "dtype": "float32", "recompute": False, "processes": 2},
]
LENGTH, VOCABULARY = 512, 8192


def model_of(shape: dict[str, Any]) -> Model:
    """A model of the registry with that shape."""
    sizes = {"layers": shape["layers"], "hidden_size": shape["width"], "heads": 8, "vocab_size": VOCABULARY}
    base = load_suite("pocket").model("pocket-90k")
    return dataclasses.replace(base, **sizes, sequence_length=LENGTH, batch_rows=16, training_dtype=shape["dtype"])


def resident() -> float:
    """Resident size of this process now, in MB."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def train(shape: dict[str, Any]) -> None:
    """Train two iterations of two micro-batches in this process, and print what the network added to its size."""
    import torch

    from workflow_scripts.training.recipe import recipe_of
    from workflow_scripts.training.run.initialisation import initialise
    from workflow_scripts.training.run.model import GPTNeoX
    from workflow_scripts.training.run.optimizer import build_optimizer, clip_gradients
    from workflow_scripts.training.run.processes import joined, last_only, shard
    from workflow_scripts.training.run.trainer import Objective

    torch.set_num_threads(1)
    recipe = recipe_of(model_of(shape))
    with joined("fsdp" if shape["processes"] > 1 else "single", "cpu") as processes:
        if processes.world > 1:
            import torch.distributed.fsdp
            import torch.distributed.tensor
        before = resident()
        model = GPTNeoX(recipe, recompute=shape["recompute"])
        module = shard(model, Objective(model, recipe), processes)
        optimizer = build_optimizer(model, recipe)
        initialise(model, recipe)
        tokens = torch.randint(0, VOCABULARY, (shape["rows"], LENGTH + 1))
        for _ in range(2):
            for number in range(2):
                with last_only(module, number == 1):
                    module(tokens[:, :-1], tokens[:, 1:]).backward()
            clip_gradients([p.grad for p in model.parameters()], 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if processes.is_main:
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6 - before)


def measure(shape: dict[str, Any]) -> float:
    """Peak of one process of the training of ``shape``, in MB."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = str(listener.getsockname()[1])
    world = shape["processes"]
    command = [sys.executable, __file__, json.dumps(shape)]
    started = [
        subprocess.Popen(
            command,
            env={**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            | ({"RANK": str(rank), "WORLD_SIZE": str(world)} if world > 1 else {}),
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]
    answers = [process.communicate()[0] for process in started]
    return float(answers[0])


def main() -> None:
    """Print the table, or the lines whose numbers are given."""
    from workflow_scripts.workflow.requests.training_requests import memory_on

    chosen = [SHAPES[int(number)] for number in sys.argv[2:]] or SHAPES
    print("| layers | width | tokens | dtype | recomputed | processes | computed | measured |\n|" + "---|" * 8)
    for shape in chosen:
        tokens = shape["rows"] * LENGTH
        memory = memory_on(model_of(shape), "cpu", shape["processes"], tokens, recompute=shape["recompute"])
        cells = [shape["layers"], shape["width"], tokens, shape["dtype"], "yes" if shape["recompute"] else "no"]
        cells += [shape["processes"], f"{memory.total / 1e6:,.0f}", f"{measure(shape):,.0f}"]
        print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


if __name__ == "__main__":
    train(json.loads(sys.argv[1])) if len(sys.argv) == 2 else main()
