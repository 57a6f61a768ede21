r"""The parts of gpu.py, each in a process of its own: ``gpu_parts.py PART --work FOLDER --rows FILE --seconds S``.

Rows are appended to FILE as soon as they are known, so that a part that is ended keeps what it has. Sides that are
compared run in child processes where start-up counts, and in turns in one process where it does not. ``--rehearse``
changes sizes, the device and nothing else, except that torch.compile is switched off.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import importlib.util
import itertools
import json
import math
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

MODELS = ("70m", "410m", "1.4b")
CHECKPOINTS = 3
ROUNDS = 5  # of everything that is measured in turns, where the time allows
NOISE = 0.2  # of the bare product's rate, beyond which a part says that it is too noisy
PROMPT = CONTINUATION = 32
LOST = "ended: no time left"


@dataclass(frozen=True)
class Documents:
    """Documents of a task as lm-eval 0.4.13 makes requests of them with Pythia's tokenizer.

    ``choices`` requests per document; ``context`` and ``scored``: mean tokens before and after the line, and the
    standard deviations of their logarithms (read off plans of a twentieth of the documents). Where the context is one
    token, the choices have the first half of the others in common.
    """

    count: int
    choices: int
    context: float
    context_spread: float
    scored: float
    scored_spread: float


ZERO_SHOT = {
    "blimp": Documents(67000, 2, 1, 0, 9.6, 0.36),
    "lambada_openai": Documents(5153, 1, 80.6, 0.15, 1.4, 0.38),
    "wikitext": Documents(62, 1, 1, 0, 1717.6, 0.36),
    "piqa": Documents(1838, 2, 14.2, 0.28, 23.1, 0.70),
    "sciq": Documents(1000, 4, 99.0, 0.87, 2.0, 0.50),
    "wsc": Documents(104, 2, 64.7, 0.24, 1.0, 0),
    "winogrande": Documents(1267, 2, 16.9, 0.25, 6.2, 0.44),
    "arc_easy": Documents(2376, 4, 28.0, 0.43, 4.4, 0.80),
    "arc_challenge": Documents(1172, 4, 34.8, 0.50, 6.2, 0.68),
    "logiqa": Documents(651, 4, 208.5, 0.24, 16.0, 0.76),
    "mmlu": Documents(14042, 4, 122.7, 0.57, 1.0, 0),
    "crows_pairs_english": Documents(1508, 2, 1, 0, 15.0, 0.35),
}
FIVE_SHOT = {
    "arc_easy": Documents(2376, 4, 199.0, 0.19, 4.4, 0.80),
    "arc_challenge": Documents(1172, 4, 224.8, 0.16, 6.2, 0.68),
    "sciq": Documents(1000, 4, 648.3, 0.36, 2.0, 0.50),
    "piqa": Documents(1838, 2, 202.4, 0.28, 23.1, 0.70),
}
FIVE_SHOT_TASKS = ("arc_easy", "arc_challenge", "sciq_validation", "piqa")


@dataclass(frozen=True)
class Setting:
    """One part's command line; ``end`` is when its time is over, by ``time.monotonic``."""

    part: str
    work: Path
    rows: Path
    end: float
    share: float
    rehearse: bool
    data: Path | None
    tokenizer: Path | None

    @property
    def device(self) -> str:
        """Where everything runs."""
        return "cpu" if self.rehearse else "cuda"

    @property
    def dtypes(self) -> tuple[str, ...]:
        """Precisions of the scorer: the fast one first."""
        return ("bfloat16", "float32")

    def left(self) -> float:
        """Seconds that are left."""
        return self.end - time.monotonic()

    def plans(self) -> list[Path]:
        """Plans, zero-shot and five-shot."""
        return [self.work / f"{shots}-shot.plan" for shots in (0, 5)]

    def checkpoint(self, model: str, step: int = 1) -> Path:
        """Folder of a checkpoint."""
        return self.work / f"pythia-{model}" / f"step{step}"

    def write(
        self, what: str, values: float | Iterable[float] | None, unit: str = "", note: str = "", scale: float = 1.0
    ) -> None:
        """Append one row: the median of ``values`` times ``scale``; None says why there is none in ``note``."""
        found = [values] if isinstance(values, (int, float)) else list(values or [])
        found = sorted(scale * value for value in found)
        middle = statistics.median(found) if found else None
        low, high = (found[0], found[-1]) if found else (None, None)
        row = {"what": what, "value": middle, "unit": unit, "low": low, "high": high, "count": len(found), "note": note}
        with self.rows.open("a") as file:
            file.write(json.dumps(row) + "\n")


def recipe_for(setting: Setting, model: str) -> Any:
    """Recipe of pythia-``model`` in bfloat16, or of the network of a rehearsal."""
    from workflow_scripts.suite.registry import load_suite
    from workflow_scripts.training.recipe import recipe_of

    name = "pocket-90k" if setting.rehearse else f"pythia-{model}"
    recipe = recipe_of(load_suite(name.split("-", maxsplit=1)[0]).model(name))
    recipe = dataclasses.replace(recipe, name=f"pythia-{model}", compute_dtype="bfloat16", rotary_precision="float32")
    if setting.rehearse:
        recipe = dataclasses.replace(recipe, heads=2)  # of 16 dimensions, the fewest that FlexAttention takes on a GPU
    if setting.rehearse and setting.data is not None:  # real documents are as long as they are
        recipe = dataclasses.replace(recipe, vocab_size=50304, sequence_length=2048)
    return recipe


def wait(device: str) -> float:
    """Seconds on the wall once the device has nothing left to do."""
    if device != "cpu":
        import torch

        torch.cuda.synchronize()
    return time.perf_counter()


def timed(device: str, work: Callable[[], object]) -> float:
    """Seconds on the wall of a call, until the device is done."""
    started = wait(device)
    work()
    return wait(device) - started


def product_rate(setting: Setting, dtype: str) -> float:
    """FLOP per second of a bare matrix product."""
    import torch
    from training import gemm_rate

    return gemm_rate(getattr(torch, dtype), setting.device)


class Floor:
    """Rates of bare matrix products, measured between everything else."""

    def __init__(self, setting: Setting, dtype: str) -> None:
        """Measure once, which loads the library, and forget it."""
        self.setting, self.dtype = setting, dtype
        self.rates: list[float] = []
        product_rate(setting, dtype)

    def look(self) -> None:
        """Measure once more."""
        self.rates.append(product_rate(self.setting, self.dtype))

    @property
    def best(self) -> float:
        """The rate that shares are taken of."""
        return max(self.rates)

    def write(self) -> None:
        """The row of the floor, and what it says about the others."""
        moved = (max(self.rates) - min(self.rates)) / max(self.rates)
        note = f"too noisy for ratios: it moved by {moved:.0%}" if moved > NOISE else ""
        self.setting.write(f"bare product, {self.dtype}", self.rates, "TFLOP/s", note, 1e-12)


def shares(operations: float, seconds: float, floor: float, setting: Setting, dtype: str) -> str:
    """Share of the measured rate and of the data sheet's, in words."""
    rate = operations / seconds
    said = f"{rate / 1e12:.4g} TFLOP/s, {rate / floor:.0%} of the bare product"
    if not setting.rehearse:
        import torch
        from gpu import peaks_of

        peaks = peaks_of(torch.cuda.get_device_name(0))
        said += f", {rate / peaks[dtype]:.0%} of the data sheet" if peaks else ", no data sheet known"
    return said


def first_line(error: BaseException) -> str:
    """First line of an error, short."""
    return (f"{type(error).__name__}: {error}".splitlines() or [""])[0][:200]


def child(setting: Setting, arguments: list[str], limit: float | None = None) -> tuple[float, str]:
    """Run a program of this checkout; seconds on the wall and what it printed last. Raises RuntimeError."""
    started = time.monotonic()
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    try:
        done = subprocess.run(
            [sys.executable, *arguments], capture_output=True, text=True, env=environment, check=False,
            timeout=max(1.0, limit or setting.left()),
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise RuntimeError(LOST) from None
    if done.returncode:
        lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
        raise RuntimeError((lines or [f"exit code {done.returncode}"])[-1][:200])
    return time.monotonic() - started, (done.stdout.strip().splitlines() or [""])[-1]


# ---------------------------------------------------------------------------------------------------------------------
# set-up: checkpoints and plans


def make_checkpoint(setting: Setting, model: str) -> float:
    """Random float16 checkpoint under three steps (hard links), as the Hub has it; returns its bytes."""
    import torch
    from safetensors.torch import save_file

    from workflow_scripts.evaluation.scoring.model_folder import Shapes, read_config
    from workflow_scripts.storage.hashing import sha256_file
    from workflow_scripts.storage.lockfile import HEADER
    from workflow_scripts.training.publish import model_config, tokenizer_files

    folder, recipe = setting.checkpoint(model), recipe_for(setting, model)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(model_config(recipe, "float16")))
    for name, content in tokenizer_files(recipe.sequence_length).items():
        (folder / name).write_text(json.dumps(content))
    (folder / "tokenizer.json").write_bytes(tokenizer_bytes(setting))
    generator = torch.Generator(setting.device).manual_seed(1)
    weights = {}
    for name, shape in Shapes(read_config(folder)).items():
        # Wide enough that predictions are not flat, narrow enough that 24 layers stay in float16.
        values = torch.randn(shape, generator=generator, device=setting.device) * (2 / math.sqrt(shape[-1]))
        values = values if len(shape) == 2 else torch.full(shape, float("norm.weight" in name), device=setting.device)
        weights[name] = values.half().cpu()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    lines = [f"{path.name}\t{path.stat().st_size}\t{sha256_file(path)}" for path in sorted(folder.iterdir())]
    (folder / "sha256.txt").write_text("\n".join([HEADER, *lines]) + "\n")
    for step in range(2, CHECKPOINTS + 1):
        other = setting.checkpoint(model, step)
        other.mkdir()
        for path in folder.iterdir():
            os.link(path, other / path.name)
    return float((folder / "model.safetensors").stat().st_size)


def tokenizer_bytes(setting: Setting) -> bytes:
    """The tokenizer given, or one of single characters that no request of a made-up plan goes through."""
    if setting.tokenizer is not None:
        return setting.tokenizer.read_bytes()
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {word: number for number, word in enumerate(["<|endoftext|>", "<|padding|>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=words, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>", "<|padding|>"])
    return tokenizer.to_str().encode()


def lengths(rng: np.random.Generator, mean: float, spread: float, count: int, scale: float) -> np.ndarray:
    """``count`` whole numbers from 1 with that mean, times ``scale``, and that deviation of logarithms."""
    drawn = np.exp(rng.normal(math.log(max(mean * scale, 1e-9)) - spread**2 / 2, spread, count))
    return np.maximum(1, np.rint(drawn)).astype(np.int64)


def make_up(tasks: dict[str, Documents], share: float, vocabulary: int, longest: int, scale: float) -> list[Any]:
    """Sequences of random tokens with the lengths of ``tasks``, at most ``longest`` inputs each."""
    from workflow_scripts.evaluation.planning.prefix_trees import ScoredSequence

    rng, made, family = np.random.default_rng(0), [], 0
    for kind in tasks.values():
        count = max(1, round(kind.count * share))
        contexts = lengths(rng, kind.context, kind.context_spread, count, scale if kind.context > 1 else 1.0)
        for context in contexts:
            before = rng.integers(2, vocabulary, max(0, min(int(context), longest - 8) - 1))
            scored = lengths(rng, kind.scored, kind.scored_spread, kind.choices, scale if kind.scored > 100 else 1.0)
            shared = rng.integers(2, vocabulary, int(scored.min()) // 2 if kind.context <= 1 else 0)
            for number in scored:
                rest = rng.integers(2, vocabulary, max(1, int(number) - len(shared)))
                tokens = np.concatenate([[0], before, shared, rest])[: longest + 1].astype(np.int32)
                made.append(ScoredSequence(tokens, min(len(before), len(tokens) - 2), family))
            family += 1
    return made


def made_up_plan(setting: Setting, shots: int) -> Any:
    """A plan of made-up requests: one multiple-choice task of documents with two requests."""
    from workflow_scripts.evaluation.planning.plan_file import RequestTable, make_plan
    from workflow_scripts.evaluation.planning.prefix_trees import pack
    from workflow_scripts.storage.hashing import sha256_file

    recipe = recipe_for(setting, "70m")
    scale, share = (1 / 16, setting.share / 50) if setting.rehearse else (1.0, setting.share)
    tasks = FIVE_SHOT if shots else ZERO_SHOT
    made = make_up(tasks, share, min(recipe.vocab_size, 50254), recipe.sequence_length, scale)
    made = made[: len(made) // 2 * 2]
    requests, documents = len(made), len(made) // 2
    ones, none = np.ones(requests, dtype=np.int32), np.zeros(documents, dtype=np.int32)
    owner = np.repeat(np.arange(documents, dtype=np.int32), 2)
    table = RequestTable(
        owner, np.arange(requests) % 2 == 0, ones, ones, none, none, np.arange(requests, dtype="int32")
    )
    task = {
        "name": f"made_up_{shots}", "alias": "made up", "documents": [0, documents], "requests": [0, requests],
        "output_type": "multiple_choice", "metrics": [{"name": "acc", "aggregation": "mean", "higher_is_better": True}],
        "num_fewshot": shots, "original_documents": documents, "version": 1.0, "split": "none", "dataset": "none",
        "dropped_splits": [], "lm_eval_task": "none",
    }  # fmt: skip
    header = {
        "tasks": [task], "groups": [], "left_out": {}, "limit": None, "fewshot_seed": 1234, "shots": shots, "data": {},
        "lm_eval": installed("lm_eval") or "none", "max_length": recipe.sequence_length, "protocol": "current",
        "prefix_token_id": 0, "tokenizer_sha256": sha256_file(setting.checkpoint("70m") / "tokenizer.json"),
    }  # fmt: skip
    return make_plan(header, pack(made), table)


def installed(package: str) -> str | None:
    """Version of a package, None where there is none."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def plan_command(setting: Setting, shots: int) -> list[str]:
    """Command that plans real documents."""
    from evaluation import WHOLE_LIST

    tasks = FIVE_SHOT_TASKS if shots else WHOLE_LIST
    tasks = tasks[:2] if setting.rehearse else tasks
    return [
        *("-m", "workflow_scripts.evaluation.build_plan", "--tasks", *tasks, "--shots", str(shots)),
        *("--data-dir", str(setting.data), "--tokenizer", str(setting.tokenizer), "--max-length", "2048"),
        *("--limit", str(setting.share / 20 if setting.rehearse else setting.share)),
        *("--output", str(setting.plans()[shots > 0])),
    ]


def set_up(setting: Setting) -> None:
    """Checkpoints, plans, floors; with --work what an earlier run made is kept."""
    from workflow_scripts.evaluation.planning.plan_file import read_plan, write_plan

    for dtype in setting.dtypes:
        floor = Floor(setting, dtype)
        for _ in range(ROUNDS):
            floor.look()
        floor.write()
    for model in MODELS:
        if not (setting.checkpoint(model, CHECKPOINTS) / "sha256.txt").exists():
            size: list[float] = []
            seconds = timed("cpu", lambda model=model, size=size: size.append(make_checkpoint(setting, model)))  # type: ignore[misc]
            setting.write(f"checkpoints of {model}, made", seconds, "s", f"{size[0] / 1e6:,.0f} MB each, float16")
    for shots, path in zip((0, 5), setting.plans(), strict=True):
        if path.exists():
            continue
        if setting.data is not None and installed("lm_eval"):
            seconds, _ = child(setting, plan_command(setting, shots))
            setting.write(f"plan, {shots}-shot", seconds, "s", "real documents")
        else:
            seconds = timed("cpu", lambda shots=shots, path=path: write_plan(path, made_up_plan(setting, shots)))  # type: ignore[misc]
            why = "" if setting.data is None else ": lm_eval is not installed"
            setting.write(f"plan, {shots}-shot", seconds, "s", f"made-up documents of the tasks' lengths{why}")
        counts = read_plan(path).header["counts"]
        note = f"{counts['requests']:,} requests, {counts['slots']:,} scored places, rows up to {counts['longest_row']}"
        setting.write(f"tokens to run, {shots}-shot", counts["nodes"], "", note)


# ---------------------------------------------------------------------------------------------------------------------
# agreement: the device's numbers beside the CPU's


def agreement(setting: Setting) -> None:
    """Largest differences of scorer and trainer between this device and the CPU, on a small network."""
    import torch

    from workflow_scripts.evaluation.engine.engine import Engine
    from workflow_scripts.evaluation.planning.prefix_trees import pack

    tiny = dataclasses.replace(setting, rehearse=True, work=setting.work / "tiny", data=None, tokenizer=None)
    if not tiny.checkpoint("70m").exists():
        make_checkpoint(dataclasses.replace(tiny), "70m")
    folder, recipe = tiny.checkpoint("70m"), recipe_for(tiny, "70m")
    made = make_up(ZERO_SHOT, 2e-4, recipe.vocab_size, recipe.sequence_length, 1 / 16)
    forest = pack(made + make_up(FIVE_SHOT, 2e-3, recipe.vocab_size, recipe.sequence_length, 1 / 16))
    torch.set_num_threads(min(8, os.cpu_count() or 1))
    reference, greedy = Engine(folder, "cpu").score(forest)
    for way in ("sdpa", "flex"):
        for dtype in setting.dtypes:
            what = f"scorer, {way}, {dtype}: largest difference"
            try:
                values, flags = Engine(folder, setting.device, getattr(torch, dtype), attention=way).score(forest)
            except Exception as error:  # a way that fails must not hide the others
                setting.write(what, None, note=first_line(error))
                continue
            far = float(np.abs(values - reference).max())
            setting.write(
                what, far, "nats", f"of {np.abs(reference).max():.3g}; {(flags != greedy).sum()} flags differ"
            )
    for dtype in setting.dtypes:
        ours, theirs = ([*losses(recipe, dtype, place)] for place in (setting.device, "cpu"))
        far = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
        setting.write(f"trainer, {dtype}: largest difference of a loss", far, "nats", "4 steps beside the CPU's")


def losses(recipe: Any, dtype: str, device: str, steps: int = 4) -> Iterator[float]:
    """Losses of a few steps on the same rows."""
    import torch
    from training import objective

    from workflow_scripts.training.run.initialisation import initialise
    from workflow_scripts.training.run.optimizer import build_optimizer, clip_gradients, set_learning_rate

    net, loss_of = objective(f"ours-{dtype}", recipe, device)
    initialise(net, recipe)
    optimizer = build_optimizer(net, recipe)
    set_learning_rate(optimizer, 1e-3)
    shape = (recipe.batch_rows, recipe.sequence_length + 1)
    rows = torch.randint(0, recipe.vocab_size, shape, generator=torch.Generator().manual_seed(0)).to(device)
    for _ in range(steps):
        loss = loss_of(rows[:, :-1], rows[:, 1:])
        loss.backward()
        clip_gradients([p.grad for p in net.parameters() if p.grad is not None], 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        yield float(loss.detach())


# ---------------------------------------------------------------------------------------------------------------------
# start: one process that scores, by parts

START = """
import json, sys, time
from pathlib import Path
clock = [time.perf_counter()]
def mark():
    if device != "cpu" and len(clock) > 2:
        torch.cuda.synchronize()
    clock.append(time.perf_counter())
device, folder, plan_path, dtype = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
import torch; mark()
from workflow_scripts.evaluation.scoring import score_plan; mark()
from workflow_scripts.evaluation.planning.plan_file import read_plan
from workflow_scripts.evaluation.engine.engine import Engine
from workflow_scripts.evaluation.engine.row_tensors import segments
from workflow_scripts.evaluation.scoring.model_folder import read_config
torch.zeros(1, device=device); mark()
weights = score_plan.load_weights(
    folder, read_config(folder), torch.device(device), score_plan.DTYPES[dtype]); mark()
engine = Engine(folder, device, score_plan.DTYPES[dtype], weights); mark()
plan = read_plan(plan_path); mark()
first = next(segments(plan.forest))
engine.score_rows(plan.forest, *first); mark()
engine.score_rows(plan.forest, *first); mark()
print(json.dumps([later - earlier for earlier, later in zip(clock, clock[1:])]))
"""
STAGES = (
    "import torch", "import of the scorer", "context of the device", "weights read, hashed, moved", "weights arranged",
    "plan read", "first 65,000 tokens", "the same again",
)  # fmt: skip


def start(setting: Setting) -> None:
    """A fresh interpreter that scores one stretch of a plan, several times."""
    rounds: list[list[float]] = []
    arguments = [setting.device, str(setting.checkpoint("410m")), str(setting.plans()[0]), "bfloat16"]
    size = (setting.checkpoint("410m") / "model.safetensors").stat().st_size / 1e6
    for _ in range(1 if setting.rehearse else ROUNDS):
        if rounds and setting.left() < 1.5 * sum(rounds[-1]):
            break
        wall, printed = child(setting, ["-c", START, *arguments])
        seconds = json.loads(printed)
        rounds.append([*seconds, wall - sum(seconds)])
        for number, stage in enumerate((*STAGES, "interpreter, and its end")):
            note = f"{size:,.0f} MB of float16, to bfloat16" if stage.startswith("weights read") else ""
            setting.write(stage, [each[number] for each in rounds], "s", note)


# ---------------------------------------------------------------------------------------------------------------------
# evaluation

# A peer's scoring alone: its own batching over the plan's requests as tokens, twice.
PEER = """
import json, sys, time
import numpy as np
started = time.perf_counter()
kind, folder, requests_path, dtype, device, longest, most, output = sys.argv[1:]
file = np.load(requests_path)
tokens, bounds, lines = file["tokens"].tolist(), file["bounds"].tolist(), file["lines"].tolist()
requests = [(("", ""), tokens[a:b], tokens[b:c]) for a, b, c in zip(bounds, lines, bounds[1:])]
if kind == "hf":
    from lm_eval.models.huggingface import HFLM
    lm = HFLM(pretrained=folder, dtype=dtype, device=device, batch_size="auto", max_batch_size=int(most),
              max_length=int(longest))
else:
    from lm_eval.models.vllm_causallms import VLLM
    lm = VLLM(pretrained=folder, dtype=dtype, batch_size="auto", max_model_len=int(longest),
              gpu_memory_utilization=0.8)
loaded = time.perf_counter()
seconds = []
for _ in range(2):
    begun = time.perf_counter()
    found = lm._loglikelihood_tokens(requests, disable_tqdm=True)
    seconds.append(time.perf_counter() - begun)
np.save(output, np.array([value for value, _ in found]))
print(json.dumps({"ready": loaded - started, "scoring": seconds}))
"""


def requests_of(plan: Any, path: Path) -> int:
    """Write what a plan scores as separate requests: context and continuation tokens; returns their tokens.

    ``tokens`` one after the other, ``bounds`` [n + 1] of each, ``lines`` [n]: where its continuation begins.
    """
    forest = plan.forest
    tokens: list[np.ndarray] = []
    bounds, lines, total = [0], [], 0
    latest = np.zeros(int(forest.depth.max()) + 1, dtype=np.int64)
    firsts = forest.slot_node[forest.edge_slot[forest.piece_edge[forest.piece_start[:-1]]]]
    order, place = np.argsort(firsts, kind="stable"), 0
    contexts: dict[int, np.ndarray] = {}
    for node, depth in enumerate(forest.depth):  # depth first: the nodes above are the last ones seen of each depth
        latest[depth] = node
        while place < len(order) and firsts[order[place]] == node:
            contexts[int(order[place])] = forest.token[latest[: depth + 1]]
            place += 1
    for piece in range(len(firsts)):
        edges = forest.piece_edge[forest.piece_start[piece] : forest.piece_start[piece + 1]]
        tokens += [contexts[piece], forest.edge_token[edges]]
        lines.append(total + len(contexts[piece]))
        total = lines[-1] + len(edges)
        bounds.append(total)
    np.savez(path, tokens=np.concatenate(tokens), bounds=np.array(bounds), lines=np.array(lines))
    return total - len(firsts)


@dataclass
class Sides:
    """Seconds of each side of one precision, round by round."""

    one: list[float]
    later: list[float]
    peer: list[float]
    peer_scoring: list[float]


def score_command(setting: Setting, model: str, dtype: str, folder: Path, count: int) -> list[str]:
    """Ours: a process that scores ``count`` checkpoints on both plans, into ``folder``."""
    checkpoints = [setting.checkpoint(model, step) for step in range(1, count + 1)]
    outputs = [folder / path.name / f"{shots}-shot.json" for path in checkpoints for shots in (0, 5)]
    return [
        *("-m", "workflow_scripts.evaluation.score", "--checkpoint", *map(str, checkpoints), "--plan"),
        *(*map(str, setting.plans()), "--output", *map(str, outputs), "--device", setting.device, "--dtype", dtype),
    ]


def peer_command(setting: Setting, kind: str, model: str, dtype: str, output: Path) -> list[str]:
    """A peer's process for one checkpoint."""
    longest = recipe_for(setting, model).sequence_length
    most = 2 if setting.rehearse and setting.data is not None else 64  # 64 is lm-eval's own
    arguments = (kind, setting.checkpoint(model), setting.work / "requests.npz", dtype, setting.device, longest, most)
    return ["-c", PEER, *map(str, arguments), str(output)]


def evaluation(setting: Setting, model: str) -> None:
    """One model: ours and lm-eval's backends, in turns, in both precisions."""
    from workflow_scripts.evaluation.planning.plan_file import read_plan

    plans = [read_plan(path) for path in setting.plans()]
    if not (setting.work / "requests.npz").exists():
        joined = setting.work / "parts.npz"
        parts = []
        for plan in plans:
            requests_of(plan, joined)
            parts.append(dict(np.load(joined)))
        first, second = parts
        np.savez(
            setting.work / "requests.npz",
            tokens=np.concatenate([first["tokens"], second["tokens"]]),
            bounds=np.concatenate([first["bounds"], second["bounds"][1:] + first["bounds"][-1]]),
            lines=np.concatenate([first["lines"], second["lines"] + first["bounds"][-1]]),
        )
    scoring: dict[str, float] = {}
    for dtype in setting.dtypes:
        scoring[dtype] = scoring_alone(setting, model, dtype, plans)
    free(setting)  # for the processes that follow
    for dtype in setting.dtypes[: 1 if setting.rehearse and model != "70m" else None]:
        # Ours five times and a peer twice over tokens that it does not share, a third of them; and three starts.
        if not setting.rehearse and setting.left() < 30 + 10 * scoring[dtype]:
            setting.write(f"ours, {dtype}: a process for one checkpoint", None, note=LOST)
            continue
        try:
            in_turns(setting, model, dtype, plans, scoring[dtype])
        except RuntimeError as error:
            setting.write(f"whole processes, {dtype}", None, note=str(error))
    if setting.left() < 20 or setting.rehearse:  # the agreement part runs it in a rehearsal
        setting.write("ours, flex, bfloat16: scoring alone", None, note=LOST if not setting.rehearse else "no GPU")
    else:
        scoring_alone(setting, model, "bfloat16", plans, "flex")
    vllm(setting, model)


def scoring_alone(setting: Setting, model: str, dtype: str, plans: list[Any], way: str = "sdpa") -> float:
    """Median seconds of ours for all plans once the weights are there, with the floor between; writes rows."""
    import torch
    from evaluation import needed_operations

    from workflow_scripts.evaluation.engine.engine import Engine
    from workflow_scripts.evaluation.scoring.model_folder import read_config
    from workflow_scripts.evaluation.scoring.score_plan import score_plans

    folder = setting.checkpoint(model)
    name = f"ours, {dtype}: scoring alone" if way == "sdpa" else f"ours, {way}, {dtype}: scoring alone"
    floor, seconds = Floor(setting, dtype), []
    if setting.device != "cpu":
        torch.cuda.reset_peak_memory_stats()
    engine = Engine(folder, setting.device, getattr(torch, dtype), attention=way)
    for plan in plans:
        engine.score_rows(plan.forest, 0, min(8, len(plan.forest.row_start) - 1))  # loads and compiles kernels
    floor.look()
    for _ in range(1 if setting.rehearse else ROUNDS):
        seconds.append(timed(setting.device, functools.partial(score_plans, engine, plans)))
        floor.look()
        if setting.left() < 40 + 2 * seconds[-1]:
            break
    if way == "sdpa":
        floor.write()
    operations = sum(needed_operations(plan, read_config(folder)) for plan in plans)
    middle = statistics.median(seconds)
    setting.write(name, seconds, "s", shares(operations, middle, floor.best, setting, dtype))
    if setting.device != "cpu" and way == "sdpa":
        peak = torch.cuda.max_memory_allocated() / 1e9
        setting.write(f"ours, {dtype}: most memory allocated", peak, "GB", "weights included")
    return middle


def free(setting: Setting) -> None:
    """Give the device's memory back that nothing holds any more."""
    import torch

    if setting.device != "cpu":
        torch.cuda.empty_cache()


def in_turns(setting: Setting, model: str, dtype: str, plans: list[Any], alone: float) -> None:
    """Whole processes, ours and stock lm-eval's ``hf``, in turns; writes rows after each round."""
    sides = Sides([], [], [], [])
    why = "" if installed("lm_eval") else "lm_eval is not installed"
    for number in range(1 if setting.rehearse else ROUNDS):
        started = time.monotonic()
        with tempfile.TemporaryDirectory(dir=setting.work) as name:
            folder = Path(name)
            wall, _ = child(setting, score_command(setting, model, dtype, folder / "one", 1))
            sides.one.append(wall)
            if not why:
                try:
                    wall, printed = child(setting, peer_command(setting, "hf", model, dtype, folder / "peer.npy"))
                    sides.peer.append(wall - json.loads(printed)["scoring"][1])
                    sides.peer_scoring.append(json.loads(printed)["scoring"][1])
                    compare(setting, dtype, plans, folder)
                except RuntimeError as error:
                    why = str(error)
            child(setting, score_command(setting, model, dtype, folder / "several", CHECKPOINTS))
            written = [
                (folder / "several" / f"step{step}" / "5-shot.json").stat().st_mtime
                for step in range(1, CHECKPOINTS + 1)
            ]
            sides.later += [after - before for before, after in itertools.pairwise(written)]
        write_sides(setting, dtype, sides, alone, why)
        enough = setting.left() - 10 < (time.monotonic() - started) * (1 if number or dtype == "float32" else 2)
        if why == LOST or enough:
            break


def write_sides(setting: Setting, dtype: str, sides: Sides, alone: float, why: str) -> None:
    """Rows of whole processes so far."""
    setting.write(f"ours, {dtype}: a process for one checkpoint", sides.one, "s")
    note = "from one's results to the next's"
    setting.write(f"ours, {dtype}: next checkpoint in the same process", sides.later, "s", note)
    if not sides.peer:
        setting.write(f"stock hf, {dtype}: a process for one checkpoint", None, note=why)
        setting.write(f"stock hf, {dtype}: scoring alone", None, note=why)
        return
    peer, again = statistics.median(sides.peer), statistics.median(sides.peer_scoring)
    note = "batch_size auto; imports, load, scoring; without making requests and metrics"
    setting.write(f"stock hf, {dtype}: a process for one checkpoint", sides.peer, "s", note)
    setting.write(f"stock hf, {dtype}: scoring alone", sides.peer_scoring, "s", "second time, its batch size known")
    ratios = (peer / statistics.median(sides.one), peer / statistics.median(sides.later), again / alone)
    names = ("a process for one checkpoint", "next checkpoint", "scoring alone")
    for name, ratio in zip(names, ratios, strict=True):
        setting.write(f"stock / ours, {dtype}: {name}", ratio, "x")


def compare(setting: Setting, dtype: str, plans: list[Any], folder: Path) -> None:
    """Row of the largest difference of a log-likelihood between ours and the peer's."""
    theirs = np.load(folder / "peer.npy")
    ours = []
    for shots, plan in zip((0, 5), plans, strict=True):
        with np.load(folder / "one" / "step1" / f"{shots}-shot.json.loglikelihoods.npz") as file:
            ours.append(file[next(name for name in file.files if name.endswith("/loglikelihood"))])
        if len(plan.table.piece_request) != len(ours[-1]):  # texts in several pieces are several requests here
            pieces = np.bincount(plan.table.piece_request, minlength=len(ours[-1]))
            ours[-1] = np.repeat(np.where(pieces == 1, ours[-1], np.nan), pieces)
    found = np.concatenate(ours)
    far = float(np.nanmax(np.abs(found - theirs)))
    note = f"of values to {np.abs(theirs).max():,.0f}; median {np.nanmedian(np.abs(found - theirs)):.2g}"
    setting.write(f"stock and ours, {dtype}: largest difference", far, "nats", note)


def vllm(setting: Setting, model: str) -> None:
    """The backend vLLM of lm-eval, once."""
    name = "vLLM, bfloat16: scoring alone"
    lacking = [package for package in ("lm_eval", "vllm") if importlib.util.find_spec(package) is None]
    if lacking:
        setting.write(name, None, note=f"{lacking[0]} is not installed")
        return
    try:
        command = peer_command(setting, "vllm", model, "bfloat16", setting.work / "vllm.npy")
        wall, printed = child(setting, command)
    except RuntimeError as error:
        setting.write(name, None, note=str(error))
        return
    said = json.loads(printed)
    setting.write("vLLM, bfloat16: a process for one checkpoint", wall - said["scoring"][1], "s", "engine included")
    setting.write(name, said["scoring"][1], "s", "second time; its cache of prefixes as it comes")


# ---------------------------------------------------------------------------------------------------------------------
# training

TRAINING_ROWS = {"70m": 32, "410m": 16, "1.4b": 8}  # of 2048 tokens at once; all accumulate to the recipe's batch
CONTESTANTS = ("ours-bfloat16-compiled", "transformers-sdpa-bfloat16-compiled", "ours-bfloat16")


@dataclass
class Contestant:
    """One side of the training part and what it took, piece by piece; memory in bytes."""

    net: Any
    loss_of: Callable[..., Any]
    optimizer: Any
    portions: list[float] = dataclasses.field(default_factory=list)
    updates: list[float] = dataclasses.field(default_factory=list)
    peak: int = 0


def training(setting: Setting, model: str) -> None:
    """Steps of ours and of a compiled transformers in turns; then one iteration of our trainer."""
    import torch

    recipe = recipe_for(setting, model)
    rows = 2 if setting.rehearse else TRAINING_ROWS[model]
    shape = (rows, recipe.sequence_length + 1)
    tokens = torch.randint(0, recipe.vocab_size, shape, device=setting.device)
    floor = Floor(setting, "bfloat16")
    sides: dict[str, Contestant] = {}
    for name in CONTESTANTS:
        setting.write(f"{name}: tokens per second", None, note="its first step did not end in time")
        try:
            sides[name] = enter(setting, name, recipe, tokens)
        except Exception as error:  # a peer that does not compile or fit must not hide the others
            setting.write(f"{name}: tokens per second", None, note=first_line(error))
            free(setting)
            continue
        floor.look()
        rounds_of_pieces(setting, sides, tokens, floor, recipe=recipe, rounds=1)
    rounds = 1 if setting.rehearse else ROUNDS - 1
    rounds_of_pieces(setting, sides, tokens, floor, recipe=recipe, rounds=rounds)
    floor.write()
    ours = sides.get(CONTESTANTS[0])
    for name in [name for name in sides if name != CONTESTANTS[0]]:
        del sides[name]
    whole_iteration(setting, recipe, ours, rows)


def enter(setting: Setting, name: str, recipe: Any, tokens: Any) -> Contestant:
    """Make a contestant and run it once, which compiles it; writes how long that took."""
    import torch
    from training import objective

    net, loss_of = objective(name, recipe, setting.device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-5, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    side = Contestant(net, loss_of, optimizer)
    seconds = timed(setting.device, lambda: piece(setting, side, tokens, 1))
    note = "not compiled in a rehearsal" if setting.rehearse else "compilation included"
    setting.write(f"{name}: first step", seconds, "s", note if name.endswith("compiled") else "")
    side.portions.clear()
    side.updates.clear()
    return side


def held(side: Contestant) -> int:
    """Bytes of a contestant between two steps: weights and moments."""
    tensors = [*side.net.parameters(), *side.net.buffers()]
    tensors += [value for state in side.optimizer.state.values() for value in state.values()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def piece(setting: Setting, side: Contestant, tokens: Any, portions: int) -> None:
    """``portions`` micro-batches and one update of a contestant, timed apart."""
    import torch

    from workflow_scripts.training.run.optimizer import clip_gradients

    others = 0
    if setting.device != "cpu":
        others = torch.cuda.memory_allocated() - held(side)
        torch.cuda.reset_peak_memory_stats()
    started = wait(setting.device)
    for _ in range(portions):
        side.loss_of(tokens[:, :-1], tokens[:, 1:]).backward()
    middle = wait(setting.device)
    clip_gradients([p.grad for p in side.net.parameters() if p.grad is not None], 1.0, portions)
    side.optimizer.step()
    side.optimizer.zero_grad(set_to_none=True)
    side.portions.append((middle - started) / portions)
    side.updates.append(wait(setting.device) - middle)
    if setting.device != "cpu":
        side.peak = torch.cuda.max_memory_allocated() - others


def rounds_of_pieces(
    setting: Setting, sides: dict[str, Contestant], tokens: Any, floor: Floor, *, recipe: Any, rounds: int
) -> None:
    """Pieces of about two seconds of each side in turns, and the rows so far."""
    for _ in range(rounds):
        started = time.monotonic()
        for name, side in sides.items():
            known = side.portions[-1] if side.portions else None
            count = 2 if known is None or setting.rehearse else max(2, round(2 / known))
            piece(setting, side, tokens, count)
            floor.look()
            write_training(setting, name, side, floor, recipe=recipe, rows=tokens.shape[0])
        if setting.left() < 12 + 2 * (time.monotonic() - started):
            break


def write_training(setting: Setting, name: str, side: Contestant, floor: Floor, *, recipe: Any, rows: int) -> None:
    """Rows of one contestant so far, at the recipe's batch: portions times their number, and one update."""
    number = recipe.batch_rows / rows
    rates = [recipe.batch_tokens / (a * number + b) for a, b in zip(side.portions, side.updates, strict=True)]
    operations = recipe.flops_per_token * statistics.median(rates)
    note = shares(operations, 1.0, floor.best, setting, "bfloat16")
    setting.write(f"{name}: tokens per second", rates, "/s", f"{rows} rows at once; {note}")
    setting.write(f"{name}: update (clipping, AdamW)", side.updates, "s", f"one per {number:.0f} portions")
    memory = None if setting.device == "cpu" else side.peak / 1e9
    note = "not counted on a CPU" if memory is None else f"{recipe.parameters * 16 / 1e9:.1f} of it weights to moments"
    setting.write(f"{name}: most memory allocated", memory, "GB", note)


class RandomRows:
    """Rows of random tokens, the same each time."""

    fingerprint = "random"

    def __init__(self, recipe: Any) -> None:
        """Rows for a few iterations of ``recipe``."""
        self.recipe, self.n_rows = recipe, recipe.batch_rows * 4

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Rows [start, stop)."""
        shape = (stop - start, self.recipe.sequence_length + 1)
        return np.random.default_rng(start).integers(0, self.recipe.vocab_size, shape).astype(np.uint16)


def whole_iteration(setting: Setting, recipe: Any, side: Contestant | None, rows: int) -> None:
    """One iteration of the trainer itself at the recipe's full batch, where the time allows."""
    from workflow_scripts.training.run.processes import SINGLE, Processes
    from workflow_scripts.training.run.starting_point import fresh_state
    from workflow_scripts.training.run.trainer import Plan, Trainer

    what = f"the trainer, compiled: one iteration of {recipe.batch_rows} rows"
    if side is None:
        setting.write(what, None, note="ours did not run compiled")
        return
    expected = statistics.median(side.portions) * recipe.batch_rows / rows
    if setting.left() < 1.2 * expected + 5:
        setting.write(what, None, note=f"no time left for {expected:.0f} s")
        return
    import torch

    place = torch.device(setting.device)
    with tempfile.TemporaryDirectory(dir=setting.work) as name:
        trainer = Trainer(
            recipe,
            RandomRows(recipe),
            model=side.net,
            optimizer=side.optimizer,
            state=fresh_state(recipe, "random", 1, rows),
            plan=Plan(Path(name), 1, rows),
            module=side.loss_of,  # type: ignore[arg-type]
            processes=Processes(SINGLE, 0, 1, place),
        )
        seconds = timed(setting.device, trainer.iterate)
    setting.write(what, seconds, "s", f"{recipe.batch_tokens / seconds:,.0f} tokens per second, rows read included")


# ---------------------------------------------------------------------------------------------------------------------
# memorization


def memorization(setting: Setting) -> None:
    """Teacher forcing, generation as the original did it, and transformers' ``generate`` with its cache."""
    import torch

    from workflow_scripts.evaluation.engine.engine import Engine
    from workflow_scripts.experiments.memory.greedy import first_false, first_misses, generate

    folder, recipe = setting.checkpoint("410m"), recipe_for(setting, "410m")
    forced_rows, made_rows = (16, 4) if setting.rehearse else (32768, 1024)
    rows = np.random.default_rng(0).integers(0, recipe.vocab_size, (forced_rows, PROMPT + CONTINUATION))
    rows = rows.astype(np.uint16)
    few, rates = rows[:made_rows], {"forced": [], "made": [], "cached": []}  # type: ignore[var-annotated]
    engine = Engine(folder, setting.device, torch.float32 if setting.rehearse else torch.bfloat16)
    peer = None
    if importlib.util.find_spec("transformers") is not None:
        from transformers import GPTNeoXForCausalLM

        peer = GPTNeoXForCausalLM.from_pretrained(folder, dtype=engine.dtype).to(setting.device).eval()

    def cached() -> torch.Tensor:
        assert peer is not None
        prompts = torch.from_numpy(few[:, :PROMPT].astype(np.int64)).to(setting.device)
        found = peer.generate(
            prompts, attention_mask=torch.ones_like(prompts), max_new_tokens=CONTINUATION, do_sample=False,
            min_new_tokens=CONTINUATION, pad_token_id=1, eos_token_id=None,
        )  # fmt: skip
        return found[:, PROMPT:].cpu()

    first_misses(engine, few, PROMPT, CONTINUATION)
    found: dict[str, np.ndarray] = {}
    for _ in range(1 if setting.rehearse else 3):
        started = time.monotonic()
        forced = timed(setting.device, lambda: found.update(forced=first_misses(engine, rows, PROMPT, CONTINUATION)))
        made = timed(setting.device, lambda: found.update(made=generate(engine, few[:, :PROMPT], CONTINUATION)))
        rates["forced"].append(forced_rows / forced)
        rates["made"].append(made_rows / made)
        setting.write("ours, by teacher forcing", rates["forced"], "rows/s", f"410m, {engine.dtype}")
        same = (found["forced"][:made_rows] == first_false(found["made"] == few[:, PROMPT:])).mean()
        setting.write(
            "generation without a cache, as the original", rates["made"], "rows/s",
            f"{same:.1%} of first misses agree",
        )  # fmt: skip
        if peer is None:
            setting.write("transformers' generate, cached", None, note="transformers is not installed")
        else:
            rates["cached"].append(made_rows / timed(setting.device, cached))
            setting.write("transformers' generate, cached", rates["cached"], "rows/s", f"batches of {made_rows}")
        for name, key in (("generation without a cache", "made"), ("transformers' generate, cached", "cached")):
            if rates[key]:
                ratio = statistics.median(rates["forced"]) / statistics.median(rates[key])
                setting.write(f"teacher forcing / {name}", ratio, "x")
        if setting.left() < 1.5 * (time.monotonic() - started) + 3:
            break


# ---------------------------------------------------------------------------------------------------------------------
# ranks: two processes on one device


def ranks(setting: Setting) -> None:
    """Collectives of two processes, and DDP and FSDP2 steps beside one process's.

    NCCL refuses two ranks on one device ("Duplicate GPU detected"; nccl#418: "not allowed and it will not work"); gloo
    copies through the host, and torch documents all_reduce and broadcast of it for CUDA tensors, which DDP needs. What
    FSDP2 needs beyond that is tried here and reported. So this checks results on a GPU and says nothing about NCCL's
    speed.
    """
    recipe = recipe_for(dataclasses.replace(setting, rehearse=True, data=None), "70m")
    expected = [*losses(recipe, "float32", setting.device, 3)]
    for kind in ("ddp", "fsdp"):
        what = f"{kind}, gloo, two processes: largest difference of a loss"
        if setting.left() < 8:
            setting.write(what, None, note=LOST)
            continue
        try:
            said = two_processes(setting, kind)
        except RuntimeError as error:
            setting.write(what, None, note=str(error))
            continue
        far = max(abs(a - b) for a, b in zip(said["losses"], expected, strict=True))
        setting.write(what, far, "nats", "3 steps beside one process's")
        setting.write(f"{kind}, gloo: a step of a small network", said["steps"], "s")
        if kind == "ddp":
            note = f"{said['bytes'] / 1e6:,.0f} MB, through the host"
            setting.write("all_reduce, gloo", said["reduce"], "s", note)


def two_processes(setting: Setting, kind: str) -> dict[str, Any]:
    """What the first of two processes says; raises RuntimeError with the last line of the one that failed."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = str(listener.getsockname()[1])
    command = [sys.executable, __file__, f"rank-{kind}", "--work", str(setting.work), "--rows", str(setting.rows)]
    command += ["--seconds", f"{setting.left():.0f}", *(["--rehearse"] if setting.rehearse else [])]
    given = {"WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    started = [
        subprocess.Popen(
            command, env={**os.environ, **given, "RANK": str(rank)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        end = time.monotonic() + setting.left() / (2 if kind == "ddp" else 1) - 1
        printed = [process.communicate(timeout=max(1.0, end - time.monotonic())) for process in started]
    except subprocess.TimeoutExpired:
        raise RuntimeError("the processes did not end in time") from None
    finally:
        for process in started:
            process.kill()
    for process, (_, error) in zip(started, printed, strict=True):
        if process.returncode:
            raise RuntimeError((error.strip().splitlines() or ["failed"])[-1][:200])
    return dict(json.loads(printed[0][0].strip().splitlines()[-1]))


def rank(setting: Setting, kind: str) -> None:
    """One of two processes: three steps of a small network, and all_reduce."""
    import torch
    from torch import distributed

    from workflow_scripts.training.run import processes as several
    from workflow_scripts.training.run.initialisation import initialise
    from workflow_scripts.training.run.model import GPTNeoX
    from workflow_scripts.training.run.optimizer import build_optimizer, clip_gradients, set_learning_rate
    from workflow_scripts.training.run.trainer import Objective

    several.BACKENDS["cuda"] = "gloo"
    torch.set_num_threads(1)
    recipe = recipe_for(dataclasses.replace(setting, rehearse=True, data=None), "70m")
    recipe = dataclasses.replace(recipe, compute_dtype="float32")
    with several.joined(kind, setting.device) as own:
        with own.device:
            model = GPTNeoX(recipe)
        module = several.shard(model, Objective(model, recipe), own)
        optimizer = build_optimizer(model, recipe)
        initialise(model, recipe)
        set_learning_rate(optimizer, 1e-3)
        several.settle(module, own.kind, recipe.sequence_length, own.device)
        shape = (recipe.batch_rows, recipe.sequence_length + 1)
        rows = torch.randint(0, recipe.vocab_size, shape, generator=torch.Generator().manual_seed(0))
        rows = rows.chunk(2)[own.rank].to(own.device)
        found, seconds = [], []
        for _ in range(3):
            started = wait(setting.device)
            loss = module(rows[:, :-1], rows[:, 1:])
            loss.backward()
            clip_gradients([p.grad for p in model.parameters() if p.grad is not None], 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            found.append(float(own.mean(loss.detach())))
            seconds.append(wait(setting.device) - started)
        block = torch.ones(1 << (16 if setting.rehearse else 26), device=own.device)
        reduces = [timed(setting.device, lambda: distributed.all_reduce(block)) for _ in range(3)]
        if own.is_main:
            said = {"losses": found, "steps": seconds, "reduce": reduces, "bytes": block.numel() * 4}
            print(json.dumps(said), flush=True)


# ---------------------------------------------------------------------------------------------------------------------
# commands: what a user types


def commands(setting: Setting) -> None:
    """``lm_eval run`` beside planning and scoring, on real documents: 410m, zero-shot, bfloat16."""
    from evaluation import TASKS, WHOLE_LIST, stock_command, write_stock_tasks

    what = "stock lm_eval run, 410m, zero-shot, whole command"
    if setting.data is None or not installed("lm_eval"):
        note = "needs --data-dir" if setting.data is None else "lm_eval is not installed"
        setting.write(what, None, note=note)
        return
    tasks = WHOLE_LIST[:2] if setting.rehearse else WHOLE_LIST
    share = setting.share / 20 if setting.rehearse else setting.share
    checkpoint = setting.checkpoint("410m")
    os.environ["HF_HOME"] = str(setting.work / "hf")
    with tempfile.TemporaryDirectory(dir=setting.work) as name:
        folder = Path(name)
        ours = [*score_command(setting, "410m", "bfloat16", folder / "ours", 1)]
        planning, _ = child(setting, [*plan_command(setting, 0)[:-1], str(folder / "anew.plan")])
        scoring, _ = child(setting, ours)
        setting.write("ours, planning, once for all checkpoints", planning, "s")
        setting.write("ours, scoring (and five-shot beside it), whole command", scoring, "s")
        write_stock_tasks(folder / "tasks", tasks, setting.data)
        TASKS[0] = tasks
        options = argparse.Namespace(shots=0, device=setting.device, share=share)
        command = stock_command(checkpoint, folder / "tasks", options, folder / "stock")
        most = "2" if setting.rehearse else "auto"
        command[command.index("16")] = most
        command = [word.replace("dtype=float32", "dtype=bfloat16") for word in command]
        try:
            seconds, _ = child(setting, ["-m", "lm_eval", *command[1:]])
        except RuntimeError as error:
            setting.write(what, None, note=str(error))
            return
        setting.write(what, seconds, "s", "batch_size auto; makes requests and metrics for this checkpoint alone")


def parse() -> Setting:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--rehearse", action="store_true")
    given = parser.parse_args()
    end = time.monotonic() + given.seconds
    return Setting(
        given.part, given.work, given.rows, end, given.share, given.rehearse, given.data_dir, given.tokenizer
    )


def main() -> None:
    """Run one part."""
    setting = parse()
    if setting.rehearse:
        os.environ["TORCHDYNAMO_DISABLE"] = "1"  # compiling would take longer than everything else
        os.environ["OMP_NUM_THREADS"] = "1"
    simple = {
        "set-up": set_up, "agreement": agreement, "start": start, "memorization": memorization, "ranks": ranks,
        "commands": commands,
    }  # fmt: skip
    kind, _, which = setting.part.partition("-")
    if setting.part in simple:
        simple[setting.part](setting)
    else:
        {"evaluation": evaluation, "training": training, "rank": rank}[kind](setting, which)


if __name__ == "__main__":
    main()
