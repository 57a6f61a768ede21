"""Faults 61 to 71, of networks and servers, that the first list forgot."""

from __future__ import annotations

import gzip
import itertools
import os
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from tests.faults.fetching import BIG, QUICK, REPOSITORY, SIZE, arguments, get, names, rest
from tests.faults.running import error_line
from tests.storage.fault_hub import Fault, FaultHub
from workflow_scripts.errors import ConfigError, IntegrityError, PipelineError, StorageError, TransferError
from workflow_scripts.storage import download
from workflow_scripts.storage.http.http_reader import LARGEST_ANSWER, Address, HttpReader
from workflow_scripts.storage.http.retry import RetryPolicy
from workflow_scripts.storage.sources.catalog import open_source
from workflow_scripts.storage.sources.source import Repository

Answer = Callable[[int, bytes], Iterable[bytes]]
MEMORY = 700 << 20  # more than a test process has, far less than the bombs want


class RawServer:
    """Answers each connection with whatever bytes ``answer`` gives for its number and its request."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.numbers = itertools.count()
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.talk, args=(connection,), daemon=True).start()

    def talk(self, connection: socket.socket) -> None:
        with connection:
            request = connection.recv(1 << 16)
            try:
                for piece in self.answer(next(self.numbers), request):
                    connection.sendall(piece)
            except OSError:
                return


@pytest.fixture
def raw() -> Iterator[Callable[[Answer], RawServer]]:
    servers: list[RawServer] = []

    def make(answer: Answer) -> RawServer:
        servers.append(RawServer(answer))
        return servers[-1]

    yield make
    for server in servers:
        server.socket.close()


@pytest.fixture
def little_memory() -> Iterator[None]:
    """This process may not grow beyond what it has and MEMORY."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGE_SIZE") + MEMORY, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def ask_hub(endpoint: str) -> str:
    """What the source says that cannot list the repository at ``endpoint``."""
    with (
        open_source("hub", endpoint, Repository("model", REPOSITORY, "step1"), QUICK, 5.0) as source,
        pytest.raises(PipelineError) as caught,
    ):
        source.files()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_fault_61_no_such_host(fault_hub: FaultHub) -> None:
    """The name of the server does not resolve: tried again, then told as a missing connection."""
    message = ask_hub("http://no-such-host.invalid")
    assert "no connection" in message
    assert "given up after 3" in message


def test_fault_62_redirects_in_a_circle(hub: FaultHub, tmp_path: Path) -> None:
    """A server that redirects to itself is left after ten redirects."""
    hub.faults["big.bin"] = Fault(redirect=f"{hub.endpoint}/{REPOSITORY}/resolve/step1/big.bin")
    with pytest.raises(TransferError, match="more than 10 redirects"):
        get(hub, tmp_path)
    assert rest(tmp_path) == set()


@pytest.mark.parametrize("address", ["http://[bad/x", "http://h:999999/x"])
def test_fault_62_a_redirect_to_no_address(address: str, raw: Callable[[Answer], RawServer], tmp_path: Path) -> None:
    """A server redirects to something that is no address: a failure of that server, told in one line."""
    head = f"HTTP/1.1 302 Found\r\nLocation: {address}\r\nContent-Length: 0\r\n\r\n".encode()
    url = raw(lambda number, request: [head]).url
    with HttpReader(5.0, "denied") as reader, pytest.raises(TransferError), reader.stream(Address(url), 0, "file"):
        pass


@pytest.mark.parametrize("told", [b"bytes 5-999/1500007", b"bytes 0-99/12", b"bytes x", b"bytes */1500007"])
def test_fault_63_a_part_that_is_not_the_one_asked_for(
    told: bytes, hub: FaultHub, raw: Callable[[Answer], RawServer], tmp_path: Path
) -> None:
    """206 with another Content-Range than was asked for: no byte of it reaches the unfinished file."""
    (tmp_path / ".big.bin.part").write_bytes(BIG[:1000])
    head = b"HTTP/1.1 206 Partial\r\nContent-Length: 995\r\nContent-Range: " + told + b"\r\n\r\n"
    hub.faults["big.bin"] = Fault(redirect=raw(lambda number, request: [head, b"z" * 995]).url)
    with pytest.raises(TransferError, match=r"given up after 3|sent more than the expected"):
        get(hub, tmp_path)
    part = tmp_path / ".big.bin.part"
    assert not part.exists() or BIG.startswith(part.read_bytes())
    assert not (tmp_path / "big.bin").exists()


def test_fault_64_the_file_changes_between_two_parts(
    hub: FaultHub, raw: Callable[[Answer], RawServer], tmp_path: Path
) -> None:
    """The line breaks half-way and the second half comes from another version: the hash of the whole tells, the mixture
    is kept as .bad, and the file is fetched afresh."""
    half, other = SIZE // 2, BIG[::-1]

    def answer(number: int, request: bytes) -> Iterator[bytes]:
        start = half if b"Range: bytes=" in request or b"range: bytes=" in request else 0
        content = other if start else BIG
        code = b"206 Partial" if start else b"200 OK"
        yield b"HTTP/1.1 " + code + b"\r\nContent-Length: %d\r\n" % (SIZE - start)
        yield b"Content-Range: bytes %d-%d/%d\r\n\r\n" % (start, SIZE - 1, SIZE) if start else b"\r\n"
        yield content[start : half if number == 0 else SIZE]

    hub.faults["big.bin"] = Fault(redirect=raw(answer).url)
    get(hub, tmp_path)
    assert (tmp_path / "big.bin").read_bytes() == BIG
    assert (tmp_path / "big.bin.bad").read_bytes() == BIG[:half] + other[half:]


def test_fault_65_an_endless_answer_of_the_api(
    raw: Callable[[Answer], RawServer], fault_hub: FaultHub, little_memory: None
) -> None:
    """The server that should list the files never stops talking: cut off at 32 MiB, which no honest list reaches."""
    piece = b"[" + b" " * (1 << 20)

    def answer(number: int, request: bytes) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
        for _ in range(4096):
            yield piece

    assert f"more than {LARGEST_ANSWER} bytes" in ask_hub(raw(answer).url)


def test_fault_66_an_answer_that_unpacks_to_gigabytes(
    raw: Callable[[Answer], RawServer], fault_hub: FaultHub, little_memory: None
) -> None:
    """A list of files packed a thousandfold: compression is not asked for, and what comes packed all the same is
    refused, so that it cannot fill the memory."""
    packed = gzip.compress(b"[" + b" " * (200 << 20), 9)

    def answer(number: int, request: bytes) -> Iterator[bytes]:
        assert b"identity" in request
        yield b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
        yield packed

    assert "compressed the response against the request" in ask_hub(raw(answer).url)


def test_fault_66_a_file_that_comes_packed(hub: FaultHub, tmp_path: Path) -> None:
    """A server that compresses a file although asked not to: refused, because its bytes could not be checked on the
    way."""
    hub.faults["big.bin"] = Fault(compress=True)
    with pytest.raises(TransferError, match="compressed the response against the request"):
        get(hub, tmp_path)
    assert rest(tmp_path) == set()


def test_fault_67_endless_headers(raw: Callable[[Answer], RawServer], little_memory: None) -> None:
    """A server that sends headers for ever is left as a broken line."""

    def answer(number: int, request: bytes) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\n"
        for position in range(1 << 18):
            yield b"X-%d: " % position + b"y" * 1000 + b"\r\n"

    url = raw(answer).url
    with (
        HttpReader(5.0, "denied") as reader,
        pytest.raises(TransferError, match="connection lost"),
        reader.stream(Address(url), 0, "file"),
    ):
        pass


def again_and_again(piece: bytes, pause: float, start: bytes = b"") -> Answer:
    """An answer that never ends: ``start``, then ``piece`` every ``pause`` seconds."""

    def answer(number: int, request: bytes) -> Iterator[bytes]:
        yield start
        while True:
            yield piece
            time.sleep(pause)

    return answer


CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
HINT = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
GOOD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        again_and_again(CONTINUE * 200, 0.01),
        again_and_again(HINT, 0.1),
        again_and_again(b"a", 0.1, b"HTTP/1.1 200 OK\r\nX: "),
        again_and_again(b" ", 0.1, GOOD + b"Content-Length: 1000000\r\n\r\n{"),
        again_and_again(b"0", 0.1, GOOD + b"Transfer-Encoding: chunked\r\n\r\n"),
    ],
    ids=["interim answers", "hints", "head byte by byte", "body byte by byte", "length byte by byte"],
)
def test_fault_67_a_server_that_never_comes_to_an_end(
    answer: Answer, raw: Callable[[Answer], RawServer], fault_hub: FaultHub
) -> None:
    """Interim answers (100, 103) without end, or a byte now and then in the head or the body of an answer: the head has
    twice the longest silence, an answer of the API four times, whatever arrives meanwhile."""
    server, policy, started = raw(answer), RetryPolicy(attempts=1), time.monotonic()
    with (
        open_source("hub", server.url, Repository("model", REPOSITORY, "step1"), policy, 0.5) as source,
        pytest.raises(TransferError, match="read timed out"),
    ):
        source.files()
    assert time.monotonic() - started < 4.0


@pytest.mark.parametrize("chunked", [False, True])
def test_fault_67_a_file_byte_by_byte(
    chunked: bool, hub: FaultHub, raw: Callable[[Answer], RawServer], tmp_path: Path
) -> None:
    """A file that comes slower than a kilobyte per second over the longest silence counts as a break, and an attempt
    that brought less than that is no progress: given up after the attempts, and what came is kept."""
    kind, piece = (b"Transfer-Encoding: chunked", b"1\r\na\r\n") if chunked else (b"Content-Length: 1500007", b"a")
    hub.faults["big.bin"] = Fault(
        redirect=raw(again_and_again(piece, 0.05, b"HTTP/1.1 200 OK\r\n" + kind + b"\r\n\r\n")).url
    )
    started = time.monotonic()
    with pytest.raises(TransferError, match=r"read timed out.*given up after 2"):
        get(hub, tmp_path, stall=0.8, policy=RetryPolicy(attempts=2, first_wait=0.01))
    assert time.monotonic() - started < 8.0


def test_fault_67_a_byte_for_each_connection(hub: FaultHub, tmp_path: Path) -> None:
    """A server that breaks off after one byte each time, with a wait between: no progress, given up after the
    attempts."""
    hub.faults["big.bin"] = Fault(drop=1)
    with pytest.raises(TransferError, match="given up after 3"):
        get(hub, tmp_path, policy=RetryPolicy(attempts=3, first_wait=0.8))


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 500\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\n{}",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n{}",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\nContent-Type: a/b; charset=rot13\r\nX-Error-Code: RevisionNotFound\r\n"
        b"Content-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 400 Bad\r\nX-Error-Message: \x1b[31mevil\r\nContent-Length: 2\r\n\r\n{}",
    ],
    ids=["two lengths", "negative", "huge chunk", "switch", "204", "304", "strange alphabet", "terminal commands"],
)
def test_fault_68_heads_that_break_the_rules(
    head: bytes, raw: Callable[[Answer], RawServer], fault_hub: FaultHub
) -> None:
    """Two lengths, a negative one, a chunk longer than any file, an answer that only another question could have: one
    line, and nothing of the server's own text in it."""
    said = ask_hub(raw(lambda number, request: [head]).url)
    assert "evil" not in said
    assert "Traceback" not in said


@pytest.mark.parametrize("said", [b"SSH-2.0-OpenSSH\r\n", b"\0" * 100, b"HTTP/1.1 abc\r\n\r\n", b""])
def test_fault_68_something_that_is_no_web_server(
    said: bytes, raw: Callable[[Answer], RawServer], fault_hub: FaultHub
) -> None:
    """Another kind of server listens at the address: told as a line that broke, after the usual attempts."""
    assert "connection lost" in ask_hub(raw(lambda number, request: [said]).url)


@pytest.mark.parametrize("proxy", ["ftp://x", "no proxy at all"])
def test_fault_69_a_proxy_that_is_none(
    proxy: str, fault_hub: FaultHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """HTTP_PROXY holds nonsense: one line that names the variable."""
    monkeypatch.setenv("HTTP_PROXY", proxy)
    said = error_line(
        download.main, arguments(fault_hub, tmp_path / "out", "--attempts", "1"), lambda: capfd.readouterr().err
    )
    assert "HTTP_PROXY" in said
    assert fault_hub.requests == []


@pytest.mark.parametrize(
    ("file", "reason"),
    [("nowhere.pem", "No such file"), ("words.pem", "no certificate"), ("folder", "Is a directory")],
)
def test_certificates_that_are_none(
    file: str, reason: str, hub: FaultHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SSL_CERT_FILE names no file, or one without a certificate: one line that names the variable and its value."""
    (tmp_path / "words.pem").write_text("no certificate")
    (tmp_path / "folder").mkdir()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / file))
    named = rf"the certificates in SSL_CERT_FILE={tmp_path / file}.* {reason}.* in PEM format, or unset it"
    with pytest.raises(ConfigError, match=named):
        download.main(arguments(hub, tmp_path / "out", "--attempts", "1"))
    assert hub.requests == []


def test_fault_70_two_claims_about_one_file(hub: FaultHub, tmp_path: Path) -> None:
    """The repository's own list of hashes and the Hub's disagree about a file: neither is believed."""
    hub.add(REPOSITORY, {"big.bin": BIG, "sha256.txt": f"{'0' * 64}  big.bin\n".encode()}, "step1")
    with pytest.raises(IntegrityError, match=r"has sha256 .* has 0000"):
        get(hub, tmp_path)


def test_fault_71_names_that_differ_in_case_only(
    hub: FaultHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two names that a disk without upper and lower case takes for one: on such a disk the fetch is refused before a
    byte is written, on others both files arrive."""
    hub.add(REPOSITORY, {"Data.bin": BIG, "data.bin": BIG[::-1]}, "step1")
    get(hub, tmp_path / "exact")
    assert (tmp_path / "exact" / "Data.bin").read_bytes() == BIG
    assert (tmp_path / "exact" / "data.bin").read_bytes() == BIG[::-1]
    monkeypatch.setattr("workflow_scripts.storage.fetching.fetch_files.tells_case_apart", lambda folder: False)
    with pytest.raises(StorageError, match=r"'Data\.bin' and 'data\.bin' as one name"):
        get(hub, tmp_path / "folded")
    assert names(tmp_path / "folded") == set()
