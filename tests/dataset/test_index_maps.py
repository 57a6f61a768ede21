"""Index maps as files: kept when current, rebuilt when stale, refused when they belong to other data."""

from __future__ import annotations

import json

import corpusgen
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow_scripts import cli
from workflow_scripts.dataset import build_index_maps, restore_maps
from workflow_scripts.dataset.files.npy_stream import write_npy
from workflow_scripts.dataset.order.index_maps import sample_index_dtype, shuffled_documents, shuffled_samples
from workflow_scripts.dataset.order.mersenne import LegacyShuffle
from workflow_scripts.dataset.order.sample_index import GATHER, ROWS, sample_rows
from workflow_scripts.dataset.order.set_plan import SetPlan
from workflow_scripts.dataset.order.training_order import TrainingRows
from workflow_scripts.errors import ConfigError, DataError, IntegrityError, MissingInputError
from workflow_scripts.storage.hashing import sha256_file
from workflow_scripts.storage.records import record_path

CORPUS = {
    "corpus_seed": 3,
    "n_seq": 300,
    "sizes": {"kind": "uniform", "lo": 0, "hi": 40},
    "dtype": "uint16",
    "vocab": 50277,
}
NUMBERS = ["--seq-length", "16", "--seed", "7", "--train-iters", "20", "--batch-size", "8"]
STEM = "c_train_0_indexmap_161ns_16sl_7s"


@pytest.fixture
def prefix(tmp_path):
    return corpusgen.write_corpus(CORPUS, tmp_path / "c")


@pytest.fixture
def maps(prefix, tmp_path):
    build_index_maps.main(["--prefix", str(prefix), *NUMBERS, "--output-dir", str(tmp_path / "maps")])
    return tmp_path / "maps"


def opened(prefix, maps, seed=7):
    return TrainingRows.open(prefix, maps, 16, seed, 20, 8)


@given(
    sizes=st.lists(st.integers(0, 12), min_size=1, max_size=30).filter(any),
    epochs=st.integers(1, 3),
    length=st.integers(1, 9),
    seed=st.integers(0, 9),
)
@settings(deadline=None, max_examples=100)
def test_sample_index_is_the_closed_form(sizes, epochs, length, seed):
    sizes = np.array(sizes, np.int32)
    documents = np.tile(np.arange(len(sizes), dtype=np.int32), epochs)
    np.random.RandomState(seed).shuffle(documents)
    check_sample_index(sizes, documents, length)


def check_sample_index(sizes, documents, length):
    """Rows against a search for each in the cumulated lengths."""
    ends = np.cumsum(sizes[documents], dtype=np.int64)
    samples = (int(ends[-1]) - 1) // length
    rows = np.concatenate([b.copy() for b in sample_rows(sizes, documents, length, samples, np.dtype("<i4"))])
    positions = np.arange(samples + 1) * length
    entries = np.searchsorted(ends, positions, side="right")
    offsets = positions - (ends[entries] - sizes[documents[entries]])
    expected = np.stack([entries, offsets], axis=1)
    expected[0] = 0
    np.testing.assert_array_equal(rows, expected)


@pytest.mark.parametrize("seed", range(4))
def test_documents_of_all_lengths_cross_the_borders_of_blocks(seed):
    # No row, one, two or many in a document, where a block of rows ends and where the sizes looked up ahead end.
    random = np.random.default_rng(seed)
    sizes = np.clip(random.lognormal(2.5, 1.2, 2 * GATHER + 5), 0, 4000).astype(np.int32)
    documents = random.permutation(len(sizes)).astype(np.int32)
    check_sample_index(sizes, documents, length=2)


def test_sample_index_goes_on_over_blocks():
    samples = 2 * ROWS + 3
    rows = np.concatenate(
        [
            b.copy()
            for b in sample_rows(
                np.array([4 * samples + 1], np.int32), np.zeros(1, np.int32), 4, samples, np.dtype("<i4")
            )
        ]
    )
    np.testing.assert_array_equal(rows[:, 1], np.arange(samples + 1) * 4)


def test_large_sample_indices_are_int64():
    assert sample_index_dtype(2**30 - 3) == np.int32
    assert sample_index_dtype(2**30) == np.int64


def test_sets_with_equal_content_share_their_bytes_on_disk(maps):
    train = maps / f"{STEM}_doc_idx.npy"
    assert train.stat().st_nlink == 3


def test_current_maps_are_kept_and_stale_ones_are_built_again(prefix, maps):
    target = maps / f"{STEM}_shuffle_idx.npy"
    before = target.stat().st_mtime_ns, target.stat().st_ino
    build_index_maps.main(["--prefix", str(prefix), *NUMBERS, "--output-dir", str(maps)])
    assert (target.stat().st_mtime_ns, target.stat().st_ino) == before
    old = sha256_file(maps / f"{STEM}_sample_idx.npy")
    corpusgen.write_corpus(CORPUS | {"corpus_seed": 4}, prefix)
    build_index_maps.main(["--prefix", str(prefix), *NUMBERS, "--output-dir", str(maps)])
    assert sha256_file(maps / f"{STEM}_sample_idx.npy") != old
    assert opened(prefix, maps).rows(0, 1).shape == (1, 17)


def test_damaged_maps_are_built_again(prefix, maps):
    target = maps / f"{STEM}_shuffle_idx.npy"
    good = target.read_bytes()
    target.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    build_index_maps.main(["--prefix", str(prefix), *NUMBERS, "--output-dir", str(maps)])
    assert target.read_bytes() == good


def test_stale_maps_are_refused(prefix, maps):
    corpusgen.write_corpus(CORPUS | {"n_seq": 300, "sizes": {"kind": "uniform", "lo": 1, "hi": 41}}, prefix)
    with pytest.raises(IntegrityError, match="stale"):
        opened(prefix, maps)


def test_maps_of_equal_shape_but_other_sizes_are_refused(prefix, maps):
    """Two documents swapped: same counts and shapes, another order; the original would use the maps."""
    values = corpusgen.sizes_of(CORPUS)
    values[[0, 1]] = values[[1, 0]]
    assert values[0] != values[1]
    corpusgen.write_corpus(CORPUS | {"sizes": {"kind": "cycle", "values": values.tolist()}}, prefix)
    with pytest.raises(IntegrityError, match="built from other sizes_sha256"):
        opened(prefix, maps)


def test_maps_without_a_record_are_checked_against_the_sizes(prefix, maps):
    record_path(maps / STEM).unlink()
    assert opened(prefix, maps).n_rows > 160
    values = np.roll(corpusgen.sizes_of(CORPUS), 1)
    corpusgen.write_corpus(CORPUS | {"sizes": {"kind": "cycle", "values": values.tolist()}}, prefix)
    with pytest.raises(IntegrityError, match="belong to another data set"):
        opened(prefix, maps)


def test_maps_with_foreign_documents_are_refused(prefix, maps):
    record_path(maps / STEM).unlink()
    documents = np.load(maps / f"{STEM}_doc_idx.npy")
    documents[3] = 300
    write_npy(maps / f"{STEM}_doc_idx.npy", documents.dtype, documents.shape, [documents])
    with pytest.raises(IntegrityError, match=r"document outside \[0, 300\)"):
        opened(prefix, maps)


def test_absent_and_unreadable_maps_are_one_line(prefix, maps):
    with pytest.raises(MissingInputError, match="build_index_maps"):
        opened(prefix, maps, seed=8)
    (maps / f"{STEM}_doc_idx.npy").write_bytes(b"not an array")
    with pytest.raises(DataError, match=r"not a readable \.npy"):
        opened(prefix, maps)
    record_path(maps / STEM).write_text("[]")
    with pytest.raises(DataError):
        opened(prefix, maps)


def test_summary_lists_what_was_built(maps):
    summary = json.loads((maps / "index_maps.json").read_text())
    assert [item["label"] for item in summary["sets"]] == ["train_0", "valid_0", "test_0"]
    for item in summary["sets"]:
        for name, sha256 in item["files"].items():
            assert sha256_file(maps / name) == sha256
    assert record_path(maps / "index_maps.json").is_file()


def test_maps_from_an_index_alone(prefix, maps, tmp_path):
    other = tmp_path / "other"
    prefix.with_suffix(".bin").unlink()
    build_index_maps.main(["--idx", f"{prefix}.idx", *NUMBERS, "--output-dir", str(other)])
    for path in maps.glob("*.npy"):
        assert (other / path.name).read_bytes() == path.read_bytes()


def test_two_of_three_maps_follow_from_counts(prefix, maps, tmp_path):
    tokens = int(corpusgen.sizes_of(CORPUS).sum())
    words = ["--name", "c", "--documents", "300", "--tokens", str(tokens), *NUMBERS]
    restore_maps.main([*words, "--output-dir", str(tmp_path / "restored")])
    names = sorted(path.name for path in (tmp_path / "restored").glob("*.npy"))
    assert names == [f"{STEM}_doc_idx.npy", f"{STEM}_shuffle_idx.npy"]
    for name in names:
        assert (tmp_path / "restored" / name).read_bytes() == (maps / name).read_bytes()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--split", "8,1,1", "--prefix", "c", "d"], "--split works on one data set"),
        (["--weights", "1", "--prefix", "c", "d"], "1 weights for 2 prefixes"),
        (["--prefix", "c", "x/c"], "different base names"),
        (["--weights", "-1", "--prefix", "c"], "negative"),
        (["--train-iters", "0", "--prefix", "c"], "at least 1"),
        (["--seed", "4294967296", "--prefix", "c"], "outside 0 to 4294967295"),
        (["--idx", "c.idx", "--prefix", "wrong"], "base name of this data set is c"),
        ([], "no data set named"),
    ],
)
def test_impossible_requests_are_one_line(prefix, words, message, capsys, monkeypatch):
    tmp_path = prefix.parent
    monkeypatch.chdir(tmp_path)
    corpusgen.write_corpus(CORPUS, tmp_path / "d")
    (tmp_path / "x").mkdir()
    corpusgen.write_corpus(CORPUS, tmp_path / "x" / "c")
    assert cli.run(build_index_maps.main, [*NUMBERS, "--output-dir", "maps", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_streamed_arrays_must_fill_their_shape(tmp_path):
    with pytest.raises(DataError, match="3 entries written"):
        write_npy(tmp_path / "x.npy", np.dtype("<i4"), (4,), [np.zeros(3)])
    assert list(tmp_path.iterdir()) == []


def test_too_many_documents_for_the_format_are_refused():
    with pytest.raises(ConfigError, match="exceed the int32"):
        shuffled_documents(SetPlan("train", 0, 2**30, 1, 2, 1, 2**31), LegacyShuffle(1))


@pytest.mark.parametrize(("samples", "is_reused"), [(5, True), (20, True), (21, False)])
def test_samples_are_numpys_whatever_lay_in_their_memory(samples, is_reused):
    plan = SetPlan("train", 0, 10, requested=1, epochs=2, samples=samples, tokens=0)
    shuffle, numpys = LegacyShuffle(7), np.random.RandomState(7)
    documents, expected = shuffled_documents(plan, shuffle), np.tile(np.arange(10, dtype=np.int32), 2)
    numpys.shuffle(expected)
    np.testing.assert_array_equal(documents, expected)
    order, expected = shuffled_samples(plan, shuffle, memory=documents), np.arange(samples, dtype=np.uint32)
    numpys.shuffle(expected)
    np.testing.assert_array_equal(order, expected)
    assert order.dtype == np.uint32
    assert np.shares_memory(order, documents) == is_reused
