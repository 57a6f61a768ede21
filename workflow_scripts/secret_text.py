"""What a secret looks like in a text: an access token, or a password in the address of a server."""

from __future__ import annotations

import re

# Access keys of Hugging Face, GitHub, GitLab and AWS.
TOKEN = re.compile(
    r"\b(hf_[A-Za-z0-9]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{20,}|AKIA[0-9A-Z]{16})\b"
)
# user:password@ between the scheme and the host.
PASSWORD = re.compile(r"://[^/\s?#]*:[^/\s?#]+@")
# Pattern, what it finds, and how to pass that instead.
KINDS = (
    (TOKEN, "an access token", "pass tokens by the environment (HF_TOKEN) or a token file"),
    (
        PASSWORD,
        "a password in an address",
        "pass it by a git credential helper or the environment (PYTHIA_GIT_USER and PYTHIA_GIT_PASSWORD)",
    ),
)


def secret_in(text: str) -> tuple[str, str] | None:
    """What ``text`` seems to hold and how to pass that instead; ``None`` when it holds no secret.

    >>> secret_in("https://me:pw@host.example/x.git")[0]
    'a password in an address'
    >>> secret_in("https://me@host.example:8080/x.git") is secret_in("git@host.example:x.git") is None
    True
    """
    return next(((what, remedy) for pattern, what, remedy in KINDS if pattern.search(text)), None)
