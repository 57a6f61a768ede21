"""A patch is exactly the places that differ; an empty one trains to the same bits as the baseline."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pytest
from experiment_models import random_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.training_runs import ArrayRows
from workflow_scripts.dataset.files.index_writer import indexed_writer
from workflow_scripts.dataset.order.patched_rows import Patch, PatchedRows, read_patch, write_patch
from workflow_scripts.errors import DataError, MissingInputError, ModelError
from workflow_scripts.training import retrain

WIDTH = 9


def patch_between(before, after, base, first=0):
    """Patch that turns the rows ``before`` into ``after``; both start at row ``first``."""
    place = np.flatnonzero((before != after).ravel())
    positions = place.astype(np.int64) + first * before.shape[1]
    tokens = after.ravel()[place].astype(np.int32)
    return Patch(positions, tokens, base.fingerprint, before.shape[1], first, first + len(before))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 30), st.integers(0, 30), st.floats(0, 0.5), st.integers(0, 99))
def test_any_range_of_rows_is_that_of_the_changed_copy(start, length, share, seed):
    random = np.random.default_rng(seed)
    before = random_rows(40, WIDTH, 50, seed)
    after = np.where(random.random(before.shape) < share, random.integers(0, 50, before.shape), before)
    rows = PatchedRows(ArrayRows(before), patch_between(before, after, ArrayRows(before)))
    stop = min(start + length, 40)
    assert np.array_equal(rows.rows(start, stop), after[start:stop])
    assert rows.rows(start, stop).dtype == before.dtype


def test_file_gives_back_the_patch(tmp_path):
    before, base = random_rows(4, WIDTH, 50), ArrayRows(random_rows(4, WIDTH, 50))
    patch = dataclasses.replace(patch_between(before, before[::-1], base), facts={"direction": "swap"})
    write_patch(tmp_path / "a.safetensors", patch)
    write_patch(tmp_path / "b.safetensors", patch)
    found = read_patch(tmp_path / "a.safetensors")
    assert found.sha256 == patch.sha256
    assert found.facts == {"direction": "swap"}
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_the_base_is_not_changed():
    before = random_rows(4, WIDTH, 50)
    base = ArrayRows(before)
    base.rows = lambda start, stop: before[start:stop]  # a view, as memory-mapped rows are
    kept = before.copy()
    PatchedRows(base, patch_between(before, before + 1, base)).rows(0, 4)
    assert np.array_equal(before, kept)


def test_patch_of_another_order_is_refused():
    before = random_rows(4, WIDTH, 50)
    patch = patch_between(before, before + 1, ArrayRows(before + 2))
    with pytest.raises(ModelError, match="was made for data"):
        PatchedRows(ArrayRows(before), patch)


def test_fingerprint_differs_only_where_tokens_do():
    before = random_rows(4, WIDTH, 50)
    base = ArrayRows(before)
    assert PatchedRows(base, patch_between(before, before, base)).fingerprint == base.fingerprint
    assert PatchedRows(base, patch_between(before, before + 1, base)).fingerprint != base.fingerprint


@pytest.mark.parametrize("positions", [[5, 5], [7, 3], [-1, 4], [3, 4 * WIDTH]])
def test_broken_positions_are_refused(tmp_path, positions):
    patch = Patch(np.array(positions), np.zeros(2, dtype=np.int32), "x", WIDTH, 0, 4)
    write_patch(tmp_path / "broken.safetensors", patch)
    with pytest.raises(DataError, match="positions"):
        read_patch(tmp_path / "broken.safetensors")


def test_other_files_are_refused(tmp_path):
    (tmp_path / "no.safetensors").write_bytes(b"no patch at all")
    with pytest.raises(DataError, match="not a patch"):
        read_patch(tmp_path / "no.safetensors")
    with pytest.raises(MissingInputError):
        read_patch(tmp_path / "absent.safetensors")


def weights(run, step):
    return hashlib.sha256((run / f"step{step}" / "model.safetensors").read_bytes()).hexdigest()


def test_identity_arm_is_bit_equal_and_a_changed_one_is_not(tiny, tmp_path):
    from workflow_scripts.storage.atomic import write_json
    from workflow_scripts.training.run.training_rows import open_rows

    recipe = dataclasses.replace(tiny, train_iterations=12, checkpoint_steps=(0, 6, 12))
    write_json(tmp_path / "recipe.json", recipe.to_json())
    with indexed_writer(tmp_path / "text", np.dtype("<u2")) as writer:
        for document in random_rows(120, 30, 96):
            writer.add(document)
            writer.end_document()
    source = open_rows(tmp_path / "text.idx", None, recipe)
    rows = source.rows(48, 96)
    changed = np.where(rows == 5, 6, rows)
    write_patch(tmp_path / "identity", patch_between(rows, rows, source, 48))
    write_patch(tmp_path / "five-to-six", patch_between(rows, changed, source, 48))
    common = ["--recipe", tmp_path / "recipe.json", "--view", tmp_path / "text.idx"]

    def train(name, *more):
        retrain.main([str(word) for word in [*common, "--output-dir", tmp_path / name, *more]])
        return weights(tmp_path / name, 12)

    baseline = train("baseline", "--keep-optimizer", 6)
    start = ["--start-from", tmp_path / "baseline" / "step6"]
    assert train("arm-identity", *start, "--patch", tmp_path / "identity") == baseline
    assert train("arm-five-to-six", *start, "--patch", tmp_path / "five-to-six") != baseline
