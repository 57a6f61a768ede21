"""Figures of groups, versions, arithmetic and bias: their numbers against the paper's, the files' and by hand."""

import json
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import yaml
from synthetic_run import draw_arguments

from workflow_scripts.published.results_table import read_table
from workflow_scripts.published.summary import LAST_STEP, final_scores, suite_rows
from workflow_scripts.report.draw import main as draw
from workflow_scripts.report.figures.published_arithmetic import multiplication
from workflow_scripts.report.figures.published_arms import arm_rows
from workflow_scripts.report.figures.published_bias import net_bias
from workflow_scripts.report.figures.published_comparisons import final_by_family
from workflow_scripts.report.figures.published_groups import PHENOMENA, group_means, phenomenon
from workflow_scripts.report.figures.published_versions import version_pairs
from workflow_scripts.suite.figure_names import PUBLISHED_FILES, figure_names
from workflow_scripts.suite.run import load_run


@pytest.fixture(scope="module")
def published(compact_path):
    return read_table(compact_path)


def test_every_paradigm_of_blimp_has_one_phenomenon(published):
    tasks = sorted({task for task in published["task"].astype(str).unique() if task.startswith("blimp_")})
    assert len(tasks) == 67
    counts = Counter(phenomenon(task) for task in tasks)
    assert set(counts) == set(PHENOMENA)
    sizes = {"argument structure": 9, "binding": 7, "filler-gap": 7, "island effects": 8, "quantifiers": 4}
    assert {name: counts[name] for name in sizes} == sizes
    for task in tasks:
        name = task.removeprefix("blimp_")
        assert sum(name.startswith(tuple(beginnings)) for beginnings in PHENOMENA.values()) == 1, task


def test_phenomena_are_those_of_the_data_set(shared):
    folder = shared / "hub" / "datasets" / "nyu-mll" / "blimp"
    terms = {}
    for path in sorted(folder.rglob("*.parquet")):
        row = pd.read_parquet(path, columns=["UID", "linguistics_term"]).iloc[0]
        # Two paradigms are of a 13th term in the files, which the paper's table counts as argument structure.
        term = row["linguistics_term"].replace("s-selection", "argument_structure")
        terms.setdefault(phenomenon(f"blimp_{row['UID']}"), set()).add(term)
    if not terms:
        pytest.skip("no BLiMP in ../shared")
    assert all(len(found) == 1 for found in terms.values()), terms
    assert len({found for terms_of in terms.values() for found in terms_of}) == 12


def test_mmlu_means_are_those_of_the_final_table(published):
    for shots in (0, 5):
        rows = suite_rows(published, shots)
        rows = rows[(rows["metric"] == "acc") & rows["step"].isin([LAST_STEP, 93000])]
        names = {task: "MMLU" for task in rows["task"].astype(str).unique() if task.startswith("hendrycksTest-")}
        means = group_means(rows, names)
        assert set(means["tasks"]) == {57}
        wanted = final_scores(published, shots).set_index(["task", "data", "size"])
        for row in means[means["step"] == LAST_STEP].itertuples():
            assert row.value == pytest.approx(wanted.loc["mmlu", row.data, row.size]["value"])
            assert row.stderr == pytest.approx(wanted.loc["mmlu", row.data, row.size]["stderr"])


def test_mean_of_a_group_by_hand():
    columns = {"model": "m", "size": "1m", "data": "standard", "shots": 0, "step": 1, "tokens": 2, "n": 10}
    rows = pd.DataFrame([{**columns, "task": task, "value": value, "stderr": 0.03, "metric": "acc"}
                         for task, value in (("a", 0.2), ("b", 0.4), ("c", 0.9))])  # fmt: skip
    (row,) = group_means(rows, {"a": "g", "b": "g"}).itertuples()
    assert (row.value, row.tasks, row.n) == (pytest.approx(0.3), 2, 20)
    assert row.stderr == pytest.approx(np.sqrt(2) * 0.03 / 2)


def test_pairs_of_versions(published):
    pairs = version_pairs(published)
    assert len(pairs) == 8 * 8 * 2
    row = pairs.set_index(["task", "size", "data"]).loc["lambada_openai", "160m", "standard"]
    # pythia-v0/pythia-160m, step 71500 of 4M tokens, and the paper's table 7
    assert row["v0"] == pytest.approx(0.387735, abs=1e-6)
    assert round(row["v1"], 3) == 0.328
    assert row["difference"] == pytest.approx(row["v1"] - row["v0"])
    assert row["stderr"] == pytest.approx(np.sqrt(0.3877 * 0.6123 / 5152 + 0.328 * 0.672 / 5152), rel=0.01)


def test_multiplication_means(published):
    rows = multiplication(published)
    assert set(rows["operand"]) == set(range(100))
    assert len(rows) == 7 * 6 * 100
    last = rows[rows["step"] == LAST_STEP].groupby("size")["value"].mean()
    assert last["12b"] == pytest.approx(0.448, abs=0.0006)


def test_net_bias_of_winobias(published):
    last = net_bias(published)
    last = last[(last["step"] == LAST_STEP) & (last["version"] == "v1")].set_index(["size", "arm"])["value"]
    wanted = {("410m", "baseline"): 8.1, ("410m", "intervention"): 7.5, ("1.4b", "baseline"): 7.3,
              ("1.4b", "intervention"): 11.1, ("1.4b", "intervention-long"): 9.1, ("6.9b", "baseline"): 11.9,
              ("6.9b", "intervention"): 14.6}  # fmt: skip
    assert {key: round(last[key], 1) for key in wanted} == wanted


def test_arms_of_lambada_stay_near_their_baseline(published):
    rows = arm_rows(published, "lambada_openai", "acc").set_index(["version", "size", "arm", "step"])["value"]
    rows = rows.sort_index()
    for size in ("1.4b", "6.9b"):
        difference = (rows["v1", size, "intervention"] - rows["v1", size, "baseline"]).dropna()
        assert len(difference) >= 1
        assert abs(difference.mean()) <= 0.4


def test_families_at_an_earlier_step(published):
    rows = final_by_family(published, 93000)
    row = rows[(rows["model"] == "pythia-12b") & (rows["task"] == "lambada_openai")]
    final = final_by_family(published)
    same = final[(final["model"] == "pythia-12b") & (final["task"] == "lambada_openai")]
    assert row["value"].item() != same["value"].item()
    assert rows[rows["suite"] == "opt"]["value"].tolist() == final[final["suite"] == "opt"]["value"].tolist()


def test_csv_of_wikitext_is_that_of_the_files(drawn):
    shown = pd.read_csv(drawn / "published_wikitext.csv")
    assert set(shown["size"]) == {"160m", "410m", "1.4b", "6.9b", "12b"}
    assert not shown.duplicated(["model", "step"]).any()
    row = shown[(shown["model"] == "pythia-160m-v0") & (shown["step"] == LAST_STEP)]
    assert row["value"].item() == pytest.approx(0.936011, abs=1e-6)


def test_published_numbers_of_other_papers_are_inputs_of_their_figures(drawn):
    for name, path in PUBLISHED_FILES.items():
        record = json.loads((drawn / f"{name}.record.json").read_text())
        assert record["inputs"][name]["path"] == path
    rows = pd.read_csv(drawn / "published_memorization.csv")
    # arXiv 2304.11158, figure 2: what 70m and 6.9b say about 12b at the end
    last = rows[(rows["kind"] == "small") & (rows["step"] == LAST_STEP)].set_index("size")
    assert last.loc["70m", ["precision", "recall"]].round(3).tolist() == [0.956, 0.197]
    assert last.loc["6.9b", ["precision", "recall"]].round(3).tolist() == [0.884, 0.795]


def test_the_demo_keeps_its_figures_and_the_published_run_has_all(root):
    default = yaml.safe_load((root / "config" / "config.yaml").read_text())
    demo = [name for name in figure_names(load_run(default)) if name.startswith("published_")]
    assert demo == ["published_lambada", "published_arc_easy", "published_sciq", "published_final_zero_shot"]
    run = yaml.safe_load((root / "config" / "runs" / "published.yaml").read_text())
    names = figure_names(load_run({**default, **run}))
    assert len(names) == 27
    assert all(name.startswith("published_") for name in names)


@pytest.mark.slow
def test_pictures_with_an_image_inside_repeat_too(drawn, run_on_disk, tmp_path):
    draw(draw_arguments(run_on_disk, ["published_arithmetic"], tmp_path))
    for kind in ("svg", "pdf", "png", "csv"):
        again = (tmp_path / f"published_arithmetic.{kind}").read_bytes()
        assert again == (drawn / f"published_arithmetic.{kind}").read_bytes()
