"""What the tests of the experiments share: tiny models as Hugging Face folders."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from tests.training.training_runs import ArrayRows
from workflow_scripts.training.recipe import Recipe
from workflow_scripts.training.run.model import GPTNeoX
from workflow_scripts.training.run.optimizer import build_optimizer
from workflow_scripts.training.run.starting_point import begin, fresh_state
from workflow_scripts.training.run.trainer import Plan, Trainer

CONFIG = {
    "model_type": "gpt_neox",
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
    "use_parallel_residual": True,
    "tie_word_embeddings": False,
    "rotary_pct": 0.25,
    "rotary_emb_base": 10000,
}


def write_folder(folder: Path, weights: dict[str, torch.Tensor], heads: int, context: int, **settings: float) -> Path:
    """Hugging Face folder with ``weights``; shapes are read from them, ``settings`` go into config.json."""
    vocabulary, width = weights["gpt_neox.embed_in.weight"].shape
    layers = 1 + max(int(name.split(".")[2]) for name in weights if name.startswith("gpt_neox.layers."))
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        **CONFIG,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * width,
        "vocab_size": vocabulary,
        "max_position_embeddings": context,
        **settings,
    }
    (folder / "config.json").write_text(json.dumps(config))
    save_file({name: tensor.detach().contiguous() for name, tensor in weights.items()}, folder / "model.safetensors")
    return folder


def random_folder(folder: Path, recipe: Recipe, seed: int = 0, scale: float = 0.3) -> Path:
    """Folder of an untrained model whose logits differ a lot between tokens."""
    generator = torch.Generator().manual_seed(seed)
    model = GPTNeoX(recipe)
    weights = {
        name: torch.randn(parameter.shape, generator=generator) * scale
        if parameter.dim() == 2
        else torch.ones_like(parameter) * float("norm" in name and name.endswith("weight"))
        for name, parameter in model.named_parameters()
    }
    return write_folder(folder, weights, recipe.heads, recipe.sequence_length)


def model_folder(folder: Path, model: GPTNeoX, recipe: Recipe) -> Path:
    """Folder of a trained model."""
    return write_folder(folder, dict(model.named_parameters()), recipe.heads, recipe.sequence_length)


def random_rows(count: int, width: int, vocabulary: int, seed: int = 0) -> np.ndarray:
    """Rows of random tokens, uint16."""
    return np.random.default_rng(seed).integers(0, vocabulary, size=(count, width)).astype(np.uint16)


def train(recipe: Recipe, rows: ArrayRows, run: Path, *, keep: tuple[int, ...] = ()) -> GPTNeoX:
    """Train a model from scratch to the recipe's last step; returns it."""
    model = GPTNeoX(recipe)
    optimizer = build_optimizer(model, recipe)
    fresh = fresh_state(recipe, rows.fingerprint, 1, recipe.batch_rows)
    state = begin(run, fresh, recipe, model=model, optimizer=optimizer, when_different="refuse")
    plan = Plan(run, recipe.train_iterations, recipe.batch_rows, keep)
    Trainer(recipe, rows, model=model, optimizer=optimizer, state=state, plan=plan).run()
    return model
