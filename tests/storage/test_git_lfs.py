"""git LFS as a source: the real git over HTTP, the real git-lfs where it is installed, and our own client."""

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

from tests.storage.git_server import GitServer, LfsFault, git, publish
from workflow_scripts.errors import ConfigError, DataError, IntegrityError, TransferError, UnknownNameError
from workflow_scripts.storage import download
from workflow_scripts.storage.fetching.fetch_files import fetch_all
from workflow_scripts.storage.http.retry import RetryableError, RetryPolicy
from workflow_scripts.storage.leftovers import LFS_OBJECTS
from workflow_scripts.storage.lockfile import FileEntry
from workflow_scripts.storage.sources.catalog import open_source
from workflow_scripts.storage.sources.git_objects import GitFile, checked_url, resolved
from workflow_scripts.storage.sources.lfs_client import lfs_url, parse_answer
from workflow_scripts.storage.sources.lfs_program import LfsProgram
from workflow_scripts.storage.sources.listing import known_files
from workflow_scripts.storage.sources.source import Repository

QUICK = RetryPolicy(attempts=3, first_wait=0.005, longest_wait=0.01)
SHARD = bytes(hashlib.shake_256(b"lfs tests").digest(400_001))
LARGE = {"shard-0.bin": SHARD, "sub/shard 1.bin": SHARD[:1000]}
SMALL = {"README.md": b"# data\n"}
DATA = Repository("dataset", "org/data", "main")
pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
needs_git_lfs = pytest.mark.skipif(LfsProgram.version() is None, reason="the program git-lfs is not installed")
CLIENTS = [pytest.param("git-lfs", marks=needs_git_lfs), "builtin"]


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


def get(location: str, folder: Path, client: str, repository: Repository = DATA) -> list[FileEntry]:
    with open_source("git-lfs", location, repository, QUICK, 5.0, lfs_client=client) as source:
        return fetch_all(source, known_files(source), folder, 2, QUICK)


def assert_all_there(folder: Path) -> None:
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == {*LARGE, *SMALL}
    for path, content in {**LARGE, **SMALL}.items():
        assert (folder / path).read_bytes() == content


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("remote", ["http", "file", "path"])
def test_whole_repository(remote: str, client: str, server: GitServer, tmp_path: Path) -> None:
    path = server.root / "org" / "data.git"
    location = {"http": f"{server.url}/org/data.git", "file": path.as_uri(), "path": str(path)}[remote]
    files = get(location, tmp_path / "out", client)
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


@pytest.mark.parametrize("client", CLIENTS)
def test_flipped_byte_once_is_repaired(client: str, server: GitServer, tmp_path: Path) -> None:
    server.fault = LfsFault(corrupt=True, times=1)
    get(f"{server.url}/org/data.git", tmp_path / "out", client)
    assert (tmp_path / "out" / "shard-0.bin").read_bytes() == SHARD


@pytest.mark.parametrize("client", CLIENTS)
def test_flipped_byte_for_good_is_refused(client: str, server: GitServer, tmp_path: Path) -> None:
    server.fault = LfsFault(corrupt=True)
    with pytest.raises((IntegrityError, TransferError), match=r"shard|does not match|failed to fetch"):
        get(f"{server.url}/org/data.git", tmp_path / "out", client)
    assert not (tmp_path / "out" / "shard-0.bin").exists()


@pytest.mark.parametrize("client", CLIENTS)
def test_dropped_line_resumes(client: str, server: GitServer, tmp_path: Path) -> None:
    server.fault = LfsFault(drop=150_000, times=1)
    get(f"{server.url}/org/data.git", tmp_path / "out", client)
    assert_all_there(tmp_path / "out")
    assert any(asked and asked != "bytes=0-" for _, path, asked, _ in server.requests if "/objects/" in path)


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("status", [403, 503])
def test_expired_address_and_busy_storage_are_asked_again(
    status: int, client: str, server: GitServer, tmp_path: Path
) -> None:
    server.fault = LfsFault(status=status, times=1)
    get(f"{server.url}/org/data.git", tmp_path / "out", client)
    assert_all_there(tmp_path / "out")
    assert server.count("/objects/batch") >= 2


def test_busy_lfs_server_is_asked_again_after_its_wait(server: GitServer, tmp_path: Path) -> None:
    server.fault = LfsFault(batch_status=429, headers={"Retry-After": "1"}, times=1)
    get(f"{server.url}/org/data.git", tmp_path / "out", "builtin")
    assert_all_there(tmp_path / "out")


@pytest.mark.parametrize("client", CLIENTS)
def test_object_that_the_server_lost_is_named(client: str, server: GitServer, tmp_path: Path) -> None:
    server.fault = LfsFault(missing=True)
    with pytest.raises(TransferError, match=r"404|does not exist"):
        get(f"{server.url}/org/data.git", tmp_path / "out", client)


@pytest.mark.parametrize("client", CLIENTS)
def test_only_included_files_are_transferred(client: str, server: GitServer, tmp_path: Path) -> None:
    publish(server.root, "org/data", {"shard-2.bin": SHARD[::-1]}, {})
    arguments = ["--source", "git-lfs", "--location", f"{server.url}/org/data.git", "--kind", "dataset"]
    arguments += ["--repository", "org/data", "--include", "shard-2.bin", "--lfs-client", client]
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
def test_interrupted_git_lfs_goes_on_and_leaves_nothing(server: GitServer, tmp_path: Path) -> None:
    server.fault = LfsFault(status=403)
    with pytest.raises(TransferError, match="git-lfs ended with"):
        get(f"{server.url}/org/data.git", tmp_path / "out", "git-lfs")
    server.fault = LfsFault()
    get(f"{server.url}/org/data.git", tmp_path / "out", "git-lfs")
    assert not (tmp_path / "out" / LFS_OBJECTS).exists()
    assert_all_there(tmp_path / "out")


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
    get(f"{server.url}/org/real.git", tmp_path / "out", "builtin", Repository("dataset", "org/real", "main"))
    assert (tmp_path / "out" / "x.bin").read_bytes() == SHARD
    assert (tmp_path / "out" / ".gitattributes").read_bytes() == (work / ".gitattributes").read_bytes()


@pytest.mark.parametrize("client", CLIENTS)
def test_pinned_commit_after_the_branch_moved(client: str, server: GitServer, tmp_path: Path) -> None:
    bare = server.root / "org" / "data.git"
    first = git(bare, "rev-parse", "main")
    publish(server.root, "org/data", {"shard-0.bin": SHARD[::-1]}, {})
    git(bare, "config", "uploadpack.allowAnySHA1InWant", "true")
    pinned = Repository("dataset", "org/data", "main", first)
    get(f"{server.url}/org/data.git", tmp_path / "out", client, pinned)
    assert (tmp_path / "out" / "shard-0.bin").read_bytes() == SHARD


def test_commit_inside_the_history_where_the_server_gives_branches_only(server: GitServer, tmp_path: Path) -> None:
    bare = server.root / "org" / "data.git"
    first = git(bare, "rev-parse", "main")
    publish(server.root, "org/data", {"shard-0.bin": SHARD[::-1]}, {})
    git(bare, "config", "protocol.version", "0")
    git(bare, "config", "uploadpack.allowAnySHA1InWant", "false")
    get(f"{server.url}/org/data.git", tmp_path / "out", "builtin", Repository("dataset", "org/data", first))
    assert (tmp_path / "out" / "shard-0.bin").read_bytes() == SHARD


def test_unknown_revision_names_the_nearest(server: GitServer, tmp_path: Path) -> None:
    publish(server.root, "org/data", {}, {"x": b"x"}, branch="step1")
    with pytest.raises(UnknownNameError, match="unknown revision 'stepp1'; did you mean 'step1'"):
        get(f"{server.url}/org/data.git", tmp_path, "builtin", Repository("dataset", "org/data", "stepp1"))


def test_missing_repository_fails_at_once(server: GitServer, tmp_path: Path) -> None:
    with pytest.raises(TransferError, match=r"git fetch failed.*not found"):
        get(f"{server.url}/org/none.git", tmp_path, "builtin")
    assert server.count("none.git") == 1


@pytest.mark.parametrize("client", CLIENTS)
def test_password_reaches_the_server_and_nothing_else(
    client: str, server: GitServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    server.password = "me:s3cret"
    host = server.url.removeprefix("http://")
    command = [sys.executable, "-m", "workflow_scripts.storage.download", "--source", "git-lfs"]
    command += ["--kind", "dataset", "--repository", "org/data", "--lfs-client", client]
    command += ["--output-dir", str(tmp_path / "out"), "--receipt", str(tmp_path / "receipt.json")]
    location = ["--location", f"http://me:s3cret@{host}/org/data.git"]
    done = subprocess.run([*command, *location], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    wrong = [
        "--location",
        f"http://me:wr0ng@{host}/org/data.git",
        "--attempts",
        "1",
        "--output-dir",
        str(tmp_path / "x"),
    ]
    failed = subprocess.run([*command, *wrong], capture_output=True, text=True, check=False)
    assert failed.returncode == 2
    said = done.stdout + done.stderr + failed.stdout + failed.stderr
    written = b"".join(p.read_bytes() for p in tmp_path.glob("*.json"))
    for secret in ("s3cret", "wr0ng", "bWU6czNjcmV0"):
        assert secret not in said
        assert secret.encode() not in written
    abroad = [token for _, path, _, token in server.requests if path.startswith("/objects/")]
    assert abroad
    assert set(abroad) == {None}


def test_password_from_a_credential_helper(server: GitServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.password = "me:s3cret"
    settings = tmp_path / "gitconfig"
    settings.write_text('[credential]\n\thelper = "!f() { echo username=me; echo password=s3cret; }; f"\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    get(f"{server.url}/org/data.git", tmp_path / "out", "builtin")
    assert_all_there(tmp_path / "out")


def test_no_password_is_asked_for(server: GitServer, tmp_path: Path) -> None:
    server.password = "me:s3cret"
    with pytest.raises(TransferError, match="could not read Username"):
        get(f"{server.url}/org/data.git", tmp_path / "out", "builtin")


def test_links_and_unsafe_names_of_a_repository(server: GitServer, tmp_path: Path) -> None:
    work = server.root / "work" / "org" / "data"
    (work / "link").symlink_to("/etc/hostname")
    publish(server.root, "org/data", {}, {"x": b"x"})
    with open_source("git-lfs", f"{server.url}/org/data.git", DATA, QUICK) as source:
        assert "link" not in [entry.path for entry in source.files()]
    publish(server.root, "org/data", {}, {"-x": b"x"})
    with pytest.raises(DataError, match="could be taken for an option"):
        get(f"{server.url}/org/data.git", tmp_path / "out", "builtin")


def test_range_reads(server: GitServer) -> None:
    for location in (f"{server.url}/org/data.git", str(server.root / "org" / "data.git")):
        with open_source("git-lfs", location, DATA, QUICK, lfs_client="builtin") as source:
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
    with pytest.raises(ConfigError, match="git address"):
        checked_url(location)


@pytest.mark.parametrize(
    "text",
    [
        b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 1\n",
        b"version https://git-lfs.github.com/spec/v1\noid md5:" + b"0" * 64 + b"\nsize 1\n",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize -1\n",
        b"version https://git-lfs.github.com/spec/v1\next-0-x sha256:1\noid sha256:" + b"0" * 64 + b"\nsize 1\n",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 1 2\n",
        b"version https://git-lfs.github.com/spec/v1\n",
    ],
)
def test_pointers_that_cannot_be_checked_are_refused(text: bytes) -> None:
    with pytest.raises(DataError, match="pointer without a plain sha256"):
        resolved(GitFile("a.bin", "b" * 40, len(text)), text, "x")


@pytest.mark.parametrize("text", [b"", b"version 1\n", b"plain text"])
def test_other_content_is_no_pointer(text: bytes) -> None:
    file = GitFile("a.bin", "b" * 40, len(text))
    assert resolved(file, text, "x") == file


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


def test_git_lfs_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LfsProgram, "version", staticmethod(lambda: None))
    with (
        pytest.raises(ConfigError, match="git-lfs is not installed"),
        open_source("git-lfs", "/x", DATA, lfs_client="git-lfs"),
    ):
        pass
    with (
        pytest.raises(ConfigError, match="not one of auto, git-lfs, builtin"),
        open_source("git-lfs", "/x", DATA, lfs_client="other"),
    ):
        pass
