"""A Hub that others wrote, for the tests of this folder."""

import pytest

from tests.hub.olah_server import OlahServer, reason_to_skip

# `make setup-hub-tests` puts olah here: it is no part of the environment that everything else uses.
FOLDER = ".hub-peer"


@pytest.fixture(scope="module")
def olah(root, tmp_path_factory):
    """A running olah without repositories; those that are added are served at once."""
    if reason := reason_to_skip(root / FOLDER):
        pytest.skip(reason)
    with OlahServer(root / FOLDER, tmp_path_factory.mktemp("olah")) as server:
        yield server


@pytest.fixture(autouse=True)
def _nothing_of_this_machine(monkeypatch, tmp_path_factory):
    """No token, endpoint, proxy or cache of this machine is used."""
    for name in ("HF_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
