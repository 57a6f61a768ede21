"""The authors' published results as a release: what of the imported table can be verified, and the verification.

Every number of the table names the file that it comes from and that file's sha256. With the authors' files at hand each
file is hashed and each number is read anew; without them the table is held to its manifest alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from workflow_scripts import ROOT
from workflow_scripts.errors import MissingInputError
from workflow_scripts.provenance.release.file_hashes import hash_files
from workflow_scripts.provenance.release.manifest import Manifest, Output, SealedFile
from workflow_scripts.provenance.release.release_findings import Part
from workflow_scripts.published.formats.known_files import known_hashes
from workflow_scripts.published.import_results import build_table, import_folder
from workflow_scripts.published.results_table import COLUMNS, read_table, source_of
from workflow_scripts.published.show_scores import CARRIED

RULE = "import_published"
ASKED = "Is every number of the table in the file of the authors that it names, and is that file the one imported?"
ENDINGS = (".parquet", ".refused.tsv", ".defects.tsv")
SHORT = 12
WHAT_IT_CANNOT = (
    "That the authors' files hold what the checkpoints score: they keep no loglikelihoods of single documents, so "
    "nothing of them can be computed again from a sample.",
    "Which commit of a checkpoint was scored, and with which commit of lm-eval: the files do not say.",
    "That names and contents of the files agree: where they contradict each other, pythia-evals.defects.tsv says so.",
)


def seal_published(folder: Path) -> Manifest:
    """The manifest of the table that is part of this project, with its lists; raises MissingInputError."""
    table = folder / CARRIED.relative_to(ROOT)
    paths = [table.with_suffix(ending) for ending in ENDINGS]
    files = hash_files((path.relative_to(folder).as_posix(), path) for path in paths)
    if len(files) < len(ENDINGS):
        raise MissingInputError(f"{table}: the table or one of its lists is missing; check it out again")
    frame = read_table(table)
    facts = {
        "source": source_of(table),
        "files": frame["source_file"].nunique(),
        "numbers": len(frame),
        "refused_files": lines_of(paths[1]),
        "findings": lines_of(paths[2]),
    }
    return Manifest(
        kind="published",
        run="published-results",
        suite="pythia",
        sealed=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        partial=False,
        missing=(),
        limits=WHAT_IT_CANNOT,
        settings=facts,
        code=(),
        libraries={},
        rules={},
        inputs=(),
        locks=(),
        ledger=(),
        outputs=tuple(Output(file.path, file.bytes, file.sha256, None, None) for file in files),
        records=(),
    )


def lines_of(path: Path) -> int:
    """Rows of a table with a header."""
    return len(path.read_text("utf-8").splitlines()) - 1


def tables_in(manifest: Manifest) -> list[str]:
    """Tables of published results among the outputs."""
    names = (CARRIED.name, "published.parquet")
    return [output.path for output in manifest.outputs if output.path.rsplit("/", 1)[-1] in names]


def check_published(places: Mapping[str, Path], tables: list[str], upstream: Path | None) -> Part:
    """Hold tables to the authors' files in ``upstream``, a checkout of EleutherAI/pythia or its folder ``evals``."""
    part = Part("Published results", ASKED)
    for name in tables:
        if name not in places:
            part.leave(name, "is not here, or is not what was sealed")
        elif upstream is None:
            source = source_of(places[name]) or "the original files"
            part.leave(name, f"holds numbers of {source}, which is not here; --upstream takes a checkout of it")
        else:
            hold_to_files(part, places[name], upstream / "evals" if (upstream / "evals").is_dir() else upstream)
    return part


def hold_to_files(part: Part, table: Path, folder: Path) -> None:
    """Compare hashes of files and, where all are there, every number; raises MissingInputError without files."""
    if not folder.is_dir():
        raise MissingInputError(f"{folder}: no such folder; --upstream takes a checkout of EleutherAI/pythia")
    known = known_hashes(table)
    found = {file.path: file for file in hash_files((name, folder / name) for name in sorted(known))}
    for name, sha256 in known.items():
        hold_file(part, name, sha256, found.get(name))
    if found.keys() == known.keys():
        imported, _ = build_table(import_folder(folder))
        hold_numbers(part, read_table(table), imported)
        part.notes.append(f"{len(imported):,} numbers were read again from {len(found):,} files of the authors.")


def hold_file(part: Part, name: str, sha256: str, found: SealedFile | None) -> None:
    """Compare one file of the authors with the hash that the table gives it."""
    if found is None:
        part.leave(name, "is not among the authors' files here")
    else:
        part.hold(name, found.sha256 == sha256, f"has sha256 {found.sha256[:SHORT]}, imported was {sha256[:SHORT]}")


def hold_numbers(part: Part, table: pd.DataFrame, imported: pd.DataFrame) -> None:
    """Compare the tables row by row in all columns but the hash of the file, which was compared before."""
    if len(table) != len(imported):
        part.hold("rows", False, f"the table has {len(table):,} numbers, the files hold {len(imported):,}")
        return
    differ = np.zeros(len(table), dtype=bool)
    for name in COLUMNS:
        if name != "source_sha256":
            ours, theirs = (frame[name].astype(object) for frame in (table, imported))
            differ |= np.asarray((ours.isna() != theirs.isna()) | (ours.notna() & (ours != theirs).fillna(False)), bool)
    part.right += len(table) - int(differ.sum())
    for number in np.flatnonzero(differ):
        ours, theirs = table.iloc[number], imported.iloc[number]
        subject = f"{ours['source_file']}: {ours['task']}, {ours['metric']}"
        part.hold(subject, False, f"the table says {ours['value']}, the file {theirs['value']}")
