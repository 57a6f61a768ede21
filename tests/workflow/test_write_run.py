"""The resolved run is written from its settings; a plan made before the suite's file changed is refused."""

import json

import pytest

from workflow_scripts import cli
from workflow_scripts.suite.run import load_run
from workflow_scripts.suite.safe_yaml import load_yaml
from workflow_scripts.workflow.report import FACTS, settings_words
from workflow_scripts.workflow.tools import write_run

POLYPYTHIAS = {"run": "poly", "suite": "pythia", "models": ["pythia-*"], "steps": "all", "tasks": ["lambada_openai"]}


@pytest.fixture
def default(root):
    return load_yaml(root / "config" / "config.yaml")


def test_the_file_holds_the_resolved_run(default, tmp_path):
    run = load_run(default)
    output = tmp_path / "run.json"
    words = settings_words(run).values()
    assert cli.run(write_run.main, ["--settings", *words, "--output", str(output)]) == 0
    assert json.loads(output.read_text()) == json.loads(json.dumps(run.as_json()))


def test_thousands_of_checkpoints_make_no_argument_longer(default):
    """A word of more than 131,072 bytes cannot be handed to a program; a plan shows at most 400 characters of one."""
    checkpoints = {"checkpoints": {**default["checkpoints"], "source": "hub", "location": None}}
    run = load_run({**default, **POLYPYTHIAS, **checkpoints})
    assert sum(map(len, run.steps.values())) > 9_000
    assert max(map(len, settings_words(run).values())) <= 400


def test_a_suite_that_changed_since_the_plan_is_refused(default, tmp_path, capsys):
    words = [*settings_words(load_run(default)).values(), f'{FACTS}="000000000000"']
    assert cli.run(write_run.main, ["--settings", *words, "--output", str(tmp_path / "run.json")]) == 2
    assert "suite pocket: its file changed since this run was planned" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_word_that_is_not_json_is_refused(tmp_path, capsys):
    assert cli.run(write_run.main, ["--settings", "steps=[0", "--output", str(tmp_path / "run.json")]) == 2
    assert "--settings steps: expected steps=JSON" in capsys.readouterr().err
