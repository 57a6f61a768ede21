r"""The whole zero-shot list of the suite, all documents: stock lm-eval beside the fast path, group by group.

    python benchmarks/evaluation_whole_list.py --data-dir ../shared/hub/datasets \
        --tokenizer ../shared/tokenizer/20B_tokenizer.json --model 14m --output whole-list.json

A share of the documents favours the side that starts faster, and a change in the speed of the machine one of the two.
So each group of tasks is a piece: the rate of float32 matrix products, our scoring, the rate again, the stock command,
the rate again. A piece whose rates differ by more than a fifth is too noisy for a ratio, and says so. All metrics must
agree to 1e-6. Sums count one start of each side: what a process of no work costs is measured and taken off the
pieces after the first. Both sides use float32 and one thread; planning, paid once, is printed apart. About half an hour
for 14m; pieces are written as they end.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from evaluation import (
    SHAPES,
    WHOLE_LIST,
    count_equal,
    gemm_rates,
    make_checkpoint,
    needed_operations,
    plan_command,
    run,
    stock_command,
    stock_results,
    write_stock_tasks,
)

from workflow_scripts.evaluation.planning.plan_file import read_plan
from workflow_scripts.evaluation.scoring.model_folder import read_config

START = "sciq_validation"  # a share of it is next to no work
NOISE = 0.2  # relative change of the rate within a piece beyond which its ratio says nothing


def parse() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True, help="evaluation data laid out like the Hub's")
    parser.add_argument("--tokenizer", type=Path, required=True, help="Pythia's tokenizer.json")
    parser.add_argument("--model", default="14m", choices=sorted(SHAPES))
    parser.add_argument("--tasks", nargs="+", default=list(WHOLE_LIST), help="groups of tasks, one a piece")
    parser.add_argument("--share", type=float, help="share of each task's documents instead of all")
    parser.add_argument("--output", type=Path, help="JSON file, written after each piece")
    return parser.parse_args()


class Comparison:
    """One checkpoint, scored piece by piece by both sides in ``folder``."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        """Make the checkpoint and the stock command's task files in ``folder``."""
        self.options, self.folder = options, folder
        options.shots, options.device, options.architecture = 0, "cpu", "gpt_neox"
        self.checkpoint = folder / "random" / "step0"
        make_checkpoint(self.checkpoint, options, 0)
        write_stock_tasks(folder / "tasks", tuple({START, *options.tasks}), options.data_dir)

    def plan(self, name: str, tasks: list[str], share: float | None) -> tuple[Path, float]:
        """The plan of ``tasks``, called ``name``, and the CPU seconds that it took."""
        path = self.folder / f"{name}-{share}.plan"
        command = plan_command(tuple(tasks), 0, self.options, path)
        return path, run([*command, *limit(share)], self.folder).cpu

    def ours(self, plan: Path) -> tuple[float, dict[str, Any]]:
        """CPU seconds of our scoring of ``plan`` in a process of its own, and its metrics."""
        output = self.folder / f"{plan.stem}.json"
        command = [sys.executable, "-m", "workflow_scripts.evaluation.score", "--plan", str(plan), "--device", "cpu"]
        command += ["--checkpoint", str(self.checkpoint), "--output", str(output)]
        return run(command, self.folder).cpu, json.loads(output.read_text())["results"]

    def stock(self, task: str, share: float | None) -> tuple[float, dict[str, Any]]:
        """CPU seconds of the stock command, and its metrics."""
        output = self.folder / f"stock-{task}-{share}"
        command = stock_command(self.checkpoint, self.folder / "tasks", self.options, output)
        command[command.index("--tasks") + 1] = task
        place = command.index("--limit")
        command[place : place + 2] = limit(share)
        return run(command, self.folder).cpu, stock_results(output)

    def piece(self, task: str) -> dict[str, Any]:
        """Both sides on one group of tasks."""
        share = self.options.share
        plan, planning = self.plan(task, [task], share)
        operations = needed_operations(read_plan(plan), read_config(self.checkpoint))
        rates = [gemm_rates(1.0)]
        ours, metrics = self.ours(plan)
        rates.append(gemm_rates(1.0))
        stock, expected = self.stock(task, share)
        rates.append(gemm_rates(1.0))
        best = [max(pair) for pair in rates]
        return {
            "task": task,
            "planning": planning,
            "ours": ours,
            "stock": stock,
            "floor": operations / statistics.median(best),
            "gflops": [round(rate / 1e9, 1) for rate in best],
            "noisy": max(best) > (1 + NOISE) * min(best),
            "equal": count_equal(metrics, expected),
        }


def limit(share: float | None) -> list[str]:
    """Arguments that ask for a share of the documents; none for all of them."""
    return [] if share is None else ["--limit", str(share)]


def show(piece: dict[str, Any]) -> None:
    """Print a piece."""
    ratio = "too noisy" if piece["noisy"] else f"{piece['stock'] / piece['ours']:.2f}x"
    print(
        f"{piece['task']:20} ours {piece['ours']:7.1f}  stock {piece['stock']:8.1f}  {ratio:>9}  floor"
        f" {piece['floor']:6.1f}  products {piece['gflops']} GFLOP/s  {piece['equal']} metrics equal",
        flush=True,
    )


def write(path: Path | None, found: dict[str, Any]) -> None:
    """Write what was found so far, where a file was named."""
    if path is not None:
        path.write_text(json.dumps(found, indent=1), encoding="utf-8")


def main() -> None:
    """Run all pieces, then our whole list in one process."""
    options = parse()
    with tempfile.TemporaryDirectory(prefix="whole-list-") as name:
        both = Comparison(options, Path(name))
        tiny, _ = both.plan("start", [START], 0.001)
        found: dict[str, Any] = {"model": options.model, "share": options.share, "pieces": []}
        found["start"] = {"ours": both.ours(tiny)[0], "stock": both.stock(START, 0.001)[0]}
        costs = ", ".join(f"{side} {seconds:.1f}" for side, seconds in found["start"].items())
        print(f"a start of almost no work: {costs} CPU s", flush=True)
        for task in options.tasks:
            found["pieces"].append(both.piece(task))
            show(found["pieces"][-1])
            write(options.output, found)
        plan, planning = both.plan("whole", options.tasks, options.share)
        found["whole"] = {"planning": planning, "ours": both.ours(plan)[0]}
    starts = len(options.tasks) - 1
    sums = {side: sum(piece[side] for piece in found["pieces"]) for side in ("ours", "stock", "floor")}
    stock = sums["stock"] - starts * found["start"]["stock"]
    found["sums"] = {"ours": sums["ours"] - starts * found["start"]["ours"], "stock": stock, "floor": sums["floor"]}
    write(options.output, found)
    ours, whole = found["sums"]["ours"], found["whole"]["ours"]
    print(f"sums with one start: ours {ours:.1f}, stock {stock:.1f}, floor {sums['floor']:.1f}; {stock / ours:.2f}x")
    print(f"our whole list in one process: {whole:.1f} CPU s, {stock / whole:.2f}x; its plan, once: {planning:.1f}")


if __name__ == "__main__":
    main()
