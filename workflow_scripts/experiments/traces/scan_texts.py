r"""Look through one part of a data set for traced texts. Many texts cost what one costs; parts are jobs of their own.

    python -m workflow_scripts.experiments.traces.scan_texts --declaration config/traces/pocket.yaml \
        --view results/data/pocket/standard/view.json --tokenizer results/corpus/pocket/tokenizer.json \
        --part 0 --parts 1 --output part-0.npz

The files are read once from front to back, and the order of training is not needed. The output holds places in the
stored tokens and documents at whose borders a text may begin or end; place_texts makes exposures of them.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts import cli
from workflow_scripts.dataset.files.token_view import open_data
from workflow_scripts.experiments.traces.scanning import save_scan, scan_tokens, stored_tokens
from workflow_scripts.experiments.traces.trace_options import add_text_arguments, part_bounds, traced
from workflow_scripts.progress import Progress
from workflow_scripts.storage.records import write_record

LOG = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program."""
    parser = cli.parser(__doc__)
    add_text_arguments(parser)
    parser.add_argument("--view", type=Path, required=True, help="view.json of the data set")
    parser.add_argument("--tokenizer", type=Path, required=True, help="tokenizer.json of the data set")
    parser.add_argument("--part", type=int, default=0, help="number of this part, from 0")
    parser.add_argument("--parts", type=int, default=1, help="parts there are")
    parser.add_argument("--output", type=Path, required=True, help="file to write, .npz")
    options = parser.parse_args(arguments)
    what, data = traced(options, options.tokenizer), open_data(options.view)
    first, stop = part_bounds(stored_tokens(data), options.part, options.parts)
    with Progress("scan", stop - first, "tokens") as progress:
        scan = scan_tokens(data, what.table, first, stop, progress.advance)
    save_scan(options.output, scan, what.identity(data, options.part, options.parts))
    inputs = {"view": options.view, "tokenizer": options.tokenizer, **what.files}
    write_record(options.output, inputs, {"first_token": first, "stop_token": stop, "texts": len(what.texts)})
    LOG.info("%d texts, %d tokens, %d places to look at", len(what.texts), stop - first, len(scan.spans))


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
