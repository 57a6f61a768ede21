"""What a Hub says of a file in three places comes to the same entry, and nonsense to one that knows nothing."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.storage.fault_hub import git_blob, sha256
from workflow_scripts.errors import DataError
from workflow_scripts.storage.lockfile import FileEntry
from workflow_scripts.storage.sources.hub_answers import headed_file, listed_file, tree_file

TEXT = st.text(st.characters(codec="latin-1"), max_size=80)


@given(st.binary(max_size=60), st.booleans())
def test_the_three_places_agree(content, large):
    size, blob, digest = len(content), git_blob(content), sha256(content)
    expected = FileEntry("a/b.bin", size, digest) if large else FileEntry("a/b.bin", size, None, blob)
    pointer = {"lfs": {"size": size, "sha256": digest, "oid": digest}} if large else {}
    assert listed_file({"rfilename": "a/b.bin", "size": size, "blobId": blob, **pointer}, "x") == expected
    assert tree_file({"path": "a/b.bin", "size": size, "oid": blob, **pointer}, "x") == expected
    told = digest if large else blob
    assert headed_file("a/b.bin", {"ETag": f'W/"{told}"', "Content-Length": str(size)}, redirected=False) == expected
    linked = {"X-Linked-Etag": told, "X-Linked-Size": str(size), "ETag": "other", "Content-Length": "7"}
    assert headed_file("a/b.bin", linked, redirected=True) == expected


@given(TEXT, TEXT, st.booleans())
def test_headers_of_any_kind_are_read(etag, size, redirected):
    found = headed_file("a", {"ETag": etag, "Content-Length": size}, redirected)
    assert found.sha256 is None or hashlib.sha256().digest_size * 2 == len(found.sha256)
    assert not (redirected and found.size is not None)


@pytest.mark.parametrize("path", ["../a", "/a", "-a", "a\nb"])
def test_unsafe_paths_are_refused(path):
    for make, name in ((listed_file, "rfilename"), (tree_file, "path")):
        with pytest.raises(DataError, match="only plain relative paths"):
            make({name: path, "size": 1, "oid": "a", "blobId": "a"}, "x")
