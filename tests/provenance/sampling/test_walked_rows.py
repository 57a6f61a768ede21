"""Rows walked anew are those of training, through several epochs; a changed token, map or text is found."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.provenance.sampling.sampled_release import VIEW, recipe, release_of
from workflow_scripts.errors import DataError
from workflow_scripts.provenance.release.sampling.sample_result import Outcome, Verdict
from workflow_scripts.provenance.release.sampling.walked_rows import Walk, WalkedRows

RAW = Path(VIEW).parent / "raw/made.bin"
MAPS = Path(VIEW).parent / "index_maps"
ROWS = recipe().train_iterations * recipe().batch_rows


def checked(root: Path) -> list[Outcome]:
    """All rows of the only order."""
    sampler = WalkedRows(release_of(root))
    (group,) = sampler.groups
    assert group.items == ROWS
    return list(sampler.check(group.name, range(ROWS)))


def wrong(root: Path) -> int:
    """Number of rows that are not what they should be."""
    return sum(each.verdict is Verdict.WRONG for each in checked(root))


def test_an_honest_order_agrees_in_every_row(release_folder: Path) -> None:
    assert {each.verdict for each in checked(release_folder)} == {Verdict.EQUAL}
    release = release_of(release_folder)
    walk = Walk(release, WalkedRows(release).orders[WalkedRows(release).groups[0].name])
    assert walk.texts is not None
    assert len(walk.documents) > 2 * 40, "documents come again in further epochs"


def test_every_token_of_a_row_comes_from_where_the_definition_says(release_folder: Path) -> None:
    """The definition written down once more, token by token."""
    release = release_of(release_folder)
    sampler = WalkedRows(release)
    walk = Walk(release, sampler.orders[sampler.groups[0].name])
    documents = np.tile(np.arange(40, dtype=np.int32), len(walk.documents) // 40)
    shuffle = np.random.RandomState(recipe().data_seed)
    shuffle.shuffle(documents)
    stream = np.concatenate([walk.document(int(number)) for number in documents])
    samples = np.arange((len(stream) - 1) // recipe().sequence_length)
    shuffle.shuffle(samples)
    for row in range(ROWS):
        begin = samples[row] * recipe().sequence_length
        np.testing.assert_array_equal(walk.row(row), stream[begin : begin + recipe().sequence_length + 1])


def test_a_changed_token_is_found_in_the_rows_that_hold_it(forged: Path) -> None:
    tokens = np.fromfile(forged / RAW, dtype=np.uint16)
    tokens[300] += 1
    tokens.tofile(forged / RAW)
    assert 1 <= wrong(forged) <= 8


def test_a_changed_text_is_found(forged: Path) -> None:
    corpus = forged / "results/corpus/made/standard.jsonl"
    lines = [json.loads(line) for line in corpus.read_text().splitlines()]
    lines[30]["text"] = lines[30]["text"].replace("miller", "farmer").replace("river", "seven")
    corpus.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert wrong(forged) > 0


@pytest.mark.parametrize("kind", ["doc_idx", "sample_idx", "shuffle_idx"])
def test_a_changed_map_is_found(forged: Path, kind: str) -> None:
    (path,) = (forged / MAPS).glob(f"*train_0*_{kind}.npy")
    values = np.load(path)
    values[[1, 2]] = values[[2, 1]]
    np.save(path, values)
    assert wrong(forged) > 0


def test_without_the_texts_tokens_are_those_of_the_shards(forged: Path) -> None:
    (forged / "results/corpus/made/standard.jsonl").unlink()
    assert wrong(forged) == 0
    assert "texts" in WalkedRows(release_of(forged)).not_checked[0].reason


def test_without_the_data_the_order_is_listed(forged: Path) -> None:
    (forged / RAW).unlink()
    sampler = WalkedRows(release_of(forged))
    assert sampler.groups == []
    assert [each.items for each in sampler.not_checked] == [ROWS]


def test_models_whose_order_nobody_knows_are_listed(forged: Path) -> None:
    """Checkpoints of a suite that does not say what they were trained on."""
    (path,) = forged.glob("results/runs/*/run.json")
    run = json.loads(path.read_text())
    models = [{**model, "dataset": None, "data_seed": None} for model in run["models"]]
    path.write_text(json.dumps({**run, "models": models}))
    sampler = WalkedRows(release_of(forged))
    assert sampler.groups == []
    assert {each.reason.rpartition(" ")[2] for each in sampler.not_checked} == {"dataset"}


def test_a_run_without_the_numbers_of_its_models_is_refused(forged: Path) -> None:
    path = forged / "results/runs/made/run.json"
    run = json.loads(path.read_text())
    del run["models"][0]["data_seed"]
    path.write_text(json.dumps(run))
    with pytest.raises(DataError, match="a model has no data_seed"):
        WalkedRows(release_of(forged))
