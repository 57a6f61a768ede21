"""Keeps secrets out of messages, receipts and records.

A token or password may be in the environment, in a token file or in a credential helper. It may not be an argument:
arguments are seen by every user of the machine and end in logs and records.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlsplit, urlunsplit

from workflow_scripts.errors import ConfigError

TOKEN = re.compile(r"hf_[A-Za-z0-9]{16,}")
HIDDEN = "<hidden>"


def refuse_tokens(arguments: Iterable[str]) -> None:
    """Raise ConfigError when an argument holds something that looks like a Hub token; it is not repeated."""
    if any(TOKEN.search(argument) for argument in arguments):
        raise ConfigError("an argument holds what looks like a Hub token; set HF_TOKEN or use `hf auth login` instead")


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
