"""Pointers of git LFS: what is one and what is a text that looks like one; the real git-lfs judges."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from workflow_scripts.storage.lfs_pointer import LARGEST_POINTER, Pointer, parse_pointer
from workflow_scripts.storage.sources.git_objects import GitFile, resolved

OID = "75838fd72bb6fdfdcfe4e644990201f60e9d47b80523822e7124d3a66125051a"
GIT_LFS = "version https://git-lfs.github.com/spec/v1\n"
HAWSER = "version https://hawser.github.com/spec/v1\n"
REST = f"oid sha256:{OID}\nsize 13\n"
needs_git_lfs = pytest.mark.skipif(shutil.which("git-lfs") is None, reason="the program git-lfs is not installed")


@pytest.mark.parametrize(
    "text",
    [
        GIT_LFS + REST,
        HAWSER + REST,
        "version http://git-media.io/v/2\n" + REST,
        (GIT_LFS + REST).replace("\n", "\r\n"),
        (GIT_LFS + REST).rstrip(),
        f"\n \u00a0{GIT_LFS}\n\n{REST}\t",
        GIT_LFS + REST.replace("13", "+0013"),
    ],
)
def test_pointers(text: str) -> None:
    assert parse_pointer(text.encode()) == Pointer(OID, 13)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "version 1\n",
        "plain text",
        GIT_LFS,
        GIT_LFS + "oid sha256:<hash>\nsize <n>\n",
        GIT_LFS + "oid sha256:12\nsize 1\n",
        GIT_LFS + REST.replace("sha256", "md5"),
        GIT_LFS + REST.replace("size 13", "size -1"),
        GIT_LFS + REST.replace("size 13", "size 1 2"),
        GIT_LFS + REST.replace("size 13", "size 1_3"),
        GIT_LFS + REST.replace("size 13", "size 9223372036854775808"),
        GIT_LFS + REST.replace("size 13", "size \u0661"),
        GIT_LFS + REST.replace(OID, OID.upper()),
        GIT_LFS + REST + "more text\n",
        GIT_LFS + f"ext-0-x sha256:1\n{REST}",
        GIT_LFS + f"ext-0-x sha256:{OID}\next-0-y sha256:{OID}\n{REST}",
        GIT_LFS + f"size 13\noid sha256:{OID}\n",
        "\x1c" + GIT_LFS + REST,
    ],
)
def test_other_texts_are_ordinary_files(text: str) -> None:
    assert parse_pointer(text.encode()) is None
    file = GitFile("a.bin", "b" * 40, len(text))
    assert resolved(file, text.encode()) == file


def test_a_pointer_with_extensions_says_so() -> None:
    text = f"{GIT_LFS}ext-1-b sha256:{OID}\next-0-a sha256:{OID}\n{REST}"
    assert parse_pointer(text.encode()) == Pointer(OID, 13, extended=True)


RIGHT = [GIT_LFS.rstrip(), f"oid sha256:{OID}", "size 13"]
LINES = st.sampled_from(
    [
        *RIGHT,
        HAWSER.rstrip(),
        "version http://git-media.io/v/2",
        "version https://git-lfs.github.com/spec/v2",
        f"oid sha256:{OID}0",
        f"oid sha256:{OID[1:]}g",
        f"oid sha1:{OID}",
        "size -0",
        "size +7",
        "size  7",
        "size 9223372036854775807",
        "size 1e3",
        f"ext-0-a sha256:{OID}",
        f"ext-0-b sha256:{OID}",
        f"ext-1-c-d! sha256:{OID}",
        f"ext-11-c sha256:{OID}",
        "ext-2-a sha256:1",
        "text without end",
        "word",
    ]
)
STARTS = st.sampled_from(["", "", "", " ", "\n", "\ufeff", "\u2003", "\x1f"])
ENDS = st.sampled_from(
    ["\n", "\n", "\n", "\r\n", "\n\n", "\r", "\r\r\n", " \n", "\t\n", "\x1c\n", "\u2028\n", "\u0085\n"]
)


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    """Texts that are pointers or nearly so: right lines in the right order, some of them moved, lost or changed."""
    lines = list(RIGHT)
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.integers(0, len(lines)))
        lines[place : place + draw(st.integers(0, 1))] = draw(st.lists(LINES, max_size=1))
    content = (draw(STARTS) + "".join(line + draw(ENDS) for line in lines)).encode()
    if draw(st.booleans()):
        return content
    place = draw(st.integers(0, len(content)))
    return content[:place] + draw(st.binary(max_size=2)) + content[place + draw(st.integers(0, 1)) :]


@needs_git_lfs
@given(texts())
@example((GIT_LFS + REST).encode())
@example((GIT_LFS + REST).encode() + b" " * LARGEST_POINTER + b"x")
@settings(deadline=None, max_examples=200)
def test_a_pointer_is_what_git_lfs_takes_for_one(content: bytes) -> None:
    """An empty file is the one exception: git-lfs says that it points at an empty file, which is what it is."""
    command = ["git-lfs", "pointer", "--check", "--stdin"]
    accepted = subprocess.run(command, input=content, capture_output=True, check=False).returncode == 0
    assert (parse_pointer(content) is not None) == (accepted and content != b"")
