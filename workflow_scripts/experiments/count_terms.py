r"""Count terms over a range of the training order in one pass, separately for the rows before each checkpoint.

    python -m workflow_scripts.experiments.count_terms --terms pocket --world results/corpus/pocket/world.json \
        --recipe recipe.json --view results/data/pocket/standard/view.json --steps 128 256 512 600 \
        --stop-row 4800 --tokenizer results/corpus/pocket/tokenizer.json --output counts.parquet

One row per term, mode (window, word) and iteration: occurrences in those rows of the range that were trained on up to
that iteration and after the asked one before it; term_frequency adds them up. Terms without an occurrence have 0. Rows
are read in their order of training, so copies and epochs count as often as they were trained on.
"""

import argparse
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from workflow_scripts import cli
from workflow_scripts.errors import ConfigError
from workflow_scripts.evaluation.planning.encode import Encoder
from workflow_scripts.experiments.engine_options import add_order_arguments
from workflow_scripts.experiments.frequency.terms import Term, counters, load_terms
from workflow_scripts.experiments.outputs import write_frame
from workflow_scripts.progress import Progress
from workflow_scripts.training.recipe import Recipe, read_recipe
from workflow_scripts.training.run.training_rows import RowSource, open_rows

LOG = logging.getLogger(__name__)
ROWS_AT_ONCE = 1024
UNSEEN_BY_WORD = 1  # the last token of a row is only predicted; the next row of its document begins with it


def decoded(encoder: Encoder, source: RowSource, start: int, stop: int) -> dict[str, list[str]]:
    """Text of rows [start, stop) as each mode reads it."""
    rows = source.rows(start, stop)
    whole = encoder.tokenizer.decode_batch(rows.tolist(), skip_special_tokens=False)
    inputs = encoder.tokenizer.decode_batch(rows[:, :-UNSEEN_BY_WORD].tolist(), skip_special_tokens=False)
    return {"window": whole, "word": inputs}


def portions(steps: Sequence[int], batch_rows: int, first: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """(First row, last row + 1, asked step at which they have been seen) of rows [first, stop), cut at each step.

    >>> list(portions([1, 3], batch_rows=8, first=4, stop=20))
    [(4, 8, 1), (8, 20, 3)]
    """
    begin = first
    for step in steps:
        limit = min(step * batch_rows, stop)
        while begin < limit:
            end = min(begin + ROWS_AT_ONCE, limit)
            yield begin, end, step
            begin = end


def count(
    source: RowSource, recipe: Recipe, encoder: Encoder, terms: Sequence[Term], *, steps: Sequence[int],
    first: int, stop: int,
) -> pd.DataFrame:  # fmt: skip
    """Counts in rows [first, stop), apart for each of ``steps`` (rising, above 0)."""
    modes = counters(terms)
    seen: dict[int, dict[str, Counter[str]]] = {}
    with Progress("count terms", stop - first, "rows") as progress:
        for begin, end, step in portions(steps, recipe.batch_rows, first, stop):
            found = seen.setdefault(step, {mode: Counter() for mode in modes})
            texts = decoded(encoder, source, begin, end)
            for mode, counting in modes.items():
                found[mode].update(counting(texts[mode]))
            progress.advance(end - begin)
    return pd.DataFrame([row for step, found in seen.items() for row in rows_of(terms, found, step)])


def rows_of(terms: Sequence[Term], seen: dict[str, Counter[str]], step: int) -> list[dict[str, object]]:
    """Rows of one step; windows hold numbers only."""
    return [
        {"term": term.name, "kind": term.kind, "mode": mode, "iteration": step, "count": counts[term.name]}
        for mode, counts in seen.items()
        for term in terms
        if mode == "word" or term.kind == "number"
    ]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.parser(__doc__)
    parser.add_argument("--terms", required=True, help="name of a file in config/terms")
    parser.add_argument("--world", type=Path, help="world file of the pocket suite, where facts are counted")
    add_order_arguments(parser)
    parser.add_argument("--tokenizer", type=Path, required=True, help="tokenizer.json of the data")
    parser.add_argument("--steps", type=int, nargs="+", required=True, help="iterations at which counts are asked for")
    parser.add_argument("--first-row", type=int, default=0, help="first row in training order")
    parser.add_argument("--stop-row", type=int, required=True, help="row after the last one")
    parser.add_argument("--output", type=Path, required=True, help="table to write, .parquet")
    options = parser.parse_args(arguments)
    options.steps = sorted({step for step in options.steps if step > 0})
    if not options.steps:
        raise ConfigError("--steps: no step above 0, so nothing was seen")
    if not 0 <= options.first_row < options.stop_row:
        raise ConfigError(f"--first-row {options.first_row} --stop-row {options.stop_row}: an empty range of rows")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    recipe = read_recipe(options.recipe)
    terms = load_terms(options.terms, options.world)
    source = open_rows(options.view, options.index_maps, recipe)
    last = options.steps[-1] * recipe.batch_rows
    if options.stop_row > last:
        raise ConfigError(
            f"--stop-row {options.stop_row}: the last of --steps has seen {last} rows; rows after it count for none"
        )
    encoder = Encoder(options.tokenizer, recipe.sequence_length)
    frame = count(source, recipe, encoder, terms, steps=options.steps, first=options.first_row, stop=options.stop_row)
    inputs = {"view": options.view, "tokenizer": options.tokenizer}
    facts = {"terms": options.terms, "data_fingerprint": source.fingerprint, "steps": options.steps}
    write_frame(options.output, frame, inputs, {**facts, "first_row": options.first_row, "stop_row": options.stop_row})
    LOG.info("%d terms at %d steps", len(terms), len(options.steps))


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
