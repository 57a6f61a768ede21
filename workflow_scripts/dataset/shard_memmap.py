r"""Cut a .bin into shards, with the command line of the original shard_memmap.py.

    python -m workflow_scripts.dataset.shard_memmap --input-file data/pile_text_document.bin --output-dir shards

Shards are named X-00000-of-0000N.bin with N the index of the last one. An .idx beside the input is checked and copied.
Unlike the original, an exact multiple of the shard size makes no empty last shard. sha256.txt lists all files.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts import cli
from workflow_scripts.dataset.files.cutting import sizes_by_bytes
from workflow_scripts.dataset.publish_shards import publish
from workflow_scripts.errors import ConfigError, MissingInputError

log = logging.getLogger(__name__)
SHARD_BYTES = 5_000_000_000  # the raw sets on the Hub


def main(arguments: Sequence[str] | None = None) -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--input-file", type=Path, required=True, help="path of the .bin")
    parser.add_argument("--output-dir", type=Path, required=True, help="folder for the shards")
    parser.add_argument("--shard-bytes", type=int, default=SHARD_BYTES, help="bytes of each shard except the last")
    options = parser.parse_args(arguments)
    source: Path = options.input_file
    if source.suffix != ".bin":
        raise ConfigError(f"{source}: expected a .bin file")
    if not source.is_file():
        raise MissingInputError(f"{source}: no such token file")
    prefix = source.with_name(source.name.removesuffix(".bin"))
    files = publish(prefix, prefix.name, sizes_by_bytes(source.stat().st_size, options.shard_bytes), options.output_dir)
    log.info("%s: %d files", options.output_dir, len(files))


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
