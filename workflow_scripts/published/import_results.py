"""Import published result files into one tidy table.

    python -m workflow_scripts.published.import_results --source pythia/evals --output published.parquet

Reads every file below --source (a copy of the folder ``evals`` of EleutherAI/pythia, a whole checkout of it, or any
folder with results of lm-eval). Each file ends in the table or, with a reason, in <output>.refused.tsv, which also
names single metrics that were left out because they cannot be results; <output>.files.tsv lists all files with size and
sha256, and <output>.defects.tsv what the audit found. Where a name contradicts the content of its file, the content is
believed and the row carries a note. No number is changed. --source may also be a table that was imported before, such
as the one in config/suites/published; it is checked and copied with its lists.
"""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd

from workflow_scripts import cli
from workflow_scripts.errors import DataError, MissingInputError
from workflow_scripts.json_values import JsonObject
from workflow_scripts.published.claims import believe, claim_of_path
from workflow_scripts.published.formats.identity import Identity, identify
from workflow_scripts.published.formats.known_files import differences, known_hashes
from workflow_scripts.published.formats.measurements import Content, Measurement
from workflow_scripts.published.formats.older_layouts import read_result
from workflow_scripts.published.formats.recipe_files import recipe_defects
from workflow_scripts.published.results_table import COLUMNS, read_table, source_of, to_frame, write_table
from workflow_scripts.published.rules import run_rules
from workflow_scripts.published.rules.findings import Defect, Result, tsv_text
from workflow_scripts.storage.atomic import write_bytes, write_text
from workflow_scripts.storage.leftovers import is_working_name
from workflow_scripts.storage.records import write_record

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SourceFile:
    """One file that was looked at: ``reason`` says what of it was refused; with ``rows`` it is some metrics only."""

    source_file: str
    bytes: int
    sha256: str
    rows: int
    reason: str


@dataclass
class Import:
    """Everything that was read: files, results for the audit, and the columns of the table."""

    files: list[SourceFile]
    results: list[Result]
    columns: dict[str, list[Any]]

    def add(self, source: str, sha256: str, content: Content) -> int:
        """Add the content of one file and return its number of rows."""
        named = claim_of_path(source)
        claim, contradictions = believe(content.claim, named)
        identity = identify(claim)
        result = Result(source, named, content, identity, [*content.notes, *contradictions], sha256)
        self.results.append(result)
        constant = constant_columns(identity, content, source, sha256)
        for name, value in constant.items():
            self.columns[name] += [value] * len(content.measurements)
        self.columns["note"] += [result] * len(content.measurements)  # becomes text when the audit is done
        for index, name in enumerate(Measurement._fields):
            self.columns[name] += [measurement[index] for measurement in content.measurements]
        return len(content.measurements)


def constant_columns(identity: Identity, content: Content, source: str, sha256: str) -> JsonObject:
    """Columns that are the same for all rows of a file."""
    names = [field.name for field in fields(Identity)]
    known = dict(zip(names, astuple(identity), strict=True))
    return known | {"source_file": source, "source_sha256": sha256, "harness": content.harness}


def import_folder(source: Path) -> Import:
    """Read all files below ``source`` in the order of their paths; raises MissingInputError when there are no files."""
    paths = sorted(path for path in source.rglob("*") if path.is_file() and not is_working_name(path.name))
    if not paths:
        raise MissingInputError(f"{source}: no files; give a copy of the folder 'evals' of EleutherAI/pythia")
    collected = Import([], [], {name: [] for name in COLUMNS})
    for path in paths:
        collected.files.append(import_file(collected, path, path.relative_to(source).as_posix()))
    return collected


def import_file(collected: Import, path: Path, relative: str) -> SourceFile:
    """Add one file to ``collected``; a file that cannot be used is refused with its reason."""
    raw = path.read_bytes()
    sha256, rows, reason = hashlib.sha256(raw).hexdigest(), 0, ""
    try:
        contents = read_result(relative, raw)
        for content in contents:
            identify(believe(content.claim, claim_of_path(relative))[0])  # all or nothing of a file
        rows = sum(collected.add(relative, sha256, content) for content in contents)
        reason = "; ".join(fault for content in contents for fault in content.refused)
    except DataError as error:
        reason = str(error)
    return SourceFile(relative, len(raw), sha256, rows, reason)


def build_table(collected: Import) -> tuple[pd.DataFrame, list[Defect]]:
    """The tidy table with its notes, and the defects that the audit found."""
    defects = run_rules.find_defects(collected.results)
    notes = {id(result): "; ".join(dict.fromkeys(result.notes)) for result in collected.results}
    columns = collected.columns | {"note": [notes[id(result)] for result in collected.columns["note"]]}
    return to_frame(columns), defects


@dataclass(frozen=True)
class Outputs:
    """Where an import goes: the table, and the lists of all files, of refused files and of defects."""

    table: Path
    files: Path
    refused: Path
    defects: Path


@dataclass(frozen=True)
class Beside:
    """What is checked beside the results: upstream's config files, and a table whose files are expected."""

    recipes: Path | None = None
    expected: Path | None = None

    def defects(self, files: Sequence[SourceFile]) -> list[Defect]:
        """What is found in the config files, and the read files that are not the expected ones."""
        seen = {file.source_file: file.sha256 for file in files if file.rows}
        unexpected = differences(seen, known_hashes(self.expected)) if self.expected else []
        return [*unexpected, *(recipe_defects(self.recipes) if self.recipes else ())]


def import_to(source: Path, source_name: str, outputs: Outputs, beside: Beside) -> None:
    """Import the result files below ``source``."""
    collected = import_folder(source)
    frame, defects = build_table(collected)
    defects += beside.defects(collected.files)
    refused = [file for file in collected.files if file.reason]
    write_table(frame, outputs.table, source_name)
    write_text(outputs.files, tsv_text(SourceFile, collected.files))
    write_text(outputs.refused, tsv_text(SourceFile, refused))
    write_text(outputs.defects, tsv_text(Defect, defects))
    parameters = {"source": source_name, "files": len(collected.files), "refused": len(refused)}
    write_record(outputs.table, {"files": outputs.files}, parameters | {"rows": len(frame), "defects": len(defects)})
    read, partly = (sum(file.rows > 0 for file in files) for files in (collected.files, refused))
    numbers = len(frame), read, len(refused) - partly, partly, len(defects)
    logger.info("%d rows from %d files, %d refused, %d in part, %d defects", *numbers)


def folders_of(source: Path, recipes: Path | None) -> tuple[Path, Path | None]:
    """Folder of the results and of the config files; a whole checkout of EleutherAI/pythia holds both."""
    if recipes is None and (source / "evals").is_dir() and (source / "models").is_dir():
        return source / "evals", source / "models"
    return source, recipes


def copy_table(source: Path, outputs: Outputs) -> None:
    """Copy a table imported before, after a check, with its lists; the list of files is made from the table."""
    frame = read_table(source)
    lists = {outputs.refused: source.with_suffix(".refused.tsv"), outputs.defects: source.with_suffix(".defects.tsv")}
    missing = [str(path) for path in lists.values() if not path.is_file()]
    if missing:
        raise MissingInputError(f"{source}: its list {missing[0]} is missing; reimport the original files")
    write_bytes(outputs.table, source.read_bytes())
    for target, path in lists.items():
        write_bytes(target, path.read_bytes())
    hashes = frame[["source_file", "source_sha256"]].drop_duplicates()
    rows = frame.groupby("source_file", observed=True).size()
    lines = [f"{name}\t\t{sha256}\t{rows[name]}\t" for name, sha256 in sorted(hashes.itertuples(index=False))]
    header = "\t".join(field.name for field in fields(SourceFile))
    write_text(outputs.files, "\n".join([header, *lines]) + "\n")
    parameters = {"source": source_of(source), "files": len(hashes), "rows": len(frame)}
    write_record(outputs.table, {"table": source}, parameters)
    logger.info("%d rows from %d files, copied from %s", len(frame), len(hashes), source)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--source", type=Path, required=True, help="folder with result files, e.g. pythia/evals")
    parser.add_argument("--source-name", default="", help="what the folder is, e.g. EleutherAI/pythia@a19eecb8")
    parser.add_argument(
        "--recipes", type=Path, help="folder 'models' of EleutherAI/pythia: its configs are checked too"
    )
    parser.add_argument("--expected", type=Path, help="table imported before: say which files are not those it lists")
    parser.add_argument("--output", type=Path, required=True, help="tidy table (parquet)")
    parser.add_argument("--files", type=Path, help="list of all files (<output>.files.tsv)")
    parser.add_argument("--refused", type=Path, help="list of refused files (<output>.refused.tsv)")
    parser.add_argument("--defects", type=Path, help="list of defects found (<output>.defects.tsv)")
    options = parser.parse_args(arguments)
    outputs = Outputs(
        options.output,
        options.files or options.output.with_suffix(".files.tsv"),
        options.refused or options.output.with_suffix(".refused.tsv"),
        options.defects or options.output.with_suffix(".defects.tsv"),
    )
    if options.source.is_file():
        copy_table(options.source, outputs)
    elif options.source.is_dir():
        source, recipes = folders_of(options.source, options.recipes)
        import_to(source, options.source_name, outputs, Beside(recipes, options.expected))
    else:
        raise MissingInputError(f"{options.source}: no such folder; give a copy of 'evals' of EleutherAI/pythia")


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
