"""The made release, once for all tests, and copies of it to be forged."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from tests.provenance.sampling.sampled_release import make_release


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def release_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished release that nobody changes."""
    root = tmp_path_factory.mktemp("release")
    make_release(root)
    return root


@pytest.fixture
def forged(release_folder: Path, tmp_path: Path) -> Path:
    """A copy of it to be changed."""
    return Path(shutil.copytree(release_folder, tmp_path / "forged"))
