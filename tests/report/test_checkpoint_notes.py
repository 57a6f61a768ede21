"""Findings on a run's own checkpoints reach the report; what was not judged is not praised."""

import json

import jinja2
import pytest
from synthetic_run import build_arguments

from workflow_scripts.checkpoints.defect_table import Defect, write_defects
from workflow_scripts.report.build import TEMPLATES
from workflow_scripts.report.build import main as build
from workflow_scripts.report.page.checkpoint_notes import checkpoint_notes

DUPLICATE = Defect("m", "step8", "duplicate", "same weights as <m> step4")
SPIKE = Defect("m", "step16", "score-spike", "2 of 5 tasks")
OTHER = Defect("other", "step8", "nan", "x")


@pytest.fixture
def folders(tmp_path):
    (tmp_path / "tables").mkdir()
    return tmp_path / "tables", tmp_path / "results" / "audit" / "s" / "defects.tsv"


def section(notes):
    """The part of the page between its two headings, with the template's own settings."""
    text = (TEMPLATES / "report.html.j2").read_text(encoding="utf-8")
    begin = text.index("{% if checkpoint_notes %}")
    part = text[begin : text.index('<section id="provenance"', begin)]
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(part).render(checkpoint_notes=notes)


def test_nothing_judged_no_section(folders):
    assert checkpoint_notes(["m"], None, None) is None
    assert section(None).strip() == ""


def test_findings_of_the_runs_models_are_shown(folders):
    tables, audit = folders
    write_defects(tables / "score_defects.tsv", [SPIKE])
    write_defects(audit, [DUPLICATE, OTHER])
    notes = checkpoint_notes(["m"], tables / "score_defects.tsv", audit)
    assert list(notes.defects) == [DUPLICATE, SPIKE]
    page = section(notes)
    assert "same weights as &lt;m&gt; step4" in page
    assert "not audited" not in page


def test_a_page_without_an_audit_says_so(folders):
    tables, audit = folders
    write_defects(tables / "score_defects.tsv", [])
    write_defects(audit, [DUPLICATE])  # made before, for another page: not asked for, not shown
    page = section(checkpoint_notes(["m"], tables / "score_defects.tsv", None))
    assert "None were found in the results." in page
    assert "The weights themselves were not audited" in page


def test_the_page_shows_the_audit_that_it_is_given_and_records_it(run_on_disk, drawn, folders, tmp_path):
    audit, page = folders[1], tmp_path / "report.html"
    model = json.loads(run_on_disk["run"].read_text())["models"][0]["name"]
    write_defects(audit, [Defect(model, "step8", "chimera", "a matrix of step4")])
    arguments = build_arguments(run_on_disk, ["scores_over_training"], page)
    place = arguments.index("--inputs") + 1
    build([*arguments[:place], str(audit), *arguments[place:]])
    assert "a matrix of step4" in page.read_text()
    assert json.loads((tmp_path / "report.html.record.json").read_text())["inputs"]["audit"]["path"] == str(audit)
    build(arguments)
    assert "a matrix of step4" not in page.read_text()
