"""Fixtures that every test folder may use."""

from __future__ import annotations

from pathlib import Path

import pytest

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
