r"""Write a run with every name and step resolved, for programs that need all of it.

The configuration comes section by section, so no argument grows with the number of models or checkpoints; names, steps
and facts are looked up in ``config/suites`` again.

Example:
  python -m workflow_scripts.workflow.tools.write_run --settings 'run="pocket"' 'suite="pocket"' 'steps=[0, 1]' ... \
    --output results/runs/pocket/run.json
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts import cli
from workflow_scripts.errors import ConfigError
from workflow_scripts.json_values import JsonObject
from workflow_scripts.storage.atomic import write_json
from workflow_scripts.suite.run import load_run
from workflow_scripts.workflow.checkpoints import hold_to_ledger, leave_out_defects
from workflow_scripts.workflow.report import FACTS, facts_digest


def parse_settings(words: Sequence[str]) -> JsonObject:
    """Sections from ``NAME=JSON`` words; raises ConfigError for a word of another form.

    >>> parse_settings(['run="pocket"', "steps=[0, 1]"])
    {'run': 'pocket', 'steps': [0, 1]}
    """
    settings = {}
    for word in words:
        name, _, text = word.partition("=")
        try:
            settings[name] = json.loads(text)
        except json.JSONDecodeError as error:
            raise ConfigError(f"--settings {name}: expected {name}=JSON, got {text[:60]!r} ({error})") from None
    return settings


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse arguments and write the file."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--settings", nargs="+", required=True, metavar="NAME=JSON", help="sections of the configuration, each as JSON"
    )
    parser.add_argument("--output", required=True, type=Path, help="file to write")
    options = parser.parse_args(arguments)
    settings = parse_settings(options.settings)
    planned = settings.pop(FACTS, None)
    run = hold_to_ledger(leave_out_defects(load_run(settings)))
    if planned not in (None, facts_digest(run)):
        raise ConfigError(f"suite {run.suite.name}: its file changed since this run was planned; start the run again")
    write_json(options.output, run.as_json())


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
