"""Keeps secrets out of messages, receipts and records.

A token or password may be in the environment, in a token file or in a credential helper. It may not be an argument:
arguments are seen by every user of the machine and end in logs and records.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlsplit, urlunsplit

from workflow_scripts.errors import ConfigError
from workflow_scripts.secret_text import TOKEN, secret_in

HIDDEN = "<hidden>"
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def refuse_secrets(arguments: Iterable[str]) -> None:
    """Raise ConfigError when an argument holds what looks like a token or a password; it is not repeated."""
    for argument in arguments:
        if found := secret_in(argument):
            what, remedy = found
            raise ConfigError(f"an argument looks like {what}; arguments are visible to all users, so {remedy}")


def is_private(url: str) -> bool:
    """True when a secret that is sent to ``url`` cannot be read on the way."""
    parts = urlsplit(url)
    return parts.scheme == "https" or parts.hostname in LOOPBACK


def public_url(url: str) -> str:
    """``url`` without user, password, query and fragment: all the places where secrets and signatures stand.

    >>> public_url("https://me:secret@host.example/a/b?X-Signature=1#c")
    'https://host.example/a/b'
    """
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def hide_secrets(text: str) -> str:
    """``text`` with tokens and the passwords of URLs replaced.

    >>> hide_secrets("clone https://me:secret@host/x with hf_abcdefghijklmnopqrst")
    'clone https://<hidden>@host/x with <hidden>'
    """
    text = TOKEN.sub(HIDDEN, text)
    return re.sub(r"(?<=://)[^/@\s]+@", f"{HIDDEN}@", text)
