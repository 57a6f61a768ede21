"""Outputs of other code or another environment are named with the reason; nothing else is."""

import json
import subprocess

import pytest

from workflow_scripts import cli
from workflow_scripts.provenance import stale


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A small repository with one program, its library and a bystander, and an output made by its first commit."""
    package = tmp_path / "workflow_scripts" / "evaluation"
    package.mkdir(parents=True)
    (package / "score.py").write_text("from workflow_scripts.evaluation import products\ncli.run(main)\n")
    (package / "products.py").write_text("X = 1\n")
    (package / "other.py").write_text("Y = 1\n")
    git(tmp_path, "init", "-q")
    monkeypatch.setattr(stale, "lock_hashes", lambda: {"base.lock": "b", "dev.lock": "d"})
    output = tmp_path / "results" / "0-shot.json"
    output.parent.mkdir()
    output.write_text("{}")
    record(output, commit(tmp_path))
    yield tmp_path
    stale.changed_since.cache_clear()
    stale.imported_files.cache_clear()


def git(folder, *arguments):
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def commit(folder):
    git(folder, "add", "workflow_scripts")
    git(folder, "commit", "-q", "-m", "state")
    return git(folder, "rev-parse", "HEAD")[:12]


def record(output, version, locks=None):
    content = {"command": ["score.py"], "code_version": version, "lock_sha256": locks or {"base.lock": "b"}}
    output.with_name(output.name + ".record.json").write_text(json.dumps(content))


def found(folder):
    return [(each.program, each.reasons) for each in stale.stale_outputs(folder / "results", folder)]


def test_nothing_is_stale_after_an_edit_that_the_program_does_not_import(checkout):
    (checkout / "workflow_scripts/evaluation/other.py").write_text("Y = 2\n")
    assert found(checkout) == []


@pytest.mark.parametrize("committed", [True, False])
def test_an_edit_of_an_imported_file_is_the_reason(checkout, committed):
    (checkout / "workflow_scripts/evaluation/products.py").write_text("X = 2\n")
    if committed:
        commit(checkout)
    assert found(checkout) == [("evaluation.score", ("workflow_scripts/evaluation/products.py",))]


def test_a_lock_of_results_counts_and_a_lock_of_tools_does_not(checkout):
    output = checkout / "results" / "0-shot.json"
    version = git(checkout, "rev-parse", "HEAD")[:12]
    record(output, version, {"base.lock": "old", "dev.lock": "old"})
    assert found(checkout) == [("evaluation.score", ("envs/base.lock",))]


def test_uncommitted_and_unknown_versions_are_said(checkout):
    output = checkout / "results" / "0-shot.json"
    record(output, git(checkout, "rev-parse", "HEAD")[:12] + "-dirty")
    assert found(checkout)[0][1] == ("made with uncommitted changes",)
    record(output, "unknown")
    assert "not in this checkout's history" in found(checkout)[0][1][0]


def test_scores_that_wait_in_a_hidden_folder_are_no_output(checkout):
    (checkout / "results").rename(checkout / ".0-shot.json.unpublished")
    (checkout / "results").mkdir()
    (checkout / ".0-shot.json.unpublished").rename(checkout / "results" / ".0-shot.json.unpublished")
    record(checkout / "results" / ".0-shot.json.unpublished" / "0-shot.json", "unknown")
    assert found(checkout) == []


def test_a_record_without_its_output_is_nothing(checkout):
    (checkout / "results" / "0-shot.json").unlink()
    assert found(checkout) == []


def test_a_broken_record_is_one_line(tmp_path, capsys):
    (tmp_path / "a.json").write_text("")
    (tmp_path / "a.json.record.json").write_text("[")
    assert cli.run(stale.main, ["--results", str(tmp_path)]) == 2
    assert "not a record (not JSON" in capsys.readouterr().err
