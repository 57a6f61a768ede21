r"""Decode a few rows of chosen iterations, with the hash of each batch, for people to read.

    python -m workflow_scripts.dataset.sample_batches --view view.json --index-maps index_maps/index_maps.json \
        --tokenizer tokenizer.json --seq-length 128 --seed 1234 --train-iters 600 --batch-size 16 \
        --iterations 0 100 599 --output samples.jsonl

One JSON line per iteration: its number (from 0), its first row, the number of rows, the sha256 of all its tokens as in
the ledger of view_batches, and the text of its first --rows rows.
"""

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts import cli
from workflow_scripts.dataset.corpus.tokenizer_file import open_tokenizer
from workflow_scripts.dataset.order.batch_options import add_number_options, add_source_options, numbers_of, opened_rows
from workflow_scripts.dataset.order.batches import batches, check_iterations
from workflow_scripts.storage.atomic import atomic_path
from workflow_scripts.storage.records import write_record

log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--iterations", type=int, nargs="+", required=True, help="iterations to show, from 0")
    parser.add_argument("--rows", type=int, default=4, help="rows to decode of each")
    parser.add_argument("--tokenizer", type=Path, required=True, help="tokenizer.json")
    parser.add_argument("--output", type=Path, required=True, help="JSON lines to write")
    add_number_options(parser)
    add_source_options(parser)
    options = parser.parse_args(arguments)
    numbers = numbers_of(options)
    tokenizer = open_tokenizer(options.tokenizer)
    with (
        opened_rows(options, numbers) as rows,
        atomic_path(options.output) as temporary,
        temporary.open("w", encoding="utf-8") as file,
    ):
        for iteration in options.iterations:
            check_iterations(iteration, iteration + 1, rows, numbers.batch_rows)
        for batch in batches(rows, numbers.batch_rows, options.iterations):
            shown = batch.tokens[: options.rows].tolist()
            line = {
                "iteration": batch.iteration,
                "first_row": batch.first_row,
                "rows": len(batch.tokens),
                "sha256": batch.sha256,
                "texts": tokenizer.decode_batch(shown, skip_special_tokens=False),
            }
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
        fingerprint = rows.fingerprint
    parameters = {"iterations": options.iterations, "rows": options.rows, "order": fingerprint}
    write_record(options.output, {"tokenizer": options.tokenizer}, parameters)
    log.info("%s: %d iterations", options.output, len(options.iterations))


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
