"""Branch coverage of all tests, folder by folder, programs in other processes included, held to limits per group.

`make coverage` runs it; it takes as long as all tests do, and twice. Measured is what coverage.py calls coverage with
branches: lines and jumps together. Left out are lines that a compiler runs (numba's functions; their arguments are
checked in Python), imports for types only, and the last line of each program. It must never lower a limit by itself.

Example:
  python tests/tools/coverage_groups.py tests/suite tests/storage
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIMITS = {"suite": 95.0, "storage": 95.0, "dataset": 95.0}
OTHERS = 85.0
# Brought up by `make test-cluster`, which needs root.
LEFT_OUT = ("cluster", "tools", "__pycache__")
SETTINGS = """[run]
branch = true
source = workflow_scripts
parallel = true
relative_files = true
patch = subprocess
concurrency = multiprocessing,thread
[report]
exclude_also =
    if TYPE_CHECKING:
    ^@compiled
    if __name__ == .__main__.:
"""


def folders() -> list[str]:
    """Test folders and single test files, as paths below the top folder."""
    entries = sorted((ROOT / "tests").iterdir())
    chosen = [path for path in entries if path.is_dir() and path.name not in LEFT_OUT] + sorted(
        (ROOT / "tests").glob("test_*.py")
    )
    return [str(path.relative_to(ROOT)) for path in chosen]


def coverage(settings: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run coverage.py with ``settings``; the data lie beside them."""
    environment = {**os.environ, "COVERAGE_FILE": str(settings.parent / "data"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "coverage", *words[:1], f"--rcfile={settings}", *words[1:]]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False, text=True, stdout=subprocess.PIPE)


def group_names() -> list[str]:
    """Stages of the package."""
    return sorted(path.parent.name for path in (ROOT / "workflow_scripts").glob("*/__init__.py"))


def measured(settings: Path, group: str) -> float:
    """Per cent of a group."""
    done = coverage(settings, "report", "--format=total", "--precision=1", f"--include=workflow_scripts/{group}/*")
    return float(done.stdout)


def main() -> None:
    """Run the tests, print a line per group with what is not reached, fail below a limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tests", nargs="*", default=folders(), help="test folders or files")
    parser.add_argument("--missing", action="store_true", help="print the lines that no test reaches")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="coverage-") as name:
        settings = Path(name) / "settings"
        settings.write_text(SETTINGS)
        failed = [test for test in options.tests if coverage(settings, "run", "-m", "pytest", "-q", test).returncode]
        coverage(settings, "combine", "--quiet")
        below = []
        for group in group_names():
            share, limit = measured(settings, group), LIMITS.get(group, OTHERS)
            print(f"{group:14}{share:6.1f} %   limit {limit:.0f} %")
            below += [group] if share < limit else []
        if options.missing:
            print(coverage(settings, "report", "--show-missing", "--skip-covered").stdout)
    if failed or below:
        raise SystemExit(f"failed tests in: {failed}; coverage below the limit: {below}")


if __name__ == "__main__":
    main()
