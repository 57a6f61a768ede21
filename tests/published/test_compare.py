"""Ours against published, on scores made from the published ones by known changes."""

import json

import pandas as pd
import pytest

from workflow_scripts.errors import DataError
from workflow_scripts.published.compare import COUNTERPARTS, compare, main
from workflow_scripts.published.results_table import read_table, to_frame, write_table
from workflow_scripts.published.summary import suite_rows
from workflow_scripts.suite.figure_names import PUBLISHED_TASKS
from workflow_scripts.suite.run import load_run
from workflow_scripts.suite.safe_yaml import load_yaml
from workflow_scripts.workflow.published import comparison_table
from workflow_scripts.workflow.report import page_tables


@pytest.fixture(scope="module")
def ours(compact):
    """What lm-eval 0.4 would call the published zero- and five-shot scores of 70m."""
    rows = pd.concat([suite_rows(compact, shots) for shots in (0, 5)])
    rows = rows[(rows["model"] == "pythia-70m") & rows["task"].isin(["lambada_openai", "piqa", "sciq", "wsc"])]
    rows = rows[rows["step"] == 143000].astype({"metric": str})
    rows["metric"] = rows["metric"].replace({"ppl": "perplexity"})
    return rows


def verdict_of(table, task, metric="acc", shots=0):
    rows = table[
        (table["task"] == task) & (table["metric"] == metric) & (table["shots"] == shots) & (table["step"] == 143000)
    ]
    (verdict,) = rows["verdict"]
    return verdict


def test_equal_scores_are_reproduced_and_five_shot_is_not_compared(ours, compact):
    table = compare(ours, compact)
    assert verdict_of(table, "lambada_openai") == "reproduced"
    assert verdict_of(table, "lambada_openai", "ppl") == "reproduced"
    assert verdict_of(table, "lambada_openai", shots=5) == "not comparable"
    assert verdict_of(table, "arc_easy") == "missing"
    assert set(table["model"]) == {"pythia-70m"}
    assert table[table["step"] != 143000]["verdict"].eq("missing").all()


@pytest.mark.parametrize(("shift", "verdict"), [(0.004, "reproduced"), (-0.004, "reproduced"), (0.006, "differs")])
def test_small_differences_are_rounding_and_large_ones_are_not(ours, compact, shift, verdict):
    # LAMBADA has 5,153 items: 3 sqrt(5153 x 4 / 300) / 5153 = .0048
    assert verdict_of(compare(ours.assign(value=ours["value"] + shift), compact), "lambada_openai") == verdict


def test_scores_on_part_of_the_items_are_not_compared(ours, compact):
    assert verdict_of(compare(ours.assign(n=100), compact), "piqa") == "not comparable"


def test_doubtful_published_values_are_said_to_be(compact):
    rows = suite_rows(compact, 0)
    rows = rows[(rows["model"] == "pythia-2.8b") & (rows["task"] == "piqa") & (rows["step"] == 512)]
    table = compare(rows, compact)
    verdicts = table[
        (table["task"] == "piqa") & (table["step"] == 512) & (table["metric"] == "acc") & (table["shots"] == 0)
    ]
    assert verdicts["verdict"].tolist() == ["published value doubtful"]


def test_scores_asked_as_in_2023_take_the_place_of_todays(ours, compact):
    today = ours.assign(protocol="current", value=ours["value"] + 0.1)
    then = ours[ours["task"] == "piqa"].assign(protocol="pythia-2023")
    table = compare(pd.concat([today, then]), compact)
    assert verdict_of(table, "piqa") == "reproduced"
    assert verdict_of(table, "piqa", shots=5) == "reproduced"  # asked as then, five shots are comparable too
    assert verdict_of(table, "sciq") == "differs"
    assert set(table[table["task"] == "piqa"]["protocol"].dropna()) == {"pythia-2023"}


def test_scores_without_counterpart_are_refused(ours, compact):
    with pytest.raises(DataError, match="no score has a published counterpart"):
        compare(ours.assign(task="pocket_facts"), compact)


def test_checkpoints_that_answer_nothing_are_compared_too(compact):
    rows = suite_rows(compact, 0)
    rows = rows[(rows["model"] == "pythia-70m") & (rows["task"] == "lambada_openai") & (rows["metric"] == "acc")]
    early = rows[rows["step"] == 64]
    assert early["n"].isna().all()
    verdicts = compare(rows.assign(n=5153), compact).set_index(["step", "shots", "task", "metric"])["verdict"]
    assert verdicts[64, 0, "lambada_openai", "acc"] == "reproduced"


def test_program_writes_table_and_counts(ours, compact_path, tmp_path):
    scores = tmp_path / "scores.parquet"
    write_table(to_frame({name: ours[name].tolist() for name in read_table(compact_path).columns}), scores)
    main(["--scores", str(scores), "--published", str(compact_path), "--output", str(tmp_path / "comparison.parquet")])
    counts = json.loads((tmp_path / "comparison.summary.json").read_text())
    table = pd.read_parquet(tmp_path / "comparison.parquet")
    assert counts["reproduced"] == (table["verdict"] == "reproduced").sum() > 0
    assert sum(counts.values()) == len(table)
    assert (tmp_path / "comparison.scoreboard.csv").read_text().startswith("figure,numbers,reproduced,differs")


def test_the_graph_knows_the_tasks_that_can_be_compared():
    assert set(PUBLISHED_TASKS) == {task for task, _ in COUNTERPARTS}


@pytest.mark.parametrize(
    ("changes", "compared"),
    [
        ({}, True),
        ({"tasks": ["blimp"]}, False),
        ({"models": ["pythia-70m-seed1"]}, False),
        ({"models": []}, False),
    ],
)
def test_only_published_models_and_tasks_are_compared(root, changes, compared):
    default, suite = (load_yaml(root / "config" / name) for name in ("config.yaml", "runs/suite.yaml"))
    run = load_run({**default, **suite, **changes})
    assert bool(comparison_table(run)) == compared
    assert set(comparison_table(run)) <= set(page_tables(run))


def test_runs_of_the_pocket_suite_are_not_compared(root):
    assert comparison_table(load_run(load_yaml(root / "config" / "config.yaml"))) == []
