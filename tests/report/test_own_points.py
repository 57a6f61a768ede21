"""A run of ours over the published results: through the comparison and into the figures, with known verdicts."""

import json

import numpy as np
import pandas as pd
import pytest

from workflow_scripts.published.compare import compare
from workflow_scripts.published.results_table import read_table, to_frame, write_table
from workflow_scripts.published.scoreboard import scoreboard
from workflow_scripts.report.draw import main as draw
from workflow_scripts.report.report_tables import load_tables
from workflow_scripts.storage.given_files import GivenFiles
from workflow_scripts.suite.registry import load_suite

MODELS = ("pythia-160m", "pythia-160m-deduped")
FIGURES = ("published_lambada", "published_piqa", "published_five_shot", "published_against_parameters")
UNPUBLISHED_STEP = 2000


def own_rows(published):
    """Scores as lm-eval 0.4 names them: the published ones of two models with known differences, and one new step."""
    rows = published[published["model"].isin(MODELS) & published["shots"].isin([0, 5])]
    rows = rows[rows["harness"].astype(str).str.startswith("lm-eval<=0.3") & (rows["note"].astype(str) == "")]
    rows = rows[rows["task"].isin(["lambada_openai", "piqa", "wsc"]) & rows["metric"].isin(["acc", "ppl"])]
    rows = rows[rows["step"].isin([3000, 143000])]
    extra = rows[(rows["step"] == 3000) & (rows["task"] == "piqa") & (rows["shots"] == 0)]
    extra = extra.assign(step=UNPUBLISHED_STEP, tokens=UNPUBLISHED_STEP * 1024 * 2048)
    ours = pd.concat([rows, extra], ignore_index=True)
    ours = ours.astype(dict.fromkeys(("metric", "task", "harness", "source_file", "note"), str))
    ours["metric"] = ours["metric"].replace({"ppl": "perplexity"})
    shift = np.where(ours["task"] == "piqa", 0.2, 0.001)  # piqa differs clearly, the others within noise
    return ours.assign(value=ours["value"] + shift, harness="lm-eval 0.4.13")


@pytest.fixture(scope="module")
def own_run(tmp_path_factory, compact_path):
    """Folder of a run of suite pythia with two models."""
    folder = tmp_path_factory.mktemp("own")
    published = read_table(compact_path)
    ours = own_rows(published)
    (folder / "tables").mkdir()
    (folder / "tables" / "published.parquet").write_bytes(compact_path.read_bytes())
    write_table(to_frame({name: list(ours[name]) for name in published.columns}), folder / "tables" / "scores.parquet")
    suite = load_suite("pythia")
    models = [{"name": name, "version": suite.model(name).version, "arm": suite.model(name).arm} for name in MODELS]
    run = {"run": "own", "suite": "pythia", "models": models, "tasks": [{"name": "piqa"}, {"name": "lambada_openai"}]}
    run |= {"steps": {name: [] for name in MODELS}, "shots": [0]}
    (folder / "run.json").write_text(json.dumps(run))
    return folder


@pytest.fixture(scope="module")
def pictures(own_run):
    arguments = ["--run", str(own_run / "run.json"), "--tables", *map(str, (own_run / "tables").iterdir())]
    draw([*arguments, "--figure", *FIGURES, "--output-dir", str(own_run / "figures")])
    return own_run / "figures"


def test_verdicts_of_known_differences(own_run):
    tables = own_run / "tables"
    found = compare(read_table(tables / "scores.parquet"), read_table(tables / "published.parquet"))
    ours = found[found["value_ours"].notna() & (found["shots"] == 0) & (found["metric"] == "acc")]
    verdicts = dict(zip(zip(ours["task"], ours["step"], strict=True), ours["verdict"], strict=True))
    assert verdicts["piqa", 143000] == "differs"
    assert verdicts["lambada_openai", 143000] == "reproduced"
    five = found[found["value_ours"].notna() & (found["shots"] == 5)]
    assert set(five["verdict"]) == {"not comparable"}
    board = scoreboard(found).set_index("figure")
    row = board.loc["Figure 10: LAMBADA over training"]
    assert (row["numbers"], row["reproduced"], row["differs"]) == (2 * 27, 4, 0)
    assert board.loc["Figure 8: final scores against parameters", "differs"] == 2


def test_our_points_are_in_the_figures(pictures):
    piqa = pd.read_csv(pictures / "published_piqa.csv")
    ours = piqa[piqa["whose"] == "ours"]
    assert set(ours["model"]) == set(MODELS)
    assert set(ours["step"]) == {UNPUBLISHED_STEP, 3000, 143000}
    theirs = piqa[(piqa["whose"] == "published") & (piqa["step"] == 143000) & (piqa["model"] == "pythia-160m")]
    mine = ours[(ours["step"] == 143000) & (ours["model"] == "pythia-160m")]
    assert mine["value"].item() == pytest.approx(theirs["value"].item() + 0.2)
    assert set(pd.read_csv(pictures / "published_against_parameters.csv")["whose"]) == {"published", "ours"}
    five = pd.read_csv(pictures / "published_five_shot.csv")
    assert set(five[five["whose"] == "ours"]["shots"]) == {5}
    record = json.loads((pictures / "published_piqa.record.json").read_text())
    assert "Diamonds: scored in this run" in record["parameters"]["caption"]
    assert "scores" in record["inputs"]


def test_the_picture_says_how_they_were_asked(pictures):
    assert "ours, requests of 2023" in (pictures / "published_lambada.svg").read_text()
    assert "ours, requests of today" in (pictures / "published_five_shot.svg").read_text()


def test_a_run_of_another_suite_has_none(run_on_disk):
    tables = load_tables(run_on_disk["run"], ["published", "own"], GivenFiles(run_on_disk["tables"].iterdir()))
    assert tables.own.empty
    assert "scores" not in tables.files
