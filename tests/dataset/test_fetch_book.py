"""One text from a host of raw files: one request, held to its hash, resumed."""

import hashlib

import pytest

from tests.storage.loopback_server import LoopbackServer, QuietHandler, Served
from workflow_scripts import cli
from workflow_scripts.dataset import fetch_book
from workflow_scripts.errors import TransferError
from workflow_scripts.storage.http.http_reader import HttpReader
from workflow_scripts.storage.leftovers import part_path
from workflow_scripts.storage.sources.raw_files import RawSource
from workflow_scripts.storage.sources.source import Repository

COMMIT = "b" * 40
CONTENT = b"To begin with, " * 500
PLACE = f"/GITenberg/A-Tale_7/{COMMIT}/7-0.txt"


class Handler(QuietHandler):
    def do_GET(self):
        self.server.asked.append((self.path, self.headers.get("Range")))
        content = CONTENT if self.path == PLACE else None
        start = int((self.headers.get("Range") or "bytes=0-").split("=")[1].split("-")[0])
        self.send_response(404 if content is None else 206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len((content or b"")[start:])))
        self.end_headers()
        self.wfile.write((content or b"")[start:])


class RawHost(Served):
    def __init__(self):
        self.server = LoopbackServer(("127.0.0.1", 0), Handler)
        self.server.asked = []
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def host(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with RawHost() as served:
        yield served


def call(host, folder, path="7-0.txt", sha256=None):
    words = ["--location", host.url, "--repository", "GITenberg/A-Tale_7", "--commit", COMMIT, "--path", path]
    words += ["--size", str(len(CONTENT)), "--sha256", sha256 or hashlib.sha256(CONTENT).hexdigest(), "--attempts", "1"]
    return cli.run(fetch_book.main, [*words, "--output-dir", str(folder)])


def test_one_request_brings_one_text_with_its_record(host, tmp_path):
    assert call(host, tmp_path) == 0
    assert (tmp_path / "7-0.txt").read_bytes() == CONTENT
    assert (tmp_path / "7-0.txt.record.json").is_file()
    assert call(host, tmp_path) == 0
    assert host.server.asked == [(PLACE, None)]


def test_an_interrupted_text_is_resumed(host, tmp_path):
    part_path(tmp_path / "7-0.txt").write_bytes(CONTENT[:1000])
    assert call(host, tmp_path) == 0
    assert (tmp_path / "7-0.txt").read_bytes() == CONTENT
    assert host.server.asked == [(PLACE, "bytes=1000-")]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"sha256": "0" * 64}, "expected 0000"),
        ({"path": "8-0.txt"}, "no such file"),
        ({"path": "../x"}, "only plain relative paths"),
        ({"sha256": "short"}, "is not 64 hexadecimal digits"),
    ],
)
def test_what_cannot_be_is_one_line(host, tmp_path, more, message, capsys):
    assert call(host, tmp_path / "out", **more) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out" / "7-0.txt").exists()


def test_a_host_of_raw_files_gives_ranges_and_no_list(host):
    with HttpReader(5.0, "") as reader:
        source = RawSource(host.url, Repository("dataset", "GITenberg/A-Tale_7", COMMIT), reader)
        assert source.commit() == COMMIT
        assert source.read_range("7-0.txt", 7495, 5) == CONTENT[7495:]
        assert source.read_range("7-0.txt", 0, 0) == b""
        with pytest.raises(TransferError, match="lists no files"):
            source.files()
