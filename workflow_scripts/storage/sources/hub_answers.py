"""What a Hub says of its files, in three places that know more or less of them.

The answer about a revision (``siblings``) is asked first and mostly knows all. Some mirror sites name the files there
and no more; then the tree of the revision tells, or a HEAD of each file, whose ETag is the sha256 of a large file and
git's name of a small one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from workflow_scripts.json_values import JsonMapping
from workflow_scripts.storage.http.http_reader import is_number
from workflow_scripts.storage.lockfile import SHA256, FileEntry, checked_path

GIT_BLOB = re.compile(r"[0-9a-f]{40}")
SIZE, LINKED_SIZE, LINKED_ETAG = "Content-Length", "X-Linked-Size", "X-Linked-Etag"


def listed_file(item: JsonMapping, where: str) -> FileEntry:
    """One of the ``siblings``: of a large file the sha256, of a small one git's name of its content."""
    path, large = checked_path(str(item["rfilename"]), where), item.get("lfs")
    if large:
        return FileEntry(path, int(large["size"]), str(large["sha256"]))
    size, blob = item.get("size"), item.get("blobId")
    return FileEntry(path, None if size is None else int(size), None, None if blob is None else str(blob))


def tree_file(item: JsonMapping, where: str) -> FileEntry:
    """One file of a tree, which calls both kinds of hash ``oid``."""
    large = item.get("lfs")
    known = {"lfs": {"size": large["size"], "sha256": large["oid"]}} if large else {}
    return listed_file({"rfilename": item["path"], "size": item.get("size"), "blobId": item.get("oid"), **known}, where)


def headed_file(path: str, headers: Mapping[str, str], redirected: bool) -> FileEntry:
    """A file by the headers of its HEAD; those of a redirect tell the size only in X-Linked-Size.

    >>> headed_file("a.txt", {"ETag": '"' + 40 * "a" + '"', "Content-Length": "3"}, False).size
    3
    """
    size = headers.get(LINKED_SIZE) or ("" if redirected else headers.get(SIZE, ""))
    etag = (headers.get(LINKED_ETAG) or headers.get("ETag", "")).removeprefix("W/").strip('"')
    return FileEntry(
        path,
        int(size) if is_number(size) else None,
        etag if SHA256.fullmatch(etag) else None,
        etag if GIT_BLOB.fullmatch(etag) else None,
    )
