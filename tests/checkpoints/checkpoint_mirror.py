"""Tiny checkpoints for tests: random weights with the right names, published as a mirror folder or as Hub files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from workflow_scripts.suite.models import Model
from workflow_scripts.training.tensor_shapes import tensor_shapes

TOKENIZER = b'{"model": {"vocab": {"<|endoftext|>": 0}}}\n'
NUMPY = {"float16": np.float16, "float32": np.float32}


def weights(model: Model, step: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Weights that drift smoothly with log(1 + step) from one start per seed; norm gains start at one."""
    start, drift = np.random.RandomState(model.weight_seed), np.random.RandomState(seed + 1)
    made, time = {}, np.log1p(step)
    for name, shape in tensor_shapes(model.layers, model.hidden_size, model.vocab_size).items():
        first = np.ones(shape) if "norm" in name and name.endswith("weight") else 0.02 * start.standard_normal(shape)
        made[name] = (first + 0.004 * time * drift.standard_normal(shape)).astype(NUMPY[model.published_dtype])
    return made


def weight_bytes(tensors: dict[str, np.ndarray]) -> bytes:
    """The safetensors file of ``tensors``."""
    return save(tensors, metadata={"format": "pt"})


def files_of(model: Model, content: bytes) -> dict[str, bytes]:
    """Files of a revision around the weights ``content``."""
    config = {"model_type": "gpt_neox", "hidden_size": model.hidden_size, "num_hidden_layers": model.layers}
    return {"config.json": json.dumps(config).encode(), "tokenizer.json": TOKENIZER, "model.safetensors": content}


def revisions_of(model: Model, seed: int = 0) -> dict[str, dict[str, bytes]]:
    """Files of every revision of a model, main included."""
    made = {f"step{step}": files_of(model, weight_bytes(weights(model, step, seed))) for step in model.steps}
    return {**made, "main": made[f"step{model.steps[-1]}"]}


def write_revision(root: Path, repository: str, revision: str, files: dict[str, bytes]) -> Path:
    """Write a revision into the mirror at ``root`` with its list of hashes; returns its folder."""
    folder = root / "models" / repository / revision
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["path\tsize\tsha256"]
    for name, content in sorted(files.items()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
        lines.append(f"{name}\t{len(content)}\t{hashlib.sha256(content).hexdigest()}")
    (folder / "sha256.txt").write_text("\n".join(lines) + "\n")
    return folder
