"""The Hub as a source: requests it makes, ranges, pins, tokens, endpoints."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.storage.fault_hub import Fault, FaultHub, commit_of, git_blob
from workflow_scripts.errors import ConfigError, IntegrityError, TransferError, UnknownNameError
from workflow_scripts.storage import make_lock
from workflow_scripts.storage.credentials import is_private
from workflow_scripts.storage.fetching.fetch_files import fetch_all, fetch_file
from workflow_scripts.storage.http.retry import NoNetworkError, RetryPolicy
from workflow_scripts.storage.lockfile import FileEntry, read_lock, write_lock
from workflow_scripts.storage.sources.catalog import open_source
from workflow_scripts.storage.sources.hub import checked_endpoint
from workflow_scripts.storage.sources.listing import known_files
from workflow_scripts.storage.sources.source import Repository

QUICK = RetryPolicy(attempts=3, first_wait=0.005, longest_wait=0.01)
SHARD = bytes(range(256)) * 20
FILES = {"shard.bin": SHARD, "small.json": b"{}"}
DATA = Repository("dataset", "org/data", "main")


@pytest.fixture
def hub(fault_hub: FaultHub) -> FaultHub:
    fault_hub.add("org/data", FILES, kind="datasets")
    return fault_hub


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_listing_has_all_that_the_hub_knows(hub: FaultHub) -> None:
    with open_source("hub", hub.endpoint, DATA, QUICK) as source:
        assert source.files() == [
            FileEntry("shard.bin", len(SHARD), sha256(SHARD)),
            FileEntry("small.json", 2, None, git_blob(b"{}")),
        ]
        assert source.commit() == commit_of(FILES)
    assert len(hub.requests) == 1


@pytest.mark.parametrize(("page", "requests"), [(10, 2), (1, 3), (0, 4)])
def test_hub_that_lists_names_is_asked_for_its_tree_or_for_each_file(hub: FaultHub, page: int, requests: int) -> None:
    with open_source("hub", hub.endpoint, DATA, QUICK) as source:
        known = source.files()
    hub.names_only, hub.tree_page = True, page
    hub.requests.clear()
    with open_source("hub", hub.endpoint, DATA, QUICK) as source:
        assert source.commit() == commit_of(FILES)
        assert len(hub.requests) == 1
        assert source.files() == source.files() == known
    assert len(hub.requests) == requests
    assert {request.host for request in hub.requests} == {f"127.0.0.1:{hub.port}"}


def test_hub_that_knows_no_hash_is_refused_with_a_way_out(hub: FaultHub, tmp_path: Path) -> None:
    hub.names_only = True
    hub.faults["shard.bin"] = Fault(redirect="https://elsewhere.invalid/shard.bin")
    with (
        open_source("hub", hub.endpoint, DATA, QUICK) as source,
        pytest.raises(IntegrityError, match=r"no known hash for 1 file\(s\), first 'shard.bin'.*a folder that holds"),
    ):
        fetch_all(source, known_files(source), tmp_path, 1, QUICK)


def test_revision_is_looked_up_where_its_name_is_not_taken(hub: FaultHub) -> None:
    hub.names_only = True
    commit = hub.add("org/data", {"a": b"converted"}, "refs/convert/parquet", kind="datasets")
    with open_source("hub", hub.endpoint, Repository("dataset", "org/data", "refs/convert/parquet"), QUICK) as source:
        assert source.commit() == commit
        assert source.read_range("a", 3, 4) == b"vert"
    with (
        open_source("hub", hub.endpoint, Repository("dataset", "org/data", "mian"), QUICK) as source,
        pytest.raises(UnknownNameError, match="unknown revision 'mian'; did you mean 'main'"),
    ):
        source.commit()


def test_commit_is_not_asked_for_when_it_is_given(hub: FaultHub) -> None:
    commit = commit_of(FILES)
    for repository in (Repository("dataset", "org/data", commit), Repository("dataset", "org/data", "main", commit)):
        with open_source("hub", hub.endpoint, repository, QUICK) as source:
            assert source.commit() == commit
            assert source.read_range("shard.bin", 256, 3) == b"\x00\x01\x02"
    assert hub.count("/api/") == 0


def test_range_reads_take_only_their_bytes(hub: FaultHub) -> None:
    with open_source("hub", hub.endpoint, DATA, QUICK) as source:
        assert source.read_range("shard.bin", 1000, 50) == SHARD[1000:1050]
        assert source.read_range("shard.bin", 0, 5) == SHARD[:5]
        assert source.read_range("shard.bin", 7, 0) == b""
        assert hub.bytes_sent("shard.bin") == 55
        with pytest.raises(TransferError, match=f"ended after 10 of 20 bytes|has {len(SHARD)} bytes"):
            source.read_range("shard.bin", len(SHARD) - 10, 20)


def test_many_ranges_cost_one_request_each_over_one_connection(hub: FaultHub) -> None:
    with open_source("hub", hub.endpoint, DATA, QUICK) as source:
        source.read_range("shard.bin", 0, 5)
        before, connections = len(hub.requests), hub.connections
        for offset in range(10, 60, 10):
            assert source.read_range("shard.bin", offset, 5) == SHARD[offset : offset + 5]
        assert len(hub.requests) - before == 5
        assert hub.connections == connections


@pytest.mark.parametrize("status", [403, 404])
def test_kept_address_that_ran_out_is_asked_for_again(status: int, hub: FaultHub) -> None:
    with open_source("hub", hub.endpoint, DATA, QUICK) as source:
        source.read_range("shard.bin", 0, 5)
        hub.faults["shard.bin"] = Fault(cdn_status=status, times=1)
        hub.seen.clear()
        assert source.read_range("shard.bin", 10, 5) == SHARD[10:15]
    assert hub.count("/resolve/") == 2


def test_redirect_within_the_hub_keeps_the_token(hub: FaultHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Hub sends small files to another path of its own, as a relative address."""
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefghijklmnopqrstuvwxyz")
    hub.faults["small.json"] = Fault(redirect="/cdn/small.json?repository=datasets/org/data&revision=main")
    with open_source("hub", hub.endpoint, DATA, QUICK) as source:
        assert [source.read_range("small.json", 0, 2) for _ in range(2)] == [b"{}", b"{}"]
    assert hub.count("/cdn/") == 2
    assert {request.token for request in hub.requests} == {"Bearer hf_abcdefghijklmnopqrstuvwxyz"}


def test_range_read_survives_passing_faults(hub: FaultHub) -> None:
    hub.faults["shard.bin"] = Fault(cdn_status=503, times=2)
    with open_source("hub", hub.endpoint, DATA, QUICK) as source:
        assert source.read_range("shard.bin", 10, 4) == SHARD[10:14]


def test_server_without_ranges_is_read_from_the_start_of_a_small_file_only(
    hub: FaultHub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    hub.faults["shard.bin"] = Fault(no_range=True)
    with open_source("hub", hub.endpoint, DATA, QUICK) as source:
        assert source.read_range("shard.bin", 4000, 10) == SHARD[4000:4010]
        assert source.read_range("shard.bin", 5100, 20) == SHARD[5100:]
        assert caplog.text.count("127.0.0.1 ignores range requests") == 1
        monkeypatch.setattr("workflow_scripts.storage.http.http_reader.LARGEST_SKIP", 4009)
        with pytest.raises(TransferError, match="does not support range requests; fetch the whole file"):
            source.read_range("shard.bin", 4000, 10)


def test_pinned_commit_is_served_after_the_branch_moved(hub: FaultHub, tmp_path: Path) -> None:
    pinned = Repository("dataset", "org/data", "main", commit_of(FILES))
    hub.add("org/data", {"shard.bin": SHARD[::-1]}, kind="datasets")
    with open_source("hub", hub.endpoint, pinned, QUICK) as source:
        fetch_all(source, known_files(source), tmp_path, 2, QUICK)
    assert (tmp_path / "shard.bin").read_bytes() == SHARD


def test_own_list_of_a_repository_counts_and_is_itself_checked(hub: FaultHub, tmp_path: Path) -> None:
    write_lock(tmp_path / "l", [FileEntry("shard.bin", len(SHARD), sha256(SHARD))])
    files = {**FILES, "sha256.txt": (tmp_path / "l").read_bytes()}
    hub.add("org/data", files, kind="datasets")
    with open_source("hub", hub.endpoint, DATA, QUICK) as source:
        assert [entry.path for entry in known_files(source)] == ["shard.bin"]
        hub.faults["sha256.txt"] = Fault(corrupt=True)
        with pytest.raises(IntegrityError, match=r"sha256\.txt does not match what the source itself reports"):
            known_files(source)


def test_own_list_that_contradicts_the_hub_is_an_error(hub: FaultHub, tmp_path: Path) -> None:
    write_lock(tmp_path / "l", [FileEntry("shard.bin", len(SHARD), "0" * 64)])
    hub.add("org/data", {**FILES, "sha256.txt": (tmp_path / "l").read_bytes()}, kind="datasets")
    with (
        open_source("hub", hub.endpoint, DATA, QUICK) as source,
        pytest.raises(IntegrityError, match=r"shard\.bin has sha256 .* has 0000"),
    ):
        known_files(source)


def test_unknown_length_is_learned_from_the_server(hub: FaultHub, tmp_path: Path) -> None:
    (tmp_path / ".x.part").write_bytes(SHARD)  # complete already, but nobody knows
    with open_source("hub", hub.endpoint, DATA, QUICK) as source:
        entry = fetch_file(source, "shard.bin", tmp_path / "x", None, sha256(SHARD), policy=QUICK)
        assert entry.size == len(SHARD)
        assert hub.bytes_sent("shard.bin") == 0
        (tmp_path / ".y.part").write_bytes(SHARD[:100])
        fetch_file(source, "shard.bin", tmp_path / "y", None, sha256(SHARD), policy=QUICK)
    assert (tmp_path / "y").read_bytes() == SHARD
    assert hub.bytes_sent("shard.bin") == len(SHARD) - 100


def test_compressed_answers_are_refused(hub: FaultHub, tmp_path: Path) -> None:
    hub.faults["shard.bin"] = Fault(compress=True)
    with (
        open_source("hub", hub.endpoint, DATA, QUICK) as source,
        pytest.raises(TransferError, match="compressed the response against the request"),
    ):
        fetch_all(source, known_files(source), tmp_path, 1, QUICK)


def test_unknown_repository_and_closed_door(hub: FaultHub) -> None:
    with (
        open_source("hub", hub.endpoint, Repository("model", "org/none", "main"), QUICK) as source,
        pytest.raises(TransferError, match="no such repository, or access denied; set HF_TOKEN"),
    ):
        source.files()
    hub.faults["*"] = Fault(status=401)
    with (
        open_source("hub", hub.endpoint, DATA, QUICK) as source,
        pytest.raises(TransferError, match="access denied"),
    ):
        source.files()


def test_no_server_at_all_is_retried_and_named(hub: FaultHub) -> None:
    nobody = "http://127.0.0.1:9"
    with (
        open_source("hub", nobody, DATA, QUICK, 0.5) as source,
        pytest.raises(TransferError, match=r"no connection.*the Hub may be down; given up after 3"),
    ):
        source.files()


def test_endpoint_from_environment_and_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/")
    assert checked_endpoint("") == "https://mirror.example"
    assert checked_endpoint("http://127.0.0.1:1/") == "http://127.0.0.1:1"
    monkeypatch.delenv("HF_ENDPOINT")
    assert checked_endpoint("") == "https://huggingface.co"


@pytest.mark.parametrize("location", ["ftp://x", "x", "https://", "https://me:secret@host.example"])
def test_impossible_endpoints_are_refused_without_their_secrets(location: str) -> None:
    with pytest.raises(ConfigError) as caught:
        checked_endpoint(location)
    assert "secret" not in str(caught.value)


def test_token_only_where_nobody_can_read_it() -> None:
    assert is_private("https://mirror.example")
    assert is_private("http://127.0.0.1:8000")
    assert not is_private("http://mirror.example")


def test_token_from_file_is_used_and_can_be_switched_off(
    hub: FaultHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("hf_abcdefghijklmnopqrstuvwxyz\n")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    with open_source("hub", hub.endpoint, DATA, QUICK) as source:
        source.read_range("small.json", 0, 2)
    assert {request.token for request in hub.requests} == {"Bearer hf_abcdefghijklmnopqrstuvwxyz"}
    hub.requests.clear()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
    with open_source("hub", hub.endpoint, DATA, QUICK) as source:
        source.read_range("small.json", 0, 2)
    assert {request.token for request in hub.requests} == {None}


@pytest.mark.parametrize("end", ["\u00e4\u00f6\u00fc", " klmnopqrst", "\x01"])
def test_token_that_is_none_is_one_line_and_not_repeated(
    end: str, hub: FaultHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", f"hf_abcdefghijklmnopqrst{end}")
    with (
        open_source("hub", hub.endpoint, DATA, QUICK) as source,
        pytest.raises(ConfigError, match="contains invalid characters") as caught,
    ):
        source.files()
    assert "hf_" not in str(caught.value)
    assert hub.requests == []


def test_lock_of_a_hub_repository_fetches_only_small_files(hub: FaultHub, tmp_path: Path) -> None:
    named = ["--source", "hub", "--location", hub.endpoint, "--kind", "dataset", "--repository", "org/data"]
    make_lock.main([*named, "--output", str(tmp_path / "lock.tsv")])
    assert read_lock(tmp_path / "lock.tsv") == [
        FileEntry("shard.bin", len(SHARD), sha256(SHARD)),
        FileEntry("small.json", 2, sha256(b"{}")),
    ]
    assert hub.bytes_sent("shard.bin") == 0


def test_unknown_source_is_named() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'mirror'"):
        open_source("miror", "", DATA)


def test_a_machine_without_network_is_told_after_three_attempts(hub: FaultHub) -> None:
    waits: list[float] = []
    error = NoNetworkError("no connection")
    for failures in (1, 2):
        RetryPolicy().wait(failures, error, waits.append)
    assert sum(waits) <= 3
    with pytest.raises(TransferError, match="given up after 3 attempt"):
        RetryPolicy().wait(3, error, waits.append)
    with (
        open_source("hub", "http://no-such-host.invalid", DATA, QUICK) as source,
        pytest.raises(TransferError, match=r"no connection.*\(no-such-host.invalid\); without a network take a mirror"),
    ):
        source.files()
