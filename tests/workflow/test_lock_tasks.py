"""The lock of evaluation data is written from what was fetched, and holds the next fetch to its commit."""

import pytest

from tests.evaluation.test_fetch_data import TEST, TRAIN
from workflow_scripts.errors import DataError
from workflow_scripts.evaluation.planning.task_lock import read_task_lock, write_task_lock
from workflow_scripts.workflow.evaluation import DataSet
from workflow_scripts.workflow.tools import lock_tasks

DATA = (DataSet("org/one", "default", ("test", "train")), DataSet("org/two", "part", ("test",)))


def test_every_file_gets_a_line_and_nothing_is_fetched_twice(fault_hub, tmp_path, monkeypatch):
    monkeypatch.setattr(lock_tasks, "data_sets", lambda: DATA)
    first = fault_hub.add("org/one", {"data/test.parquet": TEST, "data/train.parquet": TRAIN}, kind="datasets")
    second = fault_hub.add("org/two", {"part/test.parquet": TRAIN}, kind="datasets")
    lock, folder = tmp_path / "tasks.tsv", tmp_path / "data"
    write_task_lock(lock, [])
    command = ["--location", fault_hub.endpoint, "--folder", str(folder), "--lock", str(lock)]
    lock_tasks.main(command)
    lines = [(file.dataset, file.config, file.split, file.commit, file.rows) for file in read_task_lock(lock)]
    assert lines == [
        ("org/one", "default", "test", first, 2),
        ("org/one", "default", "train", first, 3),
        ("org/two", "part", "test", second, 3),
    ]
    asked, written = len(fault_hub.requests), lock.read_bytes()
    lock_tasks.main(command)
    assert (len(fault_hub.requests), lock.read_bytes()) == (asked, written)


def test_a_mirror_has_no_commit_to_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(lock_tasks, "data_sets", lambda: DATA[1:])
    place = tmp_path / "datasets" / "org" / "two" / "part"
    place.mkdir(parents=True)
    (place / "test.parquet").write_bytes(TEST)
    write_task_lock(tmp_path / "tasks.tsv", [])
    where = ["--source", "mirror", "--location", str(tmp_path), "--folder", str(tmp_path / "out")]
    with pytest.raises(DataError, match="knows no commit"):
        lock_tasks.main([*where, "--lock", str(tmp_path / "tasks.tsv")])
    assert read_task_lock(tmp_path / "tasks.tsv") == []
