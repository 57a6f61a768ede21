"""Fixtures of the tests of download faults."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.fetching import BIG, REPOSITORY, SMALL
from tests.storage.fault_hub import FaultHub


@pytest.fixture
def hub(fault_hub: FaultHub) -> FaultHub:
    """A Hub with one model: a large file (redirected to another host) and a small one."""
    fault_hub.add(REPOSITORY, {"big.bin": BIG, "config.json": SMALL}, "step1")
    return fault_hub


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB; needs root."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("needs the right to mount a small tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
