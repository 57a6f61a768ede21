r"""A training step beside transformers' GPTNeoXForCausalLM and litgpt's GPT: same shape, batch and optimizer.

    python benchmarks/training.py --shapes pocket-1m books-1m pythia-14m --steps 4
    python benchmarks/training.py --shapes pythia-14m --contestants ours-bfloat16 transformers-sdpa-bfloat16-compiled

Each contestant runs in a process of its own, one thread, and prints tokens per CPU-second (best step), the share of the
float32 or bfloat16 matrix-product rate that was measured between its steps, and its largest resident size. A step is
forward, loss, backward, clipping and AdamW (torch's fused one for all). Real Pythia shapes take 4 rows of 512 tokens.
litgpt is left out where it is not installed. Times belong to the machine and its other users; nothing here is a test.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from workflow_scripts.suite.registry import load_suite
from workflow_scripts.training.allocator import keep_freed_memory
from workflow_scripts.training.initialisation import initialise
from workflow_scripts.training.model import DTYPES, GPTNeoX
from workflow_scripts.training.publish import model_config
from workflow_scripts.training.recipe import Recipe, recipe_of
from workflow_scripts.training.trainer import Objective

ROWS, LENGTH = 4, 512  # of the real shapes; pocket and books use their own
CONTESTANTS = (
    "transformers-eager-float32",
    "transformers-sdpa-float32",
    "litgpt-sdpa-float32",
    "ours-float32",
    "transformers-sdpa-bfloat16",
    "ours-bfloat16",
)
GEMM_SIZE, GEMM_REPEATS = 1024, 4


@dataclass(frozen=True)
class Result:
    """What one contestant achieved on one shape."""

    tokens_per_cpu_second: float
    gemm_share: float
    peak_mib: float
    loss: float


def shape(name: str) -> Recipe:
    """Recipe of the model called ``name``, e.g. pythia-14m, with a batch that fits a laptop."""
    recipe = recipe_of(load_suite(name.split("-", maxsplit=1)[0]).model(name))
    if name.startswith("pythia"):
        recipe = dataclasses.replace(recipe, batch_rows=ROWS, sequence_length=LENGTH)
    return dataclasses.replace(recipe, rotary_precision="float32", compute_dtype="float32")


def transformers_objective(
    recipe: Recipe, attention: str, dtype: torch.dtype
) -> tuple[nn.Module, Callable[..., Tensor]]:
    """Transformers' model and its own loss."""
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    settings = {**model_config(recipe, "float32"), "hidden_act": "gelu_pytorch_tanh", "use_cache": False}
    net = GPTNeoXForCausalLM(GPTNeoXConfig(**settings, attn_implementation=attention))

    def loss(inputs: Tensor, targets: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype, enabled=dtype is not torch.float32):
            logits = net(inputs).logits
        return functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten())

    return net, loss


def litgpt_objective(recipe: Recipe, dtype: torch.dtype) -> tuple[nn.Module, Callable[..., Tensor]]:
    """Litgpt's GPT in the shape of Pythia and torch's loss."""
    from litgpt import GPT, Config

    net = GPT(
        Config(
            block_size=recipe.sequence_length,
            padded_vocab_size=recipe.vocab_size,
            n_layer=recipe.layers,
            n_head=recipe.heads,
            n_embd=recipe.hidden_size,
            rotary_percentage=recipe.rotary_fraction,
            parallel_residual=True,
            gelu_approximate="tanh",
        )
    )

    def loss(inputs: Tensor, targets: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype, enabled=dtype is not torch.float32):
            logits = net(inputs)
        return functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten())

    return net, loss


def objective(name: str, recipe: Recipe) -> tuple[nn.Module, Callable[..., Tensor]]:
    """Network and loss of the contestant ``<who>[-<attention>]-<dtype>[-compiled]``."""
    who, *rest = name.removesuffix("-compiled").split("-")
    dtype = DTYPES[rest[-1]]
    if who == "ours":
        keep_freed_memory()
        net = GPTNeoX(recipe)
        initialise(net, recipe)
        module = Objective(net, dataclasses.replace(recipe, compute_dtype=rest[-1]))
        if name.endswith("-compiled"):
            for layer in net.gpt_neox.layers:
                layer.compile()
        return net, module
    made = transformers_objective(recipe, rest[0], dtype) if who == "transformers" else litgpt_objective(recipe, dtype)
    return (made[0], torch.compile(made[1])) if name.endswith("-compiled") else made


def gemm_rate(dtype: torch.dtype) -> float:
    """Floating-point operations per CPU-second of a square product in ``dtype``."""
    left, right = torch.randn(2, GEMM_SIZE, GEMM_SIZE).to(dtype)
    started = time.process_time()
    for _ in range(GEMM_REPEATS):
        left @ right
    return GEMM_REPEATS * 2 * GEMM_SIZE**3 / (time.process_time() - started)


def measure(name: str, recipe: Recipe, steps: int) -> Result:
    """Run ``steps`` timed steps of one contestant after two others."""
    torch.set_num_threads(1)
    net, loss_of = objective(name, recipe)
    dtype = DTYPES[name.removesuffix("-compiled").split("-")[-1]]
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(0, recipe.vocab_size, (recipe.batch_rows, recipe.sequence_length + 1), generator=generator)
    seconds, rates, last = [], [], 0.0
    for number in range(steps + 2):
        started = time.process_time()
        loss = loss_of(rows[:, :-1], rows[:, 1:])
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if number >= 2:
            seconds.append(time.process_time() - started)
            rates.append(gemm_rate(dtype))
        last = float(loss)
    rate = recipe.batch_tokens / min(seconds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Result(rate, rate * recipe.flops_per_token / max(rates), peak, last)


def in_own_process(name: str, model: str, steps: int) -> Result | None:
    """Measure in a fresh interpreter, so that memory and imports are the contestant's own."""
    if name.startswith("litgpt") and importlib.util.find_spec("litgpt") is None:
        return None
    command = [sys.executable, __file__, "--measure", name, "--shapes", model, "--steps", str(steps)]
    done = subprocess.run(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{name} on {model} failed:\n{done.stderr[-3000:]}")
    return Result(**json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Measure all contestants and print one table per shape."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=["pocket-1m", "books-1m", "pythia-14m"])
    parser.add_argument("--contestants", nargs="+", default=list(CONTESTANTS))
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(dataclasses.asdict(measure(options.measure, shape(options.shapes[0]), options.steps))))
        return
    for model in options.shapes:
        recipe = shape(model)
        rows = f"{recipe.batch_rows} x {recipe.sequence_length} tokens"
        print(f"\n{model}: {recipe.parameters:,} parameters, vocabulary {recipe.vocab_size}, {rows}")
        print(f"{'':42}{'tokens / CPU-s':>16}{'of matmul':>11}{'peak MiB':>10}{'loss':>9}")
        for name in options.contestants:
            result = in_own_process(name, model, options.steps)
            if result is None:
                print(f"{name:42}not installed")
                continue
            figures = f"{result.tokens_per_cpu_second:16,.0f}{result.gemm_share:11.0%}{result.peak_mib:10,.0f}"
            print(f"{name:42}{figures}{result.loss:9.4f}", flush=True)


if __name__ == "__main__":
    main()
