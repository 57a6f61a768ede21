"""A folder against a list: what is found, what is said, what is written."""

from __future__ import annotations

import hashlib
import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from workflow_scripts.errors import IntegrityError, MissingInputError
from workflow_scripts.storage import verify
from workflow_scripts.storage.lockfile import FileEntry, write_lock

FILES = {"a.bin": b"a" * 100, "b.bin": b"b" * 200, "sub/c.bin": b"c" * 300, "d.bin": b""}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that is as listed."""
    for path, content in FILES.items():
        (tmp_path / "raw" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "raw" / path).write_bytes(content)
    entries = [FileEntry(p, len(c), hashlib.sha256(c).hexdigest()) for p, c in FILES.items()]
    write_lock(tmp_path / "lock.tsv", entries)
    return tmp_path / "raw"


def run(folder: Path, *more: str) -> None:
    receipt = folder.parent / "verified.json"
    arguments = ["--folder", str(folder), "--lock", str(folder.parent / "lock.tsv"), "--receipt", str(receipt)]
    verify.main([*arguments, *more])


@pytest.mark.parametrize("jobs", ["1", "3"])
def test_clean_folder_gives_a_receipt(jobs: str, folder: Path) -> None:
    run(folder, "--jobs", jobs)
    receipt = json.loads((folder.parent / "verified.json").read_text())
    assert receipt["bytes"] == 600
    assert [file["path"] for file in receipt["files"]] == sorted(FILES)
    lock = (folder.parent / "lock.tsv").read_bytes()
    assert receipt["lock_sha256"] == hashlib.sha256(lock).hexdigest()
    assert (folder.parent / "verified.json.record.json").exists()


def test_each_state_is_found_and_named(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "a.bin").unlink()
    (folder / "b.bin").write_bytes(b"b" * 199)
    (folder / "sub/c.bin").write_bytes(b"c" * 299 + b"x")
    (folder / "d.bin").write_bytes(b"x")
    (folder / "sub/e.bin").write_bytes(b"")
    with caplog.at_level(logging.ERROR), pytest.raises(IntegrityError) as caught:
        run(folder)
    text = str(caught.value)
    for part in ("1 missing (first a.bin)", "1 short (first b.bin)", "1 long (first d.bin)"):
        assert part in text
    for part in ("1 wrong (first sub/c.bin)", "1 extra (first sub/e.bin)"):
        assert part in text
    assert [record.message.split()[0] for record in caplog.records] == ["missing", "short", "long", "wrong", "extra"]


def test_old_receipt_does_not_outlive_the_content(folder: Path) -> None:
    run(folder)
    (folder / "a.bin").write_bytes(b"A" * 100)
    with pytest.raises(IntegrityError, match=r"1 wrong \(first a\.bin\)"):
        run(folder)
    assert not (folder.parent / "verified.json").exists()


def test_exit_code_tells(folder: Path) -> None:
    command = [sys.executable, "-m", "workflow_scripts.storage.verify", "--folder", str(folder)]
    command += ["--lock", str(folder.parent / "lock.tsv")]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    (folder / "extra").touch()
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert "1 extra (first extra)" in done.stderr


def test_part_of_a_set_may_be_checked(folder: Path) -> None:
    (folder / "a.bin").unlink()
    (folder / "extra").touch()
    run(folder, "--include", "b.bin", "sub/*")
    receipt = json.loads((folder.parent / "verified.json").read_text())
    assert [file["path"] for file in receipt["files"]] == ["b.bin", "sub/c.bin"]


def test_list_and_receipt_inside_the_folder_are_not_extra(folder: Path) -> None:
    lock = folder / "sha256.txt"
    (folder.parent / "lock.tsv").rename(lock)
    command = ["--folder", str(folder), "--lock", str(lock), "--receipt", str(folder / "v.json")]
    verify.main(command)
    verify.main(command)


def test_the_receipt_of_a_fetch_and_its_record_are_not_extra(folder: Path) -> None:
    """They lie in every fetched checkpoint, beside the files that its sha256.txt lists."""
    for name in ("fetched.json", "fetched.json.record.json", "sha256.txt.record.json"):
        (folder / name).write_text("{}")
    run(folder)
    (folder / "sub" / "fetched.json").write_text("{}")
    with pytest.raises(IntegrityError, match=r"1 extra \(first sub/fetched\.json\)"):
        run(folder)


def test_file_without_a_listed_hash_is_not_called_verified(folder: Path) -> None:
    write_lock(folder.parent / "lock.tsv", [FileEntry(p, len(c), None) for p, c in FILES.items()])
    with pytest.raises(IntegrityError, match="4 unhashed"):
        run(folder)


def test_list_without_sizes_is_enough(folder: Path) -> None:
    done = subprocess.run(["sha256sum", *FILES], cwd=folder, capture_output=True, check=True)
    (folder.parent / "lock.tsv").write_bytes(done.stdout)
    run(folder)


def test_folder_in_place_of_a_file_is_missing(folder: Path) -> None:
    (folder / "a.bin").unlink()
    (folder / "a.bin").mkdir()
    with pytest.raises(IntegrityError, match=r"1 missing \(first a\.bin\)"):
        run(folder)


def test_missing_folder_names_the_program_that_fetches(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"storage\.download"):
        verify.verify(tmp_path / "none", tmp_path / "lock.tsv", jobs=1)


def test_what_a_fetch_put_aside_is_not_extra(folder: Path) -> None:
    (folder / "a.bin.bad").touch()
    run(folder)
    (folder / "z.bin.bad").touch()
    with pytest.raises(IntegrityError, match=r"1 extra \(first z\.bin\.bad\)"):
        run(folder)
