"""Small wrong changes, one at a time, to modules of suite, storage and dataset: does a test notice?

`make mutants` runs a seeded sample. A mutant is one change to the syntax tree: a comparison turned round, ``and`` for
``or``, a sign, a constant moved by one, a condition negated, a statement dropped. First the tests that import the
module are run in a copy of the checkout, then all quick tests of its stage; the first failure ends them. Survivors are
judged in docs/mutation-report.md. It must never touch the checkout it is started from.

Example:
  python tests/tools/mutate.py --count 20 --seed 3 --modules suite/steps.py storage/atomic.py
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "workflow_scripts"
STAGES = ("suite", "storage", "dataset")
LIMIT_SECONDS = 600
NO_TESTS = 5  # what pytest says when it has found none
GRAPH_TESTS = ("tests/workflow/test_graph.py", "tests/workflow/test_experiments_graph.py")
TURNED = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
OTHER_SIGN = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult, ast.Div: ast.Mult,
    ast.Mod: ast.Mult,
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One change: ``kind`` of change to the node with this number in the module's tree."""

    module: str
    number: int
    kind: str
    line: int


def kinds_of(node: ast.AST) -> Iterator[str]:
    """Changes that can be made to a node."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in TURNED:
        yield "turn comparison"
    elif isinstance(node, ast.BoolOp):
        yield "and <-> or"
    elif isinstance(node, ast.BinOp) and type(node.op) in OTHER_SIGN:
        yield "other sign"
    elif isinstance(node, (ast.If, ast.IfExp, ast.While)):
        yield "negate condition"
    elif isinstance(node, ast.Constant) and type(node.value) is int:
        yield "constant + 1"
    elif isinstance(node, ast.Constant) and type(node.value) is bool:
        yield "turn boolean"
    elif isinstance(node, (ast.Raise, ast.AugAssign)) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    ):
        yield "drop statement"


def is_call(node: ast.AST) -> bool:
    """True for a statement that only calls something."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)


def skipped(node: ast.AST) -> bool:
    """Parts whose change says nothing: type hints, decorators and the last line of a program."""
    return isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)


def nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes that may be changed, always in the same order."""
    for field, value in ast.iter_fields(tree):
        if field in ("annotation", "returns", "decorator_list"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not skipped(child):
                yield child
                yield from nodes(child)


def mutants_of(module: str) -> list[Mutant]:
    """Every mutant of a module, docstrings and logging left alone."""
    tree = ast.parse((ROOT / PACKAGE / module).read_text(encoding="utf-8"))
    return [
        Mutant(module, number, kind, getattr(node, "lineno", 0))
        for number, node in enumerate(nodes(tree))
        for kind in kinds_of(node)
        if not ast.unparse(node).startswith(("log.", "parser.", "progress."))
    ]


def changed(module: str, mutant: Mutant) -> str:
    """Source of the module with the change made."""
    tree = ast.parse((ROOT / PACKAGE / module).read_text(encoding="utf-8"))
    node = list(nodes(tree))[mutant.number]
    apply(node, mutant.kind, tree)
    return ast.unparse(ast.fix_missing_locations(tree))


def apply(node: ast.AST, kind: str, tree: ast.AST) -> None:
    """Change ``node`` in place."""
    if isinstance(node, ast.Compare):
        node.ops[0] = TURNED[type(node.ops[0])]()
    elif isinstance(node, ast.BoolOp):
        node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    elif isinstance(node, ast.BinOp):
        node.op = OTHER_SIGN[type(node.op)]()
    elif isinstance(node, (ast.If, ast.IfExp, ast.While)):
        node.test = ast.UnaryOp(ast.Not(), copy.copy(node.test))
    elif isinstance(node, ast.Constant):
        node.value = (not node.value) if kind == "turn boolean" else node.value + 1
    else:
        replace_statement(tree, node)


def replace_statement(tree: ast.AST, target: ast.AST) -> None:
    """Put ``pass`` where ``target`` stands."""
    for parent in ast.walk(tree):
        for _, value in ast.iter_fields(parent):
            if isinstance(value, list) and target in value:
                value[value.index(target)] = ast.Pass()


def own_tests(module: str) -> list[str]:
    """The module's doctests and the test files of its stage that import it."""
    stage, file = module.split("/", maxsplit=1)
    name = Path(file).stem
    imports = re.compile(
        rf"from {PACKAGE}\.{stage}(\.{name} import|\.{name}\.| import [^\n]*\b{name}\b| import \([^)]*\b{name}\b)"
    )
    files = sorted((ROOT / "tests" / stage).glob("test_*.py"))
    return [
        f"{PACKAGE}/{module}",
        *(str(path.relative_to(ROOT)) for path in files if imports.search(path.read_text("utf-8"))),
    ]


def all_tests(module: str) -> list[str]:
    """Every test of the module's stage; the plan of the graph too for what decides it."""
    stage = module.split("/", maxsplit=1)[0]
    return [f"tests/{stage}", *(GRAPH_TESTS if stage == "suite" else [])]


def verdict(mutant: Mutant, copy_of: Path) -> str:
    """``killed``, ``survived`` or ``too slow``; the copy is left as it was."""
    path = copy_of / PACKAGE / mutant.module
    before = path.read_text(encoding="utf-8")
    path.write_text(changed(mutant.module, mutant), encoding="utf-8")
    try:
        for tests in (own_tests(mutant.module), all_tests(mutant.module)):
            if run_tests(tests, copy_of) not in (0, NO_TESTS):
                return "killed"
    except subprocess.TimeoutExpired:
        return "too slow"
    finally:
        path.write_text(before, encoding="utf-8")
    return "survived"


def run_tests(tests: list[str], copy_of: Path) -> int:
    """Exit code of pytest for ``tests``, up to the first failure."""
    environment = {**os.environ, "PYTHONPATH": str(copy_of), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    options = ["-q", "-x", "-m", "not slow", f"--basetemp={copy_of.parent / 'temporary'}"]
    command = [sys.executable, "-m", "pytest", *options, *tests]
    return subprocess.run(command, cwd=copy_of, env=environment, capture_output=True, timeout=LIMIT_SECONDS).returncode


def refuse_failing_tests(sample: list[Mutant], copy_of: Path) -> None:
    """Stop when the tests fail without any change: they could not tell anything about a mutant."""
    for tests in sorted({tuple(all_tests(mutant.module)) for mutant in sample}):
        if run_tests(list(tests), copy_of):
            raise SystemExit(f"{' '.join(tests)} fail without a mutant; mend them first")


def chosen(modules: list[str], count: int, seed: int) -> list[Mutant]:
    """A seeded sample of all mutants of ``modules``."""
    everything = [mutant for module in modules for mutant in mutants_of(module)]
    return sorted(
        random.Random(seed).sample(everything, min(count, len(everything))), key=lambda each: (each.module, each.number)
    )


def main() -> None:
    """Make the copy, try each mutant, print the verdicts and the share that was killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=150, help="mutants to try")
    parser.add_argument("--seed", type=int, default=1, help="seed of the sample")
    parser.add_argument("--modules", nargs="+", help="modules instead of all, such as suite/steps.py")
    options = parser.parse_args()
    every = [f"{stage}/{path.name}" for stage in STAGES for path in sorted((ROOT / PACKAGE / stage).glob("*.py"))]
    counts: dict[str, int] = {}
    with tempfile.TemporaryDirectory(prefix="mutants-") as name:
        copy_of = Path(name) / "checkout"
        shutil.copytree(ROOT, copy_of, symlinks=True, ignore=shutil.ignore_patterns(".*", "results", "__pycache__"))
        shutil.copytree(ROOT / ".git", copy_of / ".git")
        (copy_of / ".venv").symlink_to(ROOT / ".venv")
        if (ROOT.parent / "shared").is_dir():
            (copy_of.parent / "shared").symlink_to(ROOT.parent / "shared")
        sample = chosen(options.modules or every, options.count, options.seed)
        refuse_failing_tests(sample, copy_of)
        for mutant in sample:
            started = time.monotonic()
            found = verdict(mutant, copy_of)
            counts[found] = counts.get(found, 0) + 1
            print(
                f"{found:9}{mutant.module}:{mutant.line}\t{mutant.kind}\t{time.monotonic() - started:.0f} s", flush=True
            )
    print(", ".join(f"{number} {found}" for found, number in sorted(counts.items())))


if __name__ == "__main__":
    main()
