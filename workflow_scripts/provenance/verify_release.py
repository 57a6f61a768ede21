r"""Verify a sealed release: its files, records and signature, what is cheap to make again, samples of the rest.

    pythia verify results/runs/pocket/seal.json --page verification.html
    pythia verify seal.json --root release --line "pythia-seal-1 sha256:..." --budget 10m --json findings.json

Files that are absent are listed and are no fault unless --complete is given. What is too much to compute again is
sampled for as long as --budget allows; the seed is drawn now, so that nobody could know it when sealing, and --seed
repeats a sample. Nothing is fetched without --fetch, and the release is not changed. Exit code 0: nothing wrong was
found; 1: there are differences; 2: this is no manifest. docs/how-to/verify-a-release.md explains the page.
"""

import argparse
import logging
import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts import cli
from workflow_scripts.errors import ConfigError, MissingInputError
from workflow_scripts.provenance.release.sampling.seeded_draw import new_seed
from workflow_scripts.provenance.release.verification import Request, verify
from workflow_scripts.provenance.release.verification_page import render
from workflow_scripts.storage.atomic import write_json, write_text

logger = logging.getLogger(__name__)
DIFFERENT = 1
SHOWN = 5  # differences of a kind
UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}
FOLDERS_DOWN = 4  # results/runs/<run>/<manifest>
CARRIED = ("config", "suites", "published")


def seconds(text: str) -> float:
    """Seconds of a length of time such as ``90``, ``10m`` or ``1.5h``; raises ConfigError.

    >>> seconds("10m"), seconds("1.5h")
    (600.0, 5400.0)
    """
    match = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)([smh]?)", text, re.ASCII)
    if match is None:
        raise ConfigError(f"--budget {text}: not a length of time; give seconds, or a number with s, m or h, as in 10m")
    return float(match[1]) * UNITS[match[2]]


def checked_seed(text: str) -> str:
    """A seed that can be printed and typed again; raises ConfigError for any other."""
    if not (text.strip() and text.isascii() and text.isprintable()):
        raise ConfigError("--seed: give the seed that the earlier verification printed, or leave it out for a new one")
    return text


def refuse_unwritable(path: Path) -> None:
    """Raise ConfigError now, and not after ten minutes of work, where ``path`` cannot be written."""
    above = next(parent for parent in path.absolute().parents if parent.exists())
    if path.is_dir() or not above.is_dir() or not os.access(above, os.W_OK):
        raise ConfigError(f"{path}: cannot be written; name a file in a folder of yours")


def folder_of(manifest: Path) -> Path:
    """The folder of a release by the place of its manifest: above ``results``, or where the manifest lies.

    >>> folder_of(Path("release/results/runs/pocket/seal.json")).as_posix(), folder_of(Path("seal.json")).as_posix()
    ('release', '.')
    """
    above = manifest.parts[-FOLDERS_DOWN:-1]
    inside = above[:2] == ("results", "runs") or above == CARRIED
    return manifest.parents[FOLDERS_DOWN - 1] if inside else manifest.parent


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.parser(__doc__)
    parser.add_argument("manifest", type=Path, help="what pythia seal wrote")
    parser.add_argument("--root", type=Path, help="folder of the release, above results/ (default: by the manifest)")
    parser.add_argument("--line", help="the line that the paper gives; its root must be that of the manifest")
    parser.add_argument("--budget", default="10m", metavar="TIME", help="longest time, as in 90s, 10m, 1h")
    parser.add_argument("--seed", help="seed of an earlier verification, to draw the same samples (default: a new one)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the findings for a program")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the findings as one page (.html)")
    parser.add_argument("--upstream", type=Path, metavar="DIR", help="checkout of EleutherAI/pythia: its numbers too")
    parser.add_argument("--fetch", type=Path, metavar="DIR", help="fetch weights that are drawn and absent, into DIR")
    parser.add_argument("--complete", action="store_true", help="a file that is absent is a difference")
    parser.add_argument("--allowed-signers", type=Path, metavar="FILE", help="ssh keys that may have signed it")
    parser.add_argument("--gpg-keyring", type=Path, metavar="FILE", help="gpg keys that may have signed it")
    return parser.parse_args(arguments)


def command_again(options: argparse.Namespace, folder: Path, seed: str) -> list[str]:
    """The command that makes the same checks with the same samples."""
    words = ["pythia", "verify", str(options.manifest), "--root", str(folder), "--budget", options.budget]
    for name in ("line", "upstream", "fetch", "allowed_signers", "gpg_keyring"):
        if (value := getattr(options, name)) is not None:
            words += [f"--{name.replace('_', '-')}", str(value)]
    return [*words, *(["--complete"] if options.complete else []), "--seed", seed]


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    folder = options.root or folder_of(options.manifest)
    if not folder.is_dir():
        raise MissingInputError(f"{folder}: no such folder; --root is the folder of the release, above results/")
    for path in filter(None, (options.json, options.page)):
        refuse_unwritable(path)
    seed = new_seed() if options.seed is None else checked_seed(options.seed)
    request = Request(
        options.manifest,
        folder,
        seed,
        seconds(options.budget),
        line=options.line,
        signers=options.allowed_signers,
        keyring=options.gpg_keyring,
        upstream=options.upstream,
        fetched=options.fetch,
        complete=options.complete,
        given=options.seed is not None,
    )
    found = verify(request, logger.info)
    if options.json:
        write_json(options.json, found.as_json())
    if options.page:
        write_text(options.page, render(found, shlex.join(command_again(options, folder, seed))))
    differences = [f"{finding.subject}: {finding.text}" for part in found.parts for finding in part.wrong[:SHOWN]]
    lines = [found.line, f"seed {seed}", *differences, found.verdict]
    cli.say("\n".join(map(cli.one_line, lines)))
    if found.faults:
        raise SystemExit(DIFFERENT)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
