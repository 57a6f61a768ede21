"""The figure of traced texts: what it shows is what the tables hold."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from tests.report.traces.trace_tables import MODELS, SEEN, trace_tables
from workflow_scripts.report.drawing.style import house_style
from workflow_scripts.report.report_tables import Tables
from workflow_scripts.report.traces.trace_figure import examples_of, traces


@pytest.fixture
def drawing():
    with house_style("traces"):
        drawing = traces(Tables({"run": "test"}, experiments=trace_tables()))
        yield drawing
    plt.close(drawing.figure)


def test_each_model_has_a_panel_with_losses_and_marks(drawing):
    panels = [ax for ax in drawing.figure.axes if ax.get_title(loc="left").endswith("loss of a text")]
    assert len(panels) == len(MODELS)
    for ax in panels:
        lines = [line for line in ax.lines if line.get_linestyle() != "None"]
        marks = [line for line in ax.lines if line.get_marker() == "|"]
        assert [len(line.get_xdata()) for line in lines] == [5, 5, 5]
        assert [list(line.get_xdata()) for line in marks] == list(SEEN.values())


def test_the_csv_has_every_panel(drawing):
    rows = drawing.data
    assert set(rows["panel"]) == {"loss", "exposure", "effect", "course"}
    assert (rows["panel"] == "exposure").sum() == len(MODELS) * sum(map(len, SEEN.values()))
    assert "often (4); seldom (1); never (0)" in drawing.caption


def test_examples_are_of_the_domain_that_is_seen_most():
    texts = trace_tables()["traces_texts"]
    stranger = texts.iloc[[2]].assign(text="elsewhere", domain="other", whole=1)
    both = pd.concat([stranger, texts], ignore_index=True)
    assert examples_of(both) == [("often", 4), ("seldom", 1), ("never", 0)]
    assert examples_of(texts[texts["text"] == "never"]) == [("never", 0)]
