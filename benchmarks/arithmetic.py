r"""How far equal work is apart on other arithmetic: threads, types, and the instructions of other processors.

    python benchmarks/arithmetic.py --root ../finished --model pocket-1m

Each way of computing runs in a process of its own on a finished pocket run and is compared with the first of its type.
``ATEN_CPU_CAPABILITY`` and ``ONEDNN_MAX_CPU_ISA`` make torch leave out instructions, as on an older processor. Prints
the largest differences; what is allowed (provenance/release/sampling/tolerances.py) is ten times what they are.
"""

import argparse
import dataclasses
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from workflow_scripts.evaluation.engine.engine import Engine
from workflow_scripts.evaluation.scoring.results import sum_requests
from workflow_scripts.evaluation.scoring.score_plan import DTYPES
from workflow_scripts.experiments.memory.greedy import chains
from workflow_scripts.provenance.release.sampling.evaluated_files import Evaluations
from workflow_scripts.provenance.release.sampling.release_files import Release
from workflow_scripts.provenance.release.sampling.scored_documents import edge_margins, run_document
from workflow_scripts.provenance.release.sampling.trained_steps import Replay, started, trainings_of

OLDER = {
    "2 threads": {"THREADS": "2"},
    "instructions up to AVX2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    },
    "no vector instructions of torch": {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
    },
}
SAME = {"again": {}}
ALONE = {"documents alone": {"ALONE": "1"}}
KINDS = FORWARD, LARGE, LINES, REPLAY = "forward", "forward-70m", "one-iteration", "replay"


def release_of(root: Path) -> Release:
    """All files below ``root`` as if they were sealed."""
    paths = (path.relative_to(root).as_posix() for path in (root / "results").rglob("*") if path.is_file())
    return Release(root, frozenset(paths))


def forward(root: Path, model: str, dtype: str) -> dict[str, np.ndarray]:
    """Loglikelihoods per request by square root of its tokens, and margins of logits, of the largest plan."""
    evaluations = Evaluations(release_of(root))
    file = max((file for path, file in evaluations.files.items() if f"/{model}/" in path), key=lambda file: file.path)
    plan = max(file.plans.values(), key=lambda plan: len(plan.forest.token))
    engine = Engine(file.checkpoint, "cpu", DTYPES[dtype])
    tokens = np.zeros(plan.requests)
    np.add.at(tokens, plan.table.piece_request, np.diff(plan.forest.piece_start))
    if "ALONE" in os.environ:
        values = np.full(plan.requests, np.nan)
        for number in range(0, len(plan.table.words), 4):
            run = run_document(engine, plan, number)
            values[run.requests] = run.loglikelihood
        return {"nats": values / np.sqrt(tokens)}
    answers = sum_requests(plan, *engine.score(plan.forest))
    return {"nats": answers.loglikelihood / np.sqrt(tokens), "logits": edge_margins(engine, plan.forest)}


def forward_large(dtype: str) -> dict[str, np.ndarray]:
    """The same on a random model of the shape of pythia-70m, four rows of 512 tokens."""
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    torch.manual_seed(0)
    shape = {"hidden_size": 512, "num_hidden_layers": 6, "num_attention_heads": 8, "intermediate_size": 2048}
    model = GPTNeoXForCausalLM(GPTNeoXConfig(**shape, vocab_size=50304))
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(3 if weight.dim() == 2 else 1)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        engine = Engine(Path(folder), "cpu", DTYPES[dtype])
    forest = chains(np.random.default_rng(0).integers(0, 50304, (4, 513)), 1)
    values, _ = engine.score(forest)
    return {
        "nats": values.reshape(4, -1).astype(np.float64).sum(1) / math.sqrt(512),
        "logits": edge_margins(engine, forest),
    }


def training(root: Path, model: str, dtype: str, what: str) -> dict[str, np.ndarray]:
    """Losses and norms after each saved step, or of a replay with the weights at its end and their movement."""
    found = next(each for each in trainings_of(release_of(root))[0] if each.folder.endswith(f"/{model}"))
    found.__dict__["recipe"] = dataclasses.replace(found.recipe, compute_dtype=dtype)
    threads = int(os.environ.get("THREADS", "1"))
    with tempfile.TemporaryDirectory() as working:
        if what == LINES:
            lines = []
            for step in found.steps[:-1]:
                replay = Replay(found, dataclasses.replace(found.state(step), threads=threads), Path(working))
                replay.model.load_state_dict(found.weights(step), strict=False)
                metrics = replay.trainer.iterate()
                lines += [float(metrics.loss), float(metrics.gradient_norm)]
            return {"lines": np.array(lines)}
        start = sorted(found.starts)[1]
        replay = started(found, start, Path(working))
        torch.set_num_threads(threads)
        before = torch.cat([each.detach().flatten().double() for each in replay.model.parameters()])
        lines = [replay.trainer.iterate() for _ in range(38)]
        after = torch.cat([each.detach().flatten().double() for each in replay.model.parameters()])
        both = [float(number) for line in lines for number in (line.loss, line.gradient_norm)]
        return {"lines": np.array(both), "weights": after.numpy(), "moved": (after - before).numpy()}


def work(options: argparse.Namespace) -> None:
    """Compute everything in one way and store it."""
    torch.set_num_threads(int(os.environ.get("THREADS", "1")))
    found = {}
    for what in options.what:
        for dtype in options.dtypes:
            if what == FORWARD:
                part = forward(options.root, options.model, dtype)
            elif what == LARGE:
                part = forward_large(dtype)
            else:
                part = training(options.root, options.model, dtype, what)
            found |= {f"{what}/{dtype}/{name}": array for name, array in part.items()}
    np.savez(options.store, **found)


def computed(options: argparse.Namespace, what: Sequence[str], settings: dict[str, str]) -> dict[str, np.ndarray]:
    """What a process with these settings stores."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "found.npz"
        command = [sys.executable, __file__, "--root", str(options.root), "--model", options.model]
        command += ["--what", *what, "--dtypes", *options.dtypes, "--store", str(store)]
        subprocess.run(command, env={**os.environ, **settings}, check=True)
        with np.load(store) as file:
            return dict(file)


def difference(base: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> str:
    """Largest differences, in words."""
    parts = []
    for name, unit in (("nats", "nats per sqrt(tokens)"), ("logits", "in logits")):
        if name in other:
            parts.append(f"{np.nanmax(np.abs(base[name] - other[name])):.1e} {unit}")
    if "lines" in other:
        parts.append(f"{np.max(np.abs(base['lines'] - other['lines']) / np.abs(base['lines'])):.1e} of loss or norm")
    if "weights" in other:
        share = np.linalg.norm(base["weights"] - other["weights"]) / np.linalg.norm(base["moved"])
        parts.append(f"{share:.1e} of the movement of the weights")
    return ", ".join(parts)


def main() -> None:
    """Compute everything in every way, or one thing for the parent."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder with the results of a finished pocket run")
    parser.add_argument("--model", default="pocket-1m", help="model to compute")
    parser.add_argument("--what", nargs="+", choices=KINDS, default=list(KINDS), help="only this work")
    parser.add_argument("--dtypes", nargs="+", choices=sorted(DTYPES), default=list(DTYPES), help="only these types")
    parser.add_argument("--store", type=Path, help="compute in this process and store it here, for the parent")
    options = parser.parse_args()
    if options.store is not None:
        work(options)
        return
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}")
    base = computed(options, options.what, {})
    for name, settings in (SAME | OLDER | ALONE).items():
        kinds = [what for what in options.what if what == FORWARD or name not in ALONE]
        other = computed(options, kinds, settings) if kinds else {}
        for what in kinds:
            for dtype in options.dtypes:
                head = f"{what}/{dtype}/"
                parts = [
                    {key[len(head) :]: each[key] for key in each if key.startswith(head)} for each in (base, other)
                ]
                print(f"| {what} | {dtype} | {name} | {difference(*parts)} |", flush=True)


if __name__ == "__main__":
    main()
