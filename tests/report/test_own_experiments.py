"""Ours over the published differences, versions, batches, interventions, arithmetic and memorization: known shifts."""

import json

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from matplotlib.colors import to_rgba

from workflow_scripts.published.results_table import read_table
from workflow_scripts.published.summary import suite_rows
from workflow_scripts.report.drawing.style import house_style
from workflow_scripts.report.figures.all_figures import FIGURES
from workflow_scripts.report.figures.own_experiments import COMPARED_ROWS, own_memorized
from workflow_scripts.report.report_tables import Tables, load_tables, own_scores, read_published_file
from workflow_scripts.storage.given_files import GivenFiles
from workflow_scripts.suite.figure_names import OWN_TABLES, PUBLISHED_FILES

SHIFT, STEP = 0.05, 143000
SIZES = ("410m", "1.4b")
ARM = "pythia-intervention-410m-deduped"
EVERY = ["predictability", "interventions", "term_frequency"]
OWN = {"own", *OWN_TABLES}
CHANGED = (
    "published_deduped_minus_standard", "published_versions", "published_batch_sizes", "published_crows_pairs",
    "published_intervention_lambada", "published_winobias", "published_arithmetic", "published_memorization",
    "published_memorization_rates",
)  # fmt: skip


def scores_of(published):
    """Published scores of both versions plus SHIFT for the deduplicated data, and of one pushed arm."""
    parts = [suite_rows(published, shots, version) for version in ("v1", "v0") for shots in (0, 5)]
    rows = pd.concat(parts).astype(dict.fromkeys(("model", "size", "data", "task", "metric", "version"), str))
    wanted = rows["task"].isin(["lambada_openai", "piqa"]) & (rows["metric"] == "acc")
    wanted |= (rows["task"] == "crows_pairs_english_gender") & (rows["metric"] == "pct_stereotype")
    rows = rows[rows["size"].isin(SIZES) & wanted]
    rows = rows[rows["step"].isin([3000, STEP])]
    arm = rows[(rows["model"] == "pythia-410m-deduped") & (rows["step"] == STEP) & (rows["shots"] == 0)]
    arm = arm[arm["task"] != "crows_pairs_english_gender"]
    rows = pd.concat([rows, arm.assign(model=ARM, value=0.6 - SHIFT)], ignore_index=True)
    return rows.assign(value=rows["value"] + SHIFT * (rows["data"] == "deduped"), protocol="current")


def arm_table():
    """What the interventions leave: 60 of 100 items in each arm, 50 in its baseline, and lines that are not drawn."""
    fact = {"model": "pythia-410m-deduped", "size": "410m", "items": 101, "value": 0.6, "reference": 0.5}
    return pd.DataFrame(
        [
            {**fact, "arm": arm, "benchmark": benchmark, "measure": measure, "step": step}
            for arm in ("feminine-7", "feminine-21", "masculine-7")
            for benchmark in ("crows_pairs_english_gender", "winobias", "lambada_openai")
            for measure in ("outcome", "score")
            for step in ("138000", "143000", "pooled")
        ]
    )


def term_table():
    """Accuracy of two operands at two steps, in two ways of counting and for two numbers of examples."""
    return pd.DataFrame(
        [
            {"model": "pythia-410m", "size": "410m", "data": "standard", "task": task, "shots": shots, "mode": mode,
             "step": step, "control": float(operand), "accuracy": step / 286000 + operand / 1000}
            for task in ("multiplication", "addition") for shots in (0, 16) for mode in ("word", "faithful")
            for step in (13000, STEP) for operand in (3, 97)
        ]
    )  # fmt: skip


def confusion_table():
    """Predictions of 410m at its end and earlier, on the published rows and, for the deduplicated data, on others."""
    cells = {"true_positive": 60, "false_positive": 20, "false_negative": 40, "rows": COMPARED_ROWS}
    measures = {"precision": 0.75, "precision_lower": 0.7, "precision_upper": 0.8}
    measures |= {"recall": 0.6, "recall_lower": 0.5, "recall_upper": 0.7}
    fact = {**cells, **measures, "model": "pythia-410m", "size": "410m", "data": "standard", "truth_step": STEP}
    small = {**fact, "kind": "small", "step": STEP, "truth_model": "pythia-12b"}
    early = {**fact, "kind": "early", "step": 83000, "truth_model": "pythia-410m", "rows": COMPARED_ROWS // 2}
    return pd.DataFrame([small, early, {**small, "data": "deduped", "model": "pythia-410m-deduped"}])


@pytest.fixture(scope="module")
def tables(compact_path, root):
    published = read_table(compact_path)
    confusions = read_published_file("published_memorization", root / PUBLISHED_FILES["published_memorization"])
    made = {
        "interventions": arm_table(), "term_frequency_terms": term_table(), "predictability": confusion_table(),
        "predictability_published": confusions,
    }  # fmt: skip
    run = {"run": "own", "settings": {"memorization": {"prompt": 32, "continuation": 32}}}
    return Tables(run, published=published, own=own_scores(scores_of(published)), experiments=made)


def drawn_with(name, tables):
    with house_style("test"):
        drawing = FIGURES[name].draw(tables)
    return drawing, drawing.data[drawing.data["whose"] == "ours"]


def faces(figure, markers="D"):
    """Hollow or not, for all diamonds."""
    lines = [line for ax in figure.axes for line in ax.get_lines() if line.get_marker() in list(markers)]
    return [to_rgba(line.get_markerfacecolor()) == to_rgba("white") for line in lines]


def test_difference_of_the_data_sets(tables):
    drawing, ours = drawn_with("published_deduped_minus_standard", tables)
    assert sorted(zip(ours["task"], ours["size"], ours["step"], strict=True)) == sorted(
        (task, size, step) for task in ("lambada_openai", "piqa") for size in SIZES for step in (3000, STEP)
    )
    both = ours.merge(drawing.data[drawing.data["whose"] == "published"], on=["task", "size", "step"])
    assert (both["value_x"] - both["value_y"]).to_numpy() == pytest.approx(SHIFT)
    assert faces(drawing.figure) == [False] * 8
    plt.close(drawing.figure)


def test_both_versions_with_thin_diamonds_for_the_older(tables):
    drawing, ours = drawn_with("published_versions", tables)
    assert ours.groupby("version").size().to_dict() == {"v0": 8, "v1": 8}  # tasks, sizes, data sets
    assert len(faces(drawing.figure, "d")) == len(faces(drawing.figure, "D")) == 8
    plt.close(drawing.figure)


def test_batches_show_the_models_of_the_suite(tables):
    drawing, ours = drawn_with("published_batch_sizes", tables)
    assert set(ours["model"]) == {"pythia-410m", "pythia-1.4b"}
    assert set(ours["shots"]) == {5}
    assert faces(drawing.figure) == [True] * len(ours)
    assert "never published" in drawing.caption
    plt.close(drawing.figure)


def test_arms_that_were_pushed_are_filled_and_ours_hollow(tables):
    drawing, ours = drawn_with("published_intervention_lambada", tables)
    pushed = ours[ours["model"] == ARM]
    assert (pushed["version"].item(), pushed["arm"].item(), pushed["comparable"].item()) == ("v1", "intervention", True)
    assert pushed["value"].item() == pytest.approx(60.0)
    trained = ours[(ours["n"] == 101) & ~ours["comparable"]]
    assert trained.groupby("arm")["value"].unique().map(list).to_dict() == {
        "baseline": [50.0], "intervention": [60.0], "intervention-long": [60.0]
    }  # fmt: skip
    assert set(trained["step"]) == {138000, STEP}
    assert trained[trained["arm"] == "baseline"]["stderr"].iloc[0] == pytest.approx(5.0)
    assert set(ours[ours["comparable"]]["version"]) == {"v0", "v1"}
    # Steps before the arms begin are left out of the picture and of the table.
    assert ours["step"].min() >= 113000
    assert sum(faces(drawing.figure)) == len(trained)
    plt.close(drawing.figure)


def test_crows_pairs_of_today_has_other_items(tables):
    drawing, ours = drawn_with("published_crows_pairs", tables)
    assert not ours["comparable"].any()
    scored = ours[ours["n"] != 101].set_index(["version", "size"])["value"]
    theirs = drawing.data[(drawing.data["whose"] == "published") & (drawing.data["step"] == STEP)]
    theirs = theirs[theirs["arm"] == "baseline"].set_index(["version", "size"])["value"]
    assert (scored - theirs).dropna().to_numpy() == pytest.approx([100 * SHIFT] * len(scored), abs=1.5)
    assert len(scored) == 2  # sizes; version 0 was not asked in its main files
    plt.close(drawing.figure)


def test_net_bias_is_twice_the_share_less_one(tables):
    drawing, ours = drawn_with("published_winobias", tables)
    assert ours.groupby("arm")["value"].first().to_dict() == pytest.approx(
        {"baseline": 0.0, "intervention": 20.0, "intervention-long": 20.0}
    )
    assert all(faces(drawing.figure))
    assert "another measure" in drawing.caption
    plt.close(drawing.figure)


def test_operands_of_ours_have_panels_of_their_own(tables):
    drawing, ours = drawn_with("published_arithmetic", tables)
    assert ours[["step", "operand"]].to_numpy().tolist() == [[13000, 3], [13000, 97], [STEP, 3], [STEP, 97]]
    assert ours["value"].tolist() == pytest.approx(
        [step / 286000 + k / 1000 for step in (13000, STEP) for k in (3, 97)]
    )
    titles = [ax.get_title(loc="left") for ax in drawing.figure.axes]
    assert titles.count("ours: pythia-410m") == 1
    plt.close(drawing.figure)


def test_predictions_of_memorization(tables):
    drawing, ours = drawn_with("published_memorization", tables)
    assert sorted(zip(ours["kind"], ours["step"], ours["comparable"], strict=True)) == [
        ("early", 83000, False), ("small", STEP, True)
    ]  # fmt: skip
    assert sorted(faces(drawing.figure)) == [False, False, True, True]  # precision and recall of each
    plt.close(drawing.figure)


def test_rates_count_the_rows_of_prediction_and_truth(tables):
    drawing, ours = drawn_with("published_memorization_rates", tables)
    rates = ours.set_index(["model", "step"])["memorized"]
    assert rates["pythia-410m", STEP] == pytest.approx(100 * 80 / COMPARED_ROWS)
    assert rates["pythia-12b", STEP] == pytest.approx(100 * 100 / COMPARED_ROWS)
    assert rates["pythia-410m", 83000] == pytest.approx(100 * 80 / (COMPARED_ROWS // 2))
    assert len(faces(drawing.figure)) == 3
    plt.close(drawing.figure)
    assert own_memorized(pd.DataFrame()).empty


@pytest.mark.parametrize("name", CHANGED)
def test_a_run_without_has_no_diamonds(tables, name):
    published = {"predictability_published": tables.experiments["predictability_published"]}
    drawing, ours = drawn_with(name, Tables({"run": "bare"}, published=tables.published, experiments=published))
    assert ours.empty
    assert not faces(drawing.figure, "dD")
    assert "iamonds" not in drawing.caption
    plt.close(drawing.figure)


@pytest.mark.parametrize(("suite", "experiments"), [("pythia", ["predictability"]), ("pythia", []), ("pocket", EVERY)])
def test_tables_are_read_where_the_run_makes_them_of_published_models(tmp_path, suite, experiments):
    for name, frame in (("predictability", confusion_table()), ("interventions", arm_table())):
        frame.to_parquet(tmp_path / f"{name}.parquet")
    run = {
        "run": "r",
        "suite": suite,
        "models": [],
        "tasks": [],
        "steps": {},
        "shots": [0],
        "settings": {"experiments": experiments},
    }
    (tmp_path / "run.json").write_text(json.dumps(run))
    tables = load_tables(tmp_path / "run.json", list(OWN_TABLES), GivenFiles(tmp_path.glob("*.parquet")))
    expected = ["predictability"] if suite == "pythia" and experiments else []
    assert list(tables.experiments) == expected
    assert set(tables.files) == {"run", *expected}


def test_every_published_figure_has_ours_but_the_training_map():
    without = [name for name, entry in FIGURES.items() if name.startswith("published_") and not OWN & set(entry.needs)]
    assert without == ["published_training_map"]
