"""The box of traced texts on the page: its numbers, how much of them, and a browser that uses it."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from tests.report.browser import PROGRAM, Browser
from tests.report.synthetic_run import build_arguments, write_run
from tests.report.traces.trace_tables import MODELS, SEEN, STEPS, trace_tables
from workflow_scripts.report.build import main as build
from workflow_scripts.report.traces import trace_box
from workflow_scripts.report.traces.trace_box import box_data, read_trace_tables, shown_texts, thinned


def test_numbers_are_those_of_the_tables():
    data = box_data(trace_tables())
    assert data["steps"] == list(STEPS)
    assert [model["name"] for model in data["models"]] == [model for model, _ in MODELS]
    often, _, never = data["texts"]
    assert often["losses"][1] == [round(7.0 - step / 200, 3) for step in STEPS]
    assert often["seen"] == {"standard": SEEN["often"]}  # not the one exposure of a part
    assert never["seen"] == {}


def test_nothing_traced_is_no_box(tmp_path):
    assert box_data({}) is None
    assert read_trace_tables({"traces_texts": tmp_path / "only.parquet"}) == {}


def test_of_many_texts_the_most_and_the_least_seen_are_shown(monkeypatch):
    monkeypatch.setattr(trace_box, "MOST_TEXTS", 4)
    texts = pd.DataFrame({"text": list("abcdefgh"), "whole": [1, 9, 0, 5, 3, 0, 7, 2]})
    assert shown_texts(texts) == ["b", "c", "f", "g"]
    assert shown_texts(texts.head(3)) == ["a", "b", "c"]


@pytest.mark.parametrize("count", [1, 40, 41, 154])
def test_steps_are_thinned_and_keep_both_ends(count):
    steps = thinned(list(range(count)))
    assert len(steps) == len(set(steps)) == min(count, 40)
    assert (steps[0], steps[-1]) == (0, count - 1)


@pytest.fixture(scope="module")
def page(tmp_path_factory, root):
    """A page with the box, of a run without figures."""
    folder = tmp_path_factory.mktemp("page")
    paths = write_run(folder, root / "config" / "suites" / "published" / "pythia-evals.parquet")
    for name, frame in trace_tables().items():
        frame.to_parquet(paths["tables"] / f"{name}.parquet")
    build(build_arguments(paths, [], folder / "report.html"))
    return folder / "report.html"


def test_the_page_holds_the_numbers_and_no_markup_of_a_text(page):
    content = page.read_text()
    data = content.partition('id="trace-data">')[2].partition("</script>")[0]
    assert json.loads(data)["texts"][0]["content"] == "The words of often, </script> & all."
    assert content.count('<section id="traces"') == 1


def test_a_page_without_traces_has_no_box(tmp_path, root):
    paths = write_run(tmp_path, root / "config" / "suites" / "published" / "pythia-evals.parquet")
    build(build_arguments(paths, [], tmp_path / "report.html"))
    assert 'id="traces"' not in (tmp_path / "report.html").read_text()


@pytest.mark.slow
@pytest.mark.skipif(PROGRAM is None, reason="no browser on this machine")
def test_a_reader_types_words_and_sees_the_text(page, tmp_path):
    with Browser(tmp_path) as browser:
        browser.open(page)
        assert browser.complaints() == []
        assert browser.value("document.getElementById('traces').hidden") is False
        assert browser.value("document.getElementById('trace-text').value") == "often"
        assert "Seen whole 4 times in standard (steps 3, 20, 40, 300)" in browser.value(
            "document.getElementById('trace-words').textContent"
        )
        assert browser.value("document.querySelectorAll('#trace-chart polyline').length") == len(MODELS)
        browser.value(
            "(() => { const box = document.getElementById('trace-find'); box.value = 'of NEVER';"
            " box.dispatchEvent(new Event('input')); })()"
        )
        assert browser.value("document.getElementById('trace-text').value") == "never"
        assert "Never seen whole." in browser.value("document.getElementById('trace-words').textContent")
        browser.value(
            "(() => { const box = document.getElementById('trace-find'); box.value = 'no such words';"
            " box.dispatchEvent(new Event('input')); })()"
        )
        assert browser.value("document.querySelectorAll('#trace-chart polyline').length") == 0
        assert browser.complaints() == []
