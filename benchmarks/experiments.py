r"""Rates that the costs of experiments are computed from (workflow_scripts/workflow/experiment_costs.py).

Three sections: memorization by teacher forcing against the original generation (token-forwards and seconds of both,
FLOP per second beside the rate of a bare matrix product), counting of terms (tokens per second of decoding and both
modes), rewriting of pronouns (tokens per second of the first pass). Times are CPU-seconds of one thread, so a busy
machine changes them little.

    python benchmarks/experiments.py
    python benchmarks/experiments.py memorization --model pythia-70m --rows 64
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from workflow_scripts.dataset import train_tokenizer  # noqa: E402
from workflow_scripts.evaluation.engine.engine import Engine  # noqa: E402
from workflow_scripts.evaluation.planning.encode import Encoder  # noqa: E402
from workflow_scripts.experiments.bias.rewrite import make_rewriter  # noqa: E402
from workflow_scripts.experiments.frequency.terms import counters, load_terms  # noqa: E402
from workflow_scripts.experiments.memory.greedy import (  # noqa: E402
    first_false,
    first_misses,
    generate,
    generated_tokens,
    teacher_forced_tokens,
)
from workflow_scripts.pocket import generate_corpus  # noqa: E402
from workflow_scripts.suite.arms import load_declaration  # noqa: E402
from workflow_scripts.suite.registry import load_suite  # noqa: E402
from workflow_scripts.training.publish import model_config  # noqa: E402
from workflow_scripts.training.recipe import recipe_of  # noqa: E402
from workflow_scripts.training.run.model import GPTNeoX  # noqa: E402
from workflow_scripts.workflow.resources import CPU_RATE, forward_flops_per_token  # noqa: E402

PROMPT, CONTINUATION = 32, 32
GEMM = 1536


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU-seconds of a call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def matrix_rate() -> float:
    """FLOP per second of one float32 matrix product."""
    left, right = torch.randn(GEMM, GEMM), torch.randn(GEMM, GEMM)
    torch.mm(left, right)
    return 2 * GEMM**3 / min(cpu_seconds(lambda: torch.mm(left, right)) for _ in range(3))


def memorization(options: argparse.Namespace, folder: Path) -> None:
    """Both procedures on the same random rows of an untrained model of a known shape."""
    suite = load_suite("pythia" if options.model.startswith("pythia") else "pocket")
    model = suite.model(options.model)
    recipe = recipe_of(model)
    torch.manual_seed(0)
    checkpoint = folder / "step1"
    checkpoint.mkdir()
    (checkpoint / "config.json").write_text(json.dumps(model_config(recipe, "float32")))
    weights = {name: value.detach().contiguous() for name, value in GPTNeoX(recipe).named_parameters()}
    save_file(weights, checkpoint / "model.safetensors")
    engine = Engine(checkpoint)
    rows = np.random.default_rng(0).integers(0, recipe.vocab_size, (options.rows, PROMPT + CONTINUATION))
    rows = rows.astype(np.uint16)
    found: dict[str, np.ndarray] = {}
    first_misses(engine, rows[:8], PROMPT, CONTINUATION)
    forced = cpu_seconds(lambda: found.update(forced=first_misses(engine, rows, PROMPT, CONTINUATION)))
    made = cpu_seconds(lambda: found.update(made=generate(engine, rows[:, :PROMPT], CONTINUATION)))
    agree = (found["forced"] == first_false(found["made"] == rows[:, PROMPT:])).all()
    tokens = teacher_forced_tokens(PROMPT, CONTINUATION)
    rate = options.rows * tokens * forward_flops_per_token(model) / forced
    print(f"memorization, {model.name}, {options.rows} rows, first misses equal: {bool(agree)}")
    print(f"  token-forwards a row: {tokens} forced, {generated_tokens(PROMPT, CONTINUATION)} generated, "
          f"ratio {generated_tokens(PROMPT, CONTINUATION) / tokens:.1f}")  # fmt: skip
    print(f"  CPU-seconds: {forced:.2f} forced, {made:.2f} generated, ratio {made / forced:.1f}")
    print(f"  {options.rows * tokens / forced:,.0f} tokens/s forced; {rate / 1e9:.1f} GFLOP/s, "
          f"{rate / matrix_rate():.0%} of a bare product; the plan assumes {CPU_RATE / 1e9:.0f}")  # fmt: skip


def texts_of(folder: Path) -> tuple[Encoder, list[str]]:
    """Tokenizer and documents of the pocket corpus."""
    generate_corpus.main(
        ["--seed", "1234", "--documents", "4950", "--output-standard", str(folder / "standard.jsonl"),
         "--output-deduped", str(folder / "deduped.jsonl"), "--world", str(folder / "world.json")]
    )  # fmt: skip
    train_tokenizer.main(
        ["--corpus", str(folder / "standard.jsonl"), "--vocab-size", "1000", "--output", str(folder / "tokenizer.json")]
    )
    lines = (folder / "standard.jsonl").read_text(encoding="utf-8").splitlines()
    return Encoder(folder / "tokenizer.json", 128), [json.loads(line)["text"] for line in lines]


def rows_of(encoder: Encoder, texts: list[str], width: int = 129) -> np.ndarray:
    """The documents as rows of tokens, uint16 [n, width]."""
    tokens = np.concatenate([np.asarray(ids, dtype=np.uint16) for ids in encoder.texts(texts)])
    return tokens[: len(tokens) // width * width].reshape(-1, width)


def counting(_: argparse.Namespace, folder: Path) -> None:
    """Decoding and both modes of counting, over rows of the pocket corpus."""
    encoder, texts = texts_of(folder)
    rows = rows_of(encoder, texts)
    decoded: list[str] = []
    seconds = {
        "decode": cpu_seconds(
            lambda: decoded.extend(encoder.tokenizer.decode_batch(rows.tolist(), skip_special_tokens=False))
        )
    }
    for mode, counting_ in counters(load_terms("pocket", folder / "world.json")).items():
        seconds[mode] = cpu_seconds(lambda counting_=counting_: counting_(decoded))  # type: ignore[misc]
    megabytes = sum(map(len, decoded)) / 1e6
    total = 2 * seconds["decode"] + seconds["window"] + seconds["word"]
    parts = ", ".join(f"{name} {megabytes / value:.1f} MB/s" for name, value in seconds.items())
    print(f"counting terms, {rows.size:,} tokens: {rows.size / total:,.0f} tokens per CPU-second ({parts})")


def rewriting(_: argparse.Namespace, folder: Path) -> None:
    """Exchange of pronouns over rows of the pocket corpus."""
    encoder, texts = texts_of(folder)
    rows = rows_of(encoder, texts)
    rewrite = make_rewriter(encoder, load_declaration("pronouns").pairs, "first_to_second")
    rewrite(rows[:8])
    seconds = cpu_seconds(lambda: rewrite(rows))
    print(f"rewriting pronouns, {rows.size:,} tokens: {rows.size / seconds:,.0f} tokens per CPU-second")


SECTIONS = {"memorization": memorization, "counting": counting, "rewriting": rewriting}


def main() -> None:
    """Run the sections named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)}; all when left out")
    parser.add_argument("--model", default="pocket-1m", help="shape of the network (of the suites pocket or pythia)")
    parser.add_argument("--rows", type=int, default=128, help="rows to score")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.sections or SECTIONS:
        with tempfile.TemporaryDirectory() as folder:
            SECTIONS[name](options, Path(folder))


if __name__ == "__main__":
    main()
