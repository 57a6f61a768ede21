r"""Write the lock of a suite's data set: every file with the size that the registry knows and the hash that a list has.

`-` stands for what is not known. `make lock-data` fills it in from the Hub's git LFS pointers where there is a network.

Example (the list is utils/shard_hashes.txt of the original repository):
  python -m workflow_scripts.dataset.suite_lock --suite pythia --dataset deduped \
    --hashes shard_hashes.txt --output config/suites/locks/pile-deduped.tsv
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from workflow_scripts import cli
from workflow_scripts.errors import DataError
from workflow_scripts.storage.lockfile import FileEntry, read_lock, write_lock
from workflow_scripts.suite.models import Dataset
from workflow_scripts.suite.registry import load_suite


def entries(dataset: Dataset, hashes: Mapping[str, str | None]) -> list[FileEntry]:
    """One entry per file of ``dataset``; sizes of shards from the registry, the index's is not known there.

    Raises DataError when the list names a file that is not of this data set.
    """
    strangers = sorted(set(hashes) - set(dataset.file_names))
    if strangers:
        raise DataError(f"the list of hashes names {strangers[0]}, which is no file of {dataset.repository}")
    sizes: dict[str, int | None] = dict.fromkeys(dataset.shard_names[:-1], dataset.shard_bytes)
    sizes[dataset.shard_names[-1]] = dataset.last_shard_bytes
    return [FileEntry(name, sizes.get(name), hashes.get(name)) for name in dataset.file_names]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--suite", default="pythia", help="suite in config/suites")
    parser.add_argument("--dataset", required=True, help="standard or deduped")
    parser.add_argument("--hashes", type=Path, help="list with a name and a sha256 a line; left out when there is none")
    parser.add_argument("--output", type=Path, required=True, help="TSV to write")
    options = parser.parse_args(arguments)
    dataset = load_suite(options.suite).dataset(options.dataset)
    listed = {entry.path: entry.sha256 for entry in read_lock(options.hashes)} if options.hashes else {}
    write_lock(options.output, entries(dataset, listed))


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
