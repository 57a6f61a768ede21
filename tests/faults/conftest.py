"""Fixtures of the tests of download faults."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.fetching import BIG, REPOSITORY, SMALL
from tests.faults.running import file_system
from tests.storage.fault_hub import FaultHub


@pytest.fixture
def hub(fault_hub: FaultHub) -> FaultHub:
    """A Hub with one model: a large file (redirected to another host) and a small one."""
    fault_hub.add(REPOSITORY, {"big.bin": BIG, "config.json": SMALL}, "step1")
    return fault_hub


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB; needs root."""
    with file_system(tmp_path / "disk", "size=1m") as folder:
        yield folder
