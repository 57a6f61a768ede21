"""All checks of a release in turn: the manifest and its signatures, files, records, cheap reruns, samples."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from workflow_scripts.errors import PipelineError, TransferError
from workflow_scripts.provenance.release.file_hashes import staged
from workflow_scripts.provenance.release.hash_pass import check_hashes
from workflow_scripts.provenance.release.manifest import Manifest, content_of, parse
from workflow_scripts.provenance.release.published_results import check_published, tables_in
from workflow_scripts.provenance.release.record_checks import RecordChecks
from workflow_scripts.provenance.release.rederived import Rederivation
from workflow_scripts.provenance.release.release_findings import Part, Verification
from workflow_scripts.provenance.release.sampling.sample_result import NO_TIME, NotChecked, SampleResult
from workflow_scripts.provenance.release.signatures import Trust, check
from workflow_scripts.storage.records import code_version, library_versions

SHORT = 12
Report = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """What is verified and how: ``budget`` in seconds; ``line`` is what a paper gives, None where nobody does.

    ``upstream`` is a checkout of the authors' results, for tables that were imported from it. Weights that are drawn
    and absent are fetched into the folder ``fetched``, if one is given. ``given`` seeds were not drawn now.
    """

    manifest: Path
    folder: Path
    seed: str
    budget: float
    line: str | None = None
    signers: Path | None = None
    keyring: Path | None = None
    upstream: Path | None = None
    fetched: Path | None = None
    complete: bool = False
    given: bool = False


def verify(request: Request, report: Report) -> Verification:
    """Check everything that can be checked here; ``report`` is told a sentence for each part.

    Raises MissingInputError and DataError for a file that is not a manifest, and where a link leads out of the folder;
    TransferError where weights that were drawn cannot be fetched.
    """
    end = time.monotonic() + request.budget
    content = content_of(request.manifest)
    manifest, root = parse(content, str(request.manifest))
    structure = check_structure(request, manifest, root, content)
    with timed() as spent:
        files, places = check_hashes(manifest, request.folder, complete=request.complete)
    files.seconds = spent()
    report(structure.sentence)
    report(files.sentence)
    parts = [structure, files]
    samples: list[SampleResult] = []
    if manifest.kind == "run":
        parts += remade(manifest, places, report)
        try:
            samples = sampled(manifest, places, request, end - time.monotonic(), report)
        except TransferError as error:
            raise TransferError(
                f"{error}; nothing is said about the release: run it again, or without --fetch"
            ) from error
        except PipelineError as error:
            parts[-1].hold("samples", False, f"cannot be drawn from what was sealed: {error}")
    if tables := tables_in(manifest):
        with timed() as spent:
            published = check_published(places, tables, request.upstream)
        published.seconds = spent()
        report(published.sentence)
        parts.append(published)
    here = {"code": code_version(), "machine": platform.machine(), "system": platform.system(), **library_versions()}
    return Verification(
        manifest=request.manifest.name,
        line=manifest.line,
        run=manifest.run,
        sealed=manifest.sealed,
        limits=(*limits_of(manifest), *([GIVEN] if request.given else [])),
        seed=request.seed,
        budget=request.budget,
        here=here,
        parts=tuple(parts),
        samples=tuple(samples),
    )


OTHERS = "What is made again may differ for that reason alone: check out that code, with its locked environment."
GIVEN = (
    "The seed was given. If it was known before sealing, or chosen among many, the samples prove nothing: verify "
    "with a seed of your own."
)
STRUCTURE = "Is the manifest what was sealed: does its content give its root, the line of the paper, the signature?"
RECORDS = "Do records, files and manifest tell one story: inputs of one are outputs of another, parameters agree?"
AGAIN = "Do the same programs make the same bytes again: tables from scores, figures and page from tables?"


def remade(manifest: Manifest, places: dict[str, Path], report: Report) -> list[Part]:
    """Records against each other, and what is cheap to make again."""
    with timed() as spent:
        checks = RecordChecks(manifest, places, Part("Records", RECORDS))
        records = checks.run()
    records.seconds = spent()
    report(records.sentence)
    with timed() as spent:
        again = Part("Made again", AGAIN, notes=differing_versions(manifest))
        Rederivation(manifest, places, again).run(checks.records)
    again.seconds = spent()
    report(again.sentence)
    return [records, again]


@contextmanager
def timed() -> Iterator[Callable[[], float]]:
    """Seconds since the block began."""
    start = time.monotonic()
    yield lambda: time.monotonic() - start


def check_structure(request: Request, manifest: Manifest, root: str, content: bytes) -> Part:
    """Root, the line that was given, and signatures."""
    part = Part("Manifest", STRUCTURE)
    name = request.manifest.name
    text = f"was changed after sealing: it says root {root[:SHORT]}, its content gives {manifest.root[:SHORT]}"
    part.hold(name, manifest.root == root, text)
    if request.line is not None:
        given = request.line.strip().rpartition(":")[2]
        text = f"is another one than was given: its root is {manifest.root[:SHORT]}, not {given[:SHORT]}"
        part.hold(name, given == manifest.root, text)
    signatures = check(request.manifest, content, request.signers, request.keyring)
    for signature in signatures:
        if signature.trust is Trust.UNCHECKED:
            part.leave(name, signature.text)
        else:
            part.hold(name, signature.trust is Trust.GOOD, signature.text)
            part.notes += [f"{signature.text}."] if signature.trust is Trust.GOOD else []
    if not signatures:
        part.notes.append("The manifest is not signed: who sealed it, it does not say.")
    if request.line is None:
        part.notes.append("Compare the line above with the one in the paper, or give it with --line.")
    return part


def differing_versions(manifest: Manifest) -> list[str]:
    """A sentence on code and libraries that are others here than in the records; none where all are the same."""
    here = library_versions()
    others = [
        f"{name} {', '.join(versions)} (here {here.get(name, 'none')})"
        for name, versions in manifest.libraries.items()
        if versions != (here.get(name),)
    ]
    code = code_version()
    others += [f"code {', '.join(manifest.code)} (here {code})"] if manifest.code and manifest.code != (code,) else []
    if not others:
        return []
    return [f"Sealed with {'; '.join(others)}. {OTHERS}"]


def sampled(
    manifest: Manifest, places: dict[str, Path], request: Request, seconds: float, report: Report
) -> list[SampleResult]:
    """The sampled checks, of what was sealed and nothing else; without time it says so. Raises PipelineError."""
    if seconds <= 0:
        report("Samples: none, no time was left for them")
        return [SampleResult("all", "Samples of any kind", "", 0, (), (NotChecked("all of them", 0, NO_TIME),), 0.0)]
    from workflow_scripts.provenance.release.sampling.fetched_weights import Fetcher
    from workflow_scripts.provenance.release.sampling.sampled_checks import sample

    fetcher = None if request.fetched is None else Fetcher(request.fetched, manifest.ledger)
    with staged(places) as folder:
        return sample(manifest, folder, request.seed, seconds, report, whole=request.budget, fetcher=fetcher)


def limits_of(manifest: Manifest) -> tuple[str, ...]:
    """What the manifest itself says it cannot show."""
    partial = f"The manifest is partial: {len(manifest.missing)} outputs of the run were missing or outdated."
    return (*([partial] if manifest.partial else []), *manifest.limits)
