"""What happens to a download when something goes wrong: one test per row of the list of faults, by its number."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import re
import resource
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.faults.fetching import (
    BIG,
    BIG_SHA256,
    QUICK,
    REPOSITORY,
    SIZE,
    SMALL,
    TOKEN,
    arguments,
    get,
    lock_of,
    names,
    program,
    rest,
    wait_for_part,
)
from tests.storage.fault_hub import Fault, FaultHub
from workflow_scripts.errors import (
    ConfigError,
    DataError,
    IntegrityError,
    MissingInputError,
    PipelineError,
    StorageError,
    TransferError,
    UnknownNameError,
)
from workflow_scripts.storage import download, verify
from workflow_scripts.storage.fetching import disk_space
from workflow_scripts.storage.http import pauses
from workflow_scripts.storage.http.retry import RetryPolicy
from workflow_scripts.storage.sources.catalog import open_source
from workflow_scripts.storage.sources.source import Repository


def test_no_fault_fetches_each_byte_once(hub: FaultHub, tmp_path: Path) -> None:
    """Nothing goes wrong: right bytes, one request for the list, no leftovers; and nothing is asked a second time."""
    files = get(hub, tmp_path / "out")
    assert (tmp_path / "out" / "big.bin").read_bytes() == BIG
    assert (tmp_path / "out" / "config.json").read_bytes() == SMALL
    assert names(tmp_path / "out") == {"big.bin", "config.json"}
    assert [entry.sha256 for entry in files] == [BIG_SHA256, hashlib.sha256(SMALL).hexdigest()]
    assert hub.count("/api/") == 1
    asked = hub.count("/resolve/")
    get(hub, tmp_path / "out")
    assert hub.count("/resolve/") == asked
    assert hub.bytes_sent("big.bin") == SIZE


def test_fault_01_flipped_byte_of_right_length_is_refused(hub: FaultHub, tmp_path: Path) -> None:
    """The hash differs: kept as .bad, fetched again, and refused when it is the same wrong content again."""
    hub.faults["big.bin"] = Fault(corrupt=True)
    with pytest.raises(IntegrityError, match=rf"expected {BIG_SHA256}.*big\.bin\.bad"):
        get(hub, tmp_path)
    assert not (tmp_path / "big.bin").exists()
    assert len((tmp_path / "big.bin.bad").read_bytes()) == SIZE
    assert hub.bytes_sent("big.bin") == 2 * SIZE


def test_fault_01_flipped_byte_once_is_repaired(hub: FaultHub, tmp_path: Path) -> None:
    """A hash that differs once: the second fetch delivers."""
    hub.faults["big.bin"] = Fault(corrupt=True, times=1)
    get(hub, tmp_path)
    assert (tmp_path / "big.bin").read_bytes() == BIG


def test_fault_01_small_file_without_sha256_is_checked_by_its_git_name(hub: FaultHub, tmp_path: Path) -> None:
    """The Hub tells no sha256 of small files; git's name of the content finds the flipped byte."""
    hub.faults["config.json"] = Fault(corrupt=True)
    with pytest.raises(IntegrityError, match="git blob"):
        get(hub, tmp_path)
    assert not (tmp_path / "config.json").exists()


@pytest.mark.parametrize("fault", [Fault(short=100), Fault(long=100)], ids=["short", "long"])
def test_fault_02_other_honest_length_names_both_sizes(fault: Fault, hub: FaultHub, tmp_path: Path) -> None:
    """The server honestly sends fewer or more bytes than are known: refused before a byte is taken, with both sizes."""
    hub.faults["big.bin"] = fault
    seen = SIZE - fault.short + fault.long
    with pytest.raises(TransferError, match=rf"has {seen} bytes, expected {SIZE};.*after 3 attempt"):
        get(hub, tmp_path)
    assert rest(tmp_path) == set()


def test_fault_02_more_than_known_without_a_told_length_is_cut_off(hub: FaultHub, tmp_path: Path) -> None:
    """The server tells no length and sends too much: stopped at the known size, nothing of it is kept."""
    hub.faults["big.bin"] = Fault(long=100, no_length=True)
    with pytest.raises(TransferError, match=rf"sent more than the expected {SIZE} bytes; given up"):
        get(hub, tmp_path)
    assert rest(tmp_path) == set()


def test_fault_02_less_than_known_without_a_told_length_is_found(hub: FaultHub, tmp_path: Path) -> None:
    """The server tells no length and ends early: not taken for the end of the file."""
    hub.faults["big.bin"] = Fault(short=100, no_length=True)
    with pytest.raises(TransferError, match=rf"ended after {SIZE - 100} of {SIZE} bytes"):
        get(hub, tmp_path)
    assert not (tmp_path / "big.bin").exists()


def test_fault_03_captive_portal_is_named(hub: FaultHub, tmp_path: Path) -> None:
    """A captive portal with status 200 is called what it is, and a part that was good is not thrown away for it."""
    (tmp_path / ".big.bin.part").write_bytes(BIG[:1000])
    hub.faults["big.bin"] = Fault(html=True)
    with pytest.raises(TransferError, match="HTML page instead of the file"):
        get(hub, tmp_path)
    assert (tmp_path / ".big.bin.part").read_bytes() == BIG[:1000]
    hub.faults["*"] = Fault(html=True)
    with pytest.raises(TransferError, match="captive portal"):
        get(hub, tmp_path)


def test_fault_04_drop_mid_body_resumes(hub: FaultHub, tmp_path: Path) -> None:
    """The line breaks once: the next request starts at the byte where it broke, no byte is sent twice."""
    hub.faults["big.bin"] = Fault(drop=700_001, times=1)
    get(hub, tmp_path)
    assert (tmp_path / "big.bin").read_bytes() == BIG
    assert hub.bytes_sent("big.bin") == SIZE
    assert "bytes=700001-" in [request.range for request in hub.requests]


def test_fault_05_drop_again_and_again_delivers(hub: FaultHub, tmp_path: Path) -> None:
    """The line breaks every 100 kB, far more often than there are attempts: progress resets the count."""
    hub.faults["big.bin"] = Fault(drop=100_000)
    get(hub, tmp_path)
    assert (tmp_path / "big.bin").read_bytes() == BIG
    assert hub.count("/cdn/big.bin") == 16


def test_fault_06_kill_and_run_again_resumes(hub: FaultHub, tmp_path: Path) -> None:
    """kill -9 in the middle: the next run goes on at the byte, and leaves nothing behind."""
    hub.faults["big.bin"] = Fault(rate=2e6)
    process = program(hub, tmp_path / "out")
    wait_for_part(tmp_path / "out" / ".big.bin.part", 300_000)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "out" / "big.bin").exists()
    assert not (tmp_path / "receipt.json").exists()
    hub.faults.clear()
    have = (tmp_path / "out" / ".big.bin.part").stat().st_size
    download.main(arguments(hub, tmp_path / "out"))
    assert (tmp_path / "out" / "big.bin").read_bytes() == BIG
    assert [r.range for r in hub.requests if "/cdn/" in r.path][-1] == f"bytes={have}-"
    assert names(tmp_path / "out") == {"big.bin", "config.json"}


def test_interrupt_ends_at_once_and_keeps_the_part(hub: FaultHub, tmp_path: Path) -> None:
    """Control-C in the middle, while one file crawls and another waits for its next attempt: one line, code 130."""
    hub.faults["big.bin"] = Fault(rate=2e6)
    hub.faults["config.json"] = Fault(status=503)
    process = program(hub, tmp_path / "out")
    wait_for_part(tmp_path / "out" / ".big.bin.part", 300_000)
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130, said
    assert time.monotonic() - started < 5.0
    assert said.strip().splitlines()[-1] == "interrupted; rerun the same command to resume"
    assert names(tmp_path / "out") == {".big.bin.part"}


def test_fault_07_zeroed_tail_of_the_part_is_found(hub: FaultHub, tmp_path: Path) -> None:
    """A power cut left zeros at the end of the part: the hash of the whole tells, the file is fetched afresh."""
    (tmp_path / ".big.bin.part").write_bytes(BIG[:996_000] + bytes(4096))
    get(hub, tmp_path)
    assert (tmp_path / "big.bin").read_bytes() == BIG
    assert hub.bytes_sent("big.bin") == SIZE + SIZE - 1_000_096


def test_fault_08_ignored_range_restarts(hub: FaultHub, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The server answers a range with the whole file: start over instead of appending, and say so."""
    caplog.set_level("INFO")
    (tmp_path / ".big.bin.part").write_bytes(BIG[:500_000])
    hub.faults["big.bin"] = Fault(no_range=True)
    get(hub, tmp_path)
    assert (tmp_path / "big.bin").read_bytes() == BIG
    assert hub.bytes_sent("big.bin") == SIZE
    assert "the server ignores range requests; starting over after 500000 bytes" in caplog.text


def test_fault_09_stall_is_cut_and_resumed(hub: FaultHub, tmp_path: Path) -> None:
    """The server falls silent in the middle: after the time-out the rest is asked for."""
    hub.faults["big.bin"] = Fault(stall=10.0, times=1)
    started = time.monotonic()
    get(hub, tmp_path, stall=0.3)
    assert time.monotonic() - started < 5.0
    assert (tmp_path / "big.bin").read_bytes() == BIG
    assert hub.bytes_sent("big.bin") == SIZE


def test_fault_10_too_many_requests_waits_as_told(hub: FaultHub, tmp_path: Path) -> None:
    """429 with Retry-After: waits so long before the next request, and other processes of this user wait too."""
    hub.faults["big.bin"] = Fault(status=429, headers={"Retry-After": "1"}, times=1)
    started = time.monotonic()
    get(hub, tmp_path)
    assert 1.0 <= time.monotonic() - started < 4.0
    assert (tmp_path / "big.bin").read_bytes() == BIG
    assert hub.count("/cdn/") == 2
    assert pauses.pause_file("localhost").is_file()


def test_fault_10_pause_of_another_process_is_obeyed(hub: FaultHub, tmp_path: Path) -> None:
    """Another process of this user was told to wait: no request is made meanwhile, and it counts as no failure."""
    pauses.note("localhost", 0.8)
    started = time.monotonic()
    get(hub, tmp_path, policy=RetryPolicy(attempts=1, first_wait=0.001))
    assert time.monotonic() - started > 0.5
    assert hub.count("/cdn/") == 1


def test_fault_10_unreasonable_wait_is_told_instead_of_slept(hub: FaultHub, tmp_path: Path) -> None:
    """429 that asks for an hour: ends at once and says how long to wait."""
    hub.faults["*"] = Fault(status=429, headers={"Retry-After": "3600"})
    with pytest.raises(TransferError, match="requests a wait of 3600 s"):
        get(hub, tmp_path)


def test_fault_11_metadata_down_for_a_moment(hub: FaultHub, tmp_path: Path) -> None:
    """503 from the Hub's API twice: asked again."""
    hub.faults["*"] = Fault(status=503, times=2)
    get(hub, tmp_path)
    assert (tmp_path / "big.bin").read_bytes() == BIG


def test_fault_11_metadata_down_says_down(hub: FaultHub, tmp_path: Path) -> None:
    """503 for good: the message says that the Hub is down, not that something was not found."""
    hub.faults["*"] = Fault(status=503)
    with pytest.raises(TransferError, match="503, it is down or busy; given up after 3") as caught:
        get(hub, tmp_path)
    assert "not found" not in str(caught.value)
    assert hub.count("/api/") == 3


def test_fault_12_server_error_on_content_is_retried(hub: FaultHub, tmp_path: Path) -> None:
    """500 from the storage host: asked again."""
    hub.faults["big.bin"] = Fault(cdn_status=500, times=2)
    get(hub, tmp_path)
    assert (tmp_path / "big.bin").read_bytes() == BIG


def test_fault_13_expired_address_is_asked_for_again(hub: FaultHub, tmp_path: Path) -> None:
    """403 from the storage host: a fresh address is asked from the Hub, and the transfer goes on."""
    (tmp_path / ".big.bin.part").write_bytes(BIG[:500_000])
    hub.faults["big.bin"] = Fault(cdn_status=403, times=1)
    get(hub, tmp_path)
    assert (tmp_path / "big.bin").read_bytes() == BIG
    assert hub.count("/resolve/") == 3
    assert hub.bytes_sent("big.bin") == SIZE - 500_000


def test_fault_13_denied_by_the_hub_itself_fails_at_once(hub: FaultHub, tmp_path: Path) -> None:
    """403 from the Hub is no expired address: no retry, and the message says what to do about access."""
    hub.faults["config.json"] = Fault(status=403)
    with pytest.raises(TransferError, match=r"access denied; set HF_TOKEN"):
        get(hub, tmp_path)
    assert hub.count("config.json") == 1


def test_fault_14_hub_down_never_returns_a_part(hub: FaultHub, tmp_path: Path) -> None:
    """One file is there and the Hub is down: an error and no receipt, never the partial folder as success."""
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "config.json").write_bytes(SMALL)
    hub.faults["*"] = Fault(status=503)
    with pytest.raises(TransferError, match="503"):
        download.main(arguments(hub, folder, "--lock", str(lock_of(tmp_path)), "--attempts", "1"))
    assert not (tmp_path / "receipt.json").exists()


def test_fault_15_offline_names_files_and_command(
    hub: FaultHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offline with a file missing: no request, the file and the way to get it are named."""
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "config.json").write_bytes(SMALL)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(
        MissingInputError, match=r"offline.*big\.bin; rerun this command on a machine with " r"network access"
    ):
        download.main(arguments(hub, folder, "--lock", str(lock_of(tmp_path))))
    assert hub.requests == []


def test_fault_15_offline_with_everything_there_asks_nothing(
    hub: FaultHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offline after a fetch: the same command succeeds without a request and writes the same receipt."""
    more = ["--lock", str(lock_of(tmp_path))]
    download.main(arguments(hub, tmp_path / "out", *more))
    before, asked = (tmp_path / "receipt.json").read_bytes(), len(hub.requests)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    download.main(arguments(hub, tmp_path / "out", *more))
    assert (tmp_path / "receipt.json").read_bytes() == before
    assert len(hub.requests) == asked


def test_fault_15_offline_without_a_list_says_so(
    hub: FaultHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offline and no list of files: the Hub is not asked and the message says why."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(TransferError, match="offline"):
        get(hub, tmp_path)
    assert hub.requests == []


def test_fault_16_three_processes_fetch_once(hub: FaultHub, tmp_path: Path) -> None:
    """Three processes want the same file: one fetches it, the others wait and find it."""
    hub.faults["big.bin"] = Fault(rate=4e5)  # longer than the three programs need to start
    processes = [program(hub, tmp_path / "out") for _ in range(3)]
    results = [(process.communicate()[1], process.returncode) for process in processes]
    assert [code for _, code in results] == [0, 0, 0], results
    assert hub.bytes_sent("big.bin") == SIZE
    assert (tmp_path / "out" / "big.bin").read_bytes() == BIG
    assert any(re.search(r"held by process \d+ on ", said) for said, _ in results)
    assert names(tmp_path / "out") == {"big.bin", "config.json"}


def test_fault_17_locks_that_do_nothing_cost_only_bandwidth(
    hub: FaultHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system whose flock always says yes: each fetch writes its own file, so none damages another's."""
    monkeypatch.setattr(fcntl, "flock", lambda handle, operation: None)
    hub.faults["big.bin"] = Fault(rate=6e6)
    failures: list[BaseException] = []

    def one() -> None:
        try:
            get(hub, tmp_path / "out")
        except PipelineError as error:
            failures.append(error)

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert (tmp_path / "out" / "big.bin").read_bytes() == BIG
    assert hub.bytes_sent("big.bin") == 2 * SIZE
    assert names(tmp_path / "out") == {"big.bin", "config.json"}


def test_fault_18_small_disk_is_refused_before_the_first_byte(hub: FaultHub, small_disk: Path) -> None:
    """The disk is too small for all files together: says what is needed and what is there, fetches nothing."""
    with pytest.raises(StorageError, match=rf"needs {SIZE + len(SMALL)} bytes .* has 1048576"):
        get(hub, small_disk)
    assert hub.bytes_sent("big.bin") == 0
    assert names(small_disk) == set()


def test_fault_18_disk_that_fills_up_on_the_way(
    hub: FaultHub, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others take the room meanwhile: a clear error, the part stays, and the next run goes on from it."""
    monkeypatch.setattr(disk_space, "free_bytes", lambda folder: 10**12)
    with pytest.raises(StorageError, match=r"No space left on device.*the partial file is kept"):
        get(hub, small_disk)
    assert (small_disk / ".big.bin.part").stat().st_size > 900_000
    assert not (small_disk / "big.bin").exists()


def test_fault_18_file_size_limit(hub: FaultHub, tmp_path: Path) -> None:
    """The same without root, by the limit on the size of a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with pytest.raises(StorageError, match="the partial file is kept"):
            get(hub, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    get(hub, tmp_path)
    assert (tmp_path / "big.bin").read_bytes() == BIG
    assert hub.bytes_sent("big.bin") < SIZE + 2**20


def test_fault_19_bit_rot_with_old_time_is_found(hub: FaultHub, tmp_path: Path) -> None:
    """A bit flips on the disk and size and time stay: verify finds it, and a fetch repairs it."""
    lock = lock_of(tmp_path)
    get(hub, tmp_path / "out")
    target = tmp_path / "out" / "big.bin"
    times = (target.stat().st_atime_ns, target.stat().st_mtime_ns)
    target.write_bytes(BIG[:-1] + bytes([BIG[-1] ^ 4]))
    os.utime(target, ns=times)
    with pytest.raises(IntegrityError, match=r"1 wrong \(first big\.bin\)"):
        verify.verify(tmp_path / "out", lock, jobs=2)
    get(hub, tmp_path / "out")
    (tmp_path / "out" / "big.bin.bad").unlink()
    verify.verify(tmp_path / "out", lock, jobs=2)


def test_fault_20_moved_branch_differs_from_the_list(hub: FaultHub, tmp_path: Path) -> None:
    """The branch has new bytes: the list disagrees before anything is fetched, and both hashes are named."""
    lock = lock_of(tmp_path)
    moved = hub.add(REPOSITORY, {"big.bin": BIG[::-1], "config.json": SMALL}, "step1")
    with pytest.raises(IntegrityError, match=rf"now commit {moved}.*{BIG_SHA256}.*revision has moved"):
        download.main(arguments(hub, tmp_path / "out", "--lock", str(lock)))
    assert hub.bytes_sent("big.bin") == 0


def test_fault_20_moved_branch_differs_from_the_receipt(hub: FaultHub, tmp_path: Path) -> None:
    """Without a list, the receipt of the first fetch tells that the branch has moved, from where and to where."""
    download.main(arguments(hub, tmp_path / "out"))
    before = json.loads((tmp_path / "receipt.json").read_text())["commit"]
    moved = hub.add(REPOSITORY, {"big.bin": BIG[::-1], "config.json": SMALL}, "step1")
    with pytest.raises(IntegrityError, match=f"moved from commit {before} .* to {moved}"):
        download.main(arguments(hub, tmp_path / "out"))
    (tmp_path / "out" / "big.bin").unlink()
    download.main(arguments(hub, tmp_path / "out", "--commit", before))
    assert (tmp_path / "out" / "big.bin").read_bytes() == BIG


def test_fault_21_unknown_revision_names_the_nearest(hub: FaultHub, tmp_path: Path) -> None:
    """A typing error in the revision: the nearest branch is named."""
    with (
        open_source("hub", hub.endpoint, Repository("model", REPOSITORY, "stepp1"), QUICK) as source,
        pytest.raises(UnknownNameError, match="did you mean 'step1'"),
    ):
        source.files()


@pytest.mark.parametrize("revision", ["../x", "step1; rm -rf", "step1\n", "-x", "a/../b", "a//b", "", "x" * 300, "é"])
def test_fault_22_unsafe_revision_is_refused(revision: str) -> None:
    """A revision that could be taken for a path, an option or a command is refused before anything is asked."""
    with pytest.raises(ConfigError, match="revision"):
        Repository("model", REPOSITORY, revision)


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", "a\\b", "-x", "a\nb", "a/./b", "x" * 300, "\u202ea"])
def test_fault_22_unsafe_file_name_of_a_source_is_refused(path: str, hub: FaultHub, tmp_path: Path) -> None:
    """A repository that lists a file outside its folder: refused, nothing is written anywhere."""
    hub.add(REPOSITORY, {path: b"x"}, "step1")
    with pytest.raises(DataError, match="only plain relative paths are allowed"):
        get(hub, tmp_path / "out")
    assert names(tmp_path) == set()


def test_fault_23_token_as_argument_is_refused_and_not_repeated(hub: FaultHub, tmp_path: Path) -> None:
    """A token in an argument would be seen by everybody on the machine: refused, and not shown again."""
    with pytest.raises(ConfigError, match="HF_TOKEN") as caught:
        download.main(arguments(hub, tmp_path / "out", "--revision", TOKEN))
    assert TOKEN not in str(caught.value)
    assert hub.requests == []


def test_fault_23_token_is_in_no_log_receipt_or_record(hub: FaultHub, tmp_path: Path) -> None:
    """A token from the environment is used, and stands in no output, receipt, record or file."""
    done = program(hub, tmp_path / "out", HF_TOKEN=TOKEN, HF_DEBUG="1")
    said = "".join(done.communicate())
    assert done.returncode == 0, said
    assert any(request.token == f"Bearer {TOKEN}" for request in hub.requests)
    hub.faults["*"] = Fault(status=401)
    failed = program(hub, tmp_path / "other", HF_TOKEN=TOKEN)
    said += "".join(failed.communicate())
    assert failed.returncode == 2, said
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) == 4
    assert TOKEN not in said
    assert all(TOKEN.encode() not in content for content in written)
    assert "X-Signature" not in said


def test_fault_24_token_does_not_follow_a_redirect(
    hub: FaultHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The Hub redirects large files to another host: the token stays at home."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with caplog.at_level(logging.DEBUG):
        get(hub, tmp_path)
    home = [request for request in hub.requests if request.host.startswith("127.0.0.1")]
    abroad = [request for request in hub.requests if request.host.startswith("localhost")]
    assert len(home) == 3
    assert all(request.token == f"Bearer {TOKEN}" for request in home)
    assert len(abroad) == 1
    assert abroad[0].token is None
    assert TOKEN not in caplog.text


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://localhost/x"])
def test_fault_24_redirect_to_another_kind_of_address_is_refused(target: str, hub: FaultHub, tmp_path: Path) -> None:
    """A redirect that leaves http is not followed."""
    hub.faults["big.bin"] = Fault(redirect=target)
    with pytest.raises(TransferError, match="which is not secure"):
        get(hub, tmp_path)
