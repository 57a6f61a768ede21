"""No command of the pages escapes: each is at least parsed by the program it calls, and planned where it makes files.

The commands of the tutorial and the how-to pages are run for real by test_pages_run.py. The others are examples with
names of things that are not there (raw shards of the Pile, a cluster, the Hub), so they are checked as far as an
argument parser, a Makefile and a dry run go.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib
import os
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from unittest import mock

import pytest

from tests.docs.documented import Command, all_commands, blocks, pages
from tests.docs.shell_words import STAND_IN, simple_commands
from workflow_scripts import front_door

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = all_commands(ROOT)
SIMPLE = sorted(
    {tuple(words) for command in COMMANDS if "<" not in command.text for words in simple_commands(command.text)}
)
# Pages whose commands are run by test_pages_run.py, block by block.
RUN = ("docs/tutorial.md", "docs/how-to/", "docs/index.md")
# Words that stand for something that the reader fills in; such a command is parsed, not planned.
PLACEHOLDER = re.compile(r"^(TARGET|FILE|ORG/NAME|LIST|D|\.\.\.)$")
# What readers of the original repository typed there; docs/from-the-original.md says what they type here.
ORIGINAL = (
    "python deepy.py train.py pythia-160m-deduped.yml",
    "python main.py --model hf-causal-experimental --tasks ...",
    "python tools/convert_to_hf.py",
    *(f"python utils/{name}.py" for name in
      ("batch_viewer", "checksum_shards", "scrape", "shard_memmap", "unshard_memmap")),
)  # fmt: skip
# Commands that are checked by nothing but their name, with the reason; each must be on a page.
ONLY_NAMED = {
    ("make", "demo", "PYTHON=python3.12"): "another interpreter than the tests'",
    ("snakemake:", "command", "not", "found"): "what a shell says, not a command",
    **{tuple(command.split()): "a command of the original repository" for command in ORIGINAL},
}
OF_OTHER_MACHINES = {"curl", "sbatch"}  # of a machine with a network, of a cluster
BUILTINS = frozenset({".", "cd", "printf", "$EDITOR"})
PLUGIN_NEEDED = ("--profile", "--workflow-profile")


class ParsedError(Exception):
    """Carries the fact that a program's arguments were understood out of its ``main``."""


def understood(module: str, arguments: list[str]) -> None:
    """Let the program's own parser read ``arguments``; raises what argparse raises when it does not understand."""
    parse = argparse.ArgumentParser.parse_args

    def stop(self: argparse.ArgumentParser, *words: object, **named: object) -> None:
        parse(self, *words, **named)
        raise ParsedError

    with mock.patch.object(argparse.ArgumentParser, "parse_args", stop), contextlib.suppress(ParsedError):
        importlib.import_module(module).main(arguments)
        raise AssertionError(f"{module} parses no arguments")


@pytest.mark.parametrize("words", [words for words in SIMPLE if words[:2] == ("python", "-m")], ids=" ".join)
def test_the_program_understands_its_arguments(words):
    module, arguments = words[2], list(words[3:])
    if words in ONLY_NAMED or not module.startswith("workflow_scripts."):
        assert importlib.util.find_spec(module)
        return
    if arguments in ([], ["..."]):
        assert hasattr(importlib.import_module(module), "main")
        return
    understood(module, arguments)


def examples() -> list[tuple[str, ...]]:
    """Commands in the help of the programs."""
    found = set()
    for path in sorted((ROOT / "workflow_scripts").rglob("*.py")):
        text = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").replace("\\\n", " ")
        lines = [line.strip() for line in text.splitlines() if line.startswith("    python -m workflow_scripts.")]
        found |= {tuple(words) for line in lines for words in simple_commands(line)}
    return sorted(found)


@pytest.mark.parametrize("words", examples(), ids=" ".join)
def test_the_program_understands_the_example_in_its_help(words):
    understood(words[2], list(words[3:]))


def front_door_commands() -> list[tuple[str, ...]]:
    """What the pages ask of the one command, from its second word on."""
    texts = [(ROOT / page).read_text(encoding="utf-8") for page in pages(ROOT)]
    found = {code for text in texts for code in re.findall(r"(?<!`)`pythia ([a-z][^`\n]*)`(?!`)", text)}
    return sorted(tuple(words) for code in found for words in simple_commands(code))


@pytest.mark.parametrize("words", front_door_commands(), ids=" ".join)
def test_the_front_door_understands_what_the_pages_ask(words):
    stage, program, _ = front_door.SHORT_NAMES.get(words[0], (words[0], words[1] if len(words) > 1 else "", ""))
    arguments = list(words[1:] if words[0] in front_door.SHORT_NAMES else words[2:])
    module = front_door.find_program(stage, program)
    if arguments:
        understood(module, arguments)


def test_examples_in_help_are_not_glued(root):
    """A backslash before the end of a line joins lines unless the docstring is raw."""
    for path in sorted((root / "workflow_scripts").rglob("*.py")):
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        assert not re.search(r"^ {4}python -m .*\S {4,}--", text, re.MULTILINE), path


@pytest.mark.parametrize("words", [words for words in SIMPLE if words[0] == "make"], ids=" ".join)
def test_make_knows_the_target(root, words):
    if words in ONLY_NAMED:
        return
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    done = subprocess.run(["make", "--dry-run", *words[1:]], cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def snakemake_plans(root, tmp_path_factory):
    """Function that lets Snakemake parse and plan a command line, in a folder without results."""
    from snakemake.cli import args_to_api, parse_args

    folder = tmp_path_factory.mktemp("plan")
    for name in ("config", "rules", "envs", "notebooks", "Snakefile", "workflow_scripts", "profiles", "docs"):
        (folder / name).symlink_to(root / name)
    (folder / "runs").mkdir()

    def plan(words: list[str]) -> bool:
        here = Path.cwd()
        os.chdir(folder)
        try:
            with warnings.catch_warnings(), contextlib.redirect_stdout(None), contextlib.redirect_stderr(sys.stderr):
                warnings.simplefilter("ignore")
                parser, arguments = parse_args(["--dry-run", "--quiet=all", "--cores=1", *words])
                return bool(args_to_api(arguments, parser))
        finally:
            os.chdir(here)

    return plan


def without_profile(words: tuple[str, ...]) -> list[str]:
    """Words without a profile of the project, which is looked up: its plugin is not part of the tests' environment."""
    rest, skip = [], False
    for option, value in zip(words, [*words[1:], ""], strict=True):
        if skip:
            skip = False
        elif option in PLUGIN_NEEDED:
            assert (ROOT / "profiles" / Path(value).name).is_dir(), value
            skip = True
        else:
            rest.append(option)
    return rest


SNAKEMAKE = [words for words in SIMPLE if Path(words[0]).name == "snakemake"]
# Runs that pages make before they name them; here they are read from the page.
MADE_ON_PAGES = {
    block.title: block for page in pages(ROOT) for block in blocks(ROOT, page) if block.title.startswith("config/runs/")
}


@pytest.mark.slow
@pytest.mark.parametrize("words", SNAKEMAKE, ids=" ".join)
def test_snakemake_plans_it(snakemake_plans, words):
    asked = [word for word in without_profile(words[1:]) if word != STAND_IN]
    # A run that its page tells to write, a missing corpus, a mirror: their pages are run for real.
    made = any(
        word in MADE_ON_PAGES or word.startswith(("checkpoints={source: mirror", "models=[pocket-2m")) for word in asked
    )
    if made or any(PLACEHOLDER.match(word) for word in asked) or "--report" in asked or "books.yaml" in " ".join(asked):
        from snakemake.cli import parse_args

        parse_args(["--dry-run", *asked])
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", os.environ["PATH"])
        assert snakemake_plans([word for word in asked if word not in ("-n",)])


@pytest.mark.parametrize("words", SIMPLE, ids=" ".join)
def test_every_other_program_exists(root, words):
    name = words[0]
    if words in ONLY_NAMED or name in BUILTINS | OF_OTHER_MACHINES:
        return
    if name in ("python", "python3") and not words[1].startswith("-"):
        is_written = any(block.title == words[1] for page in pages(root) for block in blocks(root, page))
        assert (root / words[1]).is_file() or is_written, words
        return
    assert shutil.which(name) or (Path(sys.executable).parent / Path(name).name).exists(), name


def is_run(command: Command) -> bool:
    """True when test_pages_run.py runs the command."""
    inside = command.page.startswith(RUN)
    return inside and any(
        block.kind == "console" and block.line < command.line <= block.line + len(block.lines)
        for block in blocks(ROOT, command.page)
    )


def test_a_block_that_is_not_run_says_why():
    for page in pages(ROOT):
        for block in blocks(ROOT, page):
            if block.kind == "sh":
                assert block.reason, f"{page}:{block.line}: sh block without <!-- not run: why -->"
            if block.kind == "console":
                assert page.startswith(RUN), f"{page}:{block.line}: console block on a page that no test runs"
                assert not block.reason


def test_exceptions_are_needed():
    assert set(ONLY_NAMED) <= set(SIMPLE)


def test_there_are_commands_and_most_how_to_commands_are_run():
    how_to = [command for command in COMMANDS if command.page.startswith(RUN)]
    assert len(COMMANDS) > 150
    assert sum(map(is_run, how_to)) > 60


def test_make_gives_snakemake_arguments_that_it_understands(root):
    """`--logger` and `--configfile` take several values: a target that stands after one of them is swallowed."""
    from snakemake.cli import parse_args

    text = (root / "Makefile").read_text(encoding="utf-8")
    values = {name: value.strip() for name, value in re.findall(r"^(RUN|QUIET|CONFIG) \??= (.+)$", text, re.MULTILINE)}
    recipes = re.findall(r"^\t@\$\(RUN\) (.+)$", text, re.MULTILINE)
    assert len(recipes) == 3
    for recipe in recipes:
        words = re.sub(r"\$\((\w+)\)", lambda name: values[name[1]], recipe).split()
        _, arguments = parse_args(["--cores=1", *words])
        assert [str(path) for path in arguments.configfile] == ["config/config.yaml"]
        assert list(arguments.logger) == ["brief"]
        assert set(arguments.targets) == {word for word in words if word in ("figures", "report")}
