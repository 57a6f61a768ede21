r"""Which outputs were made by other code or another environment than the present ones; nothing is run or changed.

Snakemake does not run expensive rules again because a program was edited: a comment would refetch terabytes. This
report is the other half of that decision. Each record names the code's version and the hashes of the locks; an output
is stale when a file that its program imports has changed since, or when a lock has. The decision is yours:
--list prints the paths, and `snakemake --forcerun $(... --list)` makes them, and what follows from them, again.

Example:
  python -m workflow_scripts.provenance.stale --results results
  snakemake --forcerun $(python -m workflow_scripts.provenance.stale --list --program evaluation.score)
"""

import ast
import functools
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from workflow_scripts import ROOT, cli
from workflow_scripts.errors import MissingInputError
from workflow_scripts.git_process import run_git
from workflow_scripts.json_values import JsonMapping, read_object
from workflow_scripts.storage.records import RECORD_SUFFIX, lock_hashes

PACKAGE = "workflow_scripts"
DIRTY = "-dirty"
# Locks that can change a result; the others hold tools.
LOCKS = ("base.lock", "torch-cpu.lock", "torch-cuda.lock")
# How programs start, end and tell of their progress: no result depends on it.
BASE = frozenset(f"{PACKAGE}/{name}.py" for name in ("__init__", "cli", "errors", "progress"))


@dataclass(frozen=True)
class Stale:
    """An output and why it is stale: files of the code, or ``envs/<lock>``, that changed since it was made."""

    output: Path
    program: str
    reasons: tuple[str, ...]


def programs_named(file_name: str, root: Path = ROOT) -> list[Path]:
    """Programs of the package with this file name that write results, in any stage; those of suite/ write none."""
    found = sorted((root / PACKAGE).glob(f"*/{file_name}"))
    return [path for path in found if path.parent.name != "suite" and "cli.run(main)" in path.read_text("utf-8")]


@functools.cache
def imported_files(program: Path, root: Path = ROOT) -> frozenset[Path]:
    """The program and every file of the package that it imports, directly or through others, anywhere in the text."""
    found: set[Path] = set()
    waiting = [program]
    while waiting:
        path = waiting.pop()
        if path in found or not path.is_file():
            continue
        found.add(path)
        waiting += module_files(path, root)
    return frozenset(found)


def module_files(path: Path, root: Path) -> list[Path]:
    """Files of the package that one file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    parts = [name.split(".") for name in names if name.split(".")[0] == PACKAGE]
    return [root.joinpath(*each).with_suffix(".py") for each in parts]


@functools.cache
def changed_since(version: str, root: Path = ROOT) -> frozenset[str] | None:
    """Files of the checkout that differ from ``version``, relative to ``root``; None where git does not know it."""
    answer = run_git(root, "diff", "--name-only", "--relative", version.removesuffix(DIRTY), "--", PACKAGE, timeout=60)
    return frozenset(answer.stdout.decode().split()) if answer.returncode == 0 else None


def reasons_of(record: JsonMapping, program: Path | None, root: Path = ROOT) -> tuple[str, ...]:
    """Why the output of ``record`` is stale; empty when it is not."""
    version = str(record.get("code_version"))
    changed = changed_since(version, root)
    reasons: list[str] = []
    if changed is None:
        reasons.append(f"made by code version '{version}', which is not in this checkout's history")
    elif program is not None:
        reasons += sorted((changed & {str(path.relative_to(root)) for path in imported_files(program, root)}) - BASE)
    if version.endswith(DIRTY):
        reasons.append("made with uncommitted changes")
    locks = record.get("lock_sha256")
    present = lock_hashes()
    before = locks if isinstance(locks, dict) else {}
    reasons += [f"envs/{name}" for name in LOCKS if name in before and before[name] != present.get(name)]
    return tuple(reasons)


def read_record(path: Path) -> JsonMapping:
    """A record of this workflow; raises DataError for any other file."""
    return read_object(path, "record", "remove it and recreate its output", "command")


def stale_outputs(results: Path, root: Path = ROOT) -> Iterable[Stale]:
    """Every stale output below ``results``, by path; none without a record, none in hidden folders."""
    for path in sorted(results.rglob(f"*{RECORD_SUFFIX}")):
        output = path.with_name(path.name.removesuffix(RECORD_SUFFIX))
        if not output.exists() or path.parent.name.startswith("."):  # scores that wait in hidden folders
            continue
        record = read_record(path)
        command = record["command"]
        name = str(command[0]) if isinstance(command, list) and command else ""
        programs = programs_named(name, root)
        program = programs[0] if len(programs) == 1 else None
        title = f"{program.parent.name}.{program.stem}" if program else name
        if reasons := reasons_of(record, program, root):
            yield Stale(output, title, reasons)


def summary(stale: Sequence[Stale]) -> str:
    """A line per program: how many outputs, and what changed, the most frequent reason first."""
    groups: dict[str, list[Stale]] = defaultdict(list)
    for each in stale:
        groups[each.program].append(each)
    lines = []
    for program, members in sorted(groups.items()):
        reasons = [reason for reason, _ in Counter(name for each in members for name in each.reasons).most_common()]
        shown = ", ".join(reasons[:3]) + (f" and {len(reasons) - 3} more" if len(reasons) > 3 else "")
        lines.append(f"{program:32}{len(members):>6} outputs  {shown}")
    return "\n".join(lines) or "nothing is stale"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of the outputs")
    parser.add_argument("--program", help="only outputs of this program, e.g. evaluation.score")
    parser.add_argument("--list", action="store_true", help="print paths only, for --forcerun")
    options = parser.parse_args(arguments)
    if not options.results.is_dir():
        raise MissingInputError(f"{options.results}: no such folder; nothing was made yet, or choose --results")
    stale = [each for each in stale_outputs(options.results) if options.program in (None, each.program)]
    cli.say("\n".join(str(each.output) for each in stale) if options.list else summary(stale))


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
