r"""Exposures of traced texts in the training order, from the scans of all parts of the data set.

    python -m workflow_scripts.experiments.traces.place_texts --declaration config/traces/pocket.yaml \
        --view results/data/pocket/standard/view.json --index-maps results/data/pocket/standard/index_maps \
        --recipe results/training/pocket-1m/recipe.json --tokenizer results/corpus/pocket/tokenizer.json \
        --scans part-0.npz --output exposures.parquet

A row per exposure, in the order of training: text, domain, form, step, iteration, row, position, length, text_token,
text_tokens, whole, document, document_token, repeat (docs/experiments/traces.md). --scans are given in the order of
their parts.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts import cli
from workflow_scripts.dataset.order.training_order import TrainingRows
from workflow_scripts.experiments.outputs import write_frame
from workflow_scripts.experiments.traces.placement import exposures, find_matches
from workflow_scripts.experiments.traces.scanning import joined, load_scan
from workflow_scripts.experiments.traces.trace_options import add_text_arguments, traced
from workflow_scripts.training.recipe import read_recipe

LOG = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program."""
    parser = cli.parser(__doc__)
    add_text_arguments(parser)
    parser.add_argument("--view", type=Path, required=True, help="view.json of the data set")
    parser.add_argument("--index-maps", type=Path, help="folder of GPT-NeoX index maps; computed when left out")
    parser.add_argument("--recipe", required=True, help="recipe of a model trained on it: a file or the JSON itself")
    parser.add_argument("--tokenizer", type=Path, required=True, help="tokenizer.json of the data set")
    parser.add_argument("--scans", type=Path, nargs="+", required=True, help="outputs of scan_texts, in order")
    parser.add_argument("--output", type=Path, required=True, help="table to write, .parquet")
    options = parser.parse_args(arguments)
    recipe, what = read_recipe(options.recipe), traced(options, options.tokenizer)
    order = TrainingRows.open(
        options.view, options.index_maps, recipe.sequence_length, recipe.data_seed, recipe.train_iterations,
        recipe.batch_rows,
    )  # fmt: skip
    parts = len(options.scans)
    scan = joined([load_scan(path, what.identity(order.data, part, parts)) for part, path in enumerate(options.scans)])
    rows = recipe.train_iterations * recipe.batch_rows
    matches = find_matches(order, what.table, scan, 0, rows)
    frame = exposures(matches, what.forms, what.texts, recipe.batch_rows)
    inputs = {"view": options.view, "tokenizer": options.tokenizer, **what.files}
    inputs |= {f"scan {part}": path for part, path in enumerate(options.scans)}
    parameters = {"data_fingerprint": order.fingerprint, "training_rows": rows, "min_tokens": what.table.min_tokens}
    write_frame(options.output, frame, inputs, parameters)
    LOG.info("%d exposures of %d texts, %d of them whole", len(frame), frame["text"].nunique(), frame["whole"].sum())


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
