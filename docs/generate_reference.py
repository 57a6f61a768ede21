r"""Writes docs/commands.md and docs/targets.md from the programs' argument parsers and from the rules.

The pages cannot be out of date: tests/docs compares them with what this program would write. It never runs a program
and never starts a job.

Example:
  python docs/generate_reference.py
"""

from __future__ import annotations

import argparse
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
PACKAGE = ROOT / "workflow_scripts"
STAGES = (
    "suite",
    "storage",
    "pocket",
    "dataset",
    "training",
    "checkpoints",
    "evaluation",
    "published",
    "experiments",
    "report",
    "provenance",
    "workflow",
)
PROGRAM = re.compile(r"^    raise SystemExit\(cli\.run\(main\)\)$", re.MULTILINE)
# A rule, also one under a condition or in a loop: what follows is indented further. In a loop it is called as its log.
RULE = re.compile(r"^( *)(?:rule *(\w*)|use rule (\w+) as (\w+) with):\n((?:\1 +.*\n|\n)*)", re.MULTILINE)
DOCSTRING = re.compile(r'^ +"""(.+?)"""\n', re.DOTALL)
LOG = re.compile(r'"results/logs/(\w+)/')
OUTPUT = re.compile(r"^( *)output:\n((?:\1 +.*\n)+)", re.MULTILINE)

COMMANDS_HEAD = """# Commands

Made from the programs themselves by `python docs/generate_reference.py`; do not edit.

Every step of the graph is a program that works without Snakemake: `python -m workflow_scripts.<stage>.<step>`, from the
top folder of the checkout, with the environment active (`. .venv/bin/activate`). `--help` shows the same and an
example.
Programs end with exit code 0, with 2 and one line when you can act on what went wrong, with 130 when they were stopped.
An option in **bold** must be given.
"""
TARGETS_HEAD = """# Targets

Made from the rules by `python docs/generate_reference.py`; do not edit.

`snakemake -c2 TARGET` makes a target and what it needs; `snakemake -n TARGET` only says what that would be. Targets
stand before options that take several values (`--configfile`, `--config`). A target is one of these names or any file
below.
"""


class ParserFoundError(Exception):
    """Carries a program's parser out of its ``main``."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        """Keep the parser."""
        super().__init__()
        self.parser = parser


def programs() -> Iterator[str]:
    """Module names of all programs, stage by stage."""
    for stage in STAGES:
        for path in sorted((PACKAGE / stage).rglob("*.py")):
            if PROGRAM.search(path.read_text(encoding="utf-8")):
                yield ".".join(path.relative_to(ROOT).with_suffix("").parts)


def parser_of(module: str) -> argparse.ArgumentParser:
    """The argument parser that a program's ``main`` makes."""

    def carry_out(self: argparse.ArgumentParser, *_: object, **__: object) -> None:
        raise ParserFoundError(self)

    main = importlib.import_module(module).main
    with mock.patch.object(argparse.ArgumentParser, "parse_args", carry_out):
        try:
            main([])
        except ParserFoundError as found:
            return found.parser
    raise RuntimeError(f"{module}: its main parses no arguments")


def commands_page() -> str:
    """The page of all programs."""
    parts, stage = [COMMANDS_HEAD], ""
    for module in programs():
        _, part, name = module.split(".", 2)
        if part != stage:
            parts.append(f"\n## {part}\n")
            stage = part
        parts.append("\n".join(program_section(f"{part}.{name}", parser_of(module))))
    return "\n".join(parts) + "\n"


def program_section(name: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    """Heading, first paragraph of the description, and options of one program."""
    yield f"### {name}\n"
    yield first_paragraph(parser.description or "") + "\n"
    for choice, below in sub_parsers(parser).items():
        yield f"With `{choice}`:\n"
        yield from option_table(below)
    yield from option_table(parser)


def first_paragraph(text: str) -> str:
    """First paragraph on one line."""
    return escape(" ".join(text.strip().split("\n\n")[0].split()))


def sub_parsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Parsers of the questions that a program takes, if it takes any."""
    return {
        name: below
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
        for name, below in action.choices.items()
    }


def option_table(parser: argparse.ArgumentParser) -> Iterator[str]:
    """A row per option."""
    hidden = (argparse._HelpAction, argparse._SubParsersAction)
    actions = [item for item in parser._actions if not isinstance(item, hidden) and item.help != argparse.SUPPRESS]
    if not actions:
        return
    yield "| option | default | meaning |"
    yield "|---|---|---|"
    for action in actions:
        name = option_name(action)
        default = "" if action.default in (None, False, argparse.SUPPRESS, []) else f"`{default_text(action.default)}`"
        shown = f"**`{name}`**" if action.required else f"`{name}`"
        yield f"| {shown} | {default} | {escape((action.help or '') % vars(action))} |"
    yield ""


def option_name(action: argparse.Action) -> str:
    """An option with what it takes."""
    name = action.option_strings[-1] if action.option_strings else action.metavar or action.dest
    if not action.option_strings or action.nargs == 0:
        return str(name)
    values = action.metavar or (" ".join(map(str, action.choices)) if action.choices else action.dest.upper())
    values = "/".join(values.split()) if action.choices and not action.metavar else str(values)
    return f"{name} {values}{' ...' if action.nargs in ('+', '*') else ''}"


def default_text(default: object) -> str:
    """A default without anything of this machine."""
    return str(default).replace(f"{ROOT}/", "")


def escape(text: str) -> str:
    """Text that Markdown shows as it stands in a table cell."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*").replace("\n", " ")


def rules_of(path: Path) -> Iterator[tuple[str, str, list[str]]]:
    """Name, docstring and literal output files of each rule in a rule file."""
    for _, name, original, twin, body in RULE.findall(path.read_text(encoding="utf-8")):
        text, block = DOCSTRING.match(body), OUTPUT.search(body)
        outputs = re.findall(r'"(results/[^"]+)"', block[2]) if block else []
        said = " ".join(text[1].split()) if text else f"As `{original}`, for other files." if original else ""
        yield name or twin or LOG.findall(body)[0], said, outputs


def targets_page() -> str:
    """The page of all named targets and of every rule's files."""
    lines = [TARGETS_HEAD, "| target | makes |", "|---|---|"]
    lines += [f"| `{name}` | {escape(text)} |" for name, text, _ in rules_of(ROOT / "Snakefile")]
    lines += ["", "## Files and the rules that make them", ""]
    included = re.findall(r'include: "(rules/\w+\.smk)"', (ROOT / "Snakefile").read_text(encoding="utf-8"))
    for file in included:
        rules = list(rules_of(ROOT / file))
        if rules:
            lines += [f"### {Path(file).stem}", "", "| rule | what it does | files |", "|---|---|---|"]
            lines += [rule_row(*rule) for rule in rules] + [""]
    return "\n".join(lines).rstrip() + "\n"


def rule_row(name: str, text: str, outputs: list[str]) -> str:
    """A table row for one rule; double braces are how a rule keeps a wildcard through ``expand``."""
    files = " ".join(f"`{path.replace('{{', '{').replace('}}', '}')}`" for path in outputs)
    return f"| `{name}` | {escape(text)} | {files} |"


PAGES = {"commands.md": commands_page, "targets.md": targets_page}


def main() -> None:
    """Write both pages."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
