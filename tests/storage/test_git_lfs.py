"""git LFS as a source: the real git over HTTP and our own LFS client, with the real git-lfs to compare with."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.storage.git_server import GitServer, LfsFault, git, pointer, publish
from workflow_scripts.errors import ConfigError, DataError, IntegrityError, TransferError, UnknownNameError
from workflow_scripts.storage import download
from workflow_scripts.storage.fetching.fetch_files import fetch_all
from workflow_scripts.storage.http.http_reader import HttpReader
from workflow_scripts.storage.http.retry import RetryableError, RetryPolicy
from workflow_scripts.storage.lockfile import FileEntry
from workflow_scripts.storage.sources.catalog import open_source
from workflow_scripts.storage.sources.git_objects import checked_url, from_variables
from workflow_scripts.storage.sources.lfs_client import lfs_url, open_store, parse_answer
from workflow_scripts.storage.sources.listing import known_files
from workflow_scripts.storage.sources.source import Repository

QUICK = RetryPolicy(attempts=3, first_wait=0.005, longest_wait=0.01)
SHARD = bytes(hashlib.shake_256(b"lfs tests").digest(400_001))
LARGE = {"shard-0.bin": SHARD, "sub/shard 1.bin": SHARD[:1000]}
SMALL = {"README.md": b"# data\n"}
DATA = Repository("dataset", "org/data", "main")
pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
needs_git_lfs = pytest.mark.skipif(shutil.which("git-lfs") is None, reason="the program git-lfs is not installed")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one repository, made once and copied for each test."""
    root = tmp_path_factory.mktemp("git-template")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
        publish(root, "org/data", LARGE, SMALL)
    return root


@pytest.fixture
def server(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GitServer]:
    """A git server with one repository; nothing of this machine's configuration counts."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    root = tmp_path / "git"
    shutil.copytree(template, root)
    with GitServer(root) as server:
        yield server


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def get(location: str, folder: Path, repository: Repository = DATA) -> list[FileEntry]:
    with open_source("git-lfs", location, repository, QUICK, 5.0) as source:
        return fetch_all(source, known_files(source), folder, 2, QUICK)


def assert_all_there(folder: Path) -> None:
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == {*LARGE, *SMALL}
    for path, content in {**LARGE, **SMALL}.items():
        assert (folder / path).read_bytes() == content


@pytest.mark.parametrize("remote", ["http", "file", "path"])
def test_whole_repository(remote: str, server: GitServer, tmp_path: Path) -> None:
    path = server.root / "org" / "data.git"
    location = {"http": f"{server.url}/org/data.git", "file": path.as_uri(), "path": str(path)}[remote]
    files = get(location, tmp_path / "out")
    assert_all_there(tmp_path / "out")
    assert [(entry.path, entry.sha256) for entry in files] == sorted(
        (path, sha256(content)) for path, content in {**LARGE, **SMALL}.items()
    )


def test_listing_needs_no_large_object(server: GitServer) -> None:
    with open_source("git-lfs", f"{server.url}/org/data.git", DATA, QUICK) as source:
        large, small = source.files()[1], source.files()[0]
        assert large == FileEntry("shard-0.bin", len(SHARD), sha256(SHARD))
        assert (small.path, small.sha256) == ("README.md", None)
        assert small.has_hash()
        assert source.commit() == git(server.root / "org" / "data.git", "rev-parse", "main")
    assert server.count("objects") == 0


def test_flipped_byte_once_is_repaired(server: GitServer, tmp_path: Path) -> None:
    server.fault = LfsFault(corrupt=True, times=1)
    get(f"{server.url}/org/data.git", tmp_path / "out")
    assert (tmp_path / "out" / "shard-0.bin").read_bytes() == SHARD


def test_flipped_byte_for_good_is_refused(server: GitServer, tmp_path: Path) -> None:
    server.fault = LfsFault(corrupt=True)
    with pytest.raises((IntegrityError, TransferError), match=r"shard|does not match|failed to fetch"):
        get(f"{server.url}/org/data.git", tmp_path / "out")
    assert not (tmp_path / "out" / "shard-0.bin").exists()


def test_dropped_line_resumes(server: GitServer, tmp_path: Path) -> None:
    server.fault = LfsFault(drop=150_000, times=1)
    get(f"{server.url}/org/data.git", tmp_path / "out")
    assert_all_there(tmp_path / "out")
    assert any(asked and asked != "bytes=0-" for _, path, asked, _ in server.requests if "/objects/" in path)


@pytest.mark.parametrize("status", [403, 503])
def test_expired_address_and_busy_storage_are_asked_again(status: int, server: GitServer, tmp_path: Path) -> None:
    server.fault = LfsFault(status=status, times=1)
    get(f"{server.url}/org/data.git", tmp_path / "out")
    assert_all_there(tmp_path / "out")
    assert server.count("/objects/batch") >= 2


def test_busy_lfs_server_is_asked_again_after_its_wait(server: GitServer, tmp_path: Path) -> None:
    server.fault = LfsFault(batch_status=429, headers={"Retry-After": "1"}, times=1)
    get(f"{server.url}/org/data.git", tmp_path / "out")
    assert_all_there(tmp_path / "out")


def test_object_that_the_server_lost_is_named(server: GitServer, tmp_path: Path) -> None:
    server.fault = LfsFault(missing=True)
    with pytest.raises(TransferError, match=r"404|does not exist"):
        get(f"{server.url}/org/data.git", tmp_path / "out")


def test_only_included_files_are_transferred(server: GitServer, tmp_path: Path) -> None:
    publish(server.root, "org/data", {"shard-2.bin": SHARD[::-1]}, {})
    arguments = ["--source", "git-lfs", "--location", f"{server.url}/org/data.git", "--kind", "dataset"]
    arguments += ["--repository", "org/data", "--include", "shard-2.bin"]
    arguments += ["--output-dir", str(tmp_path / "out"), "--receipt", str(tmp_path / "receipt.json")]
    download.main(arguments)
    assert (tmp_path / "out" / "shard-2.bin").read_bytes() == SHARD[::-1]
    assert os.listdir(tmp_path / "out") == ["shard-2.bin"]  # noqa: PTH208 - hidden files count too
    assert server.count(f"/objects/org/data.git/{sha256(SHARD)}") == 0
    asked = len(server.requests)
    before = (tmp_path / "receipt.json").read_bytes()
    download.main([*arguments, "--lock", str(tmp_path / "receipt.json")])
    assert (tmp_path / "receipt.json").read_bytes() == before
    assert len(server.requests) == asked


@needs_git_lfs
def test_real_git_lfs_made_this_repository(server: GitServer, tmp_path: Path) -> None:
    """A repository whose pointers and objects the real git-lfs made, not our test helper."""
    bare, work = server.root / "org" / "real.git", tmp_path / "work"
    bare.mkdir()
    git(bare, "init", "--bare", "--quiet", "--initial-branch=main")
    git(tmp_path, "clone", "--quiet", str(bare), str(work))
    git(work, "lfs", "install", "--local")
    git(work, "lfs", "track", "*.bin")
    (work / "x.bin").write_bytes(SHARD)
    git(work, "add", "-A")
    git(work, "commit", "--quiet", "-m", "x")
    git(work, "push", "--quiet", "origin", "HEAD:main")
    get(f"{server.url}/org/real.git", tmp_path / "out", Repository("dataset", "org/real", "main"))
    assert (tmp_path / "out" / "x.bin").read_bytes() == SHARD
    assert (tmp_path / "out" / ".gitattributes").read_bytes() == (work / ".gitattributes").read_bytes()


def test_pinned_commit_after_the_branch_moved(server: GitServer, tmp_path: Path) -> None:
    bare = server.root / "org" / "data.git"
    first = git(bare, "rev-parse", "main")
    publish(server.root, "org/data", {"shard-0.bin": SHARD[::-1]}, {})
    git(bare, "config", "uploadpack.allowAnySHA1InWant", "true")
    pinned = Repository("dataset", "org/data", "main", first)
    get(f"{server.url}/org/data.git", tmp_path / "out", pinned)
    assert (tmp_path / "out" / "shard-0.bin").read_bytes() == SHARD


def test_commit_inside_the_history_where_the_server_gives_branches_only(server: GitServer, tmp_path: Path) -> None:
    bare = server.root / "org" / "data.git"
    first = git(bare, "rev-parse", "main")
    publish(server.root, "org/data", {"shard-0.bin": SHARD[::-1]}, {})
    git(bare, "config", "protocol.version", "0")
    git(bare, "config", "uploadpack.allowAnySHA1InWant", "false")
    get(f"{server.url}/org/data.git", tmp_path / "out", Repository("dataset", "org/data", first))
    assert (tmp_path / "out" / "shard-0.bin").read_bytes() == SHARD


def test_unknown_revision_names_the_nearest(server: GitServer, tmp_path: Path) -> None:
    publish(server.root, "org/data", {}, {"x": b"x"}, branch="step1")
    with pytest.raises(UnknownNameError, match="unknown revision 'stepp1'; did you mean 'step1'"):
        get(f"{server.url}/org/data.git", tmp_path, Repository("dataset", "org/data", "stepp1"))


def test_missing_repository_fails_at_once(server: GitServer, tmp_path: Path) -> None:
    with pytest.raises(TransferError, match=r"git fetch failed.*not found"):
        get(f"{server.url}/org/none.git", tmp_path)
    assert server.count("none.git") == 1


def program(server: GitServer, tmp_path: Path, *more: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The download program on the repository."""
    command = [sys.executable, "-m", "workflow_scripts.storage.download", "--source", "git-lfs"]
    command += ["--kind", "dataset", "--repository", "org/data", "--location", f"{server.url}/org/data.git"]
    command += ["--output-dir", str(tmp_path / "out"), "--receipt", str(tmp_path / "receipt.json"), *more]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **variables})


def test_password_reaches_the_server_and_nothing_else(server: GitServer, tmp_path: Path) -> None:
    server.password = "me:s3cret"
    done = program(server, tmp_path, PYTHIA_GIT_USER="me", PYTHIA_GIT_PASSWORD="s3cret")
    assert done.returncode == 0, done.stderr
    assert_all_there(tmp_path / "out")
    wrong = ["--attempts", "1", "--output-dir", str(tmp_path / "x")]
    failed = program(server, tmp_path, *wrong, PYTHIA_GIT_USER="me", PYTHIA_GIT_PASSWORD="wr0ng")
    assert failed.returncode == 2
    said = done.stdout + done.stderr + failed.stdout + failed.stderr
    written = b"".join(p.read_bytes() for p in tmp_path.glob("*.json"))
    for secret in ("s3cret", "wr0ng", "bWU6czNjcmV0"):
        assert secret not in said
        assert secret.encode() not in written
    abroad = [token for _, path, _, token in server.requests if path.startswith("/objects/")]
    assert abroad
    assert set(abroad) == {None}


def test_password_in_an_address_is_refused_and_not_repeated(server: GitServer, tmp_path: Path) -> None:
    """Arguments are seen by every user of the machine, so it is refused there, before anything is asked."""
    host = server.url.removeprefix("http://")
    done = program(server, tmp_path, "--location", f"http://me:s3cret@{host}/org/data.git")
    assert done.returncode == 2
    assert "looks like a password in an address" in done.stderr
    assert "PYTHIA_GIT_PASSWORD" in done.stderr
    assert "s3cret" not in done.stderr
    assert server.requests == []
    with pytest.raises(ConfigError, match="password in an address"):
        checked_url(f"ssh://me:s3cret@{host}/org/data.git")


def test_user_of_the_address_goes_with_the_password_of_the_environment(
    server: GitServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.password = "me:s3cret"
    monkeypatch.setenv("PYTHIA_GIT_PASSWORD", "s3cret")
    get(f"{server.url.replace('//', '//me@')}/org/data.git", tmp_path / "out")
    assert_all_there(tmp_path / "out")
    assert from_variables("http://me@somewhere.example/org/data.git") is None
    assert from_variables("https://me@somewhere.example/org/data.git") == ("me", "s3cret")
    monkeypatch.setenv("PYTHIA_GIT_PASSWORD", "s3cret\nhost=other.example")
    with pytest.raises(ConfigError, match="must not contain line breaks") as caught:
        from_variables("https://me@somewhere.example/org/data.git")
    assert "s3cret" not in str(caught.value)


def test_password_stays_on_its_host_when_the_repository_has_moved(
    server: GitServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """git and our own client both follow a redirect to another host, and neither takes the password along."""
    monkeypatch.setenv("PYTHIA_GIT_USER", "me")
    monkeypatch.setenv("PYTHIA_GIT_PASSWORD", "s3cret")
    server.password = "me:s3cret"
    shutil.copytree(server.root, tmp_path / "third")
    with GitServer(tmp_path / "third") as third:
        server.moved = ("/", f"{third.url.replace('127.0.0.1', 'localhost')}/")
        get(f"{server.url}/org/data.git", tmp_path / "out")
        assert {token for *_, token in third.requests} == {None}
        assert third.count("info/refs") == 1
        assert third.count("/objects/batch") == 2
        third.password = "me:s3cret"
        with pytest.raises(TransferError, match="could not read Username"):
            get(f"{server.url}/org/data.git", tmp_path / "again")
        assert {token for *_, token in third.requests} == {None}
    assert any(token for *_, token in server.requests)
    assert_all_there(tmp_path / "out")


def test_password_goes_along_within_its_host(
    server: GitServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHIA_GIT_USER", "me")
    monkeypatch.setenv("PYTHIA_GIT_PASSWORD", "s3cret")
    server.password = "me:s3cret"
    server.moved = ("/old/", "/org/")
    get(f"{server.url}/old/data.git", tmp_path / "out")
    assert_all_there(tmp_path / "out")


def test_password_from_a_credential_helper(server: GitServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.password = "me:s3cret"
    settings = tmp_path / "gitconfig"
    settings.write_text('[credential]\n\thelper = "!f() { echo username=me; echo password=s3cret; }; f"\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    get(f"{server.url}/org/data.git", tmp_path / "out")
    assert_all_there(tmp_path / "out")


def test_a_machine_without_network_is_told_after_three_attempts(server: GitServer) -> None:
    patient = RetryPolicy(attempts=8, first_wait=0.005, longest_wait=0.01)
    with (
        open_source("git-lfs", "http://no-such-host.invalid/x", DATA, patient, 5.0) as source,
        pytest.raises(TransferError, match=r"Could not resolve host.*source: mirror.*given up after 3 attempt"),
    ):
        source.commit()


def test_no_password_is_asked_for(server: GitServer, tmp_path: Path) -> None:
    server.password = "me:s3cret"
    with pytest.raises(TransferError, match="could not read Username"):
        get(f"{server.url}/org/data.git", tmp_path / "out")


def test_links_and_unsafe_names_of_a_repository(server: GitServer, tmp_path: Path) -> None:
    work = server.root / "work" / "org" / "data"
    (work / "link").symlink_to("/etc/hostname")
    publish(server.root, "org/data", {}, {"x": b"x"})
    with open_source("git-lfs", f"{server.url}/org/data.git", DATA, QUICK) as source:
        assert "link" not in [entry.path for entry in source.files()]
    publish(server.root, "org/data", {}, {"-x": b"x"})
    with pytest.raises(DataError, match="could be mistaken for an option"):
        get(f"{server.url}/org/data.git", tmp_path / "out")


def test_range_reads(server: GitServer) -> None:
    for location in (f"{server.url}/org/data.git", str(server.root / "org" / "data.git")):
        with open_source("git-lfs", location, DATA, QUICK) as source:
            assert source.read_range("shard-0.bin", 1000, 7) == SHARD[1000:1007]
            assert source.read_range("README.md", 2, 4) == b"data"
            with pytest.raises(TransferError, match="ends before byte"):
                source.read_range("README.md", 2, 40)
            with pytest.raises(TransferError, match="no file 'none'"):
                source.read_range("none", 0, 1)


@pytest.mark.parametrize(
    "location",
    ["ext::sh -c touch% x", "-x", "--upload-pack=touch x", "fd::17", "", "http://", "host:path\nx", "ftp://x/y"],
)
def test_addresses_that_git_could_run_are_refused(location: str) -> None:
    with pytest.raises(ConfigError, match="git URL"):
        checked_url(location)


HAWSER = b"version https://hawser.github.com/spec/v1\noid sha256:%s\nsize %d\n" % (sha256(SHARD).encode(), len(SHARD))
CRLF = pointer(sha256(SHARD), len(SHARD)).replace(b"\n", b"\r\n")
EXAMPLE = b"version https://git-lfs.github.com/spec/v1\noid sha256:<hash>\nsize <n>\n"


@pytest.mark.parametrize("text", [HAWSER, CRLF], ids=["hawser", "crlf"])
def test_pointers_of_other_programs_are_delivered_as_their_objects(
    text: bytes, server: GitServer, tmp_path: Path
) -> None:
    publish(server.root, "org/data", {}, {"other.bin": text})
    get(f"{server.url}/org/data.git", tmp_path / "out")
    assert (tmp_path / "out" / "other.bin").read_bytes() == SHARD


@pytest.mark.parametrize("more", [[], ["--include", "*.bin"]], ids=["all", "included"])
def test_a_text_like_a_pointer_is_an_ordinary_file(more: list[str], server: GitServer, tmp_path: Path) -> None:
    publish(server.root, "org/data", {}, {"example-pointer.txt": EXAMPLE})
    done = program(server, tmp_path, *more)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "shard-0.bin").read_bytes() == SHARD
    assert more or (tmp_path / "out" / "example-pointer.txt").read_bytes() == EXAMPLE


def test_a_pointer_with_extensions_stops_only_who_asks_for_it(server: GitServer, tmp_path: Path) -> None:
    """Its object is not the file: git-lfs would pass it through a program of the user's."""
    oid = sha256(SHARD)
    text = pointer(oid, len(SHARD)).replace(b"\noid", f"\next-0-case sha256:{oid}\noid".encode())
    publish(server.root, "org/data", {}, {"extended.bin": text})
    assert program(server, tmp_path, "--include", "shard-0.bin").returncode == 0
    done = program(server, tmp_path)
    assert done.returncode == 2
    assert "'extended.bin'" in done.stderr
    with (
        open_source("git-lfs", f"{server.url}/org/data.git", DATA, QUICK, 5.0) as source,
        pytest.raises(TransferError, match="pointer with extensions"),
    ):
        source.read_range("extended.bin", 0, 1)


def test_no_variable_of_a_hook_reaches_git(server: GitServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hook in a linked worktree, which git runs with GIT_DIR set, fetches: the user's repository stays as it is."""
    mine, linked = tmp_path / "mine", tmp_path / "linked"
    mine.mkdir()
    git(mine, "init", "--quiet")
    git(mine, "commit", "--quiet", "--allow-empty", "-m", "x")
    git(mine, "worktree", "add", "--quiet", str(linked))
    before = {path: path.read_bytes() for path in mine.rglob("*") if path.is_file()}
    monkeypatch.setenv("GIT_DIR", str(mine / ".git" / "worktrees" / "linked"))
    monkeypatch.setenv("GIT_WORK_TREE", str(linked))
    monkeypatch.setenv("GIT_INDEX_FILE", str(mine / ".git" / "index"))
    get(f"{server.url}/org/data.git", tmp_path / "out")
    assert_all_there(tmp_path / "out")
    assert {path: path.read_bytes() for path in mine.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ({}, RetryableError),
        ([], RetryableError),
        ({"objects": []}, RetryableError),
        ({"objects": [{"oid": "a", "actions": {}}]}, RetryableError),
        ({"objects": [{"oid": "a", "error": {"code": 503}}]}, RetryableError),
        ({"objects": [{"oid": "a", "actions": {"download": {"href": "https://h]/x"}}}]}, RetryableError),
        ({"objects": [{"oid": "a", "error": {"code": 404, "message": "gone"}}]}, TransferError),
        ({"objects": [{"oid": "a", "actions": {"download": {"href": "file:///etc/x"}}}]}, TransferError),
    ],
)
def test_answers_of_an_lfs_server_that_do_not_help(answer: object, kind: type[TransferError]) -> None:
    with pytest.raises(kind) as caught:
        parse_answer(json.loads(json.dumps(answer)), "a", "x")
    assert isinstance(caught.value, RetryableError) == (kind is RetryableError)


def test_lfs_server_by_the_rule_of_git_lfs() -> None:
    assert lfs_url("https://h/o/n.git/") == "https://h/o/n.git/info/lfs"
    assert lfs_url("https://h/o/n") == "https://h/o/n.git/info/lfs"


FAKE_SSH = """#!/bin/sh
# Runs what git asks for here, and says where the LFS server is.
[ "$1" = -G ] && exit 1
for word; do command=$word; done
case "$command" in
  git-lfs-authenticate*) echo "$@" >> "$0.asked"; cat "$0.answer" ;;
  *) exec sh -c "$command" ;;
esac
"""


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that stands in for ssh; the answer of git-lfs-authenticate lies beside it."""
    program = tmp_path / "fake-ssh"
    program.write_text(FAKE_SSH)
    program.chmod(0o755)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(program))
    monkeypatch.setenv("GIT_SSH_VARIANT", "ssh")
    return program


@pytest.mark.parametrize("form", ["git@host:{}", "ssh://git@host:2222{}", "ssh://host{}"])
def test_whole_repository_over_ssh(form: str, ssh: Path, server: GitServer, tmp_path: Path) -> None:
    server.password = "me:s3cret"
    header = {"Authorization": "Basic bWU6czNjcmV0"}
    answer = {"href": f"{server.url}/org/data.git/info/lfs", "header": header, "expires_in": 60}
    ssh.with_name("fake-ssh.answer").write_text(json.dumps(answer))
    path = server.root / "org" / "data.git"
    get(form.format(path), tmp_path / "out")
    assert_all_there(tmp_path / "out")
    asked = ssh.with_name("fake-ssh.asked").read_text().splitlines()[0]
    assert asked.endswith(f" git-lfs-authenticate {path} download") or asked.startswith("-p 2222 git@host ")


@pytest.mark.parametrize(
    "answer",
    ["", "Permission denied", "[]", "{}", '{"href": "file:///etc/passwd"}', '{"href": "http://x", "header": 1}'],
)
def test_answers_of_ssh_that_do_not_help(answer: str, ssh: Path, server: GitServer, tmp_path: Path) -> None:
    ssh.with_name("fake-ssh.answer").write_text(answer)
    with pytest.raises(TransferError, match=r"returned no LFS server|is not http"):
        get(f"git@host:{server.root}/org/data.git", tmp_path / "out")


def test_no_host_of_ssh_is_an_option(tmp_path: Path) -> None:
    with HttpReader(5.0, "") as reader, pytest.raises(ConfigError, match="no LFS server"):
        open_store("ssh://-oProxyCommand=x/path", None, reader)
