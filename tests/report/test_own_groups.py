"""Our MMLU, BLiMP and WikiText over the published ones: whole groups of the same models; final tables too."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba

from workflow_scripts.published.results_table import read_table
from workflow_scripts.published.summary import final_scores, suite_rows
from workflow_scripts.report.drawing.style import house_style
from workflow_scripts.report.figures.all_figures import FIGURES
from workflow_scripts.report.figures.final_tables import score_text
from workflow_scripts.report.figures.published_groups import published_blimp, published_mmlu, published_wikitext
from workflow_scripts.report.report_tables import Tables, own_scores
from workflow_scripts.suite.figure_names import figure_needs

SHIFT = 0.05
TODAY, FAIR = "pythia-160m", "pythia-160m-deduped"
OLD, OLD_DEDUPED = "pythia-160m-v0", "pythia-160m-deduped-v0"
PARTIAL_STEP, EARLY_STEP = 3000, 512  # a subject is missing; not a published step of version 0


def scores_of(published):
    """Scores of a run: the published ones of four models plus SHIFT, one model asked as in 2023, one task as ever."""
    parts = [suite_rows(published, shots, version) for shots in (0, 5) for version in ("v1", "v0")]
    rows = pd.concat(parts).astype(dict.fromkeys(("model", "size", "data", "task", "metric", "version"), str))
    rows = rows[rows["model"].isin([TODAY, FAIR, OLD, OLD_DEDUPED]) & rows["step"].isin([PARTIAL_STEP, 143000])]
    of_group = rows["task"].str.startswith(("hendrycksTest-", "blimp_")) & (rows["metric"] == "acc")
    rows = rows[of_group | rows["task"].isin(["wikitext", "piqa"])]
    rows = rows[~((rows["task"] == "hendrycksTest-virology") & (rows["step"] == PARTIAL_STEP))]
    early = rows[(rows["task"] == "wikitext") & (rows["model"] == OLD) & (rows["step"] == 143000)]
    rows = pd.concat([rows, early.assign(step=EARLY_STEP, tokens=EARLY_STEP * 2097152)], ignore_index=True)
    rows = rows.assign(value=rows["value"] + SHIFT)
    fair = rows["model"].isin([FAIR, OLD_DEDUPED]) | ((rows["model"] == OLD) & rows["task"].str.startswith("blimp_b"))
    named = rows["task"].where(fair, rows["task"].str.replace("hendrycksTest-", "mmlu_"))
    return rows.assign(task=named, protocol=np.where(fair, "pythia-2023", "current"))


@pytest.fixture(scope="module")
def tables(compact_path):
    published = read_table(compact_path)
    return Tables({"run": "own"}, published=published, own=own_scores(scores_of(published)))


def drawn_with(draw, tables):
    with house_style("test"):
        drawing = draw(tables)
    return drawing, drawing.data[drawing.data["whose"] == "ours"]


def diamonds(figure):
    """Face colours of all diamonds."""
    lines = [line for ax in figure.axes for line in ax.get_lines() if line.get_marker() == "D"]
    return [to_rgba(line.get_markerfacecolor()) for line in lines]


def test_mmlu_means_are_drawn_for_whole_sets_of_subjects(tables):
    drawing, ours = drawn_with(published_mmlu, tables)
    assert set(ours["step"]) == {143000}  # one subject is missing at the other
    assert sorted(zip(ours["model"], ours["shots"].astype(int), ours["comparable"], strict=True)) == [
        (TODAY, 0, False), (TODAY, 5, False), (FAIR, 0, True), (FAIR, 5, True)
    ]  # fmt: skip
    theirs = drawing.data[(drawing.data["whose"] == "published") & (drawing.data["step"] == 143000)]
    both = ours.merge(theirs, on=["model", "shots"], suffixes=("", "_published"))
    assert len(both) == 4
    assert (both["value"] - both["value_published"]).to_numpy() == pytest.approx(SHIFT)
    white = to_rgba("white")
    assert sorted(face == white for face in diamonds(drawing.figure)) == [False, False, True, True]
    assert "Diamonds: scored in this run" in drawing.caption
    plt.close(drawing.figure)


def test_blimp_of_the_same_version_and_data_lies_over_the_published(tables):
    drawing, ours = drawn_with(published_blimp, tables)
    assert set(ours["model"]) == {OLD}
    assert len(ours) == 12 * 2  # phenomena, steps
    assert not ours["comparable"].any()
    assert len(diamonds(drawing.figure)) == len(ours)
    plt.close(drawing.figure)


def test_wikitext_is_asked_as_in_2023_and_earlier_steps_are_on_the_axis(tables):
    drawing, ours = drawn_with(published_wikitext, tables)
    assert set(ours["model"]) == {OLD, OLD_DEDUPED}
    faces = diamonds(drawing.figure)
    assert len(faces) == len(ours) == 5
    assert to_rgba("white") not in faces
    left = drawing.figure.axes[0].get_xlim()[0]
    assert left < np.log10(EARLY_STEP * 2097152)
    plt.close(drawing.figure)


def test_other_models_and_runs_without_own_scores_have_no_diamonds(tables):
    other = tables.own[tables.own["model"].isin([TODAY, FAIR])]
    for own, draw in ((other, published_blimp), (other, published_wikitext), (pd.DataFrame(), published_mmlu)):
        drawing, ours = drawn_with(draw, Tables(tables.run, published=tables.published, own=own))
        assert ours.empty
        assert not diamonds(drawing.figure)
        assert "Diamonds" not in drawing.caption
        plt.close(drawing.figure)


def test_final_tables_have_a_line_of_ours_below_a_task(tables):
    drawing, ours = drawn_with(FIGURES["published_final_zero_shot"].draw, tables)
    assert set(zip(ours["task"], ours["data"], ours["size"], strict=True)) == {
        (task, data, "160m") for task in ("piqa", "mmlu") for data in ("standard", "deduped")
    }
    final = final_scores(tables.published, 0).set_index(["task", "data", "size"])["value"]
    value = final["mmlu", "standard", "160m"] + SHIFT
    cells = [line.split("|") for line in drawing.markdown.splitlines() if "ours" in line]
    assert len(cells) == 4
    assert [cell.strip() for cell in cells[1][2:-1]] == ["", f"\N{WHITE DIAMOND} {score_text(value)}", *[""] * 6]
    assert "\N{BLACK DIAMOND}" in cells[3][3]
    texts = [text.get_text() for ax in drawing.figure.axes for text in ax.texts]
    assert sum("\N{BLACK DIAMOND}" in text for text in texts) == 3  # PIQA twice, MMLU asked as in 2023
    plt.close(drawing.figure)


def test_own_scores_are_inputs_of_the_figures():
    for name in ("published_mmlu", "published_blimp", "published_wikitext", "published_final_zero_shot"):
        assert figure_needs(name) == ("published", "own")
