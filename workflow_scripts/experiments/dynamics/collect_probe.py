r"""Collect the rows that every checkpoint is asked: of the training order, of held-out text, of random tokens.

    python -m workflow_scripts.experiments.dynamics.collect_probe --tokenizer results/corpus/pocket/tokenizer.json \
        --length 128 --text config/dynamics/pocket.jsonl --text-rows 8 --repeated 48 32 --output probe.safetensors

Rows of the training order (--iterations, --gradient) need --recipe and --view of the data set, and --index-maps unless
they are to be computed. The same arguments give the same bytes.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from workflow_scripts import cli
from workflow_scripts.errors import ConfigError
from workflow_scripts.experiments.dynamics.probe_file import (
    BATCH,
    Tokens,
    random_rows,
    rows_from,
    text_rows,
    training_rows,
    write_probe,
)
from workflow_scripts.experiments.dynamics.probe_texts import HELD_OUT, TRAINING
from workflow_scripts.storage.records import write_record
from workflow_scripts.training.recipe import read_recipe
from workflow_scripts.training.run.training_rows import open_rows

LOG = logging.getLogger(__name__)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Command line of this program."""
    parser = cli.parser(__doc__)
    parser.add_argument("--tokenizer", type=Path, required=True, help="tokenizer.json of the models")
    parser.add_argument("--length", type=int, required=True, help="tokens of a row that a model reads")
    parser.add_argument("--iterations", type=int, nargs="*", default=[], help="iterations whose first rows are taken")
    parser.add_argument("--rows", type=int, default=4, help="rows of each iteration")
    parser.add_argument("--gradient", type=int, nargs=2, metavar="N", help="iteration and number of rows for gradients")
    parser.add_argument("--recipe", help="recipe of the training: a file or the JSON object itself")
    parser.add_argument("--view", type=Path, help="view.json of the data set")
    parser.add_argument("--index-maps", type=Path, help="folder of GPT-NeoX index maps; computed when left out")
    parser.add_argument("--text", type=Path, help="held-out text, .jsonl or .txt")
    parser.add_argument("--text-rows", type=int, default=8, help="rows of the text")
    parser.add_argument(
        "--repeated", type=int, nargs=2, metavar="N", help="random tokens that repeat: how many, sequences"
    )
    parser.add_argument("--output", type=Path, required=True, help="probe to write, .safetensors")
    options = parser.parse_args(arguments)
    if (options.iterations or options.gradient) and not (options.view and options.recipe):
        raise ConfigError("--iterations and --gradient are rows of the training order: give --view and --recipe")
    if not options.iterations and options.text is None:
        raise ConfigError("give --iterations, --text or both: random tokens are drawn from theirs")
    return options


def collect(options: argparse.Namespace) -> dict[str, Tokens]:
    """All rows that are asked for, by name."""
    found: dict[str, Tokens] = {}
    if options.iterations or options.gradient:
        recipe = read_recipe(options.recipe)
        source = open_rows(options.view, options.index_maps, recipe)
        if options.iterations:
            found[TRAINING] = training_rows(source, recipe, options.iterations, options.rows, options.length)
        if options.gradient:
            found[BATCH] = rows_from(source, recipe, *options.gradient)
    if options.text:
        found[HELD_OUT] = text_rows(options.text, options.tokenizer, options.text_rows, options.length)
    if options.repeated:
        known = np.concatenate([tokens.reshape(-1) for name, tokens in found.items() if name != BATCH])
        found |= random_rows(known, *options.repeated)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program."""
    options = parse(arguments)
    rows = collect(options)
    write_probe(options.output, rows)
    inputs = {"tokenizer": options.tokenizer, "text": options.text, "view": options.view}
    shapes = {name: list(tokens.shape) for name, tokens in rows.items()}
    write_record(
        options.output,
        {name: path for name, path in inputs.items() if path},
        {"shapes": shapes, "iterations": options.iterations, "gradient": options.gradient},
    )
    LOG.info("%s", ", ".join(f"{name}: {rows} x {tokens}" for name, (rows, tokens) in shapes.items()))


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
