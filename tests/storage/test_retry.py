"""Waiting and giving up, and pauses that all processes obey."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow_scripts.errors import TransferError
from workflow_scripts.storage.http import pauses
from workflow_scripts.storage.http.http_reader import retry_after
from workflow_scripts.storage.http.retry import PausedError, RetryableError, RetryPolicy, retrying


@given(st.integers(1, 40), st.none() | st.floats(0, 900))
@settings(deadline=None, max_examples=100)
def test_waits_grow_to_a_limit_and_never_undercut_the_server(failures: int, asked: float | None) -> None:
    policy = RetryPolicy(first_wait=1.0, longest_wait=60.0)
    seconds = policy.seconds(failures, RetryableError("x", asked))
    backoff = min(2.0 ** (failures - 1), 60.0)
    assert max(0.75 * backoff, asked or 0.0) <= seconds <= max(backoff, asked or 0.0)


def test_gives_up_after_the_attempts_and_says_so() -> None:
    calls: list[float] = []

    def fail() -> None:
        calls.append(time.monotonic())
        raise RetryableError("server busy")

    with pytest.raises(TransferError, match="server busy; given up after 3 attempt"):
        retrying(RetryPolicy(attempts=3, first_wait=0.001), fail)
    assert len(calls) == 3


def test_it_waits_as_long_as_the_server_asks_for() -> None:
    slept: list[float] = []
    RetryPolicy(first_wait=0.001).wait(1, RetryableError("busy", retry_after=7.0), slept.append)
    assert slept == [7.0]


def test_pauses_are_no_failures() -> None:
    answers: list[RetryableError | int] = [PausedError("p", 0.001)] * 5 + [RetryableError("a"), 7]

    def ask() -> int:
        answer = answers.pop(0)
        if isinstance(answer, RetryableError):
            raise answer
        return answer

    assert retrying(RetryPolicy(attempts=2, first_wait=0.001), ask) == 7


def test_result_of_the_attempt_that_works() -> None:
    answers = iter([RetryableError("a"), RetryableError("b"), 7])

    def ask() -> int:
        answer = next(answers)
        if isinstance(answer, RetryableError):
            raise answer
        return answer

    assert retrying(RetryPolicy(attempts=3, first_wait=0.001), ask) == 7


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "12"}, 12.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "\u00b3"}, None),
        ({"Retry-After": "9" * 400}, None),
        ({"RateLimit": '"api";r=0;t=55'}, 55.0),
        ({"RateLimit": '"api";r=3;t=55'}, None),
        ({}, None),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
    ],
)
def test_wait_that_a_server_asks_for(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


def test_wait_until_a_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1445412470.0)  # ten seconds before the date
    assert retry_after({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 10.0


def test_pause_is_shared_by_file_and_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    pauses.note("host.example", 30.0)
    pauses.note("host.example", 5.0)
    pauses.obey("other.example")
    with pytest.raises(PausedError, match=r"host\.example requested a pause") as caught:
        pauses.obey("host.example")
    assert 29.0 < (caught.value.retry_after or 0.0) <= 30.0
    later = time.time() + 31.0
    monkeypatch.setattr(time, "time", lambda: later)
    assert pauses.remaining("host.example") == 0.0


@pytest.mark.parametrize("text", ["nan", "inf", "x", "", "9e99"])
def test_damaged_pause_stops_nobody_for_long(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    file = pauses.pause_file("h")
    file.parent.mkdir(parents=True)
    file.write_text(text)
    assert pauses.remaining("h") <= pauses.LONGEST_PAUSE


def test_pause_file_stays_in_its_folder_whatever_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert pauses.pause_file("../../x").parent == tmp_path / "pythia-workflow" / "pauses"


def test_cache_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    pauses.note("h", 3.0)
    assert pauses.remaining("h") == 0.0
