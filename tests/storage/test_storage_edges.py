"""What the storage programs refuse, and how they end, away from the beaten path."""

from __future__ import annotations

import argparse
import errno
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import httpx2
import pytest

from workflow_scripts import cli
from workflow_scripts.errors import (
    ConfigError,
    DataError,
    IntegrityError,
    MissingInputError,
    StorageError,
    TransferError,
    UnknownNameError,
)
from workflow_scripts.provenance import stale
from workflow_scripts.storage import make_lock, records
from workflow_scripts.storage.atomic import write_text
from workflow_scripts.storage.digests import ContentHash
from workflow_scripts.storage.fetching.fetch_files import check_answer
from workflow_scripts.storage.fetching.partial_file import Part
from workflow_scripts.storage.hashing import sha256_file, sha256_text
from workflow_scripts.storage.http import http_reader
from workflow_scripts.storage.http.http_reader import byte_stream
from workflow_scripts.storage.http.retry import RetryableError, RetryPolicy
from workflow_scripts.storage.lockfile import FileEntry
from workflow_scripts.storage.source_arguments import add_patience_arguments, policy_of
from workflow_scripts.storage.sources import git_objects
from workflow_scripts.storage.sources.catalog import Access, open_source
from workflow_scripts.storage.sources.lfs_client import open_store
from workflow_scripts.storage.sources.listing import known_files, read_small
from workflow_scripts.storage.sources.source import ByteStream, MirrorSource, Repository

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-4, example "abc"


def test_hashes_are_those_of_the_standard(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_file(tmp_path / "a") == sha256_text("abc") == ABC


# Answers of servers


def answer(status: int = 200, body: bytes = b"abc", **headers: str) -> httpx2.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx2.Response(status, headers=named, content=body, request=httpx2.Request("GET", "http://h/f"))


@pytest.mark.parametrize(
    ("response", "offset", "error", "words"),
    [
        (answer(416, Content_Range="bytes */9"), 5, RetryableError, "has 9 bytes, requested from byte 5"),
        (answer(206), 0, RetryableError, "without a valid Content-Range"),
        (answer(206, Content_Range="bytes */9"), 0, RetryableError, "without a valid Content-Range"),
        (answer(Content_Encoding="br", body=b""), 0, TransferError, "compressed the response against the request"),
    ],
)
def test_answers_that_cannot_be_used(
    response: httpx2.Response, offset: int, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        byte_stream(response, offset, "label")


def test_the_end_of_a_file_is_an_empty_part() -> None:
    stream = byte_stream(answer(416, Content_Range="bytes */9"), 9, "label")
    assert (stream.start, stream.total, list(stream.chunks)) == (9, 9, [])


@pytest.mark.parametrize(
    ("code", "expiring", "error", "words"),
    [
        (403, frozenset({403}), RetryableError, "signed URL may have expired"),
        (403, frozenset(), TransferError, "access denied; ask the owner"),
        (410, frozenset(), TransferError, "no such file"),
        (302, frozenset(), TransferError, "responded with 302"),
        (418, frozenset(), TransferError, "responded with 418"),
    ],
)
def test_what_a_status_means(code: int, expiring: frozenset[int], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        http_reader.check_status(answer(code), expiring, "label", "ask the owner")


# Git


@pytest.fixture
def git(tmp_path: Path) -> git_objects.GitObjects:
    (tmp_path / "remote").mkdir()
    repository = Repository("model", "org/name", "main")
    return git_objects.GitObjects(str(tmp_path / "remote"), repository, tmp_path / "git", RetryPolicy(), 30.0)


def test_without_git_the_other_source_is_named(git, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingInputError, match="git is not installed"):
        git.run("version")


def test_a_git_that_never_ends_is_given_up(git, monkeypatch) -> None:
    """Its half hour is not spent again: an answer that trickles in would take as long each time."""

    def silent(*words, **named):
        raise subprocess.TimeoutExpired("git", 1)

    monkeypatch.setattr(git_objects, "run_git", silent)
    with pytest.raises(TransferError, match="git took more than") as caught:
        git.run("version")
    assert not isinstance(caught.value, RetryableError)


def test_a_remote_that_does_not_tell_its_branches_gives_no_hint(git, monkeypatch) -> None:
    def fails(*words, **named):
        raise TransferError("closed")

    monkeypatch.setattr(git, "run", fails)
    assert git.revisions() == []


def test_a_server_that_gives_out_branches_only_is_asked_for_them(git, monkeypatch) -> None:
    commit = "a" * 40
    git.repository = Repository("model", "org/name", "main", commit)
    asked = []

    def run(*words, **named):
        asked.append(words)
        if words[:2] == ("fetch", "--quiet") and "--depth=1" in words:
            raise RetryableError("Server does not allow request for unadvertised object")
        return commit.encode()

    monkeypatch.setattr(git, "run", run)
    assert git.fetch() == commit
    assert any("+refs/heads/*" in word for words in asked for word in words)
    git.repository = Repository("model", "org/name", "main")
    with pytest.raises(RetryableError):
        git.fetch()


def test_objects_of_a_remote_without_a_server_and_absent_ones_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no LFS server"):
        open_store("git://host/org/name", None, http_reader.HttpReader(5.0, ""))
    store = open_store(str(tmp_path), None, http_reader.HttpReader(5.0, ""))
    with pytest.raises(TransferError, match="lacks object"), store.open("ab" * 32, 3, 0, "label"):
        pass


# Mirrors and lists


@pytest.fixture
def mirror(tmp_path: Path) -> MirrorSource:
    folder = tmp_path / "models/org/name"
    folder.mkdir(parents=True)
    (folder / "a.txt").write_bytes(b"abc")
    return MirrorSource(tmp_path, Repository("model", "org/name", "main"))


def test_a_source_needs_a_place(tmp_path: Path) -> None:
    for name, words in (("mirror", "must be the folder"), ("git-lfs", "must be the URL")):
        with (
            pytest.raises(ConfigError, match=words),
            open_source(name, "", Repository("model", "org/name", "main"), RetryPolicy(), 5.0),
        ):
            pass
    assert Access.__name__


def test_a_repository_must_be_one() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'model'"):
        Repository("models", "org/name", "main")
    with pytest.raises(ConfigError, match="expected 40 or 64 hexadecimal digits"):
        Repository("model", "org/name", "main", "abc")


def test_an_absent_repository_or_file_of_a_mirror_is_named(mirror: MirrorSource, tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="no such repository in the mirror"):
        MirrorSource(tmp_path, Repository("model", "org/other", "main"))
    with pytest.raises(TransferError, match="the mirror does not contain it"):
        mirror.read_range("b.txt", 0, 1)
    with pytest.raises(TransferError, match="ends before byte 9"):
        mirror.read_range("a.txt", 0, 9)


def test_links_out_of_a_mirror_are_not_followed(mirror: MirrorSource, tmp_path: Path) -> None:
    """A mirror from a stranger may hold a link to a private file of its reader; links within it are its own."""
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    (outside / "private").write_bytes(b"abc")
    (mirror.folder / "out").symlink_to(outside / "private")
    (mirror.folder / "sha256.txt").symlink_to(outside / "private")
    (mirror.folder / "nowhere").symlink_to(outside / "none")
    (mirror.folder / "within").symlink_to("a.txt")
    os.mkfifo(mirror.folder / "pipe")
    assert mirror.files() == [FileEntry("a.txt", 3, None), FileEntry("within", 3, None)]
    assert mirror.commit() is None
    assert mirror.read_range("within", 0, 3) == b"abc"
    for path, words in (
        ("out", "a link that leaves the mirror"),
        ("pipe", "not a regular file"),
        ("nowhere", "link that leaves"),
    ):
        with pytest.raises(TransferError, match=words):
            mirror.read_range(path, 0, 3)


def test_a_mirror_may_be_laid_out_over_disks_by_links_to_folders(mirror: MirrorSource, tmp_path: Path) -> None:
    (tmp_path / "top" / "models").mkdir(parents=True)
    (tmp_path / "top" / "models" / "org").symlink_to(tmp_path / "models" / "org", target_is_directory=True)
    (tmp_path / "link").symlink_to(tmp_path / "top", target_is_directory=True)
    linked = MirrorSource(tmp_path / "link", Repository("model", "org/name", "main"))
    assert linked.read_range("a.txt", 0, 3) == b"abc"
    (mirror.folder / "out").symlink_to("../other")
    with pytest.raises(TransferError, match="a link that leaves the mirror"):
        linked.read_range("out", 0, 3)


def test_a_source_without_files_is_refused(mirror: MirrorSource) -> None:
    (mirror.folder / "a.txt").unlink()
    with pytest.raises(TransferError, match="lists no files"):
        known_files(mirror)


def test_only_small_files_are_read_into_memory(mirror: MirrorSource) -> None:
    with pytest.raises(IntegrityError, match="too many to read"):
        read_small(mirror, FileEntry("a.txt", 10**12, None))
    assert read_small(mirror, FileEntry("a.txt", 3, ABC)) == b"abc"
    with pytest.raises(IntegrityError, match="does not match what the source itself reports"):
        read_small(mirror, FileEntry("a.txt", 3, "0" * 64))


def test_a_list_is_made_of_what_can_be_hashed(mirror: MirrorSource, tmp_path: Path) -> None:
    assert make_lock.repository_entries(mirror) == [FileEntry("a.txt", 3, ABC)]
    with pytest.raises(IntegrityError, match=r"no sha256 reported for a\.txt"):
        make_lock.hashed(mirror, FileEntry("a.txt", None, None))
    with pytest.raises(MissingInputError, match="no such folder"):
        make_lock.folder_entries(tmp_path / "absent")


@pytest.mark.parametrize(
    ("more", "words"),
    [(["--attempts", "0"], "at least 1"), (["--stall-seconds", "0"], "above 0"), ([], "needs --kind and --repository")],
)
def test_arguments_that_make_no_source(tmp_path: Path, capsys: pytest.CaptureFixture[str], more, words) -> None:
    named = ["--kind", "model", "--repository", "org/name"] if more else []
    arguments = ["--source", "mirror", "--location", str(tmp_path), *named, "--output", str(tmp_path / "l.tsv"), *more]
    assert cli.run(make_lock.main, arguments) == 2
    assert words in capsys.readouterr().err


def test_one_attempt_and_half_a_second_are_patience_enough() -> None:
    parser = argparse.ArgumentParser()
    add_patience_arguments(parser)
    assert policy_of(parser.parse_args(["--attempts", "1", "--stall-seconds", "0.5"])).attempts == 1


# Unfinished files


def test_an_unfinished_file_longer_than_the_file_is_begun_again(tmp_path: Path) -> None:
    path = tmp_path / "a.part"
    path.write_bytes(b"too long")
    lost = []
    with Part(path, FileEntry("a", 3, ABC), lost.append) as part:
        assert part.length == 0
        part.append(b"abc")
        assert part.digest.sha256() == ABC
    assert path.read_bytes() == b"abc"


def test_an_unfinished_file_is_open_only_within_its_block(tmp_path: Path) -> None:
    part = Part(tmp_path / "a.part", FileEntry("a", 3, ABC), lambda number: None)
    with pytest.raises(RuntimeError, match="outside its with block"):
        part.writer()


def test_wrong_content_is_set_aside_and_the_next_attempt_starts_empty(tmp_path: Path) -> None:
    path = tmp_path / "a.part"
    with Part(path, FileEntry("a", 3, ABC), lambda number: None) as part:
        part.append(b"abd")
        part.set_aside(tmp_path / "a.bad")
        part.append(b"abc")
    assert (path.read_bytes(), (tmp_path / "a.bad").read_bytes()) == (b"abc", b"abd")
    assert ContentHash.for_entry(FileEntry("a", 3, ABC)).sha256() == hashlib.sha256(b"").hexdigest()


def test_a_disk_that_fills_up_is_named_and_the_part_is_kept(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "a.part"

    def full(part: Part, block: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with Part(path, FileEntry("a", 3, ABC), lambda number: None) as part:
        part.append(b"ab")
        monkeypatch.setattr(Part, "write", full)
        with pytest.raises(StorageError, match=r"a\.part: No space left on device after 2 B; free some space"):
            part.append(b"c")
        assert part.length == 2
    assert path.read_bytes() == b"ab"


def test_bytes_from_another_place_than_was_asked_for_do_not_touch_the_part(tmp_path: Path) -> None:
    job = SimpleNamespace(label=lambda: "here", remote_path="a", entry=FileEntry("a", 3, ABC))
    with Part(tmp_path / "a.part", job.entry, lambda number: None) as part:
        part.append(b"ab")
        with pytest.raises(RetryableError, match="here: requested byte 2, got byte 1"):
            check_answer(job, part, ByteStream(1, 3, iter([b"bc"])))
        assert part.length == 2
        check_answer(job, part, ByteStream(0, 3, iter([b"abc"])))
        assert part.length == 0


# Records, and what is stale


def test_outside_git_the_version_is_unknown(monkeypatch, tmp_path) -> None:
    records.code_version.cache_clear()
    monkeypatch.setattr(records, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert records.code_version() == "unknown"
    records.code_version.cache_clear()


def test_libraries_that_are_absent_have_no_version(monkeypatch) -> None:
    records.library_versions.cache_clear()
    monkeypatch.setattr(records, "LIBRARIES", ("numpy", "no-such-library"))
    assert set(records.library_versions()) == {"python", "numpy"}
    records.library_versions.cache_clear()


@pytest.mark.parametrize(
    ("content", "words"),
    [("{", "not JSON"), ('{"a": 1}', r"not a record \(lacks command\)"), ("[]", "holds no JSON object")],
)
def test_a_record_that_is_none_is_named(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "a.record.json").write_text(content)
    (tmp_path / "a").touch()
    with pytest.raises(DataError, match=words):
        list(stale.stale_outputs(tmp_path))


def test_the_report_of_stale_outputs(tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(stale.main, ["--results", str(tmp_path / "absent")]) == 2
    assert cli.run(stale.main, ["--results", str(tmp_path)]) == 0
    assert "nothing is stale" in capsys.readouterr().out
    found = [stale.Stale(Path(f"o{n}"), "a.b", tuple(f"f{m}" for m in range(n + 1))) for n in range(4)]
    monkeypatch.setattr(stale, "stale_outputs", lambda results: [*found, stale.Stale(Path("p"), "c.d", ("g",))])
    assert cli.run(stale.main, ["--results", str(tmp_path)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.split() == ["a.b", "4", "outputs", "f0,", "f1,", "f2", "and", "1", "more"]
    assert second.split() == ["c.d", "1", "outputs", "g"]
    assert cli.run(stale.main, ["--results", str(tmp_path), "--list", "--program", "c.d"]) == 0
    assert capsys.readouterr().out == "p\n"


def test_programs_run_from_any_folder(root: Path, tmp_path: Path) -> None:
    """The interpreter that is running knows the package; the records do not depend on the working directory."""
    code = "from workflow_scripts.storage import records; print(records.ROOT)"
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == str(root)


def test_no_handle_is_left_open_after_many_small_files(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "first")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for number in range(20):
        write_text(tmp_path / f"{number}", "content")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
