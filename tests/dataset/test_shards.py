"""Shards as one array: any sizes, any read, the same bytes as the joined file."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow_scripts.dataset.files.shard_names import parse_shard_name, shard_name, shard_paths
from workflow_scripts.dataset.files.shards import RemoteTokens, ShardFile, ShardLayout, VirtualTokens
from workflow_scripts.errors import ConfigError, DataError, MissingInputError

SIZES = st.lists(st.integers(0, 9), min_size=1, max_size=8)
U2 = np.dtype("<u2")


def written(folder, sizes, content):
    paths, at = [], 0
    for number, size in enumerate(sizes):
        path = folder / f"s{number}"
        path.write_bytes(content[at : at + size])
        paths.append(path)
        at += size
    return paths


@given(sizes=SIZES, data=st.data())
@settings(deadline=None)
def test_pieces_are_the_joined_bytes(sizes, data):
    layout = ShardLayout(sizes)
    joined = [(shard, offset) for shard, size in enumerate(sizes) for offset in range(size)]
    offset = data.draw(st.integers(0, len(joined)))
    length = data.draw(st.integers(0, len(joined) - offset))
    pieces = layout.pieces(offset, length)
    flat = [(piece.shard, piece.offset + k) for piece in pieces for k in range(piece.length)]
    assert flat == joined[offset : offset + length]
    assert all(piece.length for piece in pieces)


@pytest.mark.parametrize(("offset", "length"), [(-1, 2), (0, 6), (6, 0), (2, -1)])
def test_pieces_outside_are_refused(offset, length):
    with pytest.raises(ConfigError, match="there are 5"):
        ShardLayout([2, 3]).pieces(offset, length)


@given(sizes=SIZES, code=st.sampled_from(["u1", "<u2", "<i4", "<i8"]), data=st.data())
@settings(deadline=None, max_examples=80)
def test_reads_and_gathers_equal_the_joined_file(tmp_path_factory, sizes, code, data):
    dtype = np.dtype(code)
    sizes[-1] += -sum(sizes) % dtype.itemsize
    content = np.random.RandomState(len(sizes)).bytes(sum(sizes))
    joined = np.frombuffer(content, dtype)
    tokens = VirtualTokens.open(written(tmp_path_factory.mktemp("shards"), sizes, content), dtype)
    runs = data.draw(st.lists(st.tuples(*[st.integers(0, len(joined))] * 2).map(sorted), min_size=1, max_size=6))
    for start, stop in runs:
        np.testing.assert_array_equal(tokens.read(start, stop), joined[start:stop])
    starts = np.array([start for start, _ in runs], np.int64)
    counts = np.array([stop - start for start, stop in runs], np.int64)
    expected = np.concatenate([joined[start:stop] for start, stop in runs])
    np.testing.assert_array_equal(tokens.gather(starts, counts), expected)
    assert tokens.gather(starts, counts).dtype == dtype


def test_a_read_within_one_shard_copies_nothing(tmp_path):
    (tmp_path / "s").write_bytes(bytes(range(20)))
    tokens = VirtualTokens.open([tmp_path / "s"], U2)
    assert np.shares_memory(tokens.read(2, 5), tokens.shard(0))
    assert not tokens.read(2, 5).flags.writeable


def test_tokens_at_odd_bytes_come_as_an_aligned_copy(tmp_path):
    content = bytes(range(20))
    tokens = VirtualTokens.open(written(tmp_path, [7, 13], content), U2)
    found = tokens.read(5, 9)
    assert found.flags.aligned
    np.testing.assert_array_equal(found, np.frombuffer(content, U2)[5:9])


def test_a_torn_token_at_the_end_is_refused(tmp_path):
    (tmp_path / "s").write_bytes(b"abc")
    with pytest.raises(DataError, match="not a whole number of 2-byte"):
        VirtualTokens.open([tmp_path / "s"], U2)


def test_shards_that_shrank_or_vanished_are_named(tmp_path):
    (tmp_path / "s").write_bytes(b"abcd")
    with pytest.raises(DataError, match="too short: 4 bytes, expected 6"):
        VirtualTokens([ShardFile(tmp_path / "s", 6)], U2)
    with pytest.raises(DataError, match="too long: 4 bytes, expected 2"):
        VirtualTokens([ShardFile(tmp_path / "s", 2)], U2)
    with pytest.raises(MissingInputError, match="t: shard is missing"):
        VirtualTokens([ShardFile(tmp_path / "t", 6)], U2)


class Counting:
    """A source that counts requests."""

    def __init__(self, files):
        self.files = files
        self.requests = []

    def read_range(self, path, offset, length):
        self.requests.append((path, offset, length))
        return self.files[path][offset : offset + length]


def test_remote_reads_ask_for_exactly_their_bytes():
    content = bytes(range(12))
    source = Counting({"a": content[:5], "b": content[5:]})
    tokens = RemoteTokens(source, ["a", "b"], ShardLayout([5, 7]), U2)
    np.testing.assert_array_equal(tokens.read(2, 4), np.frombuffer(content, U2)[2:4])
    assert source.requests == [("a", 4, 1), ("b", 0, 3)]
    np.testing.assert_array_equal(
        tokens.gather(np.array([0, 3]), np.array([2, 2])), np.frombuffer(content, U2)[[0, 1, 3, 4]]
    )


def test_a_remote_source_that_delivers_too_little_is_caught():
    tokens = RemoteTokens(Counting({"a": b"abc"}), ["a"], ShardLayout([4]), U2)
    with pytest.raises(DataError, match="3 bytes delivered, 4 requested"):
        tokens.read(0, 2)


@pytest.mark.shared
def test_plan_of_the_preshuffled_set_is_the_published_one(shared):
    facts = json.loads((shared / "vectors" / "preshuffled_layout.json").read_text())
    layout = ShardLayout([facts["shard_bytes"]] * (facts["shards"] - 1) + [facts["last_shard_bytes"]])
    assert layout.total == facts["bin_bytes"]
    size = facts["bytes_per_iteration"]
    for iteration, plan in facts["plans"].items():
        pieces = layout.pieces(int(iteration) * size, size)
        assert [[shard_name("document", p.shard, facts["shards"]), p.offset, p.length] for p in pieces] == plan
    crossing = [k for k in range(facts["iterations"]) if k * size // 30e9 != ((k + 1) * size - 1) // 30e9]
    assert crossing == facts["iterations_that_cross_a_shard"]
    assert all(len(layout.pieces(k * size, size)) == 2 for k in crossing)


def test_true_size_shards_are_read_without_being_loaded(tmp_path):
    """21 sparse shards of 30 GB: only what is asked for is touched."""
    sizes = [30_000_000_000] * 20 + [78_336_000]
    paths = []
    for number, size in enumerate(sizes):
        path = tmp_path / shard_name("document", number, 21)
        with path.open("wb") as file:
            try:
                file.truncate(size)
            except OSError as error:
                pytest.skip(f"the file system holds no sparse file of 30 GB: {error}")
        paths.append(path)
    mark = np.arange(2049, dtype=U2)
    row = 7320644  # straddles the first two shards: starts at byte 29,999,999,112
    with paths[0].open("rb+") as first, paths[1].open("rb+") as second:
        first.seek(row * 4098)
        first.write(mark.tobytes()[: 30_000_000_000 - row * 4098])
        second.write(mark.tobytes()[30_000_000_000 - row * 4098 :])
    tokens = VirtualTokens.open(paths, U2)
    np.testing.assert_array_equal(tokens.read(row * 2049, (row + 1) * 2049), mark)
    assert tokens.read(146_431_999 * 2049, 146_432_000 * 2049).tolist() == [0] * 2049
    assert sum(path.stat().st_blocks for path in paths) * 512 < 10**6


def test_names_count_from_zero_to_the_last(tmp_path):
    names = [shard_name("pile_0.87_deduped", number, 3) for number in range(3)]
    assert names[-1] == "pile_0.87_deduped-00002-of-00002.bin"
    for name in names:
        (tmp_path / name).touch()
    assert [path.name for path in shard_paths(tmp_path / names[0])] == names
    assert parse_shard_name(tmp_path / names[1]) == ("pile_0.87_deduped", 1, 3)


def test_names_that_are_not_shards_are_refused(tmp_path):
    for name in ("pile.bin", "pile-0-of-2.bin", "pile-00000-of-00002.idx", "-00000-of-00002.bin"):
        with pytest.raises(ConfigError, match="not the name of a shard"):
            parse_shard_name(tmp_path / name)
    with pytest.raises(ConfigError, match="shard 3 of a set whose last shard is 2"):
        parse_shard_name(tmp_path / "pile-00003-of-00002.bin")
    with pytest.raises(ConfigError, match="give shard 0"):
        shard_paths(tmp_path / "pile-00001-of-00002.bin")


def test_missing_shards_are_named(tmp_path):
    (tmp_path / "pile-00000-of-00002.bin").touch()
    (tmp_path / "pile-00002-of-00002.bin").touch()
    with pytest.raises(MissingInputError, match=r"1 of 3 shards are missing: pile-00001-of-00002\.bin"):
        shard_paths(tmp_path / "pile-00000-of-00002.bin")
