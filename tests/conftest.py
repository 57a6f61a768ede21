"""Fixtures that every test folder may use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from tests.storage.fault_hub import FaultHub

# Collected for their doctests, files of one name would collide; as plugins they are loaded all the same.
collect_ignore_glob = ["conftest.py", "*/conftest.py"]

# One verdict for one state of the code, on machines of any speed. `--hypothesis-profile random` looks further.
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.register_profile("random", deadline=None)
settings.load_profile("fixed")

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="session")
def root() -> Path:
    """Top folder of this checkout."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of inputs that are not part of the project; tests that need it are skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("../shared is absent: this test compares with inputs that are not part of the project")
    return SHARED


@pytest.fixture
def fault_hub(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultHub]:
    """A Hub on the loopback interface that injects faults; no token, endpoint or proxy of this machine is used."""
    from tests.storage.fault_hub import FaultHub

    for name in ("HF_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    with FaultHub() as hub:
        yield hub
