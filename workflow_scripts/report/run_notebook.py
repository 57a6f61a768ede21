r"""Run a notebook from top to bottom and write it with its outputs.

    python -m workflow_scripts.report.run_notebook --notebook notebooks/explore.ipynb \
        --set run_dir=results/runs/pocket checkpoint=results/checkpoints/pocket-90k/step600 \
        --output results/runs/pocket/explore.ipynb

The notebook in git has no outputs; the result opens in Jupyter or on a code host. --set gives other values to the names
that its cell tagged "parameters" sets. A cell that fails ends the program with its traceback, and nothing is written.
"""

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

from workflow_scripts import cli
from workflow_scripts.errors import ConfigError
from workflow_scripts.report.notebook import read_notebook, run_notebook
from workflow_scripts.storage.atomic import write_text
from workflow_scripts.storage.records import write_record

logger = logging.getLogger(__name__)


def assignments(words: Sequence[str]) -> dict[str, str]:
    """Names and values of ``name=value``; raises ConfigError.

    >>> assignments(["run_dir=results/runs/pocket"])
    {'run_dir': 'results/runs/pocket'}
    """
    for word in words:
        if not word.partition("=")[0].isidentifier() or "=" not in word:
            raise ConfigError(f"--set {word}: write name=value, such as run_dir=results/runs/pocket")
    return {name: value for name, _, value in (word.partition("=") for word in words)}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--notebook", type=Path, required=True, help="the notebook (.ipynb)")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="values of the tagged cell")
    parser.add_argument("--output", type=Path, required=True, help="the notebook with outputs")
    options = parser.parse_args(arguments)
    parameters = assignments(options.set)
    mpl.use("agg")
    done = run_notebook(read_notebook(options.notebook), parameters)
    write_text(options.output, json.dumps(done, indent=1, ensure_ascii=False) + "\n")
    write_record(options.output, {"notebook": options.notebook}, parameters)
    logger.info("%s: %d cells", options.output, len(done["cells"]))


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
