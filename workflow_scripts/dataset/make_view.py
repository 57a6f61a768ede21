r"""Describe downloaded shards as one array of tokens, without copying them.

    python -m workflow_scripts.dataset.make_view --idx raw/pile.idx \
        --shards raw/pile-00000-of-00001.bin raw/pile-00001-of-00001.bin --output view.json

Shards are taken in the order given. A joined file works too: --bin raw/pile.bin. The view file holds paths relative
to its own folder, sizes, token type and counts; everything that reads tokens accepts it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts import cli
from workflow_scripts.dataset.shard_names import parse_shard_name
from workflow_scripts.dataset.view import describe, open_pair
from workflow_scripts.errors import ConfigError
from workflow_scripts.storage.atomic import write_json
from workflow_scripts.storage.records import write_record

log = logging.getLogger(__name__)


def make_view(idx: Path, shards: Sequence[Path], output: Path) -> None:
    """Check sizes and write the view file of ``shards`` to ``output``."""
    content = describe(open_pair(idx, shards), output)
    write_json(output, content)
    parameters = {key: value for key, value in content.items() if key != "shards"} | {"shards": len(shards)}
    write_record(output, {"idx": idx}, parameters)
    log.info("%s: %d shards, %d sequences, %d tokens", output, len(shards), content["sequences"], content["tokens"])


def check_order(shards: Sequence[Path]) -> None:
    """Shards that are named like shards must be complete and in order."""
    parsed = [parse_shard_name(path) for path in shards]
    name, _, count = parsed[0]
    if parsed != [(name, number, count) for number in range(count)]:
        raise ConfigError(f"{shards[0].parent}: give all {count} shards of {name} in order; got {len(shards)} paths")


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse arguments and write the view file."""
    parser = cli.parser(__doc__)
    parser.add_argument("--idx", type=Path, required=True, help="the .idx of the data set")
    tokens = parser.add_mutually_exclusive_group(required=True)
    tokens.add_argument("--shards", type=Path, nargs="+", help="all shards, in order")
    tokens.add_argument("--bin", type=Path, help="the joined .bin")
    parser.add_argument("--output", type=Path, required=True, help="view file to write (JSON)")
    options = parser.parse_args(arguments)
    if options.shards:
        check_order(options.shards)
    make_view(options.idx, options.shards or [options.bin], options.output)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
