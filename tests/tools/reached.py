"""Which test files reach which lines of the package, programs in other processes included.

mutate.py asks for it: a change can only be noticed by a test that runs the changed line. Lines that a compiler runs
(numba's functions) are reached by no test as coverage.py sees it. It must never change the checkout.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from coverage import CoverageData

SETTINGS = """[run]
source = workflow_scripts
parallel = true
patch = subprocess
concurrency = multiprocessing,thread
"""


@dataclass(frozen=True)
class Reached:
    """``lines[test file][module]`` are lines of modules like ``suite/steps.py``; ``seconds`` that each file takes."""

    lines: dict[str, dict[str, set[int]]]
    seconds: dict[str, float]

    def tests(self, module: str, lines: range) -> list[str]:
        """Test files that run at least one of these lines, the quickest first."""
        found = [test for test, modules in self.lines.items() if not modules.get(module, set()).isdisjoint(lines)]
        return sorted(found, key=self.seconds.__getitem__)


def reached(tests: list[str], checkout: Path, scratch: Path, options: list[str]) -> Reached:
    """Run each test file of ``checkout`` by itself; tests that fail without a mutant are refused: they tell nothing."""
    settings = scratch / "settings"
    settings.write_text(SETTINGS, encoding="utf-8")
    lines, seconds = {}, {}
    for number, test in enumerate(tests):
        started, data = time.monotonic(), scratch / f"data{number}"
        if run(checkout, settings, data, "run", f"--rcfile={settings}", "-m", "pytest", *options, test):
            raise SystemExit(f"{test} fails without a mutant; mend it first")
        run(checkout, settings, data, "combine", "--quiet")
        lines[test], seconds[test] = read(data, checkout), time.monotonic() - started
    return Reached(lines, seconds)


def run(checkout: Path, settings: Path, data: Path, *words: str) -> int:
    """Exit code of coverage.py with its data at ``data``."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(checkout),
        "COVERAGE_FILE": str(data),
        "COVERAGE_RCFILE": str(settings),
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, "-m", "coverage", *words]
    return subprocess.run(command, cwd=checkout, env=environment, stdout=subprocess.DEVNULL).returncode


def read(data: Path, checkout: Path) -> dict[str, set[int]]:
    """Lines of each module that ``data`` has seen."""
    seen = CoverageData(str(data))
    seen.read()
    package = (checkout / "workflow_scripts").resolve()
    files = {Path(name).resolve(): seen.lines(name) or [] for name in seen.measured_files()}
    return {str(path.relative_to(package)): set(found) for path, found in files.items() if path.is_relative_to(package)}
