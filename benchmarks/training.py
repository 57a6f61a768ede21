r"""A training step beside transformers' GPTNeoXForCausalLM and litgpt's GPT: same shape, batch and optimizer.

    python benchmarks/training.py --shapes pocket-1m books-1m pythia-14m --steps 4
    python benchmarks/training.py --shapes pythia-14m --contestants ours-bfloat16 transformers-sdpa-bfloat16-compiled
    python benchmarks/training.py --device cuda

Each contestant <who>[-<attention>]-<dtype>[-compiled] runs in a process of its own. On a CPU it has one thread, and the
table shows tokens per CPU-second (best step), the share of the matrix-product rate in its dtype that was measured
between its steps, and its largest resident size. On a GPU it shows tokens per second of wall time, the share of the
measured bfloat16 rate (MFU without a causal discount), the peak of allocated memory and the GPU-hours of the whole
training beside those of the paper (A100-40GB). A step is forward, loss, backward, clipping and AdamW (torch's fused one
for all). Real Pythia shapes take 4 rows of 512 tokens on a CPU and rows of 2048 tokens on a GPU. litgpt is left out
where neither it nor .bench-peers (make setup-bench) is there. Times belong to the machine; nothing here is a test.
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
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from workflow_scripts.suite.registry import load_suite
from workflow_scripts.training.publish import model_config
from workflow_scripts.training.recipe import Recipe, recipe_of
from workflow_scripts.training.run.allocator import keep_freed_memory
from workflow_scripts.training.run.initialisation import initialise
from workflow_scripts.training.run.model import DTYPES, GPTNeoX
from workflow_scripts.training.run.trainer import COMPILED, EAGER, Objective

PEERS = Path(__file__).resolve().parents[1] / ".bench-peers"
CPU_ROWS, CPU_LENGTH = 4, 512  # of the real shapes; pocket and books use their own
GPU_ROWS = {"pythia-70m": 32, "pythia-160m": 32, "pythia-410m": 16, "pythia-1.4b": 8}  # of 2048 tokens, at once
# GPU-hours of the paper's appendix, on A100-40GB.
PUBLISHED_HOURS = {
    "70m": 510, "160m": 1030, "410m": 2540, "1b": 4830, "1.4b": 7120, "2.8b": 14240, "6.9b": 33500, "12b": 72300,
}  # fmt: skip
CPU_CONTESTANTS = (
    "transformers-eager-float32",
    "transformers-sdpa-float32",
    "litgpt-sdpa-float32",
    "ours-float32",
    "transformers-sdpa-float32-compiled",
    "ours-float32-compiled",
    "transformers-sdpa-bfloat16",
    "litgpt-sdpa-bfloat16",
    "ours-bfloat16",
    "transformers-sdpa-bfloat16-compiled",
    "ours-bfloat16-compiled",
)
GPU_CONTESTANTS = ("transformers-sdpa-bfloat16-compiled", "ours-bfloat16", "ours-bfloat16-compiled")
GEMM_SIZE, GEMM_REPEATS = {"cpu": 1024, "cuda": 8192}, 4
WARM_UP = 2


@dataclass(frozen=True)
class Result:
    """What one contestant achieved on one shape; seconds are of CPU time, or of wall time on a GPU."""

    tokens_per_second: float
    gemm_share: float
    peak_mib: float
    loss: float


def now(device: str) -> float:
    """Clock of a device in seconds: CPU time of this process, or wall time when the GPU is done."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def peak_mib(device: str) -> float:
    """Largest resident size of this process, or most memory that was allocated on the GPU."""
    if device == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return torch.cuda.max_memory_allocated() / 2**20


def shape(name: str, device: str = "cpu") -> Recipe:
    """Recipe of the model called ``name``, e.g. pythia-14m, with a batch that fits the device."""
    recipe = recipe_of(load_suite(name.split("-", maxsplit=1)[0]).model(name))
    if device == "cuda":
        recipe = dataclasses.replace(recipe, batch_rows=GPU_ROWS.get(name, 8))
    elif name.startswith("pythia"):
        recipe = dataclasses.replace(recipe, batch_rows=CPU_ROWS, sequence_length=CPU_LENGTH)
    return dataclasses.replace(recipe, rotary_precision="float32", compute_dtype="float32")


def plain_loss(logits_of: Callable[[Tensor], Tensor], dtype: torch.dtype, device: str) -> Callable[..., Tensor]:
    """Torch's cross-entropy over whole logits in float32."""

    def loss(inputs: Tensor, targets: Tensor) -> Tensor:
        with torch.autocast(device, dtype, enabled=dtype is not torch.float32):
            logits = logits_of(inputs)
        return functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten())

    return loss


def transformers_net(recipe: Recipe, attention: str) -> nn.Module:
    """Transformers' model."""
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    settings = {**model_config(recipe, "float32"), "hidden_act": "gelu_pytorch_tanh", "use_cache": False}
    return GPTNeoXForCausalLM(GPTNeoXConfig(**settings, attn_implementation=attention))


def litgpt_net(recipe: Recipe) -> nn.Module:
    """Litgpt's GPT in the shape of Pythia."""
    from litgpt import GPT, Config

    return GPT(
        Config(
            name="pythia",
            block_size=recipe.sequence_length,
            vocab_size=recipe.vocab_size,
            padded_vocab_size=recipe.vocab_size,
            n_layer=recipe.layers,
            n_head=recipe.heads,
            n_embd=recipe.hidden_size,
            intermediate_size=4 * recipe.hidden_size,
            rotary_percentage=recipe.rotary_fraction,
            parallel_residual=True,
            bias=True,
            gelu_approximate="tanh",
        )
    )


def objective(name: str, recipe: Recipe, device: str) -> tuple[nn.Module, Callable[..., Tensor]]:
    """Network and loss of a contestant."""
    who, *rest = name.removesuffix("-compiled").split("-")
    dtype = DTYPES[rest[-1]]
    is_compiled = name.endswith("-compiled")
    if who == "ours":
        keep_freed_memory()
        with torch.device(device):
            net = GPTNeoX(recipe)
        if device == "cpu":
            initialise(net, recipe)  # numpy's generator: half a minute for a billion weights
        kernels = COMPILED if is_compiled else EAGER
        return net, Objective(net, dataclasses.replace(recipe, compute_dtype=rest[-1]), kernels)
    with torch.device(device):
        peer = transformers_net(recipe, rest[0]) if who == "transformers" else litgpt_net(recipe)
    loss = plain_loss((lambda tokens: peer(tokens).logits) if who == "transformers" else peer, dtype, device)
    return peer, torch.compile(loss) if is_compiled else loss


def gemm_rate(dtype: torch.dtype, device: str) -> float:
    """Floating-point operations per second of a square product in ``dtype``."""
    size = GEMM_SIZE[device]
    left, right = torch.randn(2, size, size, device=device).to(dtype)
    started = now(device)
    for _ in range(GEMM_REPEATS):
        left @ right
    return GEMM_REPEATS * 2 * size**3 / (now(device) - started)


def measure(name: str, recipe: Recipe, steps: int, device: str) -> Result:
    """Run ``steps`` timed steps of one contestant after two others."""
    torch.set_num_threads(1)
    net, loss_of = objective(name, recipe, device)
    dtype = DTYPES[name.removesuffix("-compiled").split("-")[-1]]
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    generator = torch.Generator().manual_seed(0)
    width = recipe.sequence_length + 1
    rows = torch.randint(0, recipe.vocab_size, (recipe.batch_rows, width), generator=generator).to(device)
    seconds, rates, last = [], [], 0.0
    for number in range(steps + WARM_UP):
        started = now(device)
        loss = loss_of(rows[:, :-1], rows[:, 1:])
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if number >= WARM_UP:
            seconds.append(now(device) - started)
            rates.append(gemm_rate(dtype, device))
        last = float(loss.detach())
    rate = recipe.batch_tokens / min(seconds)
    return Result(rate, rate * recipe.flops_per_token / max(rates), peak_mib(device), last)


def in_own_process(name: str, model: str, steps: int, device: str) -> Result | str:
    """Measure in a fresh interpreter, so that memory and imports are the contestant's own; else why it could not."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    if name.startswith("litgpt") and importlib.util.find_spec("litgpt") is None:
        if not (PEERS / "litgpt").is_dir():
            return "not installed (make setup-bench)"
        environment["PYTHONPATH"] = os.pathsep.join([environment.get("PYTHONPATH", ""), str(PEERS)])
    command = [sys.executable, __file__, "--measure", name, "--shapes", model, "--steps", str(steps)]
    done = subprocess.run([*command, "--device", device], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        return f"failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}"
    return Result(**json.loads(done.stdout.splitlines()[-1]))


def hours(model: str, rate: float) -> str:
    """GPU-hours of the whole training at ``rate`` tokens per second, beside the paper's."""
    full = recipe_of(load_suite("pythia").model(model))
    published = PUBLISHED_HOURS.get(model.removeprefix("pythia-"))
    return f"{full.train_iterations * full.batch_tokens / rate / 3600:12,.0f}{published or '-':>10}"


def table(model: str, contestants: list[str], steps: int, device: str) -> None:
    """Measure all contestants on one shape and print their lines."""
    recipe = shape(model, device)
    print(f"\n{model}: {recipe.parameters:,} parameters, vocabulary {recipe.vocab_size}, ", end="")
    print(f"{recipe.batch_rows} x {recipe.sequence_length} tokens")
    unit, more = ("tokens / CPU-s", "") if device == "cpu" else ("tokens / s", f"{'GPU-h':>12}{'paper':>10}")
    print(f"{'':42}{unit:>16}{'of matmul':>11}{'peak MiB':>10}{'loss':>9}{more}")
    for name in contestants:
        result = in_own_process(name, model, steps, device)
        if isinstance(result, str):
            print(f"{name:42}{result}", flush=True)
            continue
        figures = f"{result.tokens_per_second:16,.0f}{result.gemm_share:11.0%}{result.peak_mib:10,.0f}"
        extra = hours(model, result.tokens_per_second) if device == "cuda" else ""
        print(f"{name:42}{figures}{result.loss:9.4f}{extra}", flush=True)


def main() -> None:
    """Measure all contestants and print one table per shape."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--shapes", nargs="+", help="models (default: pocket-1m books-1m pythia-14m; on a GPU four)")
    parser.add_argument("--contestants", nargs="+", help="default: all of the device")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("error: torch sees no CUDA device here")
    if options.measure:
        recipe = shape(options.shapes[0], options.device)
        print(json.dumps(dataclasses.asdict(measure(options.measure, recipe, options.steps, options.device))))
        return
    on_cpu = options.device == "cpu"
    default = ["pocket-1m", "books-1m", "pythia-14m"] if on_cpu else list(GPU_ROWS)
    contestants = options.contestants or list(CPU_CONTESTANTS if on_cpu else GPU_CONTESTANTS)
    for model in options.shapes or default:
        table(model, contestants, options.steps, options.device)


if __name__ == "__main__":
    main()
