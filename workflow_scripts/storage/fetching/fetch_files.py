"""One verified fetch for every source: nothing gets its final name before size and hash are proved.

    have it already?  right size and hash: done, no byte is asked for
    lock              one process fetches, the others wait and then find it there
    room              refuse before the first byte when the disk is too small
    stream            append to .<name>.part, hash on the way; drops and stalls go on where they stopped
    prove             wrong hash: keep as <name>.bad, try again, then fail
    publish           fsync, rename

Failures count only while less than a kilobyte per second comes, so a line that drops every few megabytes still
delivers, and a server that sends a byte now and then is given up. It never deletes a part that could be used again, and
never trusts a length that only the server told.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from workflow_scripts.errors import IntegrityError, StorageError
from workflow_scripts.progress import Progress
from workflow_scripts.storage import locks
from workflow_scripts.storage.digests import hash_file
from workflow_scripts.storage.fetching.byte_counter import Meter
from workflow_scripts.storage.fetching.disk_space import missing_bytes, require_room
from workflow_scripts.storage.fetching.partial_file import Part
from workflow_scripts.storage.http.retry import SLOWEST, RetryableError, RetryPolicy
from workflow_scripts.storage.leftovers import bad_path, part_path, temporary_name
from workflow_scripts.storage.lfs_pointer import BEGINNING
from workflow_scripts.storage.lockfile import FileEntry, checked_path
from workflow_scripts.storage.sources.source import ByteStream, Source

# Wrong content is fetched again at most so often, and less when it is the same content again.
MISMATCHES = 3
# Seconds in which any byte counts as progress.
QUICK = 0.5
TEXTS = (".md", ".txt", ".rst")
HTML_STARTS = (b"<!doctype html", b"<html")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """One file to fetch: from where, to where, and what it must be."""

    source: Source
    remote_path: str
    target: Path
    entry: FileEntry
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    meter: Meter = field(default_factory=Meter)

    def label(self) -> str:
        """How messages name the file."""
        return f"{self.source.name} {self.source.repository.name}/{self.remote_path}"


def fetch_file(
    source: Source,
    remote_path: str,
    target: Path,
    size: int | None,
    sha256: str | None,
    *,
    git_blob: str | None = None,
    policy: RetryPolicy | None = None,
    meter: Meter | None = None,
) -> FileEntry:
    """Bring ``remote_path`` of ``source`` to ``target`` and prove it; returns its size and sha256.

    ``size`` in bytes and ``sha256`` are known beforehand; without a sha256, git's blob name and the size will do.
    Raises IntegrityError when no hash is known or the content is another one, TransferError when the source does not
    deliver, StorageError when the disk is too small.
    """
    entry = FileEntry(checked_path(remote_path, source.name), size, sha256, git_blob)
    job = Job(source, remote_path, target, entry, policy or RetryPolicy(), meter or Meter())
    refuse_unhashed([entry], f"{source.name} {source.repository.name}")
    return bring(job)


def bring(job: Job) -> FileEntry:
    """Entry of the target, fetched unless it is there; a lock that a killed fetch left of it is removed."""
    found = present(job)
    if found is None:
        return fetch(job)
    locks.remove_abandoned(job.target)
    return found


def refuse_unhashed(entries: Sequence[FileEntry], where: str) -> None:
    """Raise IntegrityError when the content of an entry could not be checked."""
    unknown = [entry.path for entry in entries if not entry.has_hash()]
    if unknown:
        raise IntegrityError(
            f"{where}: no known hash for {len(unknown)} file(s), first '{unknown[0]}'; nothing is "
            "fetched unchecked: take a source that reports hashes, or make a list of them with "
            "workflow_scripts.storage.make_lock, from such a source or from a folder that holds the files"
        )


def present(job: Job) -> FileEntry | None:
    """Entry of the target when it is there with the right content, otherwise ``None``."""
    try:
        if not job.target.is_file() or job.entry.size not in (None, job.target.stat().st_size):
            return None
        length, digest = hash_file(job.target, job.entry)
    except FileNotFoundError:
        return None
    if not digest.fits(job.entry):
        return None
    refuse_pointer(job, job.target)
    job.meter.add(length)
    return FileEntry(job.entry.path, length, digest.sha256())


def fetch(job: Job) -> FileEntry:
    """Fetch the file under its lock; a process that waited finds it there."""
    with locks.exclusive(job.target, sleep=job.meter.sleep) as holding:
        found = present(job)
        if found is not None:
            return found
        if job.target.is_dir():
            raise StorageError(f"{job.target}: is a folder, expected a file; choose another --output-dir")
        if job.target.exists():
            log.info("%s: content does not match the known hash; kept as %s", job.target, bad_path(job.target).name)
            job.target.replace(bad_path(job.target))
        with unfinished(job, holding.proved) as path, Part(path, job.entry, job.meter.add) as part:
            require_room(job.target.parent, missing_bytes(job.entry, path), job.label())
            job.meter.add(part.length)
            complete(job, part)
            refuse_pointer(job, path)
            return part.publish(job.target)


@contextmanager
def unfinished(job: Job, proved: bool) -> Iterator[Path]:
    """Name of the unfinished file: the common one under a proved lock, otherwise one that nobody else uses."""
    if proved:
        yield part_path(job.target)
        return
    own = temporary_name(job.target, "part")
    try:
        yield own
    finally:
        own.unlink(missing_ok=True)


def complete(job: Job, part: Part) -> None:
    """Stream until the content is proved; raises when the policy gives up."""
    failures, furthest, wrong = 0, part.length, []
    since = time.monotonic()
    while True:
        try:
            if not part.is_complete():
                stream_into(job, part)
            if part.fits():
                return
            wrong.append(part.digest.sha256())
            raise mismatch(job, part)
        except RetryableError as error:
            if len(wrong) >= MISMATCHES or len(wrong) > len(set(wrong)):
                raise IntegrityError(f"{error}; fetched {len(wrong)} times, not retrying") from error
            failures = 0 if has_moved(part.length - furthest, time.monotonic() - since) else failures + error.counts
            furthest, since = max(furthest, part.length), time.monotonic()
            job.policy.wait(failures, error, job.meter.sleep)


def has_moved(gained: int, seconds: float) -> bool:
    """True when ``gained`` bytes since the last failure, the wait after it included, are progress.

    A server that sends a byte a second, or one byte per connection, would otherwise be asked forever.
    """
    return gained > SLOWEST * max(seconds - QUICK, 0.0)


def stream_into(job: Job, part: Part) -> None:
    """Append what the source sends from the end of the part on; raises RetryableError when it ends early."""
    with job.source.open(job.remote_path, part.length) as stream:
        check_answer(job, part, stream)
        for block in stream.chunks:
            part.append(block)
    if part.size is not None and part.length < part.size:
        raise RetryableError(f"{job.label()}: ended after {part.length} of {part.size} bytes")


def check_answer(job: Job, part: Part, stream: ByteStream) -> None:
    """Refuse an answer that cannot be the file before it touches the part; start over when the offset was ignored."""
    if "text/html" in stream.content_type and not job.remote_path.endswith((".html", ".htm")):
        raise RetryableError(
            f"{job.label()}: got an HTML page instead of the file; a proxy or captive portal may be in the way"
        )
    if stream.total is not None and job.entry.size not in (None, stream.total):
        raise RetryableError(f"{job.label()}: the source has {stream.total} bytes, expected {job.entry.size}")
    if stream.total is not None and part.size not in (None, stream.total):
        told = part.size
        part.restart()
        raise RetryableError(f"{job.label()}: the source has {stream.total} bytes but reported {told} before")
    if stream.start != part.length:
        if stream.start != 0:
            raise RetryableError(f"{job.label()}: requested byte {part.length}, got byte {stream.start}")
        log.info("%s: the server ignores range requests; starting over after %d bytes", job.label(), part.length)
        part.restart()
    part.size = stream.total if part.size is None else part.size


def mismatch(job: Job, part: Part) -> RetryableError:
    """Keep the wrong content as ``.bad`` and say what was expected and what came."""
    expected = job.entry.sha256 or f"git blob {job.entry.git_blob}"
    got = part.digest.sha256() if job.entry.sha256 else f"git blob {part.digest.git_blob()}"
    bad = bad_path(job.target)
    part.set_aside(bad)
    page = ", it is an HTML page" if is_html(bad) else ""
    return RetryableError(f"{job.label()}: sha256 is {got}, expected {expected}{page}; kept as {bad}")


def refuse_pointer(job: Job, path: Path) -> None:
    """Raise IntegrityError when a file of a model is a git LFS pointer, whatever hash was known of it.

    A mirror that was cloned without git LFS lists the hashes of the pointers. Only a text may begin like one.
    """
    if job.source.repository.kind != "model" or job.remote_path.endswith(TEXTS):
        return
    with path.open("rb") as file:
        if file.read(len(BEGINNING)) == BEGINNING:
            raise IntegrityError(
                f"{job.label()}: the source has a git LFS pointer instead of the file; fetch it from another "
                "source, or rebuild the mirror with git LFS"
            )


def is_html(path: Path) -> bool:
    """True when the file starts like a page for a browser."""
    with path.open("rb") as file:
        return file.read(256).lstrip().lower().startswith(HTML_STARTS)


def fetch_all(
    source: Source,
    entries: Sequence[FileEntry],
    folder: Path,
    parallel: int = 4,
    policy: RetryPolicy | None = None,
) -> list[FileEntry]:
    """Fetch all ``entries`` into ``folder`` under their own paths, ``parallel`` at a time; the first failure stops all.

    Returns the entries with size and sha256, in the given order. Room for all of them is checked before the first byte.
    """
    where = f"{source.name} {source.repository.name}"
    refuse_unhashed(entries, where)
    folder.mkdir(parents=True, exist_ok=True)
    refuse_collisions(entries, folder)
    needed = sum(missing_bytes(e, folder / e.path, part_path(folder / e.path)) for e in entries)
    require_room(folder, needed, where)
    total = sum(entry.size or 0 for entry in entries)
    with Progress(f"fetch {source.repository.name}", total, unit="B") as progress:
        # A bar towards an unknown end would only mislead.
        meter = Meter(progress if all(entry.size is not None for entry in entries) else None)
        jobs = [Job(source, e.path, folder / e.path, e, policy or RetryPolicy(), meter) for e in entries]
        return run_all(jobs, parallel)


def refuse_collisions(entries: Sequence[FileEntry], folder: Path) -> None:
    """Raise StorageError for two files that the disk below ``folder`` would take for one."""
    spelt: dict[str, str] = {}
    for entry in entries:
        other = spelt.setdefault(entry.path.casefold(), entry.path)
        if other != entry.path and not tells_case_apart(folder):
            raise StorageError(
                f"{folder}: this file system treats '{other}' and '{entry.path}' as one name; fetch to "
                f"another one, or only "
                "one of them with --include"
            )


def tells_case_apart(folder: Path) -> bool:
    """True where a name in upper case is another name."""
    probe = temporary_name(folder / "case")
    probe.touch()
    try:
        return not probe.with_name(probe.name.upper()).exists()
    finally:
        probe.unlink()


def run_all(jobs: Sequence[Job], parallel: int) -> list[FileEntry]:
    """Run jobs in threads; the error of the first that failed is raised after the others have stopped."""
    with ThreadPoolExecutor(max_workers=max(parallel, 1)) as pool:
        futures = [pool.submit(bring, job) for job in jobs]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            failed = [error for future in done if (error := future.exception()) is not None]
            if failed:
                raise failed[0]
            return [future.result() for future in futures]
        except BaseException:
            jobs[0].meter.stopped.set()
            for future in futures:
                future.cancel()
            raise
