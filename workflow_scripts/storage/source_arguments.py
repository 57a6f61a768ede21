"""Arguments that name a repository at a source, the same in every program that reads one."""

from __future__ import annotations

import argparse
from contextlib import AbstractContextManager

from workflow_scripts.errors import ConfigError
from workflow_scripts.storage.credentials import refuse_secrets
from workflow_scripts.storage.http.retry import RetryPolicy
from workflow_scripts.storage.sources.catalog import SOURCES, open_source
from workflow_scripts.storage.sources.source import KINDS, Repository, Source


def add_source_arguments(parser: argparse.ArgumentParser, *, required: bool = True, kind: str | None = None) -> None:
    """Add the arguments that name a repository (of ``kind``, if a program reads only one) and its timeouts."""
    parser.add_argument("--source", choices=sorted(SOURCES), required=required, help="kind of source")
    parser.add_argument("--location", default="", help="folder of the mirror, endpoint of the Hub, or git URL")
    if kind is None:
        parser.add_argument("--kind", choices=KINDS, required=required, help="kind of repository")
    parser.set_defaults(kind=kind)
    parser.add_argument("--repository", required=required, metavar="ORG/NAME", help="the repository")
    parser.add_argument("--revision", default="main", help="branch, tag or commit")
    parser.add_argument("--commit", help="commit to read even if the revision has moved")
    add_patience_arguments(parser)


def add_patience_arguments(parser: argparse.ArgumentParser) -> None:
    """How patiently a source is asked; :func:`policy_of` reads the answer."""
    parser.add_argument(
        "--stall-seconds", type=float, default=30.0, help="seconds without data after which a transfer is restarted"
    )
    parser.add_argument(
        "--attempts", type=int, default=8, help="consecutive failures without progress before giving up"
    )


def policy_of(options: argparse.Namespace) -> RetryPolicy:
    """Patience that the arguments ask for."""
    if options.attempts < 1 or not options.stall_seconds > 0:
        raise ConfigError("--attempts must be at least 1 and --stall-seconds above 0")
    return RetryPolicy(attempts=options.attempts)


def opened(options: argparse.Namespace) -> AbstractContextManager[Source]:
    """Source that the arguments name; raises ConfigError for names that could be taken for something else."""
    refuse_secrets([options.location, options.repository or "", options.revision])
    if options.kind is None or options.repository is None:
        raise ConfigError("--source needs --kind and --repository")
    return open_source(
        options.source,
        options.location,
        Repository(options.kind, options.repository, options.revision, options.commit),
        policy_of(options),
        options.stall_seconds,
    )
