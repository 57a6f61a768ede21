"""Readers of foreign bytes meet damaged ones: they answer or raise our own errors, in bounded memory and time."""

from __future__ import annotations

import importlib.util
import logging
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import ROOT, probe, targets

GROWTH = 1 << 30  # bytes of address space that a reader may take, whatever the input says
SECONDS = 10.0  # of CPU for one small input; readers take milliseconds
TOKENS = (
    b"", b"\0", b"\xff" * 8, b"\x00" * 8, b"-1", b"1e999", b"NaN", b"null", b"{}", b"[]", b'""', b"true", b"\n", b"\t",
    b"9" * 400, b"\xf0\x9f\x92\xa9", b"\\ud800", b"../", b"&a [*a]", b"!!python/name:os.system", b"[" * 2000,
    b"{a: " * 500,
)  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def bounded_memory() -> Iterator[None]:
    """This process may grow by GROWTH and no more."""
    targets()
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGE_SIZE") + GROWTH, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.fixture(autouse=True, scope="module")
def quiet() -> Iterator[None]:
    """Warnings about damaged inputs are not printed by the thousand, here and nowhere else."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@st.composite
def damaged(draw: st.DrawFn, name: str) -> bytes:
    """A seed of the target with some of it replaced, cut, doubled or exchanged for something awkward."""
    data = draw(st.sampled_from(targets()[name].seeds))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.sampled_from([0, 1, 2, 8, 30, 10_000])))
        piece = draw(st.one_of(st.sampled_from(TOKENS), st.binary(max_size=9), st.just(data[start:end] * 2)))
        data = (data[:start] + piece + data[end:])[:20_000]
    return data


@pytest.mark.parametrize("name", targets())
@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_damaged_input_is_answered_or_refused(name: str, data: st.DataObject) -> None:
    content = data.draw(damaged(name))
    started = time.process_time()
    probe(name, content)
    assert time.process_time() - started < SECONDS


@pytest.mark.parametrize("name", targets())
def test_every_seed_is_good(name: str) -> None:
    for seed in targets()[name].seeds:
        targets()[name].read(seed)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["idx", "safetensors", "lock", "result"])
def test_guided_by_coverage_for_a_moment(name: str, tmp_path: Path) -> None:
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed: make setup-dev")
    command = [sys.executable, "-m", "tests.fuzz.guided", "--target", name, "--runs", "3000", "--seed", "1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert not list((tmp_path / "fuzz-findings").iterdir())
