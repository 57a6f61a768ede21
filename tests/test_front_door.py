"""The front door lists every program, runs it as ``python -m`` does, and knows the nearest right name."""

import importlib
import subprocess
import sys
import tomllib

import pytest

from tests.test_layers import LAYERS
from workflow_scripts import front_door
from workflow_scripts.errors import UnknownNameError


def start(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "workflow_scripts.front_door", *arguments], capture_output=True, text=True
    )


def test_every_stage_and_every_program_is_listed_with_a_line(root, capsys):
    assert list(front_door.STAGES) == LAYERS
    front_door.main([])
    lines = capsys.readouterr().out.splitlines()
    lines = lines[lines.index("Stages, in the order of the data, and their programs:") :]
    programs = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines if line.startswith("  ")}
    files = [path for path in (root / "workflow_scripts").rglob("*.py") if "cli.run(main))\n" in path.read_text()]
    assert len(files) > 70
    assert {path.stem for path in files} == set(programs)
    assert all(programs.values())


def test_what_is_asked_most_stands_first_with_an_example(capsys):
    """Each short name leads to a program that takes the example's options."""
    front_door.main([])
    out = capsys.readouterr().out
    for name, (stage, program, example) in front_door.SHORT_NAMES.items():
        assert name not in front_door.STAGES
        assert f"  pythia {name} {example}".rstrip() in out[: out.index("Stages")]
        helped = start(name, "--help")
        assert helped.returncode == 0
        assert helped.stdout.startswith(f"usage: pythia {name} "), (stage, program)
        for option in (word for word in example.split() if word.startswith("--")):
            assert option in helped.stdout


def test_names_are_told_apart_within_a_stage(root):
    """A program in a folder of its stage is called by its name alone, so no two of a stage share one."""
    for stage in front_door.STAGES:
        files = (root / "workflow_scripts" / stage).rglob("*.py")
        names = [path.stem for path in files if front_door.PROGRAM.search(path.read_text())]
        assert len(names) == len(set(names))


def test_listing_imports_nothing_heavy():
    code = "import sys; from workflow_scripts import front_door; front_door.main([]); sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


@pytest.mark.parametrize("words", [("provenance", "why"), ("workflow", "check"), ("evaluation", "build_plan")])
def test_a_program_gets_its_arguments_and_its_exit_code(words):
    helped = start(*words, "--help")
    assert helped.returncode == 0, helped.stderr
    assert helped.stdout.startswith(f"usage: pythia {words[0]} {words[1]} ")
    refused = start(*words, "--no-such-option")
    assert refused.returncode == 2
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["evaluaton"], "pythia: unknown stage 'evaluaton'; did you mean 'evaluation'?"),
        (["evaluation", "scor"], "pythia evaluation: unknown program 'scor'; did you mean 'score'?"),
    ],
)
def test_a_wrong_name_is_one_line_with_the_nearest_right_one(words, line):
    with pytest.raises(UnknownNameError) as caught:
        front_door.main(words)
    assert str(caught.value) == line
    outcome = start(*words)
    assert (outcome.returncode, outcome.stderr) == (2, f"error: {line}\n")


def test_a_stage_alone_lists_its_programs(capsys):
    front_door.main(["provenance"])
    out = capsys.readouterr().out
    assert out.startswith("provenance\n")
    assert "evaluation" not in out.splitlines()


def test_the_console_script_leads_here(root):
    entry = tomllib.loads((root / "pyproject.toml").read_text())["project"]["scripts"]["pythia"]
    module, _, function = entry.partition(":")
    assert getattr(importlib.import_module(module), function) is front_door.start


def test_tracing_needs_no_stage():
    helped = start("trace", "--help")
    assert helped.returncode == 0, helped.stderr
    assert helped.stdout.startswith("usage: pythia trace ")
