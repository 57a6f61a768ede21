"""The locks of the real data sets against the hashes and sizes that their authors published."""

import pytest

from workflow_scripts.dataset.suite_lock import entries
from workflow_scripts.errors import DataError
from workflow_scripts.storage.lockfile import read_lock
from workflow_scripts.suite.registry import load_suite


@pytest.mark.shared
def test_every_published_shard_hash_is_in_the_lock(root, shared):
    published = dict(line.split() for line in (shared / "upstream/utils/shard_hashes.txt").read_text().splitlines())
    lock = {entry.path: entry for entry in read_lock(root / "config/suites/locks/pile-deduped.tsv")}
    assert len(published) == 84
    assert {path: entry.sha256 for path, entry in lock.items()} == published


@pytest.mark.parametrize(("key", "total"), [("standard", 664_230_651_068), ("deduped", 414_340_828_116)])
def test_sizes_of_the_shards_sum_to_the_bin(root, key, total):
    lock = read_lock(root / f"config/suites/locks/pile-{key}.tsv")
    assert sum(entry.size for entry in lock if entry.path.endswith(".bin")) == total


def test_a_hash_of_another_data_set_is_refused():
    with pytest.raises(DataError, match=r"names x\.bin"):
        entries(load_suite("pythia").dataset("deduped"), {"x.bin": "0" * 64})
