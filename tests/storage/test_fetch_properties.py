"""Whatever a source does, in whatever order: the right content under the final name, or an error and no file."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow_scripts.errors import IntegrityError, TransferError
from workflow_scripts.storage.fetching.byte_counter import Meter
from workflow_scripts.storage.fetching.fetch_files import fetch_all, fetch_file
from workflow_scripts.storage.http.retry import RetryableError, RetryPolicy
from workflow_scripts.storage.lockfile import FileEntry
from workflow_scripts.storage.sources.source import ByteStream, Repository

CONTENT = bytes(hashlib.shake_256(b"properties").digest(5_000))
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PATIENT = RetryPolicy(attempts=40, first_wait=0.0)


@dataclass(frozen=True)
class Act:
    """What the source does at one request."""

    kind: str
    where: int = 0
    told: bool = True


@dataclass
class Actor:
    """A source that plays a script and behaves well when the script is over."""

    script: list[Act]
    name: str = "actor"
    location: str = "nowhere"
    repository: Repository = field(default_factory=lambda: Repository("model", "org/x", "main"))

    def commit(self) -> str | None:
        return None

    def files(self) -> list[FileEntry]:
        return [FileEntry("x", len(CONTENT), SHA256)]

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        return CONTENT[offset : offset + length]

    @contextmanager
    def open(self, path: str, offset: int) -> Iterator[ByteStream]:
        act = self.script.pop(0) if self.script else Act("good")
        if act.kind == "refuse":
            raise RetryableError("busy")
        content = CONTENT
        if act.kind == "flip":
            content = CONTENT[: act.where] + bytes([CONTENT[act.where] ^ 1]) + CONTENT[act.where + 1 :]
        if act.kind == "short":
            content = CONTENT[: act.where]
        if act.kind == "long":
            content = CONTENT + b"x" * (act.where + 1)
        start = 0 if act.kind == "norange" else offset
        yield ByteStream(start, len(content) if act.told else None, self.pieces(content[start:], act))

    def pieces(self, content: bytes, act: Act) -> Iterator[bytes]:
        stop = act.where if act.kind == "drop" else len(content)
        for position in range(0, min(stop, len(content)), 700):
            yield content[position : min(position + 700, stop)]
        if act.kind == "drop":
            raise RetryableError("connection lost")


ACTS = st.builds(
    Act,
    st.sampled_from(["good", "refuse", "flip", "short", "long", "norange", "drop"]),
    st.integers(0, len(CONTENT) - 1),
    st.booleans(),
)
LEFTOVERS = st.none() | st.tuples(st.integers(0, len(CONTENT) + 50), st.booleans())


@given(st.lists(ACTS, max_size=8), LEFTOVERS, st.booleans())
@settings(deadline=None, max_examples=150)
def test_right_content_or_no_file(script: list[Act], leftover: tuple[int, bool] | None, size_known: bool) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        if leftover is not None:
            length, damaged = leftover
            part = (CONTENT + bytes(50))[:length]
            (folder / ".x.part").write_bytes(bytes(len(part)) if damaged else part)
        try:
            entry = fetch_file(
                Actor(list(script)), "x", folder / "x", len(CONTENT) if size_known else None, SHA256, policy=PATIENT
            )
        except IntegrityError:
            assert not (folder / "x").exists()
            assert (folder / "x.bad").exists()
            wrong = [act for act in script if act.kind in ("flip", "short", "long")]
            assert len(wrong) + (leftover is not None) >= 2
        else:
            assert (folder / "x").read_bytes() == CONTENT
            assert (entry.size, entry.sha256) == (len(CONTENT), SHA256)
            assert not (folder / ".x.part").exists()
        assert not list(folder.glob(".*"))
    finally:
        shutil.rmtree(folder)


def test_a_source_that_brings_nothing_is_given_up_after_the_attempts(tmp_path: Path) -> None:
    actor = Actor([Act("refuse")] * 9)
    with pytest.raises(TransferError, match="busy; given up after 3 attempt"):
        fetch_file(actor, "x", tmp_path / "x", len(CONTENT), SHA256, policy=RetryPolicy(attempts=3, first_wait=0.0))
    assert len(actor.script) == 6


@given(st.lists(st.integers(1, 400), min_size=1, max_size=30))
@settings(deadline=None, max_examples=30)
def test_any_number_of_drops_with_progress_is_no_failure(steps: list[int]) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        script = [Act("drop", step) for step in steps]
        fetch_file(
            Actor(script), "x", folder / "x", len(CONTENT), SHA256, policy=RetryPolicy(attempts=1, first_wait=0.0)
        )
        assert (folder / "x").read_bytes() == CONTENT
    finally:
        shutil.rmtree(folder)


def test_many_files_in_parallel_keep_their_order_and_content(tmp_path: Path) -> None:
    class Many(Actor):
        @contextmanager
        def open(self, path: str, offset: int) -> Iterator[ByteStream]:
            content = path.encode() * 10
            yield ByteStream(offset, len(content), iter([content[offset:]]))

    paths = [f"f{number}" for number in range(60)]
    entries = [FileEntry(p, len(p) * 10, hashlib.sha256(p.encode() * 10).hexdigest()) for p in reversed(paths)]
    done = fetch_all(Many([]), entries, tmp_path, parallel=8, policy=PATIENT)
    assert [entry.path for entry in done] == paths[::-1]
    assert all((tmp_path / path).read_bytes() == path.encode() * 10 for path in paths)


@given(st.lists(ACTS, max_size=6), LEFTOVERS)
@settings(deadline=None, max_examples=60)
def test_counted_bytes_are_those_that_are_there(script: list[Act], leftover: tuple[int, bool] | None) -> None:
    class Sum(Meter):
        def add(self, amount: int) -> None:
            counted.append(amount)

    counted: list[int] = []
    folder = Path(tempfile.mkdtemp())
    try:
        if leftover is not None:
            (folder / ".x.part").write_bytes(bytes(leftover[0]))
        with suppress(IntegrityError):
            fetch_file(Actor(script), "x", folder / "x", len(CONTENT), SHA256, policy=PATIENT, meter=Sum())
            assert sum(counted) == len(CONTENT)
    finally:
        shutil.rmtree(folder)
