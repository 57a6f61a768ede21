r"""Accept results that were made elsewhere: verify them by their records, then mark them as up to date.

``cp -r`` gives every file a new date, and a clone has no memory of what made it, so Snakemake would make everything
again. Here each output of the run is hashed and compared with the hashes that records and lists of files hold; where
all agree, Snakemake is told (``--touch``) that the outputs are its own, in the order of the graph. Outputs that do not
agree are named and nothing is marked: remove them and rerun, then only they and what follows from them are made.
Files that no record names, such as the CSV beside a table, are counted. What comes after ``--`` goes to Snakemake.

Example:
  cp -r ../old/results .
  python -m workflow_scripts.provenance.adopt -- --configfile config/runs/suite.yaml
"""

import logging
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from workflow_scripts import cli
from workflow_scripts.errors import IntegrityError, MissingInputError, PipelineError
from workflow_scripts.provenance.stale import read_record
from workflow_scripts.storage.hashing import sha256_file
from workflow_scripts.storage.lockfile import read_lock
from workflow_scripts.storage.records import RECORD_SUFFIX
from workflow_scripts.suite.layout import HASH_LIST

logger = logging.getLogger(__name__)
SHOWN = 20
Hashes = dict[Path, set[str]]


def recorded_hashes(results: Path) -> Hashes:
    """Every hash that a record or a list of files below ``results`` gives a path, relative to the working directory."""
    found: Hashes = defaultdict(set)
    for path in sorted(results.rglob(f"*{RECORD_SUFFIX}")):
        for file, sha256 in hashes_in(path):
            found[file].add(sha256)
    for path in sorted(results.rglob(HASH_LIST)):
        for entry in read_lock(path):
            if entry.sha256:
                found[path.parent / entry.path].add(entry.sha256)
    return found


def hashes_in(record_file: Path) -> Iterator[tuple[Path, str]]:
    """Paths and hashes in a record: its output, its inputs, and the files of a figure. Raises DataError."""
    record = read_record(record_file)
    output = record_file.with_name(record_file.name.removesuffix(RECORD_SUFFIX))
    if isinstance(sha256 := record.get("output_sha256"), str):
        yield output, sha256
    inputs, parameters = record.get("inputs"), record.get("parameters")
    for entry in inputs.values() if isinstance(inputs, dict) else ():
        yield Path(entry["path"]), entry["sha256"]
    kinds = parameters.get("sha256") if isinstance(parameters, dict) else None
    for kind, sha256 in kinds.items() if isinstance(kinds, dict) else ():
        yield output.with_name(f"{output.name}.{kind}"), sha256


def differing(outputs: Iterable[Path], recorded: Hashes) -> tuple[list[Path], int]:
    """Outputs with a content that no record of theirs has, and how many have one that a record has."""
    wrong, right = [], 0
    for path in outputs:
        if path in recorded and path.is_file():
            agrees = sha256_file(path) in recorded[path]
            right += agrees
            wrong += [] if agrees else [path]
    return wrong, right


def outputs_of_graph(arguments: Sequence[str]) -> list[Path]:
    """Outputs of the run that are there, as Snakemake lists them; raises PipelineError where it refuses the run."""
    summary = snakemake([*arguments, "--summary"])
    rows = [line.split("\t")[0] for line in summary.splitlines() if line.count("\t") > 2]
    return [path for path in map(Path, rows[1:]) if path.exists()]


def snakemake(arguments: Sequence[str], folder: Path | None = None) -> str:
    """Standard output of a Snakemake in ``folder``; raises PipelineError with its last line when it fails."""
    command = [sys.executable, "-m", "snakemake", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise PipelineError(f"snakemake {' '.join(arguments)}: {last.removeprefix('error: ')}")
    return done.stdout


def adopt(results: Path, arguments: Sequence[str]) -> None:
    """Verify the outputs of the run that ``arguments`` name, and mark them; raises IntegrityError where one differs."""
    if not results.is_dir():
        raise MissingInputError(f"{results}: no such folder; copy the results here first")
    outputs = outputs_of_graph(arguments)
    wrong, right = differing(outputs, recorded_hashes(results))
    if wrong:
        names = "".join(f"\n  {path}" for path in wrong[:SHOWN])
        more = f"\n  and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise IntegrityError(
            f"{len(wrong)} outputs are not what their records say; remove them and rerun:{names}{more}"
        )
    if not right:
        raise MissingInputError(f"{results}: no output of this run has a record; there is nothing to accept")
    snakemake(["--cores", "1", "--touch", "--forceall", "--keep-going", "--quiet", "all", *arguments])
    logger.info("%d outputs verified and marked, with %d that no record names", right, len(outputs) - right)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of the results")
    parser.add_argument(
        "snakemake", nargs="*", default=[], help="after --: targets, --configfile and --config of the run"
    )
    options = parser.parse_args(arguments)
    adopt(options.results, options.snakemake)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
