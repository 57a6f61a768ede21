r"""Writes docs/reliability.md from the tests of faults, so that the page cannot say what no test shows.

A test called ``test_fault_<number>_<what goes wrong>`` shows one fault; its docstring says what happens. The tests are
read, never run. The page lists every number without a gap; a number that no test carries is said to have none.

Example:
  python -m workflow_scripts.workflow.tools.reliability_page --output docs/reliability.md
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from workflow_scripts import ROOT, cli

MISSING = "**no test shows it**"
NAME = re.compile(r"test_faults?_((?:[0-9]+_)+)([a-z].*)")
PARTS = ((1, "Downloads"), (26, "Data"), (38, "Models and evaluation"), (47, "Runs and their configuration"),
         (61, "Networks and servers"), (72, "Machines"), (91, "Damaged and hostile content"))  # fmt: skip
HEAD = """# Reliability: behaviour under faults

Generated from the tests by `python -m workflow_scripts.workflow.tools.reliability_page`; do not edit. Each row is a
fault that a test really injects: a server that drops the connection, lies or never finishes, SIGKILL, a full or
read-only disk, flipped bytes, hostile names and files. The underlying rules: a file gets its name only after its
content is verified; every program writes complete files or nothing; rerunning the same command resumes; errors that a
user can act on are one line and exit code 2.

In addition, a **kill matrix** (`tests/faults/crash_matrix.py`, `make crash-matrix`) sends SIGKILL to the whole
process group of a pocket run, 100 times over all its jobs at random moments, and compares every file
with an uninterrupted run; `tests/faults/test_crash_matrix.py` is a short version. Allowed differences (seconds, peak
memory, logs) are listed there with reasons. The last full round (seed 3): 100 kills of 27 rules, 95 of them inside
the job aimed at, and all 266 compared files equal each time. **Fuzzers** (`tests/fuzz`, `make fuzz`) feed damaged
bytes to all parsers of external files, under limits of memory and time.
"""


@dataclass(frozen=True)
class Shown:
    """One test of a fault: its number, what goes wrong, what happens, and where the test is."""

    number: int
    fault: str
    happens: str
    test: str
    path: Path
    line: int


def tests_of_faults(folder: Path) -> Iterator[Shown]:
    """Every test of a fault below ``folder``."""
    for path in sorted(folder.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and (match := NAME.fullmatch(node.name)):
                happens = " ".join((ast.get_docstring(node) or "").split())
                for number in map(int, match[1].strip("_").split("_")):
                    yield Shown(number, words(match[2]), happens, node.name, path, node.lineno)


def words(name: str) -> str:
    """The rest of a test's name as words.

    >>> words("flipped_byte_of_right_length_is_refused")
    'flipped byte of right length is refused'
    """
    return name.replace("_", " ")


def rows(shown: Sequence[Shown], root: Path) -> Iterator[str]:
    """The tables of the page, a heading before each part."""
    by_number: dict[int, list[Shown]] = defaultdict(list)
    for each in shown:
        by_number[each.number].append(each)
    titles = dict(PARTS)
    for number in range(1, max(by_number) + 1):
        if number in titles:
            yield f"\n## {titles[number]}\n\n| # | fault | what happens | test |\n|---|---|---|---|"
        if number not in by_number:
            yield f"| {number} | | {MISSING} | |"
        for each in sorted(by_number.get(number, ()), key=lambda each: (str(each.path), each.line)):
            yield f"| {number} | {each.fault} | {cell(each.happens)} | `{each.path.relative_to(root)}` |"


def cell(text: str) -> str:
    """Text that cannot end a cell of a Markdown table."""
    return text.replace("|", "\\|") or "as the name says"


def page(root: Path = ROOT) -> str:
    """The whole page."""
    shown = list(tests_of_faults(root / "tests"))
    numbers = len({each.number for each in shown})
    return HEAD + f"\n{numbers} faults, {len(shown)} tests.\n" + "\n".join(rows(shown, root)) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse arguments and write the page."""
    parser = cli.parser(__doc__)
    parser.add_argument("--output", type=Path, required=True, help="Markdown file to write")
    parser.parse_args(arguments).output.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
