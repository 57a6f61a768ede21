"""Index maps and batches against the original code's, bit for bit (24 vectors made by running GPT-NeoX)."""

from __future__ import annotations

import hashlib
import io
import json

import numpy as np
import pytest
from vectors import NAMES, Vector

from workflow_scripts.dataset import build_index_maps
from workflow_scripts.dataset.files.index_writer import with_suffix
from workflow_scripts.dataset.files.npy_stream import npy_header
from workflow_scripts.dataset.order.index_maps import number_from
from workflow_scripts.dataset.order.mersenne import LegacyShuffle

pytestmark = pytest.mark.shared


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(scope="module", params=NAMES)
def vector(request, shared, tmp_path_factory):
    return Vector.load(shared, request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def maps(vector, tmp_path_factory):
    folder = tmp_path_factory.mktemp("maps")
    build_index_maps.main(vector.arguments(folder))
    return folder


def test_the_corpora_are_the_ones_the_original_saw(vector):
    for prefix, corpus in zip(vector.prefixes, vector.facts["corpora"], strict=True):
        assert sha256(with_suffix(prefix, ".idx").read_bytes()) == corpus["idx_sha256"]
        assert sha256(with_suffix(prefix, ".bin").read_bytes()) == corpus["bin_sha256"]


def test_maps_have_the_names_and_bytes_of_the_original(vector, maps):
    assert {path.name for path in maps.glob("*.npy")} == set(vector.facts["index_files"])
    for name, facts in vector.facts["index_files"].items():
        array = np.load(maps / name)
        assert (str(array.dtype), list(array.shape)) == (facts["dtype"], facts["shape"])
        assert sha256(array.tobytes()) == facts["sha256"]
        buffer = io.BytesIO()
        np.save(buffer, array)
        assert (maps / name).read_bytes() == buffer.getvalue()


@pytest.mark.parametrize("stored", ["maps", "closed form"])
def test_batches_are_the_originals(vector, maps, stored):
    folder = maps if stored == "maps" else None
    train = vector.rows("train", folder)
    for key, facts in vector.facts["batches"].items():
        iteration, accumulation = map(int, key.split("."))
        wanted = vector.layout.rank_rows(iteration, accumulation, vector.options.get("rank", 0))
        rows = train.rows(wanted.start, wanted.stop)
        assert list(rows.shape) == facts["shape"]
        assert sha256(rows.astype("<i8").tobytes()) == facts["sha256_int64"]
    for iteration, facts in enumerate(vector.facts["valid_batches"]):
        wanted = vector.layout.iteration_rows(iteration)
        rows = vector.rows("valid", folder).rows(wanted.start, wanted.stop)
        assert sha256(rows.astype("<i8").tobytes()) == facts["sha256_int64"]


def test_counts_are_the_originals(vector):
    derived = vector.facts["derived"]
    if derived:
        train = vector.rows("train", None)
        assert train.plan.tokens == derived["tokens_per_epoch"]
        assert train.plan.epochs == derived["num_epochs"]
        assert train.plan.requested == derived["num_samples_requested"]
        assert train.plan.samples == derived["num_samples_available"]
        assert train.n_rows == derived["dataset_len"]


@pytest.mark.slow
def test_maps_of_the_real_standard_pile_follow_from_three_integers(shared):
    """doc_idx and shuffle_idx of the released runs: 210,604,984 documents, 162,165,686 samples, seed 1234."""
    facts = json.loads((shared / "vectors" / "real_standard_pile_index_maps.json").read_text())
    shuffle = LegacyShuffle(1234)
    for kind, length, dtype in (
        ("doc_idx", facts["n_docs"], np.int32),
        ("shuffle_idx", facts["num_samples"], np.uint32),
    ):
        array = np.empty(length, dtype)
        number_from(array, 0, length)
        shuffle.shuffle(array)
        expected = facts["seeds"]["1234"][kind]
        assert array[:8].tolist() == expected["first"]
        digest = hashlib.sha256(npy_header(array.dtype, array.shape))
        digest.update(array)
        assert digest.hexdigest() == expected["npy_sha256"]
