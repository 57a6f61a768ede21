r"""Which rows of a training order repeat a document that an earlier row met? One bit per row.

    python -m workflow_scripts.experiments.find_exposures --view results/data/pocket/deduped/view.json \
        --index-maps results/data/pocket/deduped/index_maps --recipe recipe.json \
        --output results/experiments/exposures/pocket/deduped.npz

The file holds ``repeated``, the bits packed eight to a byte in the training order.
"""

import io
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from workflow_scripts import cli
from workflow_scripts.experiments.engine_options import add_order_arguments
from workflow_scripts.experiments.memory.exposures import second_exposures
from workflow_scripts.storage.atomic import write_bytes
from workflow_scripts.storage.records import write_record
from workflow_scripts.training.recipe import read_recipe
from workflow_scripts.training.run.training_rows import open_rows

LOG = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = cli.parser(__doc__)
    add_order_arguments(parser)
    parser.add_argument("--output", type=Path, required=True, help="file to write, .npz")
    options = parser.parse_args(arguments)
    recipe = read_recipe(options.recipe)
    source = open_rows(options.view, options.index_maps, recipe)
    rows = recipe.train_iterations * recipe.batch_rows
    repeated = second_exposures(source, rows)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, repeated=np.packbits(repeated))
    write_bytes(options.output, buffer.getvalue())
    write_record(options.output, {"view": options.view}, {"rows": rows, "data_fingerprint": source.fingerprint})
    LOG.info("%d of %d rows start in a document that was seen before", int(repeated.sum()), rows)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
