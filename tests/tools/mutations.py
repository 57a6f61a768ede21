"""The changes that mutate.py makes: which nodes of a module's syntax tree can be changed, and each change made.

A comparison turned round, ``and`` for ``or``, a sign, a constant moved by one, a condition negated, a statement
dropped. Type hints, decorators, docstrings and what is only logged are left alone. It must never write a file.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "workflow_scripts"
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
    lines: range  # of the statement, or of the condition of one that holds others

    @property
    def name(self) -> str:
        """What ``--only`` takes."""
        return f"{self.module}#{self.number}"


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
    tree = ast.parse((PACKAGE / module).read_text(encoding="utf-8"))
    within = statement_lines(tree)
    return [
        Mutant(module, number, kind, getattr(node, "lineno", 0), within[node])
        for number, node in enumerate(nodes(tree))
        for kind in kinds_of(node)
        if not ast.unparse(node).startswith(("log.", "parser.", "progress."))
    ]


def statement_lines(tree: ast.AST) -> dict[ast.AST, range]:
    """Lines of the innermost statement around each node, without the statements that it holds."""
    found: dict[ast.AST, range] = {}
    for statement in ast.walk(tree):  # outer statements come first
        if isinstance(statement, ast.stmt):
            body = getattr(statement, "body", None)
            last = body[0].lineno - 1 if body else statement.end_lineno or statement.lineno
            lines = range(statement.lineno, max(last, statement.lineno) + 1)
            found.update(dict.fromkeys(ast.walk(statement), lines))
    return found


def changed(mutant: Mutant) -> tuple[str, str]:
    """Source of the module with the change made, and the change in words for a reader."""
    text = (PACKAGE / mutant.module).read_text(encoding="utf-8")
    tree = ast.parse(text)
    node = list(nodes(tree))[mutant.number]
    before = shown(node)
    apply(node, mutant.kind, tree)
    after = "(dropped)" if mutant.kind == "drop statement" else shown(node)
    line = text.splitlines()[mutant.line - 1].strip()
    return ast.unparse(ast.fix_missing_locations(tree)), f"{before} -> {after}   in   {line}"


def shown(node: ast.AST) -> str:
    """The part of a node that is changed, on one line."""
    part = node.test if isinstance(node, ast.If | ast.IfExp | ast.While) else node
    return " ".join(ast.unparse(part).split())


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
