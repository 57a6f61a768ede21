"""Evaluation data from a Hub on the loopback interface and from a mirror, in every layout the Hub has."""

import io
import json
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.storage.fault_hub import Fault
from workflow_scripts.errors import DataError, IntegrityError, MissingInputError, TransferError
from workflow_scripts.evaluation import fetch_data
from workflow_scripts.evaluation.planning.task_lock import LockedFile, read_task_lock, write_task_lock

NAME = "org/questions"


def parquet(*texts):
    """A parquet file with a column of texts, large enough to be an LFS file of the loopback Hub."""
    buffer = io.BytesIO()
    pq.write_table(pa.table({"text": list(texts), "filler": ["x" * 2000] * len(texts)}), buffer, compression="none")
    return buffer.getvalue()


TEST, TRAIN = parquet("a", "b"), parquet("c", "d", "e")
PLAIN = {"data/test-00000-of-00001.parquet": TEST, "data/train-00000-of-00001.parquet": TRAIN, "README.md": b"# Q"}


@pytest.fixture
def fetch(tmp_path, fault_hub):
    lock = tmp_path / "tasks.tsv"
    write_task_lock(lock, [])

    def run(config="default", splits=("test", "train"), source="hub", location=fault_hub.endpoint):
        folder = tmp_path / "out" / config
        receipt = folder / "fetched.json"
        place = ["--source", source, "--location", str(location), "--repository", NAME, "--attempts", "2"]
        what = ["--config", config, "--splits", *splits, "--lock", str(lock)]
        fetch_data.main([*place, *what, "--output-dir", str(folder), "--receipt", str(receipt)])
        texts = {split: pq.read_table(folder / f"{split}.parquet")["text"].to_pylist() for split in splits}
        return texts, json.loads(receipt.read_text())

    run.lock, run.hub = lock, fault_hub
    return run


def lock_of(receipt):
    return [LockedFile(NAME, receipt["config"], commit=receipt["commit"], **file) for file in receipt["files"]]


def test_files_of_the_main_branch_are_fetched_and_the_commit_is_recorded(fetch, caplog):
    commit = fetch.hub.add(NAME, PLAIN, kind="datasets")
    with caplog.at_level("INFO"):
        texts, receipt = fetch()
    assert texts == {"test": ["a", "b"], "train": ["c", "d", "e"]}
    assert (receipt["commit"], receipt["revision"], receipt["repository"]) == (commit, "main", NAME)
    assert [(file["split"], file["rows"], file["size"]) for file in receipt["files"]] == [
        ("test", 2, len(TEST)),
        ("train", 3, len(TRAIN)),
    ]
    assert f"has no entry of it; took commit {commit} of main" in caplog.text
    assert sorted(path.name for path in (fetch.lock.parent / "out" / "default").iterdir()) == [
        "fetched.json",
        "fetched.json.record.json",
        "test.parquet",
        "train.parquet",
    ]


def test_other_formats_come_from_the_converted_branch(fetch):
    fetch.hub.add(NAME, {"data/test.jsonl": b"{}", "README.md": b"# Q"}, kind="datasets")
    converted = {"default/test/0000.parquet": TEST, "default/train/0000.parquet": TRAIN}
    commit = fetch.hub.add(NAME, converted, "refs/convert/parquet", kind="datasets")
    texts, receipt = fetch()
    assert texts["train"] == ["c", "d", "e"]
    assert (receipt["commit"], receipt["revision"]) == (commit, "refs/convert/parquet")


def test_a_split_in_several_files_is_joined_in_order(fetch):
    parts = {f"q/test-{number:05d}-of-00003.parquet": parquet(f"t{number}", "z") for number in (2, 0, 1)}
    fetch.hub.add(NAME, parts, kind="datasets")
    texts, receipt = fetch("q", ["test"])
    assert texts == {"test": ["t0", "z", "t1", "z", "t2", "z"]}
    assert [file["path"] for file in receipt["files"]] == sorted(parts)


def test_what_the_lock_knows_is_fetched_at_its_commit_without_a_question(fetch):
    old = fetch.hub.add(NAME, PLAIN, kind="datasets")
    _, receipt = fetch()
    write_task_lock(fetch.lock, lock_of(receipt))
    fetch.hub.add(NAME, {path: parquet("new") for path in PLAIN}, kind="datasets")
    fetch.hub.requests.clear()
    texts, receipt = fetch()
    assert texts["test"] == ["a", "b"]
    assert receipt["commit"] == old
    assert fetch.hub.count("/api/") == 0
    assert read_task_lock(fetch.lock) == lock_of(receipt)


def test_content_that_differs_from_the_lock_is_refused(fetch):
    fetch.hub.add(NAME, PLAIN, kind="datasets")
    _, receipt = fetch()
    locked = lock_of(receipt)
    write_task_lock(fetch.lock, [replace(file, rows=file.rows + 1) for file in locked])
    with pytest.raises(IntegrityError, match=r"split test has 2 rows, .* the lock knows 3 rows"):
        fetch()
    write_task_lock(fetch.lock, [replace(file, sha256="0" * 64) for file in locked])
    with pytest.raises(IntegrityError, match="sha256"):
        fetch()


def test_a_mirror_serves_the_same_and_is_held_to_the_lock(fetch, tmp_path):
    folder = tmp_path / "mirror" / "datasets" / NAME / "default"
    folder.mkdir(parents=True)
    (folder / "test.parquet").write_bytes(TEST)
    (folder / "train.parquet").write_bytes(TRAIN)
    texts, receipt = fetch(source="mirror", location=tmp_path / "mirror")
    assert texts == {"test": ["a", "b"], "train": ["c", "d", "e"]}
    assert receipt["commit"] is None
    write_task_lock(fetch.lock, [replace(file, commit="a" * 40) for file in lock_of(receipt)])
    (folder / "train.parquet").write_bytes(TEST)
    with pytest.raises(IntegrityError, match="split train has 2 rows"):
        fetch(source="mirror", location=tmp_path / "mirror")


def test_what_is_not_there_is_said_in_one_line(fetch):
    with pytest.raises(TransferError, match="no such repository, or access denied"):
        fetch()
    fetch.hub.add(NAME, {"data/test.csv": b"a"}, kind="datasets")
    with pytest.raises(MissingInputError, match=r"neither main nor refs/convert/parquet .* it has data/test.csv"):
        fetch()
    fetch.hub.add(NAME, {"default/test/0000.parquet": TEST}, "refs/convert/parquet", kind="datasets")
    with pytest.raises(MissingInputError, match=r"configuration default, split train; lay .*evaluation.data"):
        fetch()


@pytest.mark.parametrize("status", [401, 403])
def test_a_gated_data_set_asks_for_a_token(fetch, status):
    fetch.hub.add(NAME, PLAIN, kind="datasets")
    fetch.hub.faults["*"] = Fault(status=status, headers={"X-Error-Code": "GatedRepo"})
    with pytest.raises(TransferError, match="access denied; set HF_TOKEN"):
        fetch()


def test_a_file_that_is_no_parquet_leaves_no_output(fetch):
    fetch.hub.add(NAME, {"data/test-00000-of-00001.parquet": b"x" * 2000}, kind="datasets")
    with pytest.raises(DataError, match="not a readable parquet file"):
        fetch(splits=["test"])
    assert not (fetch.lock.parent / "out" / "default" / "test.parquet").exists()
    fetch.hub.add(NAME, {"data/test-00000-of-00001.parquet": parquet()}, kind="datasets")
    with pytest.raises(DataError, match="holds no rows"):
        fetch(splits=["test"])
