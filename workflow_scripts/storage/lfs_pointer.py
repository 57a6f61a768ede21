"""Git LFS pointers: the small text that a repository holds instead of a large file.

Accepts what ``git lfs pointer --check`` accepts, which is more than the specification asks for: the format's two
earlier names, Windows line ends, blank lines, space around the text
(https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md). Any other text is an ordinary file, however much it looks
like a pointer. The tests compare this with the installed git-lfs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# git-lfs looks at so many bytes of a file.
LARGEST_POINTER = 1024
VERSIONS = frozenset(
    {"https://git-lfs.github.com/spec/v1", "https://hawser.github.com/spec/v1", "http://git-media.io/v/2"}
)
KEYS = ("version", "oid", "size")
# How every pointer of the present format begins, and no file that anything here reads.
BEGINNING = b"version https://"
# What Go calls white space; Python's own strip() takes four control characters more.
SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
OID = re.compile(r"sha256:([0-9a-f]{64})")
SIZE = re.compile(r"[+-]?[0-9]+")
LARGEST_SIZE = (1 << 63) - 1
EXTENSION = re.compile(r"ext-([0-9])-[A-Za-z0-9_]")


@dataclass(frozen=True)
class Pointer:
    """Object ``oid`` (sha256) of ``size`` bytes; an ``extended`` one is not the file but what extensions made of it."""

    oid: str
    size: int
    extended: bool = False


def parse_pointer(content: bytes) -> Pointer | None:
    r"""Pointer in ``content``; ``None`` for an ordinary file.

    >>> parse_pointer(b"version https://hawser.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12").size
    12
    >>> parse_pointer(b"version https://git-lfs.github.com/spec/v1\noid sha256:<hash>\nsize <n>\n")
    """
    text = content[:LARGEST_POINTER].decode("utf-8", "surrogateescape").strip(SPACE)
    values: dict[str, str] = {}
    extensions: dict[str, str] = {}
    for line in filter(None, (line.removesuffix("\r") for line in text.split("\n"))):
        key, space, value = line.partition(" ")
        if not space or len(values) == len(KEYS):
            return None
        if key == KEYS[len(values)]:
            values[key] = value
        elif EXTENSION.match(key):
            extensions[key] = value
        else:
            return None
    return checked(values, extensions)


def checked(values: dict[str, str], extensions: dict[str, str]) -> Pointer | None:
    """Pointer of the three values, in order, and the extensions by key; ``None`` when one of them is not right."""
    if len(values) != len(KEYS) or values["version"] not in VERSIONS:
        return None
    oid, size = OID.fullmatch(values["oid"]), SIZE.fullmatch(values["size"])
    # The digit in an extension's key is its place in the order, which two may not share.
    places = {key.split("-")[1] for key in extensions}
    if not oid or not size or len(places) != len(extensions) or not all(map(OID.fullmatch, extensions.values())):
        return None
    # At most a line of 1,024 characters, so int() has no limit to run into.
    length = int(size[0])
    return Pointer(oid[1], length, bool(extensions)) if 0 <= length <= LARGEST_SIZE else None
