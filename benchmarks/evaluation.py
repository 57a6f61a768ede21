r"""Evaluation of one checkpoint: the stock ``lm_eval`` command beside the fast path, on the same folder and documents.

    python benchmarks/evaluation.py --data-dir ../shared/hub/datasets \
        --tokenizer ../shared/tokenizer/20B_tokenizer.json --model 14m --share 0.02 --shots 0

Makes a random checkpoint of the size asked for (--architecture: GPT-NeoX, or Llama or OLMo-2 of the same widths, with
four heads for each key and value), runs both on a share of BLiMP, LAMBADA and ARC-easy, checks
that all metrics agree, and prints CPU seconds (user + system, children included), their ratio, and how near the scoring
comes to what the machine's float32 matrix products allow (those that cannot be done without, at the best rate of
torch.mm on large matrices; beside it at that of oneDNN, which is higher on some machines). Both use float32 and one
thread: stock's default, the checkpoint's float16, is several times slower on CPUs. One-off costs (planning; with
--whole-list that of every task of the suite) are printed apart, and the memory beyond the weights. Times belong to the
machine and its other users, so both sides take turns, --rounds times, and the least of each counts; nothing here is a
test. --device cuda does the same on a GPU, in seconds of wall time.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from workflow_scripts.evaluation.engine.linear_layers import linear
from workflow_scripts.evaluation.planning.plan_file import Plan, read_plan
from workflow_scripts.evaluation.planning.tasks import leaf_names, make_manager
from workflow_scripts.evaluation.scoring.engine_choice import read_own_config
from workflow_scripts.evaluation.scoring.llama_folder import NORMS, LlamaConfig
from workflow_scripts.evaluation.scoring.model_folder import NeoxConfig, Shapes

SHAPES = {  # width, layers, heads
    "14m": (128, 6, 4), "31m": (256, 6, 8), "70m": (512, 6, 8), "160m": (768, 12, 12), "410m": (1024, 24, 16),
    "1.4b": (2048, 24, 16),
}  # fmt: skip
TASKS = {
    0: ("blimp", "lambada_openai", "arc_easy"),
    5: ("lambada_openai", "arc_easy", "arc_challenge", "piqa", "winogrande"),
}
WHOLE_LIST: tuple[str, ...] = (
    "blimp",
    "lambada_openai",
    "wikitext",
    "piqa",
    "sciq_validation",
    "wsc",
    "winogrande",
    "arc_easy",
)
WHOLE_LIST += ("arc_challenge", "logiqa", "mmlu", "crows_pairs_english")
SPECIAL = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")


@dataclass(frozen=True)
class Cost:
    """CPU seconds, seconds on the wall and largest resident size of one program."""

    cpu: float
    wall: float
    peak_gib: float


def run(command: list[str], folder: Path) -> Cost:
    """Run one program in one thread, with Hugging Face's caches under ``folder`` and no network."""
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
    }
    start = time.monotonic()
    with (folder / "log").open("w+") as log:
        program = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        _, status, used = os.wait4(program.pid, 0)  # of this child and its own alone
        program.returncode = os.waitstatus_to_exitcode(status)
        if program.returncode:
            log.seek(0)
            sys.exit(f"{command[:4]} failed:\n{log.read()[-3000:]}")
    return Cost(used.ru_utime + used.ru_stime, time.monotonic() - start, used.ru_maxrss / 2**20)


def make_checkpoint(folder: Path, options: argparse.Namespace, seed: int) -> None:
    """Random checkpoint in ``folder``, scaled up so that its predictions are not flat; saved in float16."""
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    width, layers, heads = SHAPES[options.model]
    torch.manual_seed(seed)
    shape = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads}
    if options.architecture == "gpt_neox":
        shape |= {"intermediate_size": 4 * width}
    else:
        shape |= {"intermediate_size": 8 * width // 3, "num_key_value_heads": heads // 4}
    config = CONFIG_MAPPING[options.architecture](**shape, vocab_size=50304, max_position_embeddings=2048)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 2:
                weight.mul_(3)
    model.half().save_pretrained(folder)
    shutil.copy(options.tokenizer, folder / "tokenizer.json")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **SPECIAL}))


def write_stock_tasks(folder: Path, tasks: tuple[str, ...], data: Path) -> None:
    """YAML files that give lm-eval's command its own tasks with documents from ``data``."""
    folder.mkdir()
    manager = make_manager(tasks)
    for name in leaf_names(manager.task_index, tasks):
        entry = manager.task_index[name]
        place = data / entry.cfg["dataset_path"] / (entry.cfg.get("dataset_name") or "default")
        files = {path.stem: str(path.resolve()) for path in sorted(place.glob("*.parquet"))}
        # A task of the project's own has no file; its whole definition is at hand.
        base = {"include": str(entry.yaml_path)} if entry.yaml_path else dict(entry.cfg)
        task: dict[str, Any] = {
            **base,
            "task": name,
            "dataset_path": "parquet",
            "dataset_name": None,
            "dataset_kwargs": {"data_files": files},
        }
        if "train" not in files:
            task["training_split"] = None  # lm-eval opens it even where it takes no examples from it
        (folder / f"{name}.yaml").write_text(json.dumps(task))  # JSON is YAML


def stock_command(checkpoint: Path, tasks: Path, options: argparse.Namespace, output: Path) -> list[str]:
    """The command a user of lm-eval would type."""
    program = str(Path(sys.executable).parent / "lm_eval")
    arguments = f"pretrained={checkpoint},dtype=float32"
    named = ",".join(TASKS[options.shots])
    return [
        *(program, "run", "--model", "hf", "--model_args", arguments, "--tasks", named, "--device", options.device),
        *("--batch_size", "16", "--num_fewshot", str(options.shots), "--limit", str(options.share)),
        *("--include_path", str(tasks), "--output_path", str(output)),
    ]


def gemm_rates(seconds: float = 2.0) -> tuple[float, float]:
    """Best float32 matrix products per second of one thread, in floating-point operations: torch.mm's and oneDNN's."""
    torch.set_num_threads(1)
    left, right = torch.randn(512, 1024), torch.randn(4096, 1024)
    out = torch.empty(512, 4096)
    ways: tuple[Callable[[], object], Callable[[], object]] = (
        lambda: torch.mm(left, right.t(), out=out),
        lambda: linear(left, right),
    )
    best, end = [0.0, 0.0], time.process_time() + seconds
    while time.process_time() < end:
        for number, multiply in enumerate(ways):
            start = time.process_time()  # not the clock on the wall: other users of the machine must not count
            for _ in range(4):
                multiply()
            best[number] = max(best[number], 4 * 2 * 512 * 1024 * 4096 / (time.process_time() - start))
    return best[0], best[1]


def needed_operations(plan: Plan, config: NeoxConfig | LlamaConfig) -> float:
    """Floating-point operations of the matrix products that the plan cannot do without.

    Twice a layer's matrices per node (in the last layer those of queries, keys and values everywhere, the others at
    slots), 2 d V per slot, and 4 times the width of all queries per layer for each node that a node attends to (in the
    last layer: that a slot attends to).
    """
    counts, layer = plan.header["counts"], config.tensor_names.layer
    inputs = ("query_key_value", "q_proj", "k_proj", "v_proj")
    joint = 2 * sum(
        math.prod(shape) for name, shape in layer.items() if len(shape) == 2 and name.split(".")[1] in inputs
    )
    whole = 2 * sum(math.prod(shape) for shape in layer.values() if len(shape) == 2)
    trunk = whole * counts["nodes"] * (config.layers - 1)
    last = joint * counts["nodes"] + (whole - joint) * counts["slots"]
    depth = plan.forest.depth.astype("float64") + 1
    width = config.heads * config.head_size
    seen = 4 * width * ((config.layers - 1) * depth.sum() + depth[plan.forest.slot_node].sum())
    return float(trunk + last + seen + 2 * config.hidden_size * config.vocabulary * counts["slots"])


def stock_results(output: Path) -> dict[str, Any]:
    """Results of the stock command."""
    return dict(json.loads(next(output.rglob("results_*.json")).read_text())["results"])


def count_equal(ours: dict[str, Any], stock: dict[str, Any]) -> int:
    """Number of metrics that agree to 1e-6; ends the program at the first that does not.

    The mean difference of two log-likelihoods of some hundred nats each, in float32, has 1e-4.
    """
    equal = 0
    for task, entry in ours.items():
        for key, value in entry.items():
            if "," not in key or "_stderr" in key or "_by_" in key:
                continue
            if not math.isclose(value, stock[task][key], rel_tol=1e-4 if "likelihood_diff" in key else 1e-6):
                sys.exit(f"{task} {key}: {value} here, {stock[task][key]} in lm-eval")
            equal += 1
    return equal


def parse() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True, help="evaluation data laid out like the Hub's")
    parser.add_argument("--tokenizer", type=Path, required=True, help="Pythia's tokenizer.json")
    parser.add_argument("--model", default="14m", choices=sorted(SHAPES))
    parser.add_argument("--architecture", default="gpt_neox", choices=["gpt_neox", *NORMS])
    parser.add_argument("--rounds", type=int, default=1, help="how often both sides take turns")
    parser.add_argument("--share", type=float, default=0.02, help="share of each task's documents")
    parser.add_argument("--shots", type=int, default=0, choices=sorted(TASKS))
    parser.add_argument("--checkpoints", type=int, default=3, help="checkpoints scored in one process")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--whole-list", action="store_true", help="also plan every zero-shot task of the suite")
    return parser.parse_args()


def plan_command(tasks: tuple[str, ...], shots: int, options: argparse.Namespace, output: Path) -> list[str]:
    """Command that plans ``tasks``."""
    return [
        *(sys.executable, "-m", "workflow_scripts.evaluation.build_plan", "--tasks", *tasks, "--shots", str(shots)),
        *("--data-dir", str(options.data_dir), "--tokenizer", str(options.tokenizer), "--max-length", "2048"),
        *("--output", str(output)),
    ]


def report(rows: list[tuple[str, str]]) -> None:
    """Print name and value of each row."""
    for text, value in rows:
        print(f"{text:45} {value}", flush=True)


def measure_one_off(options: argparse.Namespace, folder: Path) -> None:
    """Costs that are paid once: imports of the scorer, and the plan of every zero-shot task."""
    imports = run([sys.executable, "-c", "import workflow_scripts.evaluation.scoring.score_plan"], folder)
    report([("imports of the scorer, per process", f"{imports.cpu:.1f} CPU s, {imports.peak_gib:.2f} GiB")])
    if options.whole_list:
        whole = run(plan_command(WHOLE_LIST, 0, options, folder / "whole.plan"), folder)
        requests = read_plan(folder / "whole.plan").requests
        text = f"{whole.cpu:.1f} CPU s, {whole.peak_gib:.1f} GiB, {requests} requests"
        report([("plan of the whole zero-shot list, once", text)])


def measure(options: argparse.Namespace, folder: Path) -> None:
    """Run everything in ``folder`` and print the table."""
    checkpoints = [folder / f"random-{options.model}" / f"step{number}" for number in range(options.checkpoints)]
    for number, checkpoint in enumerate(checkpoints):
        make_checkpoint(checkpoint, options, number)
    measure_one_off(options, folder)
    write_stock_tasks(folder / "tasks", TASKS[options.shots], options.data_dir)
    plan_path = folder / "test.plan"
    command = plan_command(TASKS[options.shots], options.shots, options, plan_path)
    planning = run([*command, "--limit", str(options.share)], folder)
    outputs = [folder / "scores" / checkpoint.name / "0-shot.json" for checkpoint in checkpoints]
    score = [sys.executable, "-m", "workflow_scripts.evaluation.score", "--plan", str(plan_path)]
    score += ["--device", options.device, "--architecture", options.architecture]
    # Elsewhere than the others, or it would be kept and not scored again.
    first = ["--checkpoint", str(checkpoints[0]), "--output", str(folder / "first" / "0-shot.json")]
    sides = (
        [*score, *first],
        [*score, "--checkpoint", *map(str, checkpoints), "--output", *map(str, outputs)],
        stock_command(checkpoints[0], folder / "tasks", options, folder / "stock"),
    )
    rounds = []
    for _ in range(options.rounds):
        for made in ("first", "scores", "stock"):
            shutil.rmtree(folder / made, ignore_errors=True)
        rounds.append([run(side, folder) for side in sides])
    one, several, stock = (min(costs, key=lambda cost: cost.cpu) for costs in zip(*rounds, strict=True))
    equal = count_equal(json.loads(outputs[0].read_text())["results"], stock_results(folder / "stock"))
    plan = read_plan(plan_path)
    print(
        f"{options.architecture} {options.model}, {options.shots}-shot, share {options.share}: {plan.header['counts']}"
    )
    report([("metrics equal to stock's to 1e-6", str(equal)), ("planning, once", f"{planning.cpu:.1f} CPU s")])
    report(compare_times(options, one, several, stock))
    limits(plan, checkpoints[0], one, (several.cpu - one.cpu) / max(1, len(checkpoints) - 1))


def compare_times(options: argparse.Namespace, one: Cost, several: Cost, stock: Cost) -> list[tuple[str, str]]:
    """Rows of times and memory: CPU seconds on a CPU, wall seconds on a GPU."""
    clock = "cpu" if options.device == "cpu" else "wall"
    seconds = {name: getattr(cost, clock) for name, cost in (("one", one), ("several", several), ("stock", stock))}
    next_one = (seconds["several"] - seconds["one"]) / max(1, options.checkpoints - 1)
    return [
        ("stock command, per checkpoint", f"{seconds['stock']:.1f} {clock} s, {stock.peak_gib:.2f} GiB"),
        (
            "a process per checkpoint",
            f"{seconds['one']:.1f} {clock} s, {one.peak_gib:.2f} GiB, {seconds['stock'] / seconds['one']:.1f}x",
        ),
        ("next checkpoint in the same process", f"{next_one:.1f} {clock} s, {seconds['stock'] / next_one:.1f}x"),
    ]


def limits(plan: Plan, checkpoint: Path, one: Cost, marginal: float) -> None:
    """Print how near the scoring comes to the machine's matrix products, and the memory beyond the weights."""
    config = read_own_config(checkpoint)
    weights = Shapes(config).elements * 4 / 2**30
    logits = plan.header["counts"]["longest_row"] * 16 * config.vocabulary * 4 / 2**30
    rate, other = gemm_rates()
    floor = needed_operations(plan, config) / rate
    report(
        [
            (
                f"matrix products alone at {rate / 1e9:.0f} GFLOP/s",
                f"{floor:.2f} CPU s, {floor / marginal:.0%} reached",
            ),
            (f"the same at oneDNN's {other / 1e9:.0f} GFLOP/s", f"{floor / marginal * rate / other:.0%} reached"),
            ("float32 weights; peak beyond them", f"{weights:.2f} GiB; {one.peak_gib - weights:.2f} GiB"),
            ("[16, longest row, vocabulary], never held", f"{logits:.2f} GiB"),
        ]
    )


def main() -> None:
    """Run the benchmark in a temporary folder."""
    options = parse()
    with tempfile.TemporaryDirectory(prefix="evaluation-") as name:
        measure(options, Path(name))


if __name__ == "__main__":
    main()
