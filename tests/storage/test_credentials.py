"""Secrets stay out of everything that is written."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import httpx2
import pytest

from workflow_scripts.errors import ConfigError
from workflow_scripts.storage.credentials import hide_secrets, public_url, refuse_secrets
from workflow_scripts.storage.http.http_reader import origin
from workflow_scripts.storage.records import record_path, write_record

TOKEN = "hf_" + "abcdefghijklmnopqrstuvwxyz0123"


def test_record_hides_tokens_and_passwords_of_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").write_text("x")
    monkeypatch.setattr(sys, "argv", ["/a/b/prog.py", "--location", "https://me:s3cret@host/x.git", f"--note={TOKEN}"])
    write_record(tmp_path / "x", {}, {})
    command = json.loads(record_path(tmp_path / "x").read_text())["command"]
    assert command == ["prog.py", "--location", "https://<hidden>@host/x.git", "--note=<hidden>"]


@pytest.mark.parametrize("argument", [TOKEN, f"https://user:{TOKEN}@host/x", f"x={TOKEN}"])
def test_tokens_in_arguments_are_refused_without_being_repeated(argument: str) -> None:
    with pytest.raises(ConfigError) as caught:
        refuse_secrets(["fine", argument])
    assert "abcdef" not in str(caught.value)


def test_ordinary_names_are_not_taken_for_tokens() -> None:
    refuse_secrets(["hf_hub", "EleutherAI/pythia-70m", "step1000", "hf_ckpt/main"])


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://h/p?X-Amz-Signature=s#f", "https://h/p"),
        ("https://a:b@h:8443/p", "https://h:8443/p"),
        ("https://a:b@c@h/p", "https://h/p"),
        ("/a/folder", "/a/folder"),
    ],
)
def test_public_part_of_an_address(url: str, shown: str) -> None:
    assert public_url(url) == shown


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("http://h/a", "http://h:80/b", True),
        ("https://h/a", "https://h:443/b", True),
        ("http://h/a", "https://h/a", False),
        ("http://h:8080/a", "http://h/a", False),
        ("http://h:81/a", "http://h/a", False),
        ("https://h:444/a", "https://h/a", False),
        ("https://h:80/a", "https://h/a", False),
        ("https://h/a", "https://other/a", False),
    ],
)
def test_a_secret_belongs_to_scheme_host_and_port_the_usual_port_written_or_not(
    one: str, other: str, same: bool
) -> None:
    assert (origin(httpx2.URL(one)) == origin(httpx2.URL(other))) == same


def test_text_without_secrets_is_left_alone() -> None:
    assert hide_secrets("fatal: could not read https://host/x.git") == "fatal: could not read https://host/x.git"
