"""Version, licence and dates agree wherever they are written, and the hooks run what `make check` runs."""

import datetime
import re
import tomllib

import pytest
import yaml


@pytest.fixture(scope="module")
def project(root):
    return tomllib.loads((root / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def citation(root):
    return yaml.safe_load((root / "CITATION.cff").read_text())


def heads(root):
    """Versions of the changelog, newest first, with what stands in brackets."""
    return re.findall(r"^## (\d+\.\d+\.\d+)(?: \((.+)\))?$", (root / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_one_version(root, project, citation):
    newest, state = heads(root)[0]
    assert project["version"] == str(citation["version"]) == newest
    assert state == "unreleased" or datetime.date.fromisoformat(state) == citation["date-released"]


def test_versions_of_the_changelog_go_down(root):
    numbers = [tuple(map(int, version.split("."))) for version, _ in heads(root)]
    assert numbers == sorted(set(numbers), reverse=True)
    assert all(state != "unreleased" for _, state in heads(root)[1:])


def test_one_licence(root, project, citation):
    assert project["license"] == citation["license"] == "Apache-2.0"
    assert "Apache License" in (root / "LICENSE").read_text()[:300]


def test_the_citation_is_a_citation_file(citation):
    assert citation["cff-version"].startswith("1.2")
    assert {"title", "authors", "message", "type"} <= set(citation)
    assert any("Pythia" in reference["title"] for reference in citation["references"])


def test_hooks_are_local_and_run_what_the_check_runs(root):
    hooks = yaml.safe_load((root / ".pre-commit-config.yaml").read_text())["repos"]
    assert {entry["repo"] for entry in hooks} == {"local"}
    entries = " ".join(hook["entry"] for entry in hooks for hook in entry["hooks"])
    check = re.search(r"^check:.*?\n((?:\t.*\n)+)", (root / "Makefile").read_text(), re.MULTILINE)[1]
    for tool in ("ruff format", "ruff check", "mypy", "snakefmt"):
        assert tool in entries
        assert tool in check
    assert all((root / path).exists() for path in re.findall(r"tests/[\w/]+\.py", entries))


def test_templates_ask_for_what_helps(root):
    bug = (root / ".github/ISSUE_TEMPLATE/bug.md").read_text()
    assert "make doctor" in bug
    assert "CHANGELOG.md" in (root / ".github/pull_request_template.md").read_text()
