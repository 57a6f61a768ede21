"""The tutorial and the how-to pages, typed literally: every console block is run and prints what the page says.

A page is one shell session. The tutorial begins with `git clone`, and its finished project, copied, is where every
how-to page starts. Only two things differ from what a reader does: the environment is the tests' own instead of a
fresh one (tests/test_bootstrap.py makes one), and `<this repository>` is this checkout.
"""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.docs.documented import APPEND, Block, Command, blocks, console_commands, inline_commands, pages

ROOT = Path(__file__).resolve().parents[2]
HOW_TO = [page for page in pages(ROOT) if page.startswith("docs/how-to/") and list(blocks(ROOT, page))]
STATUS = re.compile(r"\[exit (\d+)\]$")
# A finished pocket run to start from instead of typing the tutorial, for those who write how-to pages.
FINISHED = os.environ.get("FINISHED_POCKET_RUN")
SESSION_SECONDS = 3600


@dataclass
class Typed:
    """One command that was typed, what came back, and with which status."""

    command: Command
    status: int
    output: str

    def problem(self) -> str:
        """Empty when the page is right, else both sides."""
        wanted, expected = 0, self.command.expected
        if stated := STATUS.search(expected):
            wanted, expected = int(stated[1]), expected[: stated.start()].rstrip("\n")
        if self.status == wanted and matches(expected, self.output):
            return ""
        said = f"{self.command.place}: $ {self.command.text}\nexit code {self.status}, expected {wanted}\n"
        return f"{said}--- the page says\n{expected}\n--- it printed\n{self.output[-3000:]}"


def matches(expected: str, output: str) -> bool:
    """Compare as doctest does: ``...`` alone on a line stands for any lines, within a line for any characters."""
    pattern = ""
    for line in expected.splitlines():
        if line.strip() == "...":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += "[^\n]*".join(re.escape(part) for part in line.rstrip().split("...")) + r" *\n"
    return re.fullmatch(pattern, output if output.endswith("\n") or not output else output + "\n") is not None


def write_file(block: Block) -> list[str]:
    """Shell lines that write the file of a block."""
    append = block.title.endswith(APPEND)
    path = shlex.quote(block.title.removesuffix(APPEND))
    write = f"cat {'>>' if append else '>'} {path} <<'END_OF_FILE'"
    return [f'mkdir -p "$(dirname {path})"', write, *block.lines, "END_OF_FILE"]


def type_commands(steps: list[Block | Command], folder: Path, mark: str = "@@typed") -> list[Typed]:
    """Run blocks and commands one after another in one shell that starts in ``folder``."""
    commands: list[Command] = []
    script = ["exec 2>&1 </dev/null"]
    for step in steps:
        if isinstance(step, Block):
            script += write_file(step)
            continue
        script += [step.text.replace("<this repository>", str(ROOT)), f'printf "\\n{mark} %s\\n" $?']
        if step.text.startswith("git clone <this"):
            script.append(f"ln -s {shlex.quote(str(ROOT / '.venv'))} .venv")
        commands.append(step)
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "PYTEST", "COV_"))},
        "PYTHON": "/usr/bin/true",
        "PYTHONPATH": ".:workflow_scripts/snakemake_plugins",
        "LC_ALL": "C.UTF-8",
        "XDG_CACHE_HOME": str(folder / "cache"),
    }
    command = ["bash", "--noprofile", "--norc", "-c", "\n".join(script)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=SESSION_SECONDS)
    parts = re.split(rf"\n?\n{mark} (\d+)\n", done.stdout)
    return [
        Typed(step, int(status), text) for step, text, status in zip(commands, parts[::2], parts[1::2], strict=False)
    ]


def session(page: str) -> list[Block | Command]:
    """What a page tells the reader to type and to write, in order."""
    found: list[Block | Command] = []
    for block in blocks(ROOT, page):
        if block.title:
            found.append(block)
        elif block.kind == "console":
            found += console_commands(block)
    return found


def check(steps: list[Block | Command], folder: Path) -> None:
    """Type ``steps`` and hold the outputs to the page."""
    typed = type_commands(steps, folder)
    problems = [problem for each in typed if (problem := each.problem())]
    assert not problems, "\n\n".join(problems)
    assert len(typed) == sum(isinstance(step, Command) for step in steps)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout that the tutorial leaves behind; made once, by whichever test process comes first."""
    if FINISHED:
        return Path(FINISHED)
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "tutorial"
    folder.mkdir(exist_ok=True)
    with (folder / "turn").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not (folder / "typed").exists():
            check(session("docs/tutorial.md"), folder)
            (folder / "typed").touch()
    return folder / "pythia"


@pytest.fixture
def project(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished project, called ``pythia`` as in the tutorial."""
    shutil.copytree(finished, tmp_path / "pythia", symlinks=True)
    return tmp_path / "pythia"


@pytest.mark.slow
def test_the_tutorial(finished):
    assert (finished / "results/runs/pocket/report.html").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("page", HOW_TO)
def test_a_how_to_page(project, page):
    activate = Command(page, 0, ". .venv/bin/activate")
    check([activate, *session(page)], project)


@pytest.mark.slow
def test_the_three_wishes_of_the_readme(project):
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    first = lines.index("## Common tasks")
    last = next(number for number in range(first + 1, len(lines)) if lines[number].startswith("## "))
    wishes = [c for c in inline_commands(ROOT, "README.md") if first < c.line <= last and "snakemake" in c.text]
    assert len(wishes) == 3
    check([Command(wish.page, wish.line, wish.text, "...") for wish in wishes], project)


def test_what_stands_for_what():
    assert matches("a\n...\nb", "a\nx\ny\nb\n")
    assert matches("a ... c", "a b c\n")
    assert matches("...", "")
    assert not matches("a", "b\n")
    assert not matches("", "something\n")
    assert not matches("a ... c", "a\nc\n")


def test_a_wrong_status_or_output_is_seen(tmp_path):
    ok, bad = Command("page", 1, "echo a", "a"), Command("page", 2, "sh -c 'exit 3'", "[exit 2]")
    typed = type_commands([ok, bad, Command("page", 3, "echo b", "c")], tmp_path)
    assert [bool(each.problem()) for each in typed] == [False, True, True]
    assert typed[1].status == 3
