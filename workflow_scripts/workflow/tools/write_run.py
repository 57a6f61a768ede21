"""Writes a run with every name and step resolved, for programs that need all of it.

Example: python -m workflow_scripts.workflow.tools.write_run --run '{"run": "pocket", ...}' --output run.json
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts import cli
from workflow_scripts.errors import ConfigError
from workflow_scripts.storage.atomic import write_json


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse arguments and write the file."""
    parser = cli.parser(__doc__)
    parser.add_argument("--run", required=True, help="the run as JSON text, as workflow_scripts.suite.run makes it")
    parser.add_argument("--output", required=True, type=Path, help="file to write")
    options = parser.parse_args(arguments)
    try:
        run = json.loads(options.run)
    except json.JSONDecodeError as error:
        raise ConfigError(f"--run: not JSON ({error})") from None
    write_json(options.output, run)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
