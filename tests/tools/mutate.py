"""Small wrong changes, one at a time, to modules of suite, storage and dataset: does a test notice?

`make mutants` runs a seeded sample; mutations.py says what is changed. In a copy of the checkout every quick test file
of the stages runs once to learn which lines it reaches (reached.py); then, for each mutant, the module's doctests and
the files that reach the change; the first failure ends them. With ``--results`` every verdict is written at once and a
later run goes on from there: samples of several seeds add up. Survivors are judged in docs/mutation-report.md.
It must never touch the checkout it is started from.

Examples:
  python tests/tools/mutate.py --count 150 --seed 1 --results mutants.jsonl
  python tests/tools/mutate.py --only suite/steps.py#120 storage/hub.py#713 --also tests/faults/test_network_faults.py
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mutations import PACKAGE, Mutant, changed, mutants_of
from reached import Reached, reached

ROOT = Path(__file__).resolve().parents[2]
STAGES = ("suite", "storage", "dataset")
ENDLESS_CPU_SECONDS = 90  # three times what the tests of a stage compute, compiling included
ENDLESS_SECONDS = 900  # for what waits instead of computing; a busy machine makes it no shorter
QUICK = ("-q", "-x", "-m", "not slow")
ENDLESS = -1000
NO_TESTS = 5  # what pytest says when it has found none
GRAPH_TESTS = ("tests/workflow/test_graph.py", "tests/workflow/test_experiments_graph.py")


def candidates(module: str, also: list[str]) -> list[str]:
    """Test files of the module's stage, the plan of the graph for what decides it, and those named beside them."""
    stage = module.split("/", maxsplit=1)[0]
    files = [str(path.relative_to(ROOT)) for path in sorted((ROOT / "tests" / stage).glob("test_*.py"))]
    return [*files, *(GRAPH_TESTS if stage == "suite" else []), *also]


def tests_for(mutant: Mutant, known: Reached, also: list[str]) -> list[str]:
    """The module's doctests, then the test files that reach the change; all where no test seems to, as in numba."""
    possible = candidates(mutant.module, also)
    files = [file for file in known.tests(mutant.module, mutant.lines) if file in possible]
    return [f"{PACKAGE.name}/{mutant.module}", *(files or possible)]


def verdict(mutant: Mutant, copy_of: Path, known: Reached, also: list[str]) -> str:
    """``killed``, ``survived`` or ``endless``; the copy is left as it was."""
    path = copy_of / PACKAGE.name / mutant.module
    before = path.read_text(encoding="utf-8")
    path.write_text(changed(mutant)[0], encoding="utf-8")
    tests = tests_for(mutant, known, also)
    try:
        code = run_tests(tests, copy_of)
    finally:
        path.write_text(before, encoding="utf-8")
    return {0: "survived", NO_TESTS: "survived", ENDLESS: "endless", -signal.SIGXCPU: "endless"}.get(code, "killed")


def run_tests(tests: list[str], copy_of: Path) -> int:
    """Exit code of pytest for ``tests``, up to the first failure; ENDLESS, its processes ended, after too long."""
    environment = {**os.environ, "PYTHONPATH": str(copy_of), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", *QUICK, f"--basetemp={copy_of.parent / 'temporary'}", *tests]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(
        command, cwd=copy_of, env=environment, stdout=quiet, stderr=quiet, start_new_session=True
    ) as process:
        # The system ends it when it computes without end, compiled loops too.
        resource.prlimit(process.pid, resource.RLIMIT_CPU, (ENDLESS_CPU_SECONDS, ENDLESS_CPU_SECONDS + 5))
        try:
            return process.wait(ENDLESS_SECONDS)
        except subprocess.TimeoutExpired:
            return ENDLESS
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def modules() -> list[str]:
    """All modules that can be changed."""
    return [f"{stage}/{path.name}" for stage in STAGES for path in sorted((PACKAGE / stage).glob("*.py"))]


def chosen(options: argparse.Namespace) -> list[Mutant]:
    """The named mutants, or a seeded sample of all mutants of the modules, in an order that mixes them."""
    if options.only:
        named = {name.split("#", maxsplit=1)[0] for name in options.only}
        found = [mutant for module in sorted(named) for mutant in mutants_of(module) if mutant.name in options.only]
        if missing := set(options.only) - {mutant.name for mutant in found}:
            raise SystemExit(f"no such mutants: {' '.join(sorted(missing))}")
        return found
    everything = [mutant for module in options.modules or modules() for mutant in mutants_of(module)]
    return random.Random(options.seed).sample(everything, min(options.count, len(everything)))


@contextmanager
def copied_checkout() -> Iterator[Path]:
    """A copy of the checkout in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as name:
        copy_of = Path(name) / "checkout"
        shutil.copytree(ROOT, copy_of, symlinks=True, ignore=shutil.ignore_patterns(".*", "results", "__pycache__"))
        shutil.copytree(ROOT / ".git", copy_of / ".git")
        (copy_of / ".venv").symlink_to(ROOT / ".venv")
        if (ROOT.parent / "shared").is_dir():
            (copy_of.parent / "shared").symlink_to(ROOT.parent / "shared")
        yield copy_of


def key(mutant: Mutant) -> str:
    """Name of the mutant and hash of the module it was made from: a verdict holds for these only."""
    source = (PACKAGE / mutant.module).read_bytes()
    return f"{mutant.name} {mutant.kind} {hashlib.sha256(source).hexdigest()[:12]}"


def known(results: Path | None) -> dict[str, str]:
    """Verdicts of earlier runs."""
    if results is None or not results.exists():
        return {}
    rows = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    return {row["key"]: row["verdict"] for row in rows}


def judge(mutant: Mutant, copy_of: Path, lines: Reached, options: argparse.Namespace) -> str:
    """Try a mutant, print and note the verdict."""
    started = time.monotonic()
    found = verdict(mutant, copy_of, lines, options.also)
    seconds = time.monotonic() - started
    row = {"key": key(mutant), "verdict": found, "line": mutant.line, "change": changed(mutant)[1], "seconds": seconds}
    if options.results is not None:
        with options.results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
    print(f"{found:9}{mutant.name}\tline {mutant.line}\t{seconds:.0f} s\t{row['change']}", flush=True)
    return found


def main() -> None:
    """Make the copy, try each mutant that has no verdict yet, print the verdicts and how many there are per stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=150, help="mutants to try")
    parser.add_argument("--seed", type=int, default=1, help="seed of the sample")
    parser.add_argument("--modules", nargs="+", help="modules instead of all, such as suite/steps.py")
    parser.add_argument(
        "--only", nargs="+", metavar="MODULE#NUMBER", help="these mutants, as an earlier run named them"
    )
    parser.add_argument(
        "--also", nargs="+", default=[], metavar="TEST", help="test files to ask beside the stage's own"
    )
    parser.add_argument("--results", type=Path, help="file of verdicts, one JSON object a line, to go on with")
    options = parser.parse_args()
    sample, verdicts = chosen(options), known(None if options.only else options.results)
    waiting = [mutant for mutant in sample if key(mutant) not in verdicts]
    with copied_checkout() as copy_of:
        tests = sorted({test for mutant in waiting for test in candidates(mutant.module, options.also)})
        options_of = [*QUICK, f"--basetemp={copy_of.parent / 'temporary'}"]
        lines = reached(tests, copy_of, copy_of.parent, options_of)
        for number, mutant in enumerate(waiting, 1):
            print(f"{number}/{len(waiting)} ", end="", flush=True)
            verdicts[key(mutant)] = judge(mutant, copy_of, lines, options)
    counts = Counter((mutant.module.split("/", maxsplit=1)[0], verdicts[key(mutant)]) for mutant in sample)
    print("\n".join(f"{stage:9}{found:9}{number:4}" for (stage, found), number in sorted(counts.items())))


if __name__ == "__main__":
    main()
