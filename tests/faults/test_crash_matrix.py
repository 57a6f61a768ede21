"""The short form of the matrix of kills, in a folder whose name has spaces, quotes and other alphabets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.faults import crash_matrix


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bytes(tmp_path: Path) -> None:
    kills = crash_matrix.matrix(tmp_path / 'it\'s a "däta" 数据', kills=6, seed=0, stages=crash_matrix.TABLE)
    assert len(kills) == 6
    assert len({kill.job for kill in kills}) == 6
    assert any(kill.job in kill.running for kill in kills), "at least one came inside its job"


def test_a_difference_is_seen_and_a_cost_is_none(tmp_path: Path) -> None:
    for name, seconds, loss in (("one", 1, 5), ("two", 2, 5), ("three", 1, 6)):
        training = tmp_path / name / "training" / "m"
        training.mkdir(parents=True)
        (training / "metrics.csv").write_text(f"step,loss,tokens_per_second\n1,{loss},{seconds}\n")
        record = {"seconds": seconds, "peak_memory_bytes": seconds, "inputs": {}, "output": "x", "loss": loss}
        (training / "x.record.json").write_text(json.dumps(record))
        (tmp_path / name / "logs").mkdir()
        (tmp_path / name / "logs" / "x.log").write_text(str(seconds))
    assert list(crash_matrix.differences(tmp_path / "one", tmp_path / "two")) == []
    assert list(crash_matrix.differences(tmp_path / "one", tmp_path / "three")) == [
        "differs: training/m/metrics.csv",
        "differs: training/m/x.record.json",
    ]
    (tmp_path / "two" / ".leftover.tmp").touch()
    assert list(crash_matrix.differences(tmp_path / "one", tmp_path / "two")) == ["extra: .leftover.tmp"]
