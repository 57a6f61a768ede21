r"""Memory of the scorer beyond a checkpoint's weights, at the width of any model of the suite.

    python benchmarks/evaluation_memory.py --data-dir ../shared/hub/datasets \
        --tokenizer ../shared/tokenizer/20B_tokenizer.json --model 12b --layers 2

Makes a random checkpoint with some of the model's layers, scores two WikiText pages with it (every token's logits are
needed, the most a pass can ask for), and prints the largest anonymous memory of the scoring process, the weights, and
the difference. The difference does not depend on the number of layers: activations of one layer live at a time. Pages
of the weight file are left out, since the system takes them back whenever it needs room. Linux only (/proc).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

from workflow_scripts.evaluation.planning.plan_file import read_plan
from workflow_scripts.evaluation.scoring.model_folder import Shapes, read_config

SHAPES = {  # width, heads, vocabulary rows with their padding
    "14m": (128, 4, 50304),
    "410m": (1024, 16, 50304),
    "1.4b": (2048, 16, 50304),
    "6.9b": (4096, 32, 50432),
    "12b": (5120, 40, 50688),
}
BYTES = {"float32": 4, "bfloat16": 2}
GIB = 2**30


def make_checkpoint(folder: Path, options: argparse.Namespace) -> None:
    """Random float16 weights in ``folder``, written one file a layer, as large checkpoints come in shards."""
    width, heads, vocabulary = SHAPES[options.model]
    shape = {"hidden_size": width, "num_hidden_layers": options.layers, "num_attention_heads": heads}
    sizes = {"intermediate_size": 4 * width, "vocab_size": vocabulary, "max_position_embeddings": 2048}
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt_neox", **shape, **sizes}))
    shutil.copy(options.tokenizer, folder / "tokenizer.json")
    torch.manual_seed(0)
    owner: dict[str, str] = {}
    shards: dict[str, dict[str, torch.Size | tuple[int, ...]]] = {}
    for name, size in Shapes(read_config(folder)).items():
        part = re.match(r"gpt_neox\.layers\.\d+|gpt_neox\.\w+|\w+", name)
        owner[name] = f"model-{part[0] if part else name}.safetensors"
        shards.setdefault(owner[name], {})[name] = size
    for file, members in shards.items():
        save_file({name: 0.02 * torch.randn(size).half() for name, size in members.items()}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": owner}))


def anonymous_bytes(process: int) -> int:
    """Anonymous resident memory of a process; 0 when it has ended."""
    try:
        text = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"RssAnon:\s+(\d+) kB", text)
    return 1024 * int(found[1]) if found else 0


def peak_of(command: list[str], log: Path) -> int:
    """Run a program in one thread; its largest anonymous memory in bytes, looked at a hundred times a second."""
    with log.open("w") as said:
        program = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=said, stderr=said)
        peak = 0
        while program.poll() is None:
            peak = max(peak, anonymous_bytes(program.pid))
            time.sleep(0.01)
    if program.returncode:
        sys.exit(f"{command[:4]} failed:\n{log.read_text()[-3000:]}")
    return peak


def measure(options: argparse.Namespace, folder: Path) -> None:
    """Make everything in ``folder``, score, print."""
    checkpoint, plan = folder / f"random-{options.model}" / "step0", folder / "page.plan"
    make_checkpoint(checkpoint, options)
    module = [sys.executable, "-m", "workflow_scripts.evaluation.build_plan", "--tasks", "wikitext", "--shots", "0"]
    data = ["--data-dir", str(options.data_dir), "--tokenizer", str(options.tokenizer), "--max-length", "2048"]
    peak_of([*module, *data, "--limit", "2", "--output", str(plan)], folder / "log")
    start = [sys.executable, "-c", "from workflow_scripts.evaluation.scoring import score_plan"]
    program = peak_of(start, folder / "log")
    score = [sys.executable, "-m", "workflow_scripts.evaluation.score", "--plan", str(plan), "--dtype", options.dtype]
    output = ["--checkpoint", str(checkpoint), "--output", str(folder / "scores" / "step0" / "0-shot.json")]
    peak = peak_of([*score, *output], folder / "log")
    config = read_config(checkpoint)
    weights = BYTES[options.dtype] * Shapes(config).elements
    counts = read_plan(plan).header["counts"]
    logits = 4 * counts["longest_row"] * config.vocabulary
    print(f"{options.model}, {options.layers} layers, {options.dtype}: {counts}")
    print(f"peak {peak / GIB:.2f} GiB, weights {weights / GIB:.2f} GiB, beyond them {(peak - weights) / GIB:.2f} GiB")
    print(f"of these Python, torch and the package: {program / GIB:.2f} GiB")
    print(f"[longest row, vocabulary] in float32, never held: {logits / GIB:.2f} GiB for each text of a batch")


def main() -> None:
    """Run the benchmark in a temporary folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True, help="evaluation data laid out like the Hub's")
    parser.add_argument("--tokenizer", type=Path, required=True, help="Pythia's tokenizer.json")
    parser.add_argument("--model", default="12b", choices=sorted(SHAPES))
    parser.add_argument("--layers", type=int, default=2, help="layers of the checkpoint")
    parser.add_argument("--dtype", default="float32", choices=sorted(BYTES), help="precision of the weights")
    with tempfile.TemporaryDirectory(prefix="evaluation-memory-") as name:
        measure(parser.parse_args(), Path(name))


if __name__ == "__main__":
    main()
