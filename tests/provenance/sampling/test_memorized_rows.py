"""Rows of the memorization experiment come out as stored; a forged one is found."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from tests.provenance.sampling.sampled_release import MEMORIZED, TRAINING, release_of
from workflow_scripts.errors import IntegrityError
from workflow_scripts.provenance.release.sampling.evaluated_files import Evaluations
from workflow_scripts.provenance.release.sampling.memorized_rows import MemorizedRows
from workflow_scripts.provenance.release.sampling.sample_result import Outcome, Verdict


def checked(root: Path) -> list[Outcome]:
    """All rows of the only table."""
    sampler = MemorizedRows(Evaluations(release_of(root)))
    (group,) = sampler.groups
    return list(sampler.check(MEMORIZED, range(group.items)))


def test_an_honest_table_agrees(release_folder: Path) -> None:
    assert [each.verdict for each in checked(release_folder)] == [Verdict.EQUAL] * 16


def test_a_forged_row_is_found(forged: Path) -> None:
    table = pd.read_parquet(forged / MEMORIZED)
    table.loc[2, ["first_miss", "memorized"]] = [4, True]
    table.loc[5, "memorized"] = not table.loc[5, "memorized"]
    table.to_parquet(forged / MEMORIZED, index=False)
    assert [each.item.number for each in checked(forged) if each.verdict is Verdict.WRONG] == [2, 5]


def test_a_table_of_another_order_is_refused(forged: Path) -> None:
    path = forged / f"{MEMORIZED}.record.json"
    record = json.loads(path.read_text())
    record["parameters"]["data_fingerprint"] = "0" * 64
    path.write_text(json.dumps(record))
    sampler = MemorizedRows(Evaluations(release_of(forged)))
    with pytest.raises(IntegrityError, match="another order"):
        list(sampler.check(MEMORIZED, [0]))


def test_a_table_without_its_recipe_is_listed(forged: Path) -> None:
    (forged / TRAINING / "recipe.json").unlink()
    sampler = MemorizedRows(Evaluations(release_of(forged)))
    assert sampler.groups == []
    assert "recipe" in sampler.not_checked[0].reason
