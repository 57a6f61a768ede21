"""What a killed program leaves beside its targets: never content, and gone after the next run."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow_scripts.checkpoints.content_store import Store
from workflow_scripts.errors import IntegrityError, UnknownNameError
from workflow_scripts.published.import_results import import_folder
from workflow_scripts.storage import download, leftovers, make_lock, verify
from workflow_scripts.storage.lockfile import FileEntry, write_lock
from workflow_scripts.storage.locks import exclusive
from workflow_scripts.storage.sources.source import MirrorSource, Repository

FILES = {"a.bin": b"a" * 100, "sub/b.bin": b"b" * 200}
NAMES = st.text(st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1, max_size=40)
HIDDEN = (
    *(leftovers.lock_path, leftovers.temporary_name, leftovers.common_name),
    *(leftovers.assembly_path, leftovers.journal_path),
)


def dead() -> int:
    """Number of a process that is gone."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    return gone.pid


def killed_while_locked(*targets: Path) -> None:
    """A process takes the locks of ``targets`` and is killed."""
    code = (
        "import contextlib, os, sys, pathlib; from workflow_scripts.storage.locks import exclusive\n"
        "with contextlib.ExitStack() as stack:\n"
        "    [stack.enter_context(exclusive(pathlib.Path(name))) for name in sys.argv[1:]]\n"
        "    os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, *map(str, targets)], check=False).returncode == -9


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    """A mirror with a data set and its list."""
    folder = tmp_path / "mirror" / "datasets" / "pocket" / "deduped"
    for path, content in FILES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    entries = [FileEntry(p, len(c), hashlib.sha256(c).hexdigest()) for p, c in FILES.items()]
    write_lock(folder / "sha256.txt", entries)
    return tmp_path / "mirror"


def fetch(mirror: Path, raw: Path) -> None:
    command = ["--source", "mirror", "--location", str(mirror), "--kind", "dataset", "--repository", "pocket/deduped"]
    download.main([*command, "--output-dir", str(raw), "--receipt", str(raw.parent / "download.json")])


def check(raw: Path) -> None:
    verify.main(["--folder", str(raw), "--lock", str(raw.parent / "download.json")])


def test_a_download_that_was_killed_at_its_end_is_verified_and_tidied(mirror: Path, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    fetch(mirror, raw)
    killed_while_locked(raw / "a.bin", raw / "sub/b.bin")
    assert names(raw) == {*FILES, ".a.bin.lock", "sub/.b.bin.lock"}
    check(raw)
    fetch(mirror, raw)
    assert names(raw) == set(FILES)
    check(raw)


def test_a_lock_that_is_held_stays(mirror: Path, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    fetch(mirror, raw)
    with exclusive(raw / "a.bin"):
        fetch(mirror, raw)
        assert ".a.bin.lock" in names(raw)
    assert names(raw) == set(FILES)


def leave_behind(folder: Path) -> set[str]:
    """Everything that work in progress may leave beside ``a.bin``; returns its names."""
    target = folder / "a.bin"
    made = [*(of(target) for of in HIDDEN), leftovers.part_path(target), leftovers.bad_path(target)]
    made.append(leftovers.temporary_name(target, "part"))
    for path in made:
        path.write_bytes(b"x")
    for filled in (leftovers.common_name(folder / "other"), folder / leftovers.LFS_OBJECTS):
        filled.mkdir()
        (filled / "half").write_bytes(b"x")
    return {path.name for path in made}


def test_no_list_of_a_folder_names_what_work_leaves(mirror: Path, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    fetch(mirror, raw)
    assert len(leave_behind(raw)) == 7  # the bytes so far have one name, whether of a fetch or of several sources
    leave_behind(mirror / "datasets/pocket/deduped")
    check(raw)
    make_lock.main(["--folder", str(raw), "--output", str(tmp_path / "lock.tsv")])
    assert "\n".join(FILES) == "\n".join(
        line.split("\t")[0] for line in (tmp_path / "lock.tsv").read_text().splitlines()[1:]
    )
    listed = MirrorSource(mirror, Repository("dataset", "pocket/deduped", "main")).files()
    assert [entry.path for entry in listed] == [*FILES][:1] + ["sha256.txt", "sub/b.bin"]


def test_a_visible_file_that_nobody_asked_for_is_still_extra(mirror: Path, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    fetch(mirror, raw)
    for name in ("c.bin.part", "poetry.lock", ".hidden"):
        (raw / name).touch()
        with pytest.raises(IntegrityError, match=f"1 extra .first {name}"):
            check(raw)
        (raw / name).unlink()


def test_a_mirror_takes_no_leftover_for_a_revision(tmp_path: Path) -> None:
    top = tmp_path / "models" / "pocket" / "tiny"
    (top / ".step7.tmp").mkdir(parents=True)
    (top / "step1").mkdir()
    (top / ".step1.lock").touch()
    with pytest.raises(UnknownNameError) as caught:
        MirrorSource(tmp_path, Repository("model", "pocket/tiny", "main"))
    assert "step1" in str(caught.value)
    assert ".step7" not in str(caught.value)


def test_an_import_of_results_reads_no_lock(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("x")
    (tmp_path / ".README.md.lock").write_text("x")
    assert [file.source_file for file in import_folder(tmp_path).files] == ["README.md"]


def test_a_second_name_that_a_killed_link_left_does_not_keep_weights(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.weights.mkdir()
    (store.weights / "ab").write_bytes(b"x" * 10)
    (store.weights / f".ab.{leftovers.MACHINE}-{dead()}-0.tmp").hardlink_to(store.weights / "ab")
    assert store.sweep([(store.weights / "ab").stat().st_ino]) == 10
    assert not list(store.weights.iterdir())


def test_what_dead_processes_left_is_removed_whatever_its_target(tmp_path: Path) -> None:
    gone = dead()
    kept = {f".a.zzzz-{gone}-0.tmp", f"a.{leftovers.MACHINE}-{gone}-0.tmp"}
    for name in (*kept, f".a.{leftovers.MACHINE}-{gone}-0.tmp", f".b.c.{leftovers.MACHINE}-{gone}-1.part"):
        (tmp_path / name).touch()
    leftovers.remove_dead(tmp_path)
    leftovers.remove_dead(tmp_path / "absent")
    assert names(tmp_path) == kept


@given(NAMES)
def test_every_name_that_this_module_gives_is_known_to_it(name: str) -> None:
    target = Path("/nonexistent") / f"x{name}"
    given_names = [of(target).name for of in HIDDEN]
    assert leftovers.content_names([target.name, *given_names]) == (
        [] if leftovers.is_working_name(target.name) else [target.name]
    )
    assert leftovers.content_names([target.name, leftovers.part_path(target).name]) == [target.name]
    beside = [leftovers.bad_path(target).name]
    assert leftovers.content_names([target.name, *beside]) == [target.name]
    assert leftovers.content_names(beside) == beside
