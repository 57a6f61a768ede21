"""One command for all programs: ``pythia``, the same as ``python -m workflow_scripts...`` with less to type.

    pythia                                     # what is asked most, the stages, and their programs, a line each
    pythia evaluation                          # the programs of one stage
    pythia evaluation score --help             # a program with its own arguments
    pythia scores pythia-70m 143000            # one of the short names

The list is read from the files; no program is imported before it is run.
"""

from __future__ import annotations

import ast
import re
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts import cli
from workflow_scripts.errors import UnknownNameError

PACKAGE = Path(__file__).resolve().parent
# In the order of the graph's data; tests/test_layers.py holds the same order of imports.
STAGES = (
    *("suite", "storage", "pocket", "dataset", "training", "checkpoints", "evaluation", "published"),
    *("experiments", "report", "provenance", "workflow"),
)
# Programs that people call by hand, under one word: stage, program, an example.
SHORT_NAMES = {
    "scores": ("published", "show_scores", "pythia-70m 143000"),
    "batch": ("dataset", "view_batches", "--suite pocket --data standard --iteration 7"),
    "trace": ("experiments", "trace", '--run results/runs/pocket/run.json --text "..."'),
    "why": ("provenance", "why", "results/runs/pocket/figures/loss_over_training.svg"),
    "seal": ("provenance", "seal", "--run pocket"),
    "verify": ("provenance", "verify_release", "results/runs/pocket/seal.json --page verification.html"),
    "plan": ("workflow", "plan", "--config config/runs/suite.yaml"),
    "check": ("workflow", "check", "--config config/runs/suite.yaml"),
    "doctor": ("workflow", "doctor", ""),
    "models": ("workflow", "models_table", ""),
}
UNITS = """\
A step is an optimizer step; iteration k, counted from 0, is what step k+1 trained on. A row is one sequence: 2,049
tokens in Pythia, of which 2,048 are predicted. GB are 10^9 bytes, MiB and GiB are 2^20 and 2^30 bytes.
Relative paths start in the folder in which pythia is called: the top of the checkout."""
PROGRAM = re.compile(r"^    raise SystemExit\(cli\.run\(main\)\)$", re.MULTILINE)


def programs_of(stage: str) -> dict[str, Path]:
    """Files of the programs of a stage by name, those in a folder of it among them (workflow/tools)."""
    files = sorted((PACKAGE / stage).rglob("*.py"))
    return {path.stem: path for path in files if PROGRAM.search(path.read_text(encoding="utf-8"))}


def first_line(path: Path) -> str:
    """First line of a module's docstring, without its full stop."""
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0].rstrip(".:")


def list_programs(stages: Sequence[str]) -> str:
    """The programs of ``stages`` as lines of text."""
    lines = []
    for stage in stages:
        programs = programs_of(stage)
        lines += [stage, *(f"  {name:24} {first_line(path)}" for name, path in programs.items())] if programs else []
    return "\n".join(lines)


def overview() -> str:
    """What ``pythia`` prints without arguments."""
    asked = (f"  pythia {f'{name} {example}':61} {first_line(programs_of(stage)[program])}"
             for name, (stage, program, example) in SHORT_NAMES.items())  # fmt: skip
    return "\n".join([
        "usage: pythia STAGE PROGRAM [ARGUMENTS...]      pythia STAGE PROGRAM --help", "", "Asked most:", *asked, "",
        "Stages, in the order of the data, and their programs:", "", list_programs(STAGES), "", UNITS,
    ])  # fmt: skip


def find_program(stage: str, name: str) -> str:
    """Module of a program; raises UnknownNameError with the nearest right name."""
    programs = programs_of(stage)
    if name not in programs:
        raise UnknownNameError("program", name, programs, f"pythia {stage}")
    return ".".join((PACKAGE.name, *programs[name].relative_to(PACKAGE).with_suffix("").parts))


def main(arguments: Sequence[str] | None = None) -> None:
    """List programs, or run the one that is named first with the arguments that follow."""
    stage, *rest = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if stage in ("-h", "--help"):
        cli.say(overview())
        return
    called = f"pythia {stage}" if stage in SHORT_NAMES else f"pythia {stage} {rest[0] if rest else ''}"
    if stage in SHORT_NAMES:
        stage, program, _ = SHORT_NAMES[stage]
        rest = [program, *rest]
    if stage not in STAGES:
        raise UnknownNameError("stage", stage, (*STAGES, *SHORT_NAMES), "pythia")
    if not rest or rest[0] in ("-h", "--help"):
        cli.say(list_programs([stage]))
        return
    module = find_program(stage, rest[0])
    cli.called_as = called
    sys.argv[1:] = rest[1:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def start() -> int:
    """Entry point of the console script; returns the exit code."""
    return cli.run(main)


if __name__ == "__main__":
    raise SystemExit(start())
