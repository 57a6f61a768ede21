"""Arguments that every program which forwards checkpoints has, and the engine they describe."""

import argparse
from pathlib import Path

import torch

from workflow_scripts.evaluation.engine.engine import Engine
from workflow_scripts.evaluation.scoring.score_plan import DTYPES


def add_engine_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --threads, --device and --dtype."""
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--dtype", default="float32", choices=sorted(DTYPES), help="of weights and matrix products")


def add_checkpoint_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --checkpoint (one or several) and --data-dir, for programs that score items."""
    parser.add_argument("--checkpoint", type=Path, nargs="+", required=True, help="Hugging Face folders called step<N>")
    parser.add_argument("--data-dir", type=Path, nargs="+", default=[], help="folders of data in the Hub's layout")


def add_trained_checkpoint_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --checkpoint, and what names the rows it was trained on."""
    parser.add_argument("--checkpoint", type=Path, required=True, help="Hugging Face folder of the checkpoint")
    add_order_arguments(parser)


def add_order_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --recipe, --view and --index-maps, which name the rows of a training in their order."""
    parser.add_argument("--recipe", required=True, help="recipe of the training: a file or the JSON object itself")
    parser.add_argument("--view", type=Path, required=True, help="view.json of its data set")
    parser.add_argument("--index-maps", type=Path, help="folder of GPT-NeoX index maps; computed when left out")


def open_engine(checkpoint: Path, options: argparse.Namespace) -> Engine:
    """Engine of a checkpoint by the options of ``add_engine_arguments``."""
    torch.set_num_threads(options.threads)
    return Engine(checkpoint, options.device, DTYPES[options.dtype])
