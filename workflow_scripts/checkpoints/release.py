r"""Release a scored checkpoint: delete its folder, so that the next one of the sweep has room.

The receipt goes first and the marker is written last, so a process killed in between leaves either a checkpoint that
can be used or a job that Snakemake reruns; nothing is left behind. A folder whose scores are not all there is never
deleted, and neither is anything but a folder ``step<N>``.

Example:
  python -m workflow_scripts.checkpoints.release --checkpoint results/checkpoints/pocket-1m/step512 \
    --scores results/scores/pocket-1m/step512/0-shot.json --marker results/checkpoints/pocket-1m/released/step512.json
"""

import logging
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts import cli
from workflow_scripts.checkpoints.content_store import STORE, Store
from workflow_scripts.errors import ConfigError, MissingInputError
from workflow_scripts.storage.atomic import sync_folder, write_json
from workflow_scripts.storage.hashing import sha256_file
from workflow_scripts.storage.sources.source import OWN_RECEIPT

FOLDER = re.compile(r"step(0|[1-9][0-9]*)", re.ASCII)
log = logging.getLogger(__name__)


def release(folder: Path, scores: Sequence[Path]) -> int:
    """Delete the checkpoint in ``folder``; returns the bytes of weights that were freed. Safe to repeat.

    Raises MissingInputError when a score is not there and ConfigError for a folder that is not a checkpoint's.
    """
    missing = [str(path) for path in scores if not path.is_file()]
    if missing or not scores:
        raise MissingInputError(
            f"{folder}: not released, because it is not scored ({', '.join(missing) or 'no scores'})"
        )
    if not FOLDER.fullmatch(folder.name) or folder.is_symlink():
        raise ConfigError(f"{folder}: not a checkpoint folder (step<N>, not a link); nothing was deleted")
    held = {path.stat().st_ino for path in folder.rglob("*") if path.is_file()}
    if folder.is_dir():
        (folder / OWN_RECEIPT).unlink(missing_ok=True)
        sync_folder(folder)
        shutil.rmtree(folder)
    return Store(folder.parent / STORE).sweep(held)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument("--scores", type=Path, nargs="+", required=True, help="all result files of the checkpoint")
    parser.add_argument("--marker", type=Path, required=True, help="JSON file recording the release")
    options = parser.parse_args(arguments)
    freed = release(options.checkpoint, options.scores)
    hashes = {str(path): sha256_file(path) for path in options.scores}
    write_json(options.marker, {"checkpoint": str(options.checkpoint), "scores": hashes})
    log.info("%s: released, %d bytes of weights freed", options.checkpoint, freed)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
