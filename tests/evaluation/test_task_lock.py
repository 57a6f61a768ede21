"""The lock of evaluation data: what is written is read back, and a damaged line is named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow_scripts.errors import DataError, MissingInputError
from workflow_scripts.evaluation.planning.task_lock import (
    COLUMNS,
    LockedFile,
    locked_files,
    parse_line,
    read_task_lock,
    write_task_lock,
)
from workflow_scripts.suite.layout import TASK_LOCK

FILE = LockedFile("org/name", "default", "test", "a" * 40, "data/test.parquet", 7, 99, "b" * 64)
GOOD = "\t".join(map(str, (FILE.dataset, FILE.config, FILE.split, FILE.commit, FILE.path, 7, 99, FILE.sha256)))


@given(st.lists(st.sampled_from("abcd"), unique=True), st.integers(1, 10**9))
def test_a_lock_is_read_as_it_was_written(tmp_path_factory, configs, rows):
    path = tmp_path_factory.mktemp("lock") / "tasks.tsv"
    files = [
        LockedFile("org/name", config, "test", "a" * 40, f"{config}.parquet", rows, 9, "c" * 64) for config in configs
    ]
    write_task_lock(path, files)
    assert read_task_lock(path) == sorted(files)
    for file in files:
        assert locked_files(files, "org/name", file.config) == [file]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("\t7\t", "\t-\t"),
        ("\t99\t", "\tmany\t"),
        ("a" * 40, "main"),
        ("b" * 64, "-"),
        ("data/", "../"),
        ("\ttest\t", "\t"),
    ],
)
def test_a_damaged_line_is_refused_with_its_number(old, new):
    assert parse_line(GOOD, "lock:2") == FILE
    with pytest.raises(DataError, match=r"^lock:2: "):
        parse_line(GOOD.replace(old, new, 1), "lock:2")


def test_a_lock_without_its_columns_is_refused(tmp_path):
    with pytest.raises(MissingInputError, match="make lock-data"):
        read_task_lock(tmp_path / "none.tsv")
    (tmp_path / "other.tsv").write_text("path\tsize\n")
    with pytest.raises(DataError, match=" ".join(COLUMNS)):
        read_task_lock(tmp_path / "other.tsv")
    (tmp_path / "binary.tsv").write_bytes(b"\xff")
    with pytest.raises(DataError, match="not UTF-8"):
        read_task_lock(tmp_path / "binary.tsv")


def test_the_lock_of_the_project_can_be_read(root):
    read_task_lock(root / TASK_LOCK)
