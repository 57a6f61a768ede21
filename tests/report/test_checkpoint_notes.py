"""Findings on a run's own checkpoints reach the report; what was not judged is not praised."""

import jinja2
import pytest

from workflow_scripts.checkpoints.defects import Defect, write_defects
from workflow_scripts.report.build import TEMPLATES
from workflow_scripts.report.checkpoint_notes import checkpoint_notes

DUPLICATE = Defect("m", "step8", "duplicate", "same weights as <m> step4")
SPIKE = Defect("m", "step16", "score-spike", "2 of 5 tasks")
OTHER = Defect("other", "step8", "nan", "x")


@pytest.fixture
def folders(tmp_path):
    (tmp_path / "tables").mkdir()
    return tmp_path / "tables", tmp_path / "results"


def section(notes):
    """The part of the page between its two headings, with the template's own settings."""
    text = (TEMPLATES / "report.html.j2").read_text(encoding="utf-8")
    begin = text.index("{% if checkpoint_notes %}")
    part = text[begin : text.index('<section id="provenance"', begin)]
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(part).render(checkpoint_notes=notes)


def test_nothing_judged_no_section(folders):
    assert checkpoint_notes("s", ["m"], *folders) is None
    assert section(None).strip() == ""


def test_findings_of_the_runs_models_are_shown(folders):
    tables, results = folders
    write_defects(tables / "score_defects.tsv", [SPIKE])
    write_defects(results / "audit/s/defects.tsv", [DUPLICATE, OTHER])
    notes = checkpoint_notes("s", ["m"], tables, results)
    assert list(notes.defects) == [DUPLICATE, SPIKE]
    page = section(notes)
    assert "same weights as &lt;m&gt; step4" in page
    assert "not audited" not in page


def test_a_page_without_an_audit_says_so(folders):
    write_defects(folders[0] / "score_defects.tsv", [])
    page = section(checkpoint_notes("s", ["m"], *folders))
    assert "None were found in the results." in page
    assert "The weights themselves were not audited" in page
