r"""Publish a .bin/.idx pair in the Hub's layout: shards, .idx and a list of their hashes.

    python -m workflow_scripts.dataset.publish_shards --prefix corpus/standard --name pile_text_document \
        --num-shards 5 --output-dir mirror/datasets/org/pile_idxmaps

With --num-shards the shards have an odd number of bytes, a multiple of neither page, row nor token, as awkward as the
real ones. sha256.txt (path, size, sha256) is written last, so a folder with a list is complete. Shards of an earlier
publication under the same name are removed.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts import cli
from workflow_scripts.dataset.files.cutting import WrittenFile, copy_run, cut, sizes_by_bytes, sizes_by_count
from workflow_scripts.dataset.files.index_writer import with_suffix
from workflow_scripts.dataset.files.indexed import check_bin_bytes, open_index
from workflow_scripts.dataset.files.shard_names import PATTERN
from workflow_scripts.progress import Progress
from workflow_scripts.storage.lockfile import FileEntry, write_lock
from workflow_scripts.storage.records import write_record
from workflow_scripts.storage.sources.source import OWN_LOCK

log = logging.getLogger(__name__)


def publish(prefix: Path, name: str, sizes: list[int], folder: Path) -> list[WrittenFile]:
    """Write shards of ``sizes`` bytes, the .idx and sha256.txt to ``folder``; raises DataError when they do not fit.

    A .bin without an .idx is cut all the same, with a warning: its tokens cannot be checked.
    """
    idx, tokens = with_suffix(prefix, ".idx"), with_suffix(prefix, ".bin")
    if idx.is_file():
        check_bin_bytes(open_index(idx), tokens.stat().st_size, tokens)
    else:
        log.warning("%s: no .idx beside the tokens; only the tokens are split", tokens)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / OWN_LOCK).unlink(missing_ok=True)
    for old in folder.iterdir():
        match = PATTERN.fullmatch(old.name)
        if match is not None and match["name"] == name:
            old.unlink()
    files = cut(tokens, sizes, folder, name)
    if idx.is_file():
        files.append(copy_file(idx, folder / f"{name}.idx"))
    write_lock(folder / OWN_LOCK, [FileEntry(file.path.name, file.size, file.sha256) for file in files])
    return files


def copy_file(source: Path, target: Path) -> WrittenFile:
    """Copy a file atomically, with its hash."""
    size = source.stat().st_size
    with source.open("rb") as file, Progress(f"copy {source.name}", size, "B") as progress:
        return WrittenFile(target, size, copy_run(file, size, target, progress))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--prefix", type=Path, required=True, help="path of the pair without .bin and .idx")
    parser.add_argument("--name", help="base name of the published files; default: that of --prefix")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--num-shards", type=int, help="number of shards")
    how.add_argument("--shard-bytes", type=int, help="bytes of each shard except the last")
    parser.add_argument("--output-dir", type=Path, required=True, help="folder to publish into")
    options = parser.parse_args(arguments)
    tokens = with_suffix(options.prefix, ".bin")
    total = open_index(with_suffix(options.prefix, ".idx")).bin_bytes
    if options.num_shards is not None:
        sizes = sizes_by_count(total, options.num_shards)
    else:
        sizes = sizes_by_bytes(total, options.shard_bytes)
    files = publish(options.prefix, options.name or options.prefix.name, sizes, options.output_dir)
    inputs = {"bin": tokens, "idx": with_suffix(options.prefix, ".idx")}
    write_record(options.output_dir / OWN_LOCK, inputs, {"shards": len(sizes), "name": options.name})
    log.info("%s: %d files, %d bytes of tokens", options.output_dir, len(files), total)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
