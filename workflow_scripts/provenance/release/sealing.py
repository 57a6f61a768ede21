"""Gather what a finished run made, hash it and write it down as a manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from workflow_scripts.checkpoints.ledger_file import read_ledger
from workflow_scripts.errors import MissingInputError, PipelineError, UnknownNameError
from workflow_scripts.json_values import JsonMapping, read_object
from workflow_scripts.provenance.lineage import read_record, record_of
from workflow_scripts.provenance.release.file_hashes import hash_files
from workflow_scripts.provenance.release.graph import GraphOutput, State, outputs_of
from workflow_scripts.provenance.release.manifest import Manifest, Output, Revision, SealedFile
from workflow_scripts.provenance.release.record_facts import code_versions, library_versions, rules_of
from workflow_scripts.provenance.stale import stale_outputs
from workflow_scripts.storage.records import RECORD_SUFFIX
from workflow_scripts.suite import layout
from workflow_scripts.suite.registry import load_suite

LOCKS = ("envs/*.lock", "config/suites/locks/*.tsv")
SHOWN = 3


def seal_run(run: str, folder: Path, *, partial: bool = False) -> Manifest:
    """The manifest of ``run`` in ``folder``.

    Raises UnknownNameError for a run that was not made here, and PipelineError for one that is unfinished or stale
    unless it may be ``partial``.
    """
    resolved = read_run(run, folder)
    graph = outputs_of(resolved["settings"], folder)
    stale = stale_records(graph, folder)
    if (faults := [*unfinished(graph, folder), *stale]) and not partial:
        raise PipelineError(f"run {run} cannot be sealed: {'; '.join(faults)}; --partial seals what is there")
    outputs, records = output_files(graph, folder)
    read = {str(path): read_record(folder / path) for path in records}
    made = {output.path for output in outputs} | {each.path for each in graph}
    locks = [path for pattern in LOCKS for path in names(folder.glob(pattern), folder)]
    inputs = {path for each in graph for path in each.inputs} - made - set(locks)
    return Manifest(
        kind="run",
        run=run,
        suite=str(resolved["suite"]),
        sealed=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        partial=bool(faults),
        missing=tuple(each.path for each in graph if each.state is State.TO_DO),
        limits=(*(f"{fault}." for fault in stale), *deleted(graph)),
        settings=resolved["settings"],
        code=code_versions(read),
        libraries=library_versions(read),
        rules=rules_of(outputs, read),
        inputs=hashed(inputs, folder),
        locks=hashed(locks, folder),
        ledger=ledger_of(resolved, folder),
        outputs=tuple(outputs),
        records=hashed(records, folder),
    )


def read_run(run: str, folder: Path) -> JsonMapping:
    """The resolved run; raises UnknownNameError, or DataError for a file that is not one."""
    path = folder / layout.run_folder(run) / "run.json"
    if not path.is_file():
        known = [each.parent.name for each in sorted((folder / layout.RESULTS / "runs").glob("*/run.json"))]
        raise UnknownNameError("run", run, known, f"{folder}/{layout.RESULTS}/runs")
    return read_object(path, "run", "rerun the workflow", "settings", "suite", "models", "steps")


def unfinished(graph: Sequence[GraphOutput], folder: Path) -> list[str]:
    """What Snakemake would still make, as a fault that names absent outputs first; none when the run is finished."""
    waiting = [each.path for each in graph if each.state is State.TO_DO]
    waiting.sort(key=lambda path: (folder / path).exists())
    more = f" and {len(waiting) - SHOWN} more" if len(waiting) > SHOWN else ""
    return [f"unfinished, {len(waiting)} outputs are to be made: {', '.join(waiting[:SHOWN])}{more}"] if waiting else []


def stale_records(graph: Sequence[GraphOutput], folder: Path) -> list[str]:
    """Outputs of the run that other code or another environment made, as a fault; none when all are of today's."""
    paths = {folder / each.path for each in graph}
    counts = Counter(each.program for each in stale_outputs(folder / layout.RESULTS) if each.output in paths)
    what = ", ".join(program for program, _ in counts.most_common(SHOWN))
    return [f"stale, {counts.total()} records are of other code or locks than the present: {what}"] if counts else []


def deleted(graph: Sequence[GraphOutput]) -> list[str]:
    """A sentence on outputs that the run deletes once they were used."""
    gone = [each.path for each in graph if each.state is State.GONE]
    return [f"{len(gone)} outputs were deleted after use and are not sealed, {gone[0]} among them."] if gone else []


def output_files(graph: Sequence[GraphOutput], folder: Path) -> tuple[list[Output], list[str]]:
    """Every file of every finished output, hashed, and the paths of the records that tell how they were made."""
    rules = {name: each.rule for each in graph if each.state is State.DONE for name in contents(each.path, folder)}
    found: list[Output] = []
    for file in hash_files((name, folder / name) for name in sorted(rules)):
        record = record_of(folder / file.path)
        where = None if record is None else record.relative_to(folder).as_posix()
        found.append(Output(file.path, file.bytes, file.sha256, rules[file.path], where))
    return found, sorted({output.record for output in found if output.record})


def contents(path: str, folder: Path) -> list[str]:
    """The file itself, or the files of a folder without records and hidden ones."""
    if not (folder / path).is_dir():
        return [path]
    inside = (each for each in (folder / path).rglob("*") if each.is_file() and not each.name.endswith(RECORD_SUFFIX))
    return [name for name in names(inside, folder) if not any(part.startswith(".") for part in name.split("/"))]


def names(paths: Iterable[Path], folder: Path) -> list[str]:
    """Paths relative to ``folder``, sorted."""
    return sorted(path.relative_to(folder).as_posix() for path in paths)


def hashed(paths: Iterable[str], folder: Path) -> tuple[SealedFile, ...]:
    """Files by path; raises MissingInputError where one is not there."""
    wanted = [name for path in sorted(paths) for name in contents(path, folder)]
    found = hash_files((name, folder / name) for name in wanted)
    if lacking := sorted(set(wanted) - {file.path for file in found}):
        raise MissingInputError(f"{folder / lacking[0]}: no such file, and the run read it; restore it and rerun")
    return tuple(found)


def ledger_of(resolved: JsonMapping, folder: Path) -> tuple[Revision, ...]:
    """Revision and commit of every checkpoint of the run: by the receipt of its fetch, or by the ledger."""
    own = load_suite(str(resolved["suite"])).ledgers
    place = next((path for path in (*own, layout.LEDGER) if (folder / path).is_file()), None)
    pinned = None if place is None else read_ledger(folder / place)
    found = []
    for model in resolved["models"]:
        named = dict(zip(model.get("steps", ()), model.get("revisions", ()), strict=False))
        for step in resolved["steps"].get(model["name"], ()):
            receipt = folder / layout.checkpoint_folder(model["name"], step) / layout.FETCHED
            if receipt.is_file():
                said = read_object(receipt, "receipt", "fetch the checkpoint again", "repository", "revision", "commit")
                commit = said["commit"] and str(said["commit"])
                found.append(Revision(model["name"], step, str(said["repository"]), str(said["revision"]), commit))
                continue
            revision = str(named.get(step) or f"step{step}")
            if pinned is not None and (entry := pinned.get(model["name"], revision)) is not None:
                found.append(Revision(model["name"], step, str(model["repository"]), revision, entry.commit))
    return tuple(found)
