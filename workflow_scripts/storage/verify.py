r"""Check a folder against a list of files: sizes first, then sha256, several files at a time.

Says which files are missing, short, long, wrong or extra. Exit code 0 when the folder holds exactly the listed files
with the listed content, 2 otherwise. Nothing is repaired or deleted.

Example:
  python -m workflow_scripts.storage.verify --folder results/data/pocket/deduped/raw \
    --lock results/data/pocket/deduped/download.json --receipt results/data/pocket/deduped/verified.json
"""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from workflow_scripts import cli
from workflow_scripts.errors import IntegrityError, MissingInputError
from workflow_scripts.progress import Progress
from workflow_scripts.storage.atomic import write_json
from workflow_scripts.storage.digests import BLOCK, ContentHash
from workflow_scripts.storage.fetching.byte_counter import Meter
from workflow_scripts.storage.hashing import sha256_file
from workflow_scripts.storage.lockfile import FileEntry, read_lock, select
from workflow_scripts.storage.records import RECORD_SUFFIX, record_path, write_record
from workflow_scripts.storage.sources.source import OWN_LOCK, OWN_RECEIPT, walk

STATES = ("missing", "short", "long", "wrong", "unhashed", "extra")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Finding:
    """One file that is not as listed; ``state`` is one of STATES, ``detail`` says what was seen."""

    path: str
    state: str
    detail: str


def check_size(folder: Path, entry: FileEntry) -> Finding | None:
    """Finding when the file is missing or has another size; ``None`` when only its content is left to check."""
    file = folder / entry.path
    if not file.is_file():
        return Finding(entry.path, "missing", "not there")
    size = file.stat().st_size
    if entry.size is not None and size != entry.size:
        state = "short" if size < entry.size else "long"
        return Finding(entry.path, state, f"{size} bytes, listed {entry.size}")
    if entry.sha256 is None:
        return Finding(entry.path, "unhashed", "the list has no sha256 for it")
    return None


def check_content(folder: Path, entry: FileEntry, meter: Meter) -> FileEntry | Finding:
    """Entry with its size when the content is the listed one, otherwise a finding."""
    digest, length = ContentHash(), 0
    with (folder / entry.path).open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
            length += len(block)
            meter.add(len(block))
    if digest.sha256() != entry.sha256:
        return Finding(entry.path, "wrong", f"sha256 {digest.sha256()}, listed {entry.sha256}")
    return FileEntry(entry.path, length, entry.sha256)


def check_folder(folder: Path, entries: Sequence[FileEntry], jobs: int) -> tuple[list[FileEntry], list[Finding]]:
    """Files of ``entries`` that are as listed, and all findings but extra files."""
    by_size = [check_size(folder, entry) for entry in entries]
    findings = [finding for finding in by_size if finding is not None]
    rest = [entry for entry, finding in zip(entries, by_size, strict=True) if finding is None]
    total = sum((folder / entry.path).stat().st_size for entry in rest)
    with Progress(f"verify {folder.name}", total, unit="B") as progress, ThreadPoolExecutor(max(jobs, 1)) as pool:
        meter = Meter(progress)
        checked = list(pool.map(lambda entry: check_content(folder, entry, meter), rest))
    good = [result for result in checked if isinstance(result, FileEntry)]
    return good, findings + [result for result in checked if isinstance(result, Finding)]


def extra_files(folder: Path, entries: Sequence[FileEntry], ours: Sequence[Path]) -> list[Finding]:
    """Files under ``folder`` that the list does not name.

    The folder's own list, the receipt of a fetch and ``ours`` do not count, nor what work in progress has beside its
    targets (``walk``), nor the records of all these.
    """
    known = {entry.path for entry in entries} | {OWN_LOCK, OWN_RECEIPT}
    known |= {f"{path}{RECORD_SUFFIX}" for path in known}
    skipped = {path.resolve() for path in ours}
    return [
        Finding(path, "extra", f"{size} bytes, not listed")
        for path, size in walk(folder)
        if path not in known and (folder / path).resolve() not in skipped
    ]


def verify(
    folder: Path, lock: Path, jobs: int, patterns: Sequence[str] = (), ours: Sequence[Path] = ()
) -> list[FileEntry]:
    """Entries of the verified files; raises IntegrityError, after logging every finding, when one is not as listed.

    With ``patterns`` only listed files that fit are checked, and a file that is extra is no fault.
    """
    if not folder.is_dir():
        raise MissingInputError(f"{folder}: no such folder; fetch it with python -m workflow_scripts.storage.download")
    listed = read_lock(lock)
    good, findings = check_folder(folder, select(listed, patterns, str(lock)), jobs)
    if not patterns:
        findings += extra_files(folder, listed, [lock, record_path(lock), *ours])
    for finding in sorted(findings, key=lambda finding: (STATES.index(finding.state), finding.path)):
        log.error("%-8s %s: %s", finding.state, finding.path, finding.detail)
    if findings:
        raise IntegrityError(summary(folder, lock, findings))
    return sorted(good)


def summary(folder: Path, lock: Path, findings: Sequence[Finding]) -> str:
    """One line: how many files of each state, and the first of them."""
    counts = [(state, [f for f in findings if f.state == state]) for state in STATES]
    text = ", ".join(f"{len(found)} {state} (first {found[0].path})" for state, found in counts if found)
    return f"{folder} does not match {lock}: {text}; delete the wrong files and fetch again"


def argument_parser() -> argparse.ArgumentParser:
    """Arguments of the program."""
    parser = cli.parser(__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="folder to check")
    parser.add_argument("--lock", type=Path, required=True, help="list of files (TSV, sha256sum or a receipt)")
    parser.add_argument(
        "--include", nargs="+", default=[], metavar="GLOB", help="only listed files that match; extra files are ignored"
    )
    parser.add_argument(
        "--jobs", type=int, default=min(os.cpu_count() or 1, 8), help="number of files to hash in parallel"
    )
    parser.add_argument("--receipt", type=Path, help="JSON file to write if everything matches")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, check, write the receipt; an older receipt goes first, so that it cannot outlive the content."""
    options = argument_parser().parse_args(arguments)
    ours = [options.receipt, record_path(options.receipt)] if options.receipt else []
    for path in ours:
        path.unlink(missing_ok=True)
    files = verify(options.folder, options.lock, options.jobs, options.include, ours)
    total = sum(entry.size or 0 for entry in files)
    if options.receipt:
        listed = [entry.as_json() for entry in files]
        write_json(options.receipt, {"lock_sha256": sha256_file(options.lock), "bytes": total, "files": listed})
        write_record(options.receipt, {"lock": options.lock}, {"include": list(options.include)})
    log.info("%s: %d file(s), %d bytes, all match", options.folder, len(files), total)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
