"""Figures from a made-up run with known curves, and from the published table."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import yaml
from synthetic_run import LAST, draw_arguments, main_models, run_settings, score, scores_frame

from workflow_scripts.errors import DataError, MissingInputError, UnknownNameError
from workflow_scripts.published.results_table import read_table
from workflow_scripts.report.draw import main as draw
from workflow_scripts.report.drawing.figure import rendered
from workflow_scripts.report.drawing.style import house_style
from workflow_scripts.report.figures.all_figures import FIGURES as REGISTRY
from workflow_scripts.report.figures.loss_figures import loss_over_training, smoothed, thinned
from workflow_scripts.report.figures.published_figures import published_scores
from workflow_scripts.report.figures.score_figures import (
    five_shot_minus_zero_shot,
    scores_against_parameters,
    scores_over_training,
)
from workflow_scripts.report.report_tables import Tables
from workflow_scripts.report.score_rows import by_task, shot_difference
from workflow_scripts.suite.experiment_files import TABLES
from workflow_scripts.suite.figure_names import figure_names
from workflow_scripts.suite.run import load_run

DEFAULT = yaml.safe_load((Path(__file__).parents[2] / "config" / "config.yaml").read_text())


def test_figures_are_drawn_without_torch():
    # Each figure is a process of its own; these two took two thirds of its CPU time.
    code = "import sys, workflow_scripts.report.draw; print({'torch', 'scipy.stats'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_each_figure_is_a_full_set_of_files(drawn):
    names = {name for name, entry in REGISTRY.items() if not TABLES.keys() & set(entry.needs)}
    assert {path.stem for path in drawn.glob("*.svg")} == names
    for name in names:
        record = json.loads((drawn / f"{name}.record.json").read_text())
        assert set(record["parameters"]["sha256"]) == {"csv", "svg", "pdf", "png"}
        assert len(record["parameters"]["caption"]) > 60
        assert len(record["parameters"]["alternative"]) > 40
        assert (drawn / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (drawn / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        assert not list(drawn.glob(".*"))


@pytest.mark.usefixtures("drawn")
def test_no_figure_has_texts_that_overlap_pale_colours_or_nameless_axes(figure_faults):
    assert {name: found for name, found in figure_faults.items() if found} == {}


@pytest.mark.slow
def test_drawing_again_gives_the_same_bytes(drawn, run_on_disk, tmp_path):
    names = ["agreement_over_training", "published_lambada"]
    draw(draw_arguments(run_on_disk, names, tmp_path))
    for name in names:
        for kind in ("svg", "pdf", "png", "csv"):
            assert (tmp_path / f"{name}.{kind}").read_bytes() == (drawn / f"{name}.{kind}").read_bytes()


def test_no_date_and_no_outside_address_in_the_svg(drawn):
    text = (drawn / "published_lambada.svg").read_text()
    assert "<dc:date>" not in text
    assert "http" not in text.replace("http://www.w3.org/", "").replace("http://purl.org/", "").replace(
        "http://creativecommons.org/", ""
    )


def test_csv_of_a_published_figure_is_the_table(drawn, compact_path):
    shown = pd.read_csv(drawn / "published_lambada.csv")
    assert len(shown) == 16 * 27
    table = read_table(compact_path)
    for row in shown.sample(20, random_state=1).itertuples():
        of_file = table[table["source_file"] == row.source_file]
        same = of_file[(of_file["task"] == row.task) & (of_file["metric"] == "acc")]
        assert same["value"].tolist() == [row.value]
    assert shown["doubtful"].sum() == 20
    assert set(shown[shown["doubtful"]]["size"]) == {"2.8b"}


def test_published_scores_have_one_point_per_checkpoint(compact_path):
    table = read_table(compact_path)
    for task in ("lambada_openai", "arc_easy", "sciq"):
        rows = published_scores(table, task)
        assert not rows.duplicated(["model", "step"]).any()
        assert len(rows) == 432


def test_csv_of_our_scores_is_what_was_scored(drawn):
    shown = pd.read_csv(drawn / "agreement_over_training.csv")
    assert len(shown) == sum(len(model.steps) for model in main_models())
    last = shown[(shown["model"] == "pocket-1m") & (shown["step"] == LAST)].iloc[0]
    assert last["value"] == pytest.approx(score("pocket_agreement", 2, LAST, 0))
    assert last["upper"] - last["value"] == pytest.approx(1.96 * last["stderr"])


def test_shot_difference_by_hand():
    columns = {"model": ["a"], "size": ["1m"], "data": ["standard"], "shots": [5], "step": [1]}
    zero = pd.DataFrame({**columns, "value": [0.5], "stderr": [0.03]})
    five = pd.DataFrame({**columns, "value": [0.7], "stderr": [0.04]})
    row = shot_difference(zero, five).iloc[0]
    assert (row["value"], row["stderr"]) == (pytest.approx(0.2), pytest.approx(0.05))
    assert row["lower"] == pytest.approx(0.2 - 1.96 * 0.05)


def test_shot_difference_is_paired_where_the_table_says_so():
    columns = {"model": ["a", "a"], "size": ["1m"] * 2, "data": ["standard"] * 2, "step": [1, 2], "stderr": [0.03] * 2}
    zero = pd.DataFrame({**columns, "shots": [0, 0], "value": [0.5, 0.5], "gain_stderr": [float("nan")] * 2})
    five = pd.DataFrame({**columns, "shots": [5, 5], "value": [0.7, 0.6], "gain_stderr": [0.01, float("nan")]})
    rows = shot_difference(zero, five)
    assert rows["stderr"].tolist() == pytest.approx([0.01, 0.03 * 2**0.5])
    assert rows["is_paired"].tolist() == [True, False]
    assert rows["upper"].iloc[0] == pytest.approx(0.2 + 1.96 * 0.01)


@pytest.mark.parametrize(("gain", "said"), [(0.01, "item by item"), (float("nan"), "as independent and is too long")])
def test_the_figure_says_whether_its_bar_is_paired(gain, said):
    frame = scores_frame().assign(gain_stderr=gain)
    with house_style("five_shot_minus_zero_shot"):
        drawing = five_shot_minus_zero_shot(Tables(run_settings(), scores=frame))
    plt.close(drawing.figure)
    assert said in drawing.caption


def test_figure_that_needs_both_shots_says_so():
    frame = scores_frame()
    with pytest.raises(DataError, match="with the compared numbers of shots"):
        five_shot_minus_zero_shot(Tables(run_settings(), scores=frame[frame["shots"] == 0]))


def test_tasks_come_in_the_suites_order_by_their_headline_metric():
    titles = [part.title for part in by_task(scores_frame(), run_settings())]
    assert titles[0] == "Number agreement, zero-shot"
    assert len(titles) == 8


def test_smoothed_loss_is_the_mean_of_the_last_tenth():
    line = pd.DataFrame({"step": range(1, 101), "loss": [float(s) for s in range(1, 101)]})
    means = smoothed(line)["loss_mean"]
    assert means.iloc[0] == 1.0
    assert means.iloc[99] == pytest.approx(sum(range(91, 101)) / 10)
    assert means.iloc[49] == pytest.approx(sum(range(46, 51)) / 5)


def test_thinned_keeps_first_and_last():
    line = pd.DataFrame({"step": range(1, 143_001)})
    kept = thinned(line)["step"]
    assert (kept.iloc[0], kept.iloc[-1]) == (1, 143_000)
    assert len(kept) <= 400


def test_registry_and_configuration_name_the_same_figures(root):
    listed = yaml.safe_load((root / "config" / "figures.yaml").read_text())["figures"]
    assert set(listed) <= set(REGISTRY)
    for name, entry in listed.items():
        assert tuple(entry["needs"]) == REGISTRY[name].needs


def test_figures_follow_shots_and_tasks_of_the_run():
    def names(**changes):
        return figure_names(load_run({**DEFAULT, **changes}))

    assert "five_shot_minus_zero_shot" in names()
    assert "five_shot_minus_zero_shot" not in names(shots=[0])
    assert "agreement_over_training" not in names(tasks=["pocket_facts"])


def test_unknown_figure_and_missing_tables(run_on_disk, tmp_path):
    with pytest.raises(UnknownNameError, match="did you mean 'published_sciq'"):
        draw(draw_arguments(run_on_disk, ["published_sciqq"], tmp_path))
    bare = ["--run", str(run_on_disk["run"]), "--output-dir", str(tmp_path)]
    with pytest.raises(MissingInputError, match=r"published\.parquet: not among the given files"):
        draw(["--figure", "published_sciq", *bare])
    with pytest.raises(MissingInputError, match=r"pocket-90k/metrics\.csv: not among the given files; train"):
        draw(["--figure", "loss_over_training", *bare])
    with pytest.raises(MissingInputError, match=r"away/published\.parquet: no such file"):
        draw(["--figure", "published_sciq", *bare, "--tables", "away/published.parquet"])
    assert list(tmp_path.iterdir()) == []


def test_a_training_log_that_two_trainers_wrote_is_not_drawn(run_on_disk, tmp_path):
    training = tmp_path / "training"
    shutil.copytree(run_on_disk["training"], training)
    log = next(training.glob("*/metrics.csv"))
    head, *lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join([head, *lines[:300], *lines[290:]]))
    with pytest.raises(DataError, match="step 291 follows step 300"):
        draw(draw_arguments({**run_on_disk, "training": training}, ["loss_over_training"], tmp_path / "figures"))
    assert not (tmp_path / "figures").exists()


def test_table_figure_is_also_markdown(drawn):
    assert "| LAMBADA | .185 |" in (drawn / "published_final_zero_shot.md").read_text()


@pytest.mark.parametrize("keep", [{"size": "1m"}, {"step": 0}, {"step": LAST}, {"data": "deduped"}, {"shots": 0}])
def test_runs_with_one_of_something_are_drawn(keep):
    frame = scores_frame()
    ((column, value),) = keep.items()
    tables = Tables(run_settings(), scores=frame[frame[column] == value])
    with house_style("test"):
        for draw_one in (scores_over_training, scores_against_parameters):
            drawing = draw_one(tables)
            rendered(drawing.figure, "svg")
            plt.close(drawing.figure)
            assert set(drawing.data[column]) == {value}


def test_table_without_notes_is_drawn():
    parts = list(by_task(scores_frame().drop(columns="note"), run_settings()))
    assert len(parts) == 8


def test_seeds_and_arms_are_no_second_lines_of_a_size():
    frame = scores_frame().astype({"model": str, "version": str, "arm": str})
    seeds = frame[frame["model"] == "pocket-90k"].assign(model="pocket-90k-weight-seed1", version="seeds")
    arms = frame[frame["model"] == "pocket-1m-deduped"].assign(
        model="pocket-intervention-1m-deduped", arm="intervention"
    )
    both = pd.concat([frame, seeds, arms])
    assert {model for part in by_task(both, run_settings()) for model in part.rows["model"]} == {
        m.name for m in main_models()
    }
    only_seeds = list(by_task(seeds, run_settings()))
    assert {model for part in only_seeds for model in part.rows["model"]} == {"pocket-90k-weight-seed1"}


def test_seeds_of_one_size_are_separate_lines():
    steps = np.arange(1, 101)
    log = pd.DataFrame(
        {"step": steps, "tokens": steps * 1024, "loss": 7.0 - steps / 100, "size": "1m", "data": "standard"}
    )
    seeds = pd.concat([log.assign(model=f"m-seed{seed}") for seed in (1, 2)], ignore_index=True)
    drawing = loss_over_training(Tables({"run": "r", "suite": "pocket", "models": []}, metrics=seeds))
    lines = [np.asarray(line.get_xdata()) for line in drawing.figure.axes[0].lines if len(line.get_xdata()) == 100]
    plt.close(drawing.figure)
    assert len(lines) == 4  # single batches and their mean, twice
    assert all((np.diff(line) > 0).all() for line in lines)
