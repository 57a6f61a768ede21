r"""Rewrite the rows of the last part of training: a list of changed tokens, counts before and after, decoded samples.

    python -m workflow_scripts.experiments.make_patch --declaration pronouns --direction first_to_second \
        --recipe recipe.json --view results/data/pocket/standard/view.json --first-step 558 \
        --tokenizer results/corpus/pocket/tokenizer.json --output results/experiments/.../patch.safetensors

With --function NAME the rows are rewritten by the function of config/interventions/NAME.py instead of a --direction.
The patch is read by training.retrain --patch; it names the order of rows that it belongs to and cannot be used with
another. Beside it is <output>.samples.jsonl: the first changed places as text, before and after.
"""

import argparse
import json
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from workflow_scripts import cli
from workflow_scripts.dataset.order.patched_rows import Patch, write_patch
from workflow_scripts.errors import ConfigError
from workflow_scripts.evaluation.planning.encode import Encoder
from workflow_scripts.experiments.bias.rewrite import (
    DIRECTIONS,
    Rewriter,
    Rows,
    UserFunction,
    make_forms,
    make_rewriter,
    read_vocabulary,
    show,
    word_counts,
)
from workflow_scripts.experiments.engine_options import add_order_arguments
from workflow_scripts.progress import Progress
from workflow_scripts.storage.atomic import write_text
from workflow_scripts.storage.records import write_record
from workflow_scripts.suite.arms import Declaration, function_path, load_declaration
from workflow_scripts.training.recipe import Recipe, read_recipe
from workflow_scripts.training.run.training_rows import RowSource, open_rows

LOG = logging.getLogger(__name__)
ROWS_AT_ONCE = 2048
SAMPLES = 20
SAMPLE_TOKENS = 12


def make_patch(
    source: RowSource, recipe: Recipe, encoder: Encoder, declaration: Declaration, *, direction: str, first_step: int
) -> tuple[Patch, list[dict[str, object]]]:
    """Patch of rows [first_step, last step) of the training order, and samples of what changed.

    ``direction`` is one of DIRECTIONS or the name of a user's function.
    """
    if direction in DIRECTIONS:
        rewrite: Rewriter = make_rewriter(encoder, declaration.pairs, direction)
    else:
        rewrite = UserFunction(direction, encoder)
    vocabulary, forms = read_vocabulary(encoder), make_forms(encoder, declaration.pairs)
    first, stop = first_step * recipe.batch_rows, recipe.train_iterations * recipe.batch_rows
    positions, tokens = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int32)]
    counts: Counter[str] = Counter()
    samples: list[dict[str, object]] = []
    with Progress(f"rewrite {direction}", max(stop - first, 1), "rows") as progress:
        for begin in range(first, stop, ROWS_AT_ONCE):
            rows = source.rows(begin, min(begin + ROWS_AT_ONCE, stop))
            made, found = rewrite(rows, begin)
            place = np.flatnonzero((made != rows).ravel())
            positions.append(begin * rows.shape[1] + place)
            tokens.append(made.ravel()[place].astype(np.int32))
            counts.update(found)
            for when, which in (("before", rows), ("after", made)):
                counts.update({f"{side}_{when}": n for side, n in word_counts(which, vocabulary, forms).items()})
            samples += sample_places(encoder, rows, made, begin, SAMPLES - len(samples))
            progress.advance(len(rows))
    facts = {
        "declaration": declaration.name,
        "pairs": [list(pair) for pair in declaration.pairs],
        "direction": direction,
        "counts": dict(sorted(counts.items())),
        "not_single_tokens": [f"{form.first}/{form.second}" for form in forms if not form.is_single],
    }
    width = recipe.sequence_length + 1
    return Patch(
        np.concatenate(positions), np.concatenate(tokens), source.fingerprint, width, first, stop, facts
    ), samples


def sample_places(encoder: Encoder, rows: Rows, made: Rows, first_row: int, number: int) -> list[dict[str, object]]:
    """The first ``number`` changed places as text."""
    samples: list[dict[str, object]] = []
    for row, column in np.argwhere(made != rows)[: max(number, 0)].tolist():
        around = slice(max(0, column - SAMPLE_TOKENS), column + SAMPLE_TOKENS)
        samples.append(
            {
                "row": first_row + row,
                "column": column,
                "before": show(encoder, rows[row, around]),
                "after": show(encoder, made[row, around]),
            }
        )
    return samples


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.parser(__doc__)
    parser.add_argument("--declaration", required=True, help="name of a file in config/interventions")
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--direction", choices=DIRECTIONS, help="which words become which")
    kind.add_argument("--function", help="name of a file in config/interventions that defines rewrite()")
    add_order_arguments(parser)
    parser.add_argument("--first-step", type=int, required=True, help="iteration from which the data are changed")
    parser.add_argument("--tokenizer", type=Path, required=True, help="tokenizer.json of the data")
    parser.add_argument("--output", type=Path, required=True, help="patch to write, .safetensors")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    recipe = read_recipe(options.recipe)
    if not 0 <= options.first_step < recipe.train_iterations:
        raise ConfigError(f"--first-step {options.first_step} is outside 0..{recipe.train_iterations - 1}")
    source = open_rows(options.view, options.index_maps, recipe)
    encoder = Encoder(options.tokenizer, recipe.sequence_length)
    declaration = load_declaration(options.declaration)
    direction = options.function or options.direction
    patch, samples = make_patch(
        source, recipe, encoder, declaration, direction=direction, first_step=options.first_step
    )
    lines = "".join(json.dumps(sample, ensure_ascii=False) + "\n" for sample in samples)
    write_text(options.output.with_name(f"{options.output.name}.samples.jsonl"), lines)
    write_patch(options.output, patch)
    inputs = {"view": options.view, "tokenizer": options.tokenizer}
    if options.function:
        inputs["function"] = function_path(options.function)
    write_record(options.output, inputs, {**patch.facts, "sha256": patch.sha256})
    LOG.info("%d tokens changed in rows %d to %d", len(patch.positions), patch.first_row, patch.stop_row)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
