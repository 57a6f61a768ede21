"""Lists of files: every format that is read, and everything that is refused."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow_scripts.errors import DataError, MissingInputError, UnknownNameError
from workflow_scripts.storage.lockfile import (
    HEADER,
    FileEntry,
    checked_path,
    format_lock,
    parse_lock,
    path_fault,
    read_lock,
    select,
    write_lock,
)

DIGEST = hashlib.sha256(b"").hexdigest()
NAMES = st.text("abcXYZ019._- é", min_size=1, max_size=8)
ENTRIES = st.builds(
    FileEntry,
    st.lists(NAMES, min_size=1, max_size=3).map("/".join),
    st.none() | st.integers(0, 2**63 - 1),
    st.none() | st.binary(min_size=32, max_size=32).map(bytes.hex),
)


@given(st.lists(ENTRIES, min_size=1, max_size=6, unique_by=lambda entry: entry.path))
@settings(deadline=None, max_examples=150)
def test_written_lists_read_back_or_are_refused(entries: list[FileEntry]) -> None:
    folders = {"/".join(e.path.split("/")[:n]) for e in entries for n in range(1, e.path.count("/") + 1)}
    fine = not any(path_fault(entry.path) or entry.path in folders for entry in entries)
    if fine and not entries[0].path.startswith("#"):
        assert parse_lock(format_lock(entries).encode(), "x") == sorted(entries)
    else:
        with pytest.raises(DataError):
            parse_lock(format_lock(entries).encode(), "x")


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
@settings(deadline=None, max_examples=300)
def test_any_bytes_are_a_list_or_one_clear_error(content: bytes) -> None:
    try:
        entries = parse_lock(content, "x")
    except DataError as error:
        assert str(error).startswith("x")
        assert "\n" not in str(error)
    else:
        assert entries
        assert all(not path_fault(entry.path) for entry in entries)


@given(st.text(max_size=30))
@settings(deadline=None, max_examples=300)
def test_accepted_paths_stay_inside_a_folder(path: str) -> None:
    if path_fault(path):
        with pytest.raises(DataError):
            checked_path(path, "x")
    else:
        joined = (Path("/a/b") / path).resolve()
        assert joined.is_relative_to("/a/b")
        assert joined != Path("/a/b")
        assert not any(part.startswith("-") for part in path.split("/"))


def test_output_of_the_real_sha256sum_is_read(tmp_path: Path) -> None:
    (tmp_path / "a b.bin").write_bytes(b"x")
    (tmp_path / "c.bin").write_bytes(b"")
    done = subprocess.run(["sha256sum", "a b.bin", "c.bin"], cwd=tmp_path, capture_output=True, check=True)
    assert parse_lock(done.stdout, "x") == [
        FileEntry("a b.bin", None, hashlib.sha256(b"x").hexdigest()),
        FileEntry("c.bin", None, DIGEST),
    ]
    binary = subprocess.run(["sha256sum", "--binary", "c.bin"], cwd=tmp_path, capture_output=True, check=True)
    assert parse_lock(binary.stdout, "x") == [FileEntry("c.bin", None, DIGEST)]


def test_lock_is_accepted_by_the_real_sha256sum(tmp_path: Path) -> None:
    (tmp_path / "c.bin").write_bytes(b"")
    write_lock(tmp_path / "lock.tsv", [FileEntry("c.bin", 0, DIGEST)])
    entry = read_lock(tmp_path / "lock.tsv")[0]
    line = f"{entry.sha256}  {entry.path}\n"
    subprocess.run(["sha256sum", "--check", "--strict"], input=line, text=True, cwd=tmp_path, check=True)


@pytest.mark.shared
def test_published_list_of_the_deduplicated_set_is_read(shared: Path) -> None:
    path = shared / "upstream" / "utils" / "shard_hashes.txt"
    entries = read_lock(path)
    assert not path.read_bytes().endswith(b"\n")
    assert len(entries) == 84
    assert sum(entry.path.endswith(".bin") for entry in entries) == 83
    index = next(entry for entry in entries if entry.path.endswith(".idx"))
    assert index.sha256 == "a659c5a57fa772fb6d3582c6e0b3a55c0c43b16ee8ea72ac6a70cebcdd35d669"


def test_receipts_are_read_as_lists() -> None:
    text = f'{{"files": [{{"path": "a", "size": 0, "sha256": "{DIGEST}"}}]}}'
    assert parse_lock(text.encode(), "x") == [FileEntry("a", 0, DIGEST)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lists no files"),
        (HEADER + "\n", "lists no files"),
        (f"{HEADER}\na\t1\n", r"x:2: 2 fields"),
        (f"{HEADER}\na\t-1\t-\n", r"x:2: size '-1'"),
        (f"{HEADER}\na\t{2**63}\t-\n", "size"),
        (f"{HEADER}\na\t١\t-\n", "size"),
        (f"{HEADER}\na\t1\tabc\n", r"sha256 'abc' is not 64"),
        (f"{HEADER}\na\t1\t-\na\t1\t-\n", "'a' is listed twice"),
        (f"{HEADER}\na\t1\t-\na/b\t1\t-\n", "'a' is listed as a file and as the folder of 'a/b'"),
        (f"{HEADER}\n../a\t1\t-\n", r"x:2: path '\.\./a' contains '\.\.'"),
        (f"{HEADER}\n/a\t1\t-\n", "is absolute"),
        (f"{DIGEST}  a\nb {DIGEST}\n", r"x:2: expected '<sha256>  <path>'"),
        ("a b c", "not a list of files"),
        ('{"files": 3}', "without a 'files' list"),
        ('{"files": [{"path": "a"}]}', "without a 'files' list"),
        ("[" * 100_000, "not a list of files"),
        ('{"a":' * 100_000, "without a 'files' list"),
    ],
)
def test_refused_lists_say_where_and_why(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_lock(text.encode(), "x")


def test_missing_list_names_the_program_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="make_lock"):
        read_lock(tmp_path / "none.tsv")


def test_patterns_select_and_must_fit_something() -> None:
    entries = [FileEntry(path, 1, None) for path in ("a.bin", "sub/b.bin", "c.idx")]
    assert [e.path for e in select(entries, ["*.bin"], "x")] == ["a.bin", "sub/b.bin"]
    assert select(entries, [], "x") == entries
    with pytest.raises(UnknownNameError, match=r"x: unknown file 'c\.idy'; did you mean 'c\.idx'"):
        select(entries, ["c.idy"], "x")
