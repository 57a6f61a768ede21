"""A small checkpoint and the plan of one task, for the faults of the evaluation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file

from workflow_scripts.evaluation import build_plan
from workflow_scripts.evaluation.scoring.model_folder import Shapes, parse_config

CHECKPOINT = "pocket-90k/step4"
CONFIG = {
    "model_type": "gpt_neox", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 128, "vocab_size": 512, "max_position_embeddings": 128, "rotary_pct": 0.25,
}  # fmt: skip


def make_world(folder: Path) -> Path:
    """Write a random checkpoint, sixty items of one task and their plan below ``folder``; returns it."""
    checkpoint = folder / CHECKPOINT
    checkpoint.mkdir(parents=True)
    (checkpoint / "config.json").write_text(json.dumps(CONFIG))
    generator = torch.Generator().manual_seed(0)
    shapes = Shapes(parse_config(CONFIG))
    weights = {name: 0.2 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})
    tokenizer = write_tokenizer(checkpoint / "tokenizer.json")
    rng = np.random.default_rng(0)
    sentences = [" ".join(f"w{number}" for number in rng.integers(0, 99, 8)) for _ in range(120)]
    rows = [
        {"sentence_good": one, "sentence_bad": two} for one, two in zip(sentences[:60], sentences[60:], strict=True)
    ]
    path = folder / "data" / "pocket" / "agreement" / "default" / "test.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    command = ["--tasks", "pocket_agreement", "--shots", "0", "--data-dir", str(folder / "data"), "--max-length", "128"]
    build_plan.main([*command, "--tokenizer", str(tokenizer), "--output", str(folder / "0-shot.plan")])
    return folder


def write_tokenizer(path: Path) -> Path:
    """A byte-level tokenizer without merges."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {text: number for number, text in enumerate(["<|endoftext|>", *letters])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>"])
    tokenizer.save(str(path))
    return path
